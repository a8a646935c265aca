//! Products and decompositions in Rust: faer.

use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, Par, Side};
use faer_ext::{IntoFaer, IntoNdarray};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat};

use super::svd::{Decomposition, Driver};

/// β is 0 or 1.
pub(super) fn multiply<F: NdFloat + ComplexField>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    beta: F,
    c: ArrayViewMut2<'_, F>,
) {
    debug_assert!(beta == F::zero() || beta == F::one(), "β is 0 or 1, not {beta}");
    let accumulate = if beta == F::zero() { Accum::Replace } else { Accum::Add };
    matmul(c.into_faer(), accumulate, a.into_faer(), b.into_faer(), F::one(), Par::Seq);
}

pub(super) fn singular_values(a: &Array2<f64>, driver: Driver) -> Option<Vec<f64>> {
    let a = match driver {
        Driver::First => a.view(),
        Driver::Second => a.t(),
    };
    a.into_faer().singular_values().ok()
}

pub(super) fn singular_vectors(a: &Array2<f64>, driver: Driver) -> Option<Decomposition> {
    let turned = driver == Driver::Second;
    let found = if turned { a.t() } else { a.view() }.into_faer().thin_svd().ok()?;
    let sigma = found.S().column_vector().iter().copied().collect();
    let (u, v) = (found.U().into_ndarray(), found.V().into_ndarray());
    let (u, v) = if turned { (v, u) } else { (u, v) };
    Some(Decomposition { u: u.to_owned(), sigma, vt: v.t().to_owned() })
}

/// Eigenvalues of a symmetric matrix, ascending; only its diagonal and what is right of it are read.
///
/// The oracle of [`super::tridiagonal`].
#[cfg(test)]
pub(super) fn eigenvalues(a: Array2<f64>) -> Option<Vec<f64>> {
    a.view().into_faer().self_adjoint_eigenvalues(Side::Upper).ok()
}

/// Eigenvalues of a symmetric matrix, given in full, ascending, and the eigenvectors as columns.
pub(super) fn eigenvectors(a: Array2<f64>) -> Option<(Vec<f64>, Array2<f64>)> {
    let found = a.view().into_faer().self_adjoint_eigen(Side::Lower).ok()?;
    let values = found.S().column_vector().iter().copied().collect();
    Some((values, found.U().into_ndarray().to_owned()))
}
