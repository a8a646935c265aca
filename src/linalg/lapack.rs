//! BLAS and LAPACK behind plain types, through ndarray and ndarray-linalg: the only file that names
//! them. Where they are not to be had, `pure.rs` takes its place.
//!
//! Nothing is checked here. [`super::svd`] and [`super::eigen`] see to it that only finite matrices
//! of permitted sizes come in, and that what goes out is what was asked for.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat, linalg::general_mat_mul};
use ndarray_linalg::{EighInto, JobSvd, SVD, SVDDC, UPLO};

use super::svd::{Decomposition, Driver};

/// `C ← A B + β C`
pub(super) fn multiply<F: NdFloat>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    beta: F,
    mut c: ArrayViewMut2<'_, F>,
) {
    general_mat_mul(F::one(), &a, &b, beta, &mut c);
}

pub(super) fn singular_values(a: &Array2<f64>, driver: Driver) -> Option<Vec<f64>> {
    let (_, sigma, _) = match driver {
        Driver::First => a.svddc(JobSvd::None).ok()?,
        Driver::Second => a.svd(false, false).ok()?,
    };
    Some(sigma.to_vec())
}

pub(super) fn singular_vectors(a: &Array2<f64>, driver: Driver) -> Option<Decomposition> {
    let (u, sigma, vt) = match driver {
        Driver::First => a.svddc(JobSvd::Some).ok()?,
        Driver::Second => a.svd(true, true).ok()?,
    };
    let (u, vt, k) = (u?, vt?, sigma.len());
    // `gesvd` is called for square U and V.
    let (u, vt) = (u.slice_move(ndarray::s![.., ..k]), vt.slice_move(ndarray::s![..k, ..]));
    Some(Decomposition { u, sigma: sigma.to_vec(), vt })
}

/// Eigenvalues of a symmetric matrix, ascending; only its diagonal and what is right of it are read.
///
/// The oracle of [`super::tridiagonal`]. Not by `eigvalsh`, which in ndarray-linalg 0.18 computes the
/// eigenvectors, too, and throws them away.
#[cfg(test)]
pub(super) fn eigenvalues(mut a: Array2<f64>) -> Option<Vec<f64>> {
    use ndarray_linalg::{Lapack, MatrixLayout};
    let n = i32::try_from(a.nrows()).ok()?;
    // By columns, as LAPACK reads it, the triangle is the lower one.
    let layout = MatrixLayout::F { col: n, lda: n };
    f64::eigh(false, layout, UPLO::Lower, a.as_slice_mut()?).ok()
}

/// Eigenvalues of a symmetric matrix, given in full, ascending, and the eigenvectors as columns.
pub(super) fn eigenvectors(a: Array2<f64>) -> Option<(Vec<f64>, Array2<f64>)> {
    let (values, vectors) = a.eigh_into(UPLO::Lower).ok()?;
    Some((values.to_vec(), vectors))
}
