//! Singular values, guarded: no NaN or Inf ever reaches LAPACK, where some drivers hang on them.
//!
//! Order of the guards: size, finiteness, scaling by a power of two to `max |a| ∈ [½, 1)` (exact,
//! and no overflow inside), the driver, a check of its result, the second driver.

use ndarray::{Array2, ArrayView2};

use super::library;

/// Why a matrix has no singular values here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSpectrum {
    /// It has no entries.
    Empty,
    /// It holds NaN or Inf.
    NonFinite,
    /// LAPACK's interface multiplies sizes in 32 bits.
    TooLarge,
    /// No driver gave a spectrum.
    NoConvergence,
}

/// Largest short side that is decomposed.
const MAX_SHORT_SIDE: usize = 16_384;

/// A matrix that may be given to LAPACK, scaled to `max |a| ∈ [½, 1)`.
struct Guarded {
    matrix: Array2<f64>,
    /// The original is `matrix · 2^exponent`.
    exponent: i32,
}

fn guard(a: ArrayView2<'_, f64>) -> Result<Guarded, NoSpectrum> {
    let (rows, cols) = a.dim();
    if rows == 0 || cols == 0 {
        return Err(NoSpectrum::Empty);
    }
    let fits = rows.checked_mul(cols).is_some_and(|size| i32::try_from(size).is_ok());
    if !fits || rows.min(cols) > MAX_SHORT_SIDE {
        return Err(NoSpectrum::TooLarge);
    }
    if !a.iter().all(|value| value.is_finite()) {
        return Err(NoSpectrum::NonFinite);
    }
    let max = a.iter().fold(0.0f64, |max, value| max.max(value.abs()));
    let exponent = exponent_of(max);
    Ok(Guarded { matrix: a.mapv(|value| times_power_of_two(value, -exponent)), exponent })
}

/// `e` with `max · 2⁻ᵉ ∈ [½, 1)`; 0 for 0.
fn exponent_of(max: f64) -> i32 {
    let (mut value, mut exponent) = (max, 0);
    while value >= 1.0 {
        value *= 0.5;
        exponent += 1;
    }
    while value > 0.0 && value < 0.5 {
        value *= 2.0;
        exponent -= 1;
    }
    exponent
}

/// `value · 2ᵉ` in two factors, since one alone leaves the range for subnormal numbers.
fn times_power_of_two(value: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    value * 2f64.powi(half) * 2f64.powi(exponent - half)
}

/// Singular values in descending order, by the SVD: `gesdd`, or `gesvd` where that fails.
///
/// Absolute error about `2⁻⁵² σ₁` for each; `[m, n] → min(m, n)` values.
///
/// # Errors
/// Why there are none.
pub fn singular_values(a: ArrayView2<'_, f64>) -> Result<Vec<f64>, NoSpectrum> {
    let guarded = guard(a)?;
    crate::blas::one_thread();
    let energy = guarded.matrix.iter().map(|x| x * x).sum::<f64>();
    let (rows, cols) = guarded.matrix.dim();
    // What rounding alone can do to Σσ² against Σa².
    let tolerance = 1e-12 * ((rows * cols) as f64).sqrt() * energy;
    let sound = |sigma: &[f64]| {
        let descending = sigma.windows(2).all(|pair| pair[0] >= pair[1]);
        let positive = sigma.iter().all(|value| value.is_finite() && *value >= 0.0);
        let sum = sigma.iter().map(|x| x * x).sum::<f64>();
        descending && positive && (sum - energy).abs() <= tolerance
    };
    let drivers = library::SVD_DRIVERS.iter();
    let sigma = drivers.filter_map(|driver| driver(&guarded.matrix)).find(|sigma| sound(sigma));
    sigma.map(|sigma| rescale(sigma, guarded.exponent)).ok_or(NoSpectrum::NoConvergence)
}

/// Singular values in descending order, as roots of the eigenvalues of the Gram matrix of the short
/// side, in f64.
///
/// A third of the cost of an SVD. Absolute error about `2⁻⁵² σ₁²/σ_i`, so values below
/// `1.5e-8 σ₁` are noise: below the storage rounding of f32, f16 and bf16, for which this is meant.
///
/// # Errors
/// As [`singular_values`].
pub fn gram_singular_values(a: ArrayView2<'_, f64>) -> Result<Vec<f64>, NoSpectrum> {
    let guarded = guard(a)?;
    let (rows, cols) = guarded.matrix.dim();
    let view = guarded.matrix.view();
    let gram = if rows <= cols {
        super::matmul(view, view.t()) // [rows, rows]
    } else {
        super::matmul(view.t(), view) // [cols, cols]
    };
    let eigenvalues = library::symmetric_eigenvalues(&gram).ok_or(NoSpectrum::NoConvergence)?;
    // Ascending; rounding can leave the smallest a little below zero.
    let sigma = eigenvalues.iter().rev().map(|value| value.max(0.0).sqrt()).collect();
    Ok(rescale(sigma, guarded.exponent))
}

fn rescale(mut sigma: Vec<f64>, exponent: i32) -> Vec<f64> {
    for value in &mut sigma {
        *value = times_power_of_two(*value, exponent);
    }
    sigma
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_diagonal_matrix_has_its_entries() {
        let a = Array2::from_diag(&Array1::from(vec![1.0, -4.0, 3.0, 2.0]));
        for sigma in [singular_values(a.view()), gram_singular_values(a.view())] {
            let sigma = sigma.unwrap();
            for (found, expected) in sigma.iter().zip([4.0, 3.0, 2.0, 1.0]) {
                assert!((found - expected).abs() < 1e-14, "{sigma:?}");
            }
        }
    }

    #[test]
    fn nothing_unusable_reaches_lapack() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let a = array![[1.0, bad, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 1.0]];
            assert_eq!(singular_values(a.view()), Err(NoSpectrum::NonFinite));
            assert_eq!(gram_singular_values(a.view()), Err(NoSpectrum::NonFinite));
        }
        let empty = Array2::<f64>::zeros((0, 3));
        assert_eq!(singular_values(empty.view()), Err(NoSpectrum::Empty));
    }

    /// A matrix of rank one, uvᵀ, has σ₁ = |u||v| at any scale of its entries, subnormal included.
    #[test]
    fn scale_does_not_matter() {
        for exponent in [-1030, -500, 0, 500, 1000] {
            let unit = times_power_of_two(1.0, exponent);
            let a = array![[3.0, 0.0], [4.0, 0.0]] * unit;
            let sigma = singular_values(a.view()).unwrap();
            assert!((sigma[0] / unit - 5.0).abs() < 1e-13, "2^{exponent}: {sigma:?}");
            assert!(sigma[1] / unit < 1e-14);
        }
        let zero = Array2::<f64>::zeros((2, 3));
        assert_eq!(singular_values(zero.view()).unwrap(), [0.0, 0.0]);
    }

    proptest! {
        /// The fast path against the SVD: |σ − σ'| ≤ c ε σ₁²/σ, here with σ kept away from 0.
        #[test]
        fn gram_agrees_with_the_svd(
            rows in 1usize..12, cols in 1usize..12, seed in prop::collection::vec(-1.0..1.0f64, 144),
        ) {
            let a = Array2::from_shape_fn((rows, cols), |(i, j)| seed[i * 12 + j]);
            let exact = singular_values(a.view()).unwrap();
            let gram = gram_singular_values(a.view()).unwrap();
            for (x, y) in exact.iter().zip(&gram) {
                prop_assert!((x - y).abs() <= 1e-7 * exact[0], "{:?} {:?}", exact, gram);
                if *x > 1e-3 * exact[0] {
                    prop_assert!((x - y).abs() <= 1e-12 * exact[0], "{:?} {:?}", exact, gram);
                }
            }
        }
    }
}
