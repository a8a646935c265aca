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

pub use marchenko_pastur::{MarchenkoPastur, marchenko_pastur};
pub use power_law::{PowerLaw, power_law};

/// How the singular values were computed, which bounds their error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Singular value decomposition: absolute error about `2⁻⁵² σ₁`
    Svd,
    /// Roots of the eigenvalues of the Gram matrix: about `2⁻⁵² σ₁²/σ_i`, up to `1.5e-8 σ₁`
    Gram,
}

/// Everything that is read off one spectrum.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// `‖W‖_F² = Σλ`
    pub frobenius_sq: f64,
    /// `‖W‖₂ = σ₁`
    pub spectral_norm: f64,
    /// `‖W‖_* = Σσ`
    pub nuclear: f64,
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

/// All quantities of one matrix `[rows, cols]` from its singular values, descending.
///
/// # Panics
/// If there are no singular values.
#[must_use]
pub fn spectrum(sigma: &[f64], rows: usize, cols: usize, eps: f64, path: Path) -> Spectrum {
    let largest = sigma[0];
    let tol = tolerance(sigma, rows, cols, eps, path);
    // Ratios to σ₁, so that nothing overflows on the way.
    let ratios: Vec<f64> =
        if largest > 0.0 { sigma.iter().map(|s| s / largest).collect() } else { vec![] };
    let sum1: f64 = ratios.iter().sum();
    let sum2: f64 = ratios.iter().map(|r| r * r).sum();
    let sum4: f64 = ratios.iter().map(|r| r.powi(4)).sum();
    let entropy: f64 =
        ratios.iter().map(|r| r / sum1).filter(|q| *q > 0.0).map(|q| -q * q.ln()).sum();
    let nonzero = largest > 0.0;
    let smallest = sigma[sigma.len() - 1];
    let lambda: Vec<f64> = sigma.iter().rev().map(|s| s * s).collect(); // ascending
    Spectrum {
        frobenius_sq: largest * largest * sum2,
        spectral_norm: largest,
        nuclear: sigma.iter().sum(),
        stable_rank: nonzero.then_some(sum2),
        effective_rank: nonzero.then(|| entropy.exp()),
        participation_ratio: nonzero.then(|| sum2 * sum2 / sum4),
        rank: sigma.iter().filter(|s| **s > tol).count(),
        condition: (smallest > tol).then(|| largest / smallest),
        power_law: power_law(&lambda, tol * tol, power_law::FEWEST),
        marchenko_pastur: marchenko_pastur(&lambda, rows, cols, tol * tol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPS_F32: f64 = 1.0 / 8_388_608.0;

    /// σ = (4, 3, 2, 1), closed forms.
    #[test]
    fn small_spectrum_has_its_closed_forms() {
        let found = spectrum(&[4.0, 3.0, 2.0, 1.0], 4, 4, EPS_F32, Path::Gram);
        let close = |x: f64, y: f64| (x - y).abs() < 1e-14 * y;
        assert!(close(found.frobenius_sq, 30.0));
        assert!(close(found.spectral_norm, 4.0) && close(found.nuclear, 10.0));
        assert!(close(found.stable_rank.unwrap(), 1.875));
        assert!(close(found.effective_rank.unwrap(), 3.596_115_466_624_322));
        assert!(close(found.participation_ratio.unwrap(), 2.542_372_881_355_932));
        assert_eq!(found.rank, 4);
        assert!(close(found.condition.unwrap(), 4.0));
        assert_eq!(found.power_law, None);
        assert_eq!(found.marchenko_pastur, None);
    }

    #[test]
    fn zero_and_rank_one_matrices() {
        let zero = spectrum(&[0.0, 0.0], 2, 5, EPS_F32, Path::Gram);
        assert_eq!((zero.rank, zero.stable_rank, zero.condition), (0, None, None));
        assert_eq!((zero.effective_rank, zero.participation_ratio), (None, None));
        let one = spectrum(&[3.0, 1e-9], 2, 5, EPS_F32, Path::Gram);
        assert_eq!((one.rank, one.condition), (1, None));
        assert!((one.effective_rank.unwrap() - 1.0).abs() < 1e-7);
    }

    /// Rounding a rank-one matrix to f32 adds noise; it does not add rank.
    #[test]
    fn rounding_noise_is_not_rank() {
        let (rows, cols) = (40, 60);
        let entry = |i: usize, j: usize| {
            (0.3 + ((i * 7) % 11) as f64).sqrt() * (0.7 + ((j * 5) % 13) as f64).sqrt()
        };
        let w =
            ndarray::Array2::from_shape_fn((rows, cols), |(i, j)| f64::from(entry(i, j) as f32));
        let sigma = crate::linalg::svd::singular_values(w.view()).unwrap();
        assert!(sigma[1] > 1e-9 * sigma[0], "rounding is visible: {}", sigma[1] / sigma[0]);
        assert_eq!(spectrum(&sigma, rows, cols, EPS_F32, Path::Svd).rank, 1);
    }

    #[test]
    fn quantities_do_not_overflow() {
        let found = spectrum(&[1e160, 1e160], 2, 2, f64::EPSILON, Path::Svd);
        assert!((found.stable_rank.unwrap() - 2.0).abs() < 1e-14);
        assert!((found.participation_ratio.unwrap() - 2.0).abs() < 1e-14);
        assert_eq!(found.rank, 2);
    }
}
