//! Singular values, guarded: no NaN or Inf ever reaches LAPACK, where some drivers hang on them.
//!
//! Order: the guards (size, finiteness), scaling by a power of two to `max |a| ∈ [½, 1)` (exact, and
//! no overflow inside), `gesdd`, a check of its result, `gesvd`, the same check; then a reason instead
//! of a spectrum. The Gram path asks for the eigenvalues of a smaller matrix first
//! (`tridiagonal`), and goes on to the two drivers if those do not pass the check.
//!
//! Measured, OpenBLAS 0.3.21: with one Inf among the entries `gesvd` and `gesdd` with vectors hang
//! for some sizes, and without vectors return NaN and success. Hence the guard before, and the check
//! after. That a driver ends in time is watched by the engines, which own the threads.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use super::gram::gram;
use super::library;
use super::magnitude::largest_magnitude;
use super::matmul;
use super::tridiagonal::{Lower, Tridiagonal};

/// The routines for singular values, in the order in which they are tried: `gesdd`, divide and
/// conquer, and `gesvd`, QR iteration. (With faer: divide and conquer, and the same for the transpose.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    First,
    Second,
}

impl Driver {
    pub(super) const ORDER: [Self; 2] = [Self::First, Self::Second];
}

/// Why a matrix has no singular values here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSpectrum {
    /// It has no entries.
    Empty,
    /// It holds NaN or Inf.
    NonFinite,
    /// LAPACK's interface multiplies sizes in 32 bits.
    TooLarge,
    /// No driver gave a spectrum that passes the check.
    NoConvergence,
    /// No driver gave a spectrum in the time that a matrix of this size may take.
    Timeout,
}

/// Singular values, and whether the routine tried first had to be replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Descending
    pub sigma: Vec<f64>,
    /// By a later driver than the first
    pub fallback: bool,
}

/// Thin decomposition `A = U diag(σ) Vᵀ`: `[m, k]`, `[k]`, `[k, n]` with `k = min(m, n)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// Columns are left singular vectors
    pub u: Array2<f64>,
    /// Descending
    pub sigma: Vec<f64>,
    /// Rows are right singular vectors
    pub vt: Array2<f64>,
}

impl Decomposition {
    /// Each left vector has its component of largest magnitude positive, the first of equals.
    fn fix_signs(&mut self) {
        for (mut left, mut right) in self.u.columns_mut().into_iter().zip(self.vt.rows_mut()) {
            let largest =
                left.fold(
                    0.0f64,
                    |largest, value| {
                        if value.abs() > largest.abs() { *value } else { largest }
                    },
                );
            if largest < 0.0 {
                left.mapv_inplace(|value| -value);
                right.mapv_inplace(|value| -value);
            }
        }
    }
}

/// Smallest gap `(λ_r − λ_{r+1})/λ₁` at which leading vectors are read off the Gram matrix.
const GRAM_GAP: f64 = 1e-6;

/// Largest short side that is decomposed.
pub const MAX_SHORT_SIDE: usize = 16_384;

/// `gesvd` with vectors is called for square U and V, whose sizes are multiplied in 32 bits.
const MAX_LONG_SIDE_QR: usize = 46_340;

/// Whether matrices of this shape are decomposed at all.
///
/// # Errors
/// [`NoSpectrum::Empty`], [`NoSpectrum::TooLarge`].
pub fn check_size(rows: usize, cols: usize) -> Result<(), NoSpectrum> {
    if rows == 0 || cols == 0 {
        return Err(NoSpectrum::Empty);
    }
    let fits = rows.checked_mul(cols).is_some_and(|size| i32::try_from(size).is_ok());
    if fits && rows.min(cols) <= MAX_SHORT_SIDE { Ok(()) } else { Err(NoSpectrum::TooLarge) }
}

/// Check a matrix; the exponent of its largest entry.
fn check(a: ArrayView2<'_, f64>) -> Result<i32, NoSpectrum> {
    check_size(a.nrows(), a.ncols())?;
    let max = largest_magnitude(a);
    if max.is_finite() { Ok(exponent_of(max)) } else { Err(NoSpectrum::NonFinite) }
}

/// A matrix that may be given to LAPACK: a copy, finite, scaled to `max |a| ∈ [½, 1)`.
#[derive(Debug)]
pub struct Prepared {
    matrix: Array2<f64>,
    /// The original is `matrix · 2^exponent`.
    exponent: i32,
}

impl Prepared {
    /// Check and scale.
    ///
    /// # Errors
    /// [`NoSpectrum::Empty`], [`NoSpectrum::TooLarge`], [`NoSpectrum::NonFinite`].
    pub fn new(a: ArrayView2<'_, f64>) -> Result<Self, NoSpectrum> {
        let exponent = check(a)?;
        let matrix = if exponent.abs() < 1000 {
            let factor = 2f64.powi(-exponent);
            a.mapv(|value| value * factor)
        } else {
            a.mapv(|value| times_power_of_two(value, -exponent))
        };
        Ok(Self { matrix, exponent })
    }

    /// `[m, n]`
    #[must_use]
    pub fn dim(&self) -> (usize, usize) {
        self.matrix.dim()
    }

    /// As [`singular_values`].
    ///
    /// # Errors
    /// [`NoSpectrum::NoConvergence`].
    pub fn singular_values(&self) -> Result<Values, NoSpectrum> {
        crate::blas::one_thread();
        let energy = self.energy();
        let attempt = |driver| library::singular_values(&self.matrix, driver);
        let (sigma, driver) = first_sound(attempt, |sigma| is_sound(sigma, energy))
            .ok_or(NoSpectrum::NoConvergence)?;
        Ok(Values { sigma: self.rescale(sigma), fallback: driver != Driver::ORDER[0] })
    }

    /// As [`singular_vectors`].
    ///
    /// # Errors
    /// [`NoSpectrum::NoConvergence`].
    pub fn singular_vectors(&self) -> Result<Decomposition, NoSpectrum> {
        crate::blas::one_thread();
        let energy = self.energy();
        let (rows, cols) = self.dim();
        let attempt = |driver| match driver {
            Driver::Second if rows.max(cols) > MAX_LONG_SIDE_QR => None,
            driver => library::singular_vectors(&self.matrix, driver),
        };
        let is_sound = |found: &Decomposition| {
            let mut vectors = found.u.iter().chain(&found.vt);
            is_sound(&found.sigma, energy) && vectors.all(|value| value.is_finite())
        };
        let (mut found, _) = first_sound(attempt, is_sound).ok_or(NoSpectrum::NoConvergence)?;
        found.fix_signs();
        found.sigma = self.rescale(found.sigma);
        Ok(found)
    }

    /// As [`leading_vectors`].
    ///
    /// # Errors
    /// [`NoSpectrum::NoConvergence`].
    pub fn leading_vectors(
        &self,
        count: impl Fn(&[f64]) -> usize,
    ) -> Result<Decomposition, NoSpectrum> {
        match self.leading_by_gram(&count) {
            Some(found) => Ok(found),
            None => {
                let Decomposition { u, sigma, vt } = self.singular_vectors()?;
                let r = count(&sigma).min(sigma.len());
                Ok(Decomposition {
                    u: u.slice_move(s![.., ..r]),
                    vt: vt.slice_move(s![..r, ..]),
                    sigma,
                })
            }
        }
    }

    /// [`Prepared::leading_vectors`] from the Gram matrix; none where that is too coarse, or fails.
    fn leading_by_gram(&self, count: impl Fn(&[f64]) -> usize) -> Option<Decomposition> {
        crate::blas::one_thread();
        let gram = gram(self.matrix.view(), 0);
        let trace = gram.diagonal().sum::<f64>();
        let reduced = Tridiagonal::new(gram);
        let mut lambda = reduced.eigenvalues()?;
        lambda.reverse();
        let sigma: Vec<f64> = lambda.iter().map(|value| value.max(0.0).sqrt()).collect();
        if !is_sound(&sigma, (trace, self.rounding() * trace)) {
            return None;
        }
        let r = count(&self.rescale(sigma.clone())).min(sigma.len());
        let below = lambda.get(r).copied().unwrap_or(0.0);
        if r > 0 && lambda[r - 1] - below < GRAM_GAP * lambda[0] {
            return None;
        }
        let short = reduced.eigenvectors(&lambda[..r])?; // [min(m, n), r]
        let inverse = Array1::from_iter(sigma[..r].iter().map(|s| 1.0 / s));
        let (rows, cols) = self.dim();
        let (u, vt) = if rows <= cols {
            let long = matmul(short.t(), self.matrix.view()); // [r, n]
            (short, long * inverse.insert_axis(Axis(1)))
        } else {
            (matmul(self.matrix.view(), short.view()) * inverse, short.reversed_axes())
        };
        let mut found = Decomposition { u, sigma: self.rescale(sigma), vt };
        found.fix_signs();
        Some(found)
    }

    /// What the squares of the singular values must sum to, and how far rounding alone may lead off.
    fn energy(&self) -> (f64, f64) {
        let energy = self.matrix.iter().map(|x| x * x).sum::<f64>();
        (energy, self.rounding() * energy)
    }

    fn rounding(&self) -> f64 {
        rounding(self.matrix.len())
    }

    fn rescale(&self, sigma: Vec<f64>) -> Vec<f64> {
        rescale(sigma, self.exponent)
    }
}

/// The Gram matrix of the short side of a matrix that was checked and scaled as in [`Prepared`].
#[derive(Debug)]
pub struct PreparedGram {
    gram: Lower,
    dim: (usize, usize),
    exponent: i32,
}

impl PreparedGram {
    /// Check, scale and multiply.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn new(a: ArrayView2<'_, f64>) -> Result<Self, NoSpectrum> {
        let exponent = check(a)?;
        Ok(Self { gram: gram(a, -exponent), dim: a.dim(), exponent })
    }

    /// `[m, n]`, of the matrix
    #[must_use]
    pub fn dim(&self) -> (usize, usize) {
        self.dim
    }

    /// Singular values of the matrix in descending order; `None` if they do not pass the check.
    #[must_use]
    pub fn singular_values(&self) -> Option<Vec<f64>> {
        let trace = self.gram.diagonal().sum::<f64>();
        let lambda = Tridiagonal::new(self.gram.clone()).eigenvalues()?;
        // Ascending; rounding can leave the smallest a little below zero.
        let sigma: Vec<f64> = lambda.iter().rev().map(|value| value.max(0.0).sqrt()).collect();
        let sound = is_sound(&sigma, (trace, rounding(self.dim.0 * self.dim.1) * trace));
        sound.then(|| rescale(sigma, self.exponent))
    }
}

/// How far rounding may lead the sum of the squares of so many entries off, relative to it.
fn rounding(entries: usize) -> f64 {
    1e-12 * (entries as f64).sqrt()
}

fn rescale(mut sigma: Vec<f64>, exponent: i32) -> Vec<f64> {
    sigma.iter_mut().for_each(|value| *value = times_power_of_two(*value, exponent));
    sigma
}

/// `e` with `max · 2⁻ᵉ ∈ [½, 1)`; 0 for 0.
#[must_use]
pub fn exponent_of(max: f64) -> i32 {
    let biased = |value: f64| (value.to_bits() >> 52 & 0x7ff) as i32;
    match biased(max) {
        0 if max == 0.0 => 0,
        // Subnormal: read the exponent of a multiple.
        0 => biased(max * 2f64.powi(64)) - 64 - 1022,
        exponent => exponent - 1022,
    }
}

/// `value · 2ᵉ` in two factors, since one alone leaves the range for subnormal numbers.
#[must_use]
pub fn times_power_of_two(value: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    value * 2f64.powi(half) * 2f64.powi(exponent - half)
}

/// The result of the first driver that gives a sound one.
fn first_sound<T>(
    attempt: impl Fn(Driver) -> Option<T>,
    is_sound: impl Fn(&T) -> bool,
) -> Option<(T, Driver)> {
    Driver::ORDER.into_iter().find_map(|driver| Some((attempt(driver).filter(&is_sound)?, driver)))
}

/// Finite, not negative, descending, and `|Σσ² − energy| ≤ tolerance`.
fn is_sound(sigma: &[f64], (energy, tolerance): (f64, f64)) -> bool {
    let descending = sigma.windows(2).all(|pair| pair[0] >= pair[1]);
    let positive = sigma.iter().all(|value| value.is_finite() && *value >= 0.0);
    let sum = sigma.iter().map(|x| x * x).sum::<f64>();
    descending && positive && (sum - energy).abs() <= tolerance
}

/// Singular values in descending order, by the SVD: `gesdd`, or `gesvd` where that fails (with faer:
/// the matrix, or its transpose).
///
/// Absolute error about `2⁻⁵² σ₁` for each; `[m, n] → min(m, n)` values.
///
/// # Errors
/// Why there are none.
pub fn singular_values(a: ArrayView2<'_, f64>) -> Result<Vec<f64>, NoSpectrum> {
    Ok(Prepared::new(a)?.singular_values()?.sigma)
}

/// Singular values in descending order, as roots of the eigenvalues of the Gram matrix of the short
/// side, in f64.
///
/// Absolute error about `2⁻⁵² σ₁²/σ_i`, so values below
/// `1.5e-8 σ₁` are noise: below the storage rounding of f32, f16 and bf16, for which this is meant.
///
/// # Errors
/// As [`singular_values`], which is also asked where the eigenvalues do not pass its check.
pub fn gram_singular_values(a: ArrayView2<'_, f64>) -> Result<Vec<f64>, NoSpectrum> {
    match PreparedGram::new(a)?.singular_values() {
        Some(sigma) => Ok(sigma),
        None => singular_values(a),
    }
}

/// Thin singular value decomposition.
///
/// Each left singular vector has its component of largest magnitude positive (the first of equals);
/// the right one has the sign that goes with it.
///
/// # Errors
/// As [`singular_values`].
pub fn singular_vectors(a: ArrayView2<'_, f64>) -> Result<Decomposition, NoSpectrum> {
    Prepared::new(a)?.singular_vectors()
}

/// All singular values, and the first `r = count(σ)` left and right singular vectors: `[m, r]`, `[r, n]`.
///
/// From the Gram matrix of the short side: its eigenvectors there, and `A v = σ u` on the other side. Only
/// what the vectors span is meant: against the SVD, the sine of the largest angle is at most about
/// `max(m, n) 2⁻⁵² λ₁/(λ_r − λ_{r+1})`, `λ = σ²`, on either side. Where the gap is below `1e-6 λ₁`, it is
/// the SVD. Singular values are those of [`gram_singular_values`]. Signs as in [`singular_vectors`].
///
/// # Errors
/// As [`singular_values`].
pub fn leading_vectors(
    a: ArrayView2<'_, f64>,
    count: impl Fn(&[f64]) -> usize,
) -> Result<Decomposition, NoSpectrum> {
    Prepared::new(a)?.leading_vectors(count)
}

#[cfg(test)]
mod tests;
