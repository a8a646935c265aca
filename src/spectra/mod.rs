//! What the singular values of a matrix say.
//!
//! Conventions: `W` is `[m, n]`, `N = max(m, n)`, `M = min(m, n)`; `σ` are its singular values in
//! descending order and `λ = σ²`, **not** divided by `N`. Values at or below the tolerance are the
//! rounding noise of the type the matrix was stored in, and count as zero.
//!
//! Pure: numbers in, numbers out.
//!
//! Sources stand with each quantity.

mod marchenko_pastur;
mod power_law;

pub use marchenko_pastur::{MarchenkoPastur, edges, marchenko_pastur, signal};
pub use power_law::{PowerLaw, Starts, power_law};

use crate::linalg::svd::{exponent_of, times_power_of_two};

/// How the singular values were computed, which bounds their error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Singular value decomposition: absolute error about `2⁻⁵² σ₁`
    Svd,
    /// Roots of the eigenvalues of the Gram matrix: about `2⁻⁵² σ₁²/σ_i`, up to `1.5e-8 σ₁`
    Gram,
}

/// Everything that is read off one spectrum. A quantity with a unit is none where it is beyond the
/// range of f64 although the matrix is not, as `σ²` for `σ = 1e200`.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// `‖W‖_F² = Σλ`
    pub frobenius_sq: Option<f64>,
    /// `‖W‖₂ = σ₁`
    pub spectral_norm: Option<f64>,
    /// `‖W‖_* = Σσ`
    pub nuclear: Option<f64>,
    /// `Σλ / λ₁`, in [1, M]; none for `W = 0`
    pub stable_rank: Option<f64>,
    /// `exp(−Σ q ln q)`, `q = σ/Σσ`, in [1, M]; none for `W = 0` (Roy & Vetterli 2007)
    pub effective_rank: Option<f64>,
    /// `(Σλ)² / Σλ²`, in [1, M]; none for `W = 0`
    pub participation_ratio: Option<f64>,
    /// Number of σ above the tolerance
    pub rank: usize,
    /// `σ₁ / σ_M`; none if `σ_M` is at or below the tolerance
    pub condition: Option<f64>,
    /// Power law of the upper tail; none with fewer than 10 distinct values above the noise
    pub power_law: Option<PowerLaw>,
    /// Bulk and outliers; none if `M < 8` or half of the values are noise
    pub marchenko_pastur: Option<MarchenkoPastur>,
    /// Whether everything with a unit is within the range of f64
    pub in_range: bool,
}

/// Below this singular value is only the rounding noise of the storage type, or of the path.
///
/// ```text
/// tol = max( σ₁ g,  ½ eps (√m + √n) ‖W‖_F / √(mn) ),   g = √(N 2⁻⁵²) for Gram, N 2⁻⁵² for SVD
/// ```
/// The second term is the norm of a random matrix whose entries are rounding errors. `eps` is the
/// spacing at 1 of the type in which the matrix was **stored**: 2⁻²³ for f32.
#[must_use]
pub fn tolerance(sigma: &[f64], rows: usize, cols: usize, eps: f64, path: Path) -> f64 {
    let Some(largest) = sigma.first() else { return 0.0 };
    let n = rows.max(cols) as f64;
    let relative = match path {
        Path::Gram => (n * f64::EPSILON).sqrt(),
        Path::Svd => n * f64::EPSILON,
    };
    let (rows, cols) = (rows as f64, cols as f64);
    let frobenius = frobenius(sigma);
    let noise = 0.5 * eps * (rows.sqrt() + cols.sqrt()) * frobenius / (rows * cols).sqrt();
    noise.max(largest * relative)
}

/// `√Σσ²` without overflow.
fn frobenius(sigma: &[f64]) -> f64 {
    let largest = sigma.first().copied().unwrap_or(0.0);
    if largest > 0.0 {
        largest * sigma.iter().map(|s| (s / largest).powi(2)).sum::<f64>().sqrt()
    } else {
        0.0
    }
}

/// `exp(−Σ q ln q)` with `q = x/Σx` and `0 ln 0 = 0`: how many of the values count, by their entropy.
///
/// Of singular values, the effective rank of Roy & Vetterli (2007); of `λ`, the rank whose logarithm
/// over `ln M` is WeightWatcher's matrix entropy. None if all values are zero.
#[must_use]
pub fn effective_number(x: &[f64]) -> Option<f64> {
    let sum: f64 = x.iter().sum();
    let shares = x.iter().map(|x| x / sum).filter(|q| *q > 0.0);
    (sum > 0.0).then(|| shares.map(|q| -q * q.ln()).sum::<f64>().exp())
}

/// `(Σx)² / Σx²`: how many of the values count, by their squares. None if all values are zero.
#[must_use]
pub fn participation_ratio(x: &[f64]) -> Option<f64> {
    let sum: f64 = x.iter().sum();
    (sum > 0.0).then(|| sum * sum / x.iter().map(|x| x * x).sum::<f64>())
}

/// Schatten norm `(Σ σ^p)^{1/p}`: the nuclear norm for `p = 1`, Frobenius' for `p = 2`.
#[must_use]
pub fn schatten_norm(sigma: &[f64], p: f64) -> f64 {
    sigma.iter().map(|s| s.powf(p)).sum::<f64>().powf(1.0 / p)
}

/// All quantities of one matrix `[rows, cols]` from its singular values, descending.
///
/// Everything is computed for `W 2⁻ᵉ` with `σ₁ 2⁻ᵉ ∈ [½, 1)`, so that no square leaves the range of
/// f64 on the way; a power of two changes no digit.
///
/// # Panics
/// If there are no singular values.
#[must_use]
pub fn spectrum(sigma: &[f64], rows: usize, cols: usize, eps: f64, path: Path) -> Spectrum {
    let e = exponent_of(sigma[0]);
    let sigma: Vec<f64> = sigma.iter().map(|s| times_power_of_two(*s, -e)).collect();
    let (largest, smallest) = (sigma[0], sigma[sigma.len() - 1]);
    let tol = tolerance(&sigma, rows, cols, eps, path);
    let lambda: Vec<f64> = sigma.iter().rev().map(|s| s * s).collect(); // ascending
    let frobenius_sq: f64 = lambda.iter().sum();
    let power_law = power_law(&lambda, tol * tol, Starts::Robust);
    let bulk = marchenko_pastur(&lambda, rows, cols, tol * tol);
    let weight = |x: f64| in_range(x, e);
    let squared = |x: f64| in_range(x, 2 * e).filter(|found| found.is_normal() || x == 0.0);
    let mut found = Spectrum {
        frobenius_sq: squared(frobenius_sq),
        spectral_norm: weight(largest),
        nuclear: weight(sigma.iter().sum()),
        stable_rank: (largest > 0.0).then(|| frobenius_sq / (largest * largest)),
        effective_rank: effective_number(&sigma),
        participation_ratio: participation_ratio(&lambda),
        rank: sigma.iter().filter(|s| **s > tol).count(),
        condition: (smallest > tol).then(|| largest / smallest),
        power_law: power_law.and_then(|law| Some(PowerLaw { xmin: squared(law.xmin)?, ..law })),
        marchenko_pastur: bulk.and_then(|bulk| {
            let (variance, edge) = (squared(bulk.variance)?, squared(bulk.edge)?);
            Some(MarchenkoPastur { variance, edge, ..bulk })
        }),
        in_range: true,
    };
    found.in_range = found.frobenius_sq.is_some()
        && found.spectral_norm.is_some()
        && found.nuclear.is_some()
        && found.power_law.is_some() == power_law.is_some()
        && found.marchenko_pastur.is_some() == bulk.is_some();
    found
}

/// `x 2ᵉ` if f64 has it.
fn in_range(x: f64, e: i32) -> Option<f64> {
    let found = times_power_of_two(x, e);
    (found.is_finite() && (found != 0.0 || x == 0.0)).then_some(found)
}

#[cfg(test)]
mod tests;
