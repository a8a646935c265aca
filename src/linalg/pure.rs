//! Products and decompositions in Rust: faer.

use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, Par, Side};
use faer_ext::IntoFaer;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat};

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

/// Singular values, descending; `None` if they do not converge.
type Driver = fn(&Array2<f64>) -> Option<Vec<f64>>;

/// What finds singular values, in the order in which they are tried.
pub(super) const SVD_DRIVERS: [Driver; 1] = [|a| a.view().into_faer().singular_values().ok()];

/// Eigenvalues of a symmetric matrix, ascending; `None` if they do not converge.
pub(super) fn symmetric_eigenvalues(a: &Array2<f64>) -> Option<Vec<f64>> {
    a.view().into_faer().self_adjoint_eigenvalues(Side::Lower).ok()
}
