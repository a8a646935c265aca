//! Matrix products, singular values and the vectorised loops around them: the one door for matrix
//! products and LAPACK. (Dot products of single vectors go through ndarray, which may use BLAS, too;
//! they never use threads.)
//!
//! Behind the door stands one of two libraries, chosen when the program is built: BLAS and LAPACK
//! through ndarray and ndarray-linalg, or faer, which needs nothing from the system.

pub mod aligned;
pub mod eigen;
mod gram;
pub mod kernels;
mod magnitude;
pub mod svd;
mod tridiagonal;

#[cfg(feature = "openblas")]
#[path = "lapack.rs"]
mod library;
#[cfg(not(feature = "openblas"))]
#[path = "pure.rs"]
mod library;

#[cfg(not(any(feature = "openblas", feature = "gemm")))]
compile_error!("choose what multiplies matrices: feature `openblas` (the default) or `gemm`");

use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat};

use crate::blas::{self, BlasInfo};
use crate::error::{Error, Result};

/// The number type of a network: `f32` in training, `f64` in gradient checks and analysis.
pub trait Scalar: NdFloat + Default {
    /// The nearest value of this type.
    fn narrow(value: f64) -> Self;
    /// Exact.
    fn widen(self) -> f64;
    /// `C ← A B + β C`; call [`matmul_into`] instead.
    #[doc(hidden)]
    fn multiply(
        a: ArrayView2<'_, Self>,
        b: ArrayView2<'_, Self>,
        beta: Self,
        c: ArrayViewMut2<'_, Self>,
    );
}

macro_rules! scalar {
    ($($float:ty),+) => { $(
        impl Scalar for $float {
            #[inline(always)]
            fn narrow(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn widen(self) -> f64 {
                f64::from(self)
            }
            fn multiply(
                a: ArrayView2<'_, Self>,
                b: ArrayView2<'_, Self>,
                beta: Self,
                c: ArrayViewMut2<'_, Self>,
            ) {
                library::multiply(a, b, beta, c);
            }
        }
    )+ };
}
scalar!(f32, f64);

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

/// `C ← A B + β C`, β 0 or 1, into memory that exists already; with β = 0, `C` is only written.
///
/// # Panics
/// If the sizes do not fit.
pub fn matmul_into<F: Scalar>(
    a: ArrayView2<'_, F>,
    b: ArrayView2<'_, F>,
    beta: F,
    c: ArrayViewMut2<'_, F>,
) {
    blas::one_thread();
    F::multiply(a, b, beta, c);
}

/// Make sure that products can be trusted, before any work: that the library keeps to one thread,
/// may be called from several at once, and multiplies correctly on this processor.
///
/// # Errors
/// [`Error::Blas`] with what to do.
pub fn require_sound() -> Result<BlasInfo> {
    let info = blas::require_one_thread()?;
    if multiplies_correctly() {
        return Ok(info);
    }
    let BlasInfo { library, version, kernel } = info;
    Err(Error::Blas {
        problem: format!("{library} {version} multiplies wrongly with its kernel {kernel}"),
        help: if cfg!(feature = "openblas") {
            "choose another kernel with OPENBLAS_CORETYPE=Haswell or OPENBLAS_CORETYPE=Nehalem \
             before the command, or install another version"
        } else {
            "use a build with OpenBLAS"
        }
        .into(),
    })
}

/// Whether products are right on this processor: some sizes that no vector width divides, each
/// factor in both orders, against sums by hand. (Kernels of OpenBLAS that give wrong results have
/// been seen on processors newer than they are.)
#[must_use]
pub fn multiplies_correctly() -> bool {
    fn right<F: Scalar>(m: usize, n: usize, k: usize) -> bool {
        // Small integers: exact in every type and order of summation.
        let a = Array2::from_shape_fn((m, k), |(i, j)| F::narrow(((i * 7 + j * 5) % 13) as f64));
        let b = Array2::from_shape_fn((k, n), |(i, j)| F::narrow(((i * 3 + j * 11) % 17) as f64));
        let expected = Array2::from_shape_fn((m, n), |(i, j)| {
            (0..k).map(|l| a[[i, l]] * b[[l, j]]).fold(F::zero(), |sum, term| sum + term)
        });
        let (a_t, b_t) = (a.t().to_owned(), b.t().to_owned());
        [(a.view(), b.view()), (a_t.t(), b.view()), (a.view(), b_t.t()), (a_t.t(), b_t.t())]
            .into_iter()
            .all(|(a, b)| matmul(a, b) == expected)
    }
    let sizes = [(5, 3, 7), (67, 19, 129), (33, 114, 65)];
    sizes.into_iter().all(|(m, n, k)| right::<f32>(m, n, k) && right::<f64>(m, n, k))
}

#[cfg(test)]
mod tests {
    use ndarray::ShapeBuilder;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn products_are_right_on_this_processor() {
        assert!(multiplies_correctly());
    }

    proptest! {
        /// `C ← A B + β C` into a part of a larger matrix leaves the rest of it alone.
        #[test]
        fn products_go_where_they_belong(
            m in 1usize..20, n in 1usize..20, k in 1usize..20, add: bool, column_major: bool,
        ) {
            let a = Array2::from_shape_fn((m, k), |(i, j)| (i * 31 + j * 17) as f64 / 7.0);
            let b = Array2::from_shape_fn((k, n), |(i, j)| (i * 13 + j * 29) as f64 / 11.0);
            let shape = (m + 2, n + 3).set_f(column_major);
            let mut whole = Array2::from_elem(shape, 0.5);
            let part = ndarray::s![1..=m, 2..n + 2];
            let beta = f64::from(u8::from(add));
            matmul_into(a.view(), b.view(), beta, whole.slice_mut(part));
            for ((i, j), found) in whole.indexed_iter() {
                let inside = (1..=m).contains(&i) && (2..n + 2).contains(&j);
                let sum = || (0..k).map(|l| a[[i - 1, l]] * b[[l, j - 2]]).sum::<f64>();
                let expected = if inside { sum() + beta * 0.5 } else { 0.5 };
                prop_assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0));
            }
        }
    }
}
