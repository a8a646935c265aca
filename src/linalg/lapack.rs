//! BLAS and LAPACK, through ndarray and ndarray-linalg.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat, linalg::general_mat_mul};
use ndarray_linalg::{EigValsh, JobSvd, SVD, SVDDC, UPLO};

pub(super) fn multiply<F: NdFloat>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    beta: F,
    mut c: ArrayViewMut2<'_, F>,
) {
    general_mat_mul(F::one(), &a, &b, beta, &mut c);
}

/// Singular values, descending; `None` if they do not converge.
type Driver = fn(&Array2<f64>) -> Option<Vec<f64>>;

/// What finds singular values, in the order in which they are tried: `gesdd`, `gesvd`.
pub(super) const SVD_DRIVERS: [Driver; 2] = [
    |a| a.svddc(JobSvd::None).ok().map(|(_, sigma, _)| sigma.to_vec()),
    |a| a.svd(false, false).ok().map(|(_, sigma, _)| sigma.to_vec()),
];

/// Eigenvalues of a symmetric matrix, ascending; `None` if they do not converge.
pub(super) fn symmetric_eigenvalues(a: &Array2<f64>) -> Option<Vec<f64>> {
    a.eigvalsh(UPLO::Lower).ok().map(|values| values.to_vec())
}
