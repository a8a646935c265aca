//! Fourier analysis over a cyclic group of order n.
//!
//! Conventions, fixed here and relied on by `progress`, `circuits` and table `fourier`:
//! - The basis is real and orthonormal. Row 0 is constant; rows `2k − 1` and `2k` are the cosine
//!   and sine of frequency `k`, for `k` in `1..=n/2`.
//! - An even n has an unpaired last row, `(−1)^x/√n`: the cosine of frequency `n/2`, which has no
//!   sine. ℤ_p, with p odd, has none; the multiplicative group modulo p, of order p − 1, does.
//! - The `=` row or class is removed before a transform.
//!
//! Pure: arrays in, arrays out. No files, threads, randomness or logging.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §4.1 (periodic embeddings), §5.1 (measures).

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2};
use rustfft::{Fft, FftPlanner, num_complex::Complex};

use crate::error::{Error, Result};
use crate::linalg::matmul;

/// Number of frequencies of a cyclic group of order `n`, without the constant.
#[must_use]
pub fn frequencies(n: usize) -> usize {
    n / 2
}

/// The rows of frequency `k ≥ 1` in the basis: two, or one for the unpaired frequency `n/2` of an even
/// `n`.
///
/// # Panics
/// If `k` is not in `1..=n/2`.
#[must_use]
pub fn rows_of(n: usize, k: usize) -> Range<usize> {
    assert!((1..=frequencies(n)).contains(&k), "frequency {k} of a group of order {n}");
    2 * k - 1..n.min(2 * k + 1)
}

/// The orthonormal basis, one function per row.
///
/// ```text
/// F[0] = 1/√n,   F[2k−1][x] = √(2/n) cos(2πkx/n),   F[2k][x] = √(2/n) sin(2πkx/n),   F Fᵀ = I
/// F[n−1][x] = (−1)^x/√n   for even n
/// ```
///
/// - Returns `[n, n]`.
#[must_use]
pub fn basis(n: usize) -> Array2<f64> {
    let single = 1.0 / (n as f64).sqrt();
    let norm = (2.0 / n as f64).sqrt();
    Array2::from_shape_fn((n, n), |(row, x)| {
        // k·x is reduced mod n first: sines of large arguments lose digits.
        let turns = (row.div_ceil(2) * x) % n;
        let angle = TAU * turns as f64 / n as f64;
        match row {
            0 => single,
            row if row % 2 == 1 && row == n - 1 => {
                if turns == 0 {
                    single
                } else {
                    -single
                }
            }
            row if row % 2 == 1 => norm * angle.cos(),
            _ => norm * angle.sin(),
        }
    })
}

/// Make sure that `p` is an odd number of at least 3: the moduli whose additive group has pairs of
/// waves alone.
///
/// # Errors
/// [`Error::Modulus`] if it is not.
pub fn require_odd(p: usize) -> Result<()> {
    if p < 3 || p.is_multiple_of(2) { Err(Error::Modulus { p }) } else { Ok(()) }
}

/// Up to this order a product with the basis is faster than an FFT of prime length (measured at 113:
/// five times).
const LARGEST_PRODUCT: usize = 512;

/// Coefficients in the basis of [`basis`], by a product with it or by FFT.
#[derive(Clone)]
pub struct Transform {
    n: usize,
    means: Means,
}

#[derive(Clone)]
enum Means {
    Product(Array2<f64>),
    Fft(Arc<dyn Fft<f64>>),
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform").field("n", &self.n).finish_non_exhaustive()
    }
}

impl Transform {
    /// Over a group of order `n`.
    #[must_use]
    pub fn new(n: usize) -> Self {
        if n <= LARGEST_PRODUCT {
            return Self { n, means: Means::Product(basis(n)) };
        }
        Self::by_fft(n)
    }

    /// The same by FFT, whatever the order.
    #[must_use]
    pub fn by_fft(n: usize) -> Self {
        Self { n, means: Means::Fft(FftPlanner::new().plan_fft_forward(n)) }
    }

    /// `W Fᵀ`: every row of `w` in the basis, `[rows, n] → [rows, n]`.
    ///
    /// # Panics
    /// If the rows are not n long.
    #[must_use]
    pub fn rows(&self, w: ArrayView2<'_, f64>) -> Array2<f64> {
        assert_eq!(w.ncols(), self.n, "one column per element of the group");
        match &self.means {
            Means::Product(basis) => matmul(w, basis.t()),
            Means::Fft(fft) => self.rows_by_fft(fft.as_ref(), w),
        }
    }

    fn rows_by_fft(&self, fft: &dyn Fft<f64>, w: ArrayView2<'_, f64>) -> Array2<f64> {
        let single = 1.0 / (self.n as f64).sqrt();
        let norm = (2.0 / self.n as f64).sqrt();
        let mut buffer = vec![Complex::default(); self.n];
        let mut scratch = vec![Complex::default(); fft.get_inplace_scratch_len()];
        let mut coefficients = Array2::zeros(w.dim());
        for (row, mut found) in w.rows().into_iter().zip(coefficients.rows_mut()) {
            for (value, x) in buffer.iter_mut().zip(row) {
                *value = Complex::new(*x, 0.0);
            }
            fft.process_with_scratch(&mut buffer, &mut scratch);
            // X_k = Σ_x w(x) e^{−2πikx/n}: its real part is the cosine sum, minus its imaginary
            // part the sine sum.
            found[0] = single * buffer[0].re;
            for k in 1..=frequencies(self.n) {
                if rows_of(self.n, k).len() == 1 {
                    found[2 * k - 1] = single * buffer[k].re;
                } else {
                    found[2 * k - 1] = norm * buffer[k].re;
                    found[2 * k] = -norm * buffer[k].im;
                }
            }
        }
        coefficients
    }

    /// L2 norms of the Fourier rows of a weight matrix, over its other axis.
    ///
    /// - `w`: `[rows, n]`, one column per residue. Unit of the result: that of the weights.
    #[must_use]
    pub fn norms(&self, w: ArrayView2<'_, f64>) -> Norms {
        Norms::of_coefficients(self.rows(w).view())
    }
}

/// Norms of the `n` Fourier rows of an object, in the order of [`basis`].
#[derive(Debug, Clone, PartialEq)]
pub struct Norms {
    /// `[n]`
    pub rows: Array1<f64>,
}

impl Norms {
    /// Of coefficients `[rows, n]`, as [`Transform::rows`] gives them: the norm of each column.
    #[must_use]
    pub fn of_coefficients(coefficients: ArrayView2<'_, f64>) -> Self {
        let mut squares = Array1::<f64>::zeros(coefficients.ncols());
        for row in coefficients.rows() {
            squares.zip_mut_with(&row, |sum, x| *sum += x * x);
        }
        Self { rows: squares.mapv_into(f64::sqrt) }
    }

    /// Cosine norm of frequency `k ≥ 1`, or the norm of the constant for `k = 0`.
    #[must_use]
    pub fn cos(&self, k: usize) -> f64 {
        self.rows[(2 * k).saturating_sub(1)]
    }

    /// Sine norm of frequency `k`; the constant and an unpaired frequency have none.
    #[must_use]
    pub fn sin(&self, k: usize) -> Option<f64> {
        (k > 0 && 2 * k < self.rows.len()).then(|| self.rows[2 * k])
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
        for p in [2, 3, 4, 9, 58, 59, 112, 113] {
            let f = basis(p);
            let gram = f.dot(&f.t());
            let off = (&gram - &Array2::<f64>::eye(p)).fold(0.0f64, |max, x| max.max(x.abs()));
            assert!(off < 8.0 * p as f64 * f64::EPSILON, "p = {p}: {off:e}");
        }
        for p in [0, 1, 2, 112] {
            assert!(matches!(require_odd(p), Err(Error::Modulus { .. })), "{p}");
        }
        require_odd(113).unwrap();
    }

    /// A pure cosine of frequency k has squared norm p/2, all of it in the cosine row of k; the last
    /// frequency included.
    #[test]
    fn pure_waves_have_one_frequency() {
        let p = 11;
        for k in 1..=5 {
            let w = Array2::from_shape_fn((1, p), |(_, a)| (TAU * (k * a) as f64 / 11.0).cos());
            let norms = Transform::new(p).norms(w.view());
            let tolerance = 8.0 * p as f64 * f64::EPSILON; // p products, each off by a few ulp
            for j in 1..=5 {
                let expected = if j == k { (p as f64 / 2.0).sqrt() } else { 0.0 };
                assert!((norms.norm(j) - expected).abs() < tolerance.sqrt(), "k = {k}, j = {j}");
                assert!(norms.sin(j).unwrap() < tolerance.sqrt());
            }
        }
    }

    /// An even order has one wave that is its own mirror image.
    #[test]
    fn the_unpaired_row_is_the_alternating_one() {
        let alternating =
            Array2::from_shape_fn((1, 6), |(_, x)| if x % 2 == 0 { 1.0 } else { -1.0 });
        for transform in [Transform::new(6), Transform::by_fft(6)] {
            let norms = transform.norms(alternating.view());
            assert_eq!((norms.frequencies(), norms.sin(3)), (3, None));
            assert!((norms.norm(3) - 6f64.sqrt()).abs() < 1e-12);
            assert!(norms.norm(0) < 1e-12 && norms.norm(1) < 1e-12 && norms.norm(2) < 1e-12);
        }
        assert_eq!((rows_of(6, 3), rows_of(6, 2), rows_of(7, 3)), (5..6, 3..5, 5..7));
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
            let p = [3, 7, 10, 15, 58, 113][pick];
            let w = Array2::from_shape_fn((3, p), |(i, x)| data[i * p + x]);
            let found = Transform::by_fft(p).rows(w.view());
            let expected = Transform::new(p).rows(w.view());
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
            let transform = Transform::new(p);
            let (before, after) = (transform.norms(w.view()), transform.norms(shifted.view()));
            for k in 0..=frequencies(p) {
                prop_assert!((before.norm(k) - after.norm(k)).abs() < 1e-10);
            }
        }
    }
}
