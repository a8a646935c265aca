//! Fourier analysis over the cyclic group ℤ_p.
//!
//! Conventions, fixed here and relied on by `progress`, `circuits` and table `fourier`:
//! - The basis is real and orthonormal. Row 0 is constant; rows `2k − 1` and `2k` are the cosine
//!   and sine of frequency `k`, for `k` in `1..=(p − 1)/2`.
//! - `p` is odd. An even `p` has an unpaired last row; it is rejected, never padded.
//! - The `=` row or class is removed before a transform.
//!
//! Pure: arrays in, arrays out. No files, threads, randomness or logging.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §4.1 (periodic embeddings), §5.1 (measures).

use std::f64::consts::TAU;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rustfft::{Fft, FftPlanner, num_complex::Complex};

use crate::error::{Error, Result};

/// Number of frequencies of ℤ_p, without the constant.
#[must_use]
pub fn frequencies(p: usize) -> usize {
    (p - 1) / 2
}

/// The orthonormal basis, one function per row.
///
/// ```text
/// F[0] = 1/√p,   F[2k−1][x] = √(2/p) cos(2πkx/p),   F[2k][x] = √(2/p) sin(2πkx/p),   F Fᵀ = I
/// ```
///
/// - Returns `[p, p]`.
///
/// # Errors
/// [`Error::Modulus`] if `p` is even or below 3.
pub fn basis(p: usize) -> Result<Array2<f64>> {
    check(p)?;
    let constant = 1.0 / (p as f64).sqrt();
    let norm = (2.0 / p as f64).sqrt();
    Ok(Array2::from_shape_fn((p, p), |(row, x)| {
        // k·x is reduced mod p first: sines of large arguments lose digits.
        let angle = TAU * ((row.div_ceil(2) * x) % p) as f64 / p as f64;
        match row {
            0 => constant,
            row if row % 2 == 1 => norm * angle.cos(),
            _ => norm * angle.sin(),
        }
    }))
}

fn check(p: usize) -> Result<()> {
    if p < 3 || p.is_multiple_of(2) { Err(Error::Modulus { p }) } else { Ok(()) }
}

/// Coefficients in the basis of [`basis`], by FFT.
#[derive(Clone)]
pub struct Transform {
    p: usize,
    fft: Arc<dyn Fft<f64>>,
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform").field("p", &self.p).finish_non_exhaustive()
    }
}

impl Transform {
    /// # Errors
    /// [`Error::Modulus`] if `p` is even or below 3.
    pub fn new(p: usize) -> Result<Self> {
        check(p)?;
        Ok(Self { p, fft: FftPlanner::new().plan_fft_forward(p) })
    }

    /// `W Fᵀ`: every row of `w` in the basis, `[n, p] → [n, p]`.
    ///
    /// # Panics
    /// If the rows are not p long.
    #[must_use]
    pub fn rows(&self, w: ArrayView2<'_, f64>) -> Array2<f64> {
        assert_eq!(w.ncols(), self.p, "one column per residue");
        let constant = 1.0 / (self.p as f64).sqrt();
        let norm = (2.0 / self.p as f64).sqrt();
        let mut buffer = vec![Complex::default(); self.p];
        let mut scratch = vec![Complex::default(); self.fft.get_inplace_scratch_len()];
        let mut coefficients = Array2::zeros(w.dim());
        for (row, mut found) in w.rows().into_iter().zip(coefficients.rows_mut()) {
            for (value, x) in buffer.iter_mut().zip(row) {
                *value = Complex::new(*x, 0.0);
            }
            self.fft.process_with_scratch(&mut buffer, &mut scratch);
            // X_k = Σ_x w(x) e^{−2πikx/p}: its real part is the cosine sum, minus its imaginary
            // part the sine sum.
            found[0] = constant * buffer[0].re;
            for k in 1..=frequencies(self.p) {
                found[2 * k - 1] = norm * buffer[k].re;
                found[2 * k] = -norm * buffer[k].im;
            }
        }
        coefficients
    }

    /// L2 norms of the Fourier rows of a weight matrix, over its other axis.
    ///
    /// - `w`: `[n, p]`, one column per residue. Unit of the result: that of the weights.
    #[must_use]
    pub fn norms(&self, w: ArrayView2<'_, f64>) -> Norms {
        let rows = self.rows(w).map_axis(Axis(0), |column| column.dot(&column).sqrt());
        Norms { rows }
    }
}

/// Norms of the `p` Fourier rows of an object, in the order of [`basis`].
#[derive(Debug, Clone, PartialEq)]
pub struct Norms {
    /// `[p]`
    pub rows: Array1<f64>,
}

impl Norms {
    /// Cosine norm of frequency `k ≥ 1`, or the norm of the constant for `k = 0`.
    #[must_use]
    pub fn cos(&self, k: usize) -> f64 {
        self.rows[(2 * k).saturating_sub(1)]
    }

    /// Sine norm of frequency `k`; the constant has none.
    #[must_use]
    pub fn sin(&self, k: usize) -> Option<f64> {
        (k > 0).then(|| self.rows[2 * k])
    }

    /// `√(cos² + sin²)` of frequency `k`.
    #[must_use]
    pub fn norm(&self, k: usize) -> f64 {
        self.cos(k).hypot(self.sin(k).unwrap_or(0.0))
    }

    /// Number of frequencies, without the constant.
    #[must_use]
    pub fn frequencies(&self) -> usize {
        frequencies(self.rows.len())
    }
}

/// Gini coefficient of non-negative numbers: 0 if all are equal, `(n − 1)/n` if only one is not 0.
///
/// ```text
/// G = Σ_i (2i − n − 1) x_(i) / (n Σ x),   x ascending, i = 1..n
/// ```
///
/// `None` if the sum is 0.
#[must_use]
pub fn gini(values: &[f64]) -> Option<f64> {
    let total: f64 = values.iter().sum();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let weighted: f64 =
        sorted.iter().zip(1u32..).map(|(x, i)| (2.0 * f64::from(i) - n - 1.0) * x).sum();
    (total > 0.0).then(|| weighted / (n * total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn basis_is_orthonormal() {
        for p in [3, 9, 59, 113] {
            let f = basis(p).unwrap();
            let gram = f.dot(&f.t());
            let off = (&gram - &Array2::<f64>::eye(p)).fold(0.0f64, |max, x| max.max(x.abs()));
            assert!(off < 8.0 * p as f64 * f64::EPSILON, "p = {p}: {off:e}");
        }
        for p in [0, 1, 2, 112] {
            assert!(matches!(basis(p), Err(Error::Modulus { .. })), "{p}");
            assert!(Transform::new(p).is_err(), "{p}");
        }
    }

    /// A pure cosine of frequency k has squared norm p/2, all of it in the cosine row of k; the last
    /// frequency included.
    #[test]
    fn pure_waves_have_one_frequency() {
        let p = 11;
        for k in 1..=5 {
            let w = Array2::from_shape_fn((1, p), |(_, a)| (TAU * (k * a) as f64 / 11.0).cos());
            let norms = Transform::new(p).unwrap().norms(w.view());
            let tolerance = 8.0 * p as f64 * f64::EPSILON; // p products, each off by a few ulp
            for j in 1..=5 {
                let expected = if j == k { (p as f64 / 2.0).sqrt() } else { 0.0 };
                assert!((norms.norm(j) - expected).abs() < tolerance.sqrt(), "k = {k}, j = {j}");
                assert!(norms.sin(j).unwrap() < tolerance.sqrt());
            }
        }
    }

    #[test]
    fn gini_has_its_closed_forms() {
        assert!((gini(&[4.0, 1.0, 3.0, 2.0]).unwrap() - 0.25).abs() < 1e-15);
        assert!(gini(&[2.0; 5]).unwrap().abs() < 1e-15);
        let mut one_hot = vec![0.0; 113];
        one_hot[17] = 3.0;
        assert!((gini(&one_hot).unwrap() - 112.0 / 113.0).abs() < 1e-15);
        assert_eq!(gini(&[0.0; 4]), None);
    }

    proptest! {
        /// The FFT against the O(p²) sum, and Parseval.
        #[test]
        fn transform_is_the_product_with_the_basis(
            pick in 0usize..6, data in prop::collection::vec(-10.0..10.0f64, 339),
        ) {
            let p = [3, 7, 9, 15, 59, 113][pick];
            let w = Array2::from_shape_fn((3, p), |(i, x)| data[i * p + x]);
            let found = Transform::new(p).unwrap().rows(w.view());
            let expected = w.dot(&basis(p).unwrap().t());
            let scale = w.iter().map(|x| x * x).sum::<f64>().sqrt();
            for (x, y) in found.iter().zip(&expected) {
                prop_assert!((x - y).abs() <= 1e-12 * scale, "{} {}", x, y);
            }
            let energy = found.iter().map(|x| x * x).sum::<f64>().sqrt();
            prop_assert!((energy - scale).abs() <= 1e-12 * scale);
        }

        /// Relabelling tokens a → a + s (mod p) only rotates phases.
        #[test]
        fn norms_ignore_cyclic_shifts(
            half in 1usize..12, s in 0usize..31,
            data in prop::collection::vec(-10.0..10.0f64, 50),
        ) {
            let p = 2 * half + 1;
            let w = Array2::from_shape_fn((2, p), |(i, x)| data[i * p + x]);
            let shifted = Array2::from_shape_fn((2, p), |(i, x)| w[[i, (x + s) % p]]);
            let transform = Transform::new(p).unwrap();
            let (before, after) = (transform.norms(w.view()), transform.norms(shifted.view()));
            for k in 0..=frequencies(p) {
                prop_assert!((before.norm(k) - after.norm(k)).abs() < 1e-10);
            }
        }
    }
}
