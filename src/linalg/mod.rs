//! Matrix products, singular values and the vectorised loops around them: the one door for matrix
//! products and LAPACK. (Dot products of single vectors go through ndarray, which may use BLAS, too;
//! they never use threads.)

pub mod eigen;
pub mod kernels;
mod lapack;
pub mod svd;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat, linalg::general_mat_mul};

/// The number type of a network: `f32` in training, `f64` in gradient checks and analysis.
pub trait Scalar: NdFloat {
    /// The nearest value of this type.
    fn narrow(value: f64) -> Self;
    /// Exact.
    fn widen(self) -> f64;
}

impl Scalar for f32 {
    fn narrow(value: f64) -> Self {
        value as f32
    }
    fn widen(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    fn narrow(value: f64) -> Self {
        value
    }
    fn widen(self) -> f64 {
        self
    }
}

/// `A B`: `[m, k] · [k, n] → [m, n]`, row-major whatever the order of the factors.
///
/// # Panics
/// If the inner sizes differ.
#[must_use]
pub fn matmul<F: Scalar>(a: ArrayView2<'_, F>, b: ArrayView2<'_, F>) -> Array2<F> {
    let mut c = Array2::zeros((a.nrows(), b.ncols()));
    matmul_into(a, b, F::zero(), c.view_mut());
    c
}

/// `C ← A B + β C`, into memory that exists already; with β = 0, `C` is only written.
///
/// # Panics
/// If the sizes do not fit.
pub fn matmul_into<F: Scalar>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    beta: F,
    mut c: ArrayViewMut2<'_, F>,
) {
    crate::blas::one_thread();
    general_mat_mul(F::one(), &a, &b, beta, &mut c);
}
