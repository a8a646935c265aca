//! Bulk and outliers of a spectrum under the Marchenko–Pastur law.
//!
//! A matrix `[m, n]` of independent entries of variance `s²` has `λ/(N s²)` distributed on
//! `[(1 − √β)², (1 + √β)²]`, `β = M/N`. The variance is estimated from the median, which a few
//! outliers do not move.
//!
//! Sources: Gavish & Donoho (2014), *IEEE Trans. Inf. Theory* 60, 5040 (median); Johnstone (2001),
//! *Ann. Statist.* 29, 295 (centre and scale of the largest eigenvalue).

use std::f64::consts::{FRAC_PI_2, PI};

/// Fewest values of which the median says something.
const FEWEST: usize = 8;

/// 0.99 quantile of the Tracy–Widom law of order 1.
const TRACY_WIDOM_99: f64 = 2.023;

/// The bulk of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarchenkoPastur {
    /// Variance of an entry of the bulk
    pub variance: f64,
    /// Upper edge of the bulk, in units of λ: `s² (√N + √M)²`
    pub edge: f64,
    /// Number of λ above what the largest of the bulk exceeds once in a hundred matrices
    pub n_spikes: usize,
}

/// The bulk that the median implies, and what stands above it.
///
/// ```text
/// s² = median(λ) / (N μ_β)       edge = s² (√N + √M)²
/// spikes: λ > s² (μ_J + 2.023 σ_J),  μ_J = (√(N−1) + √M)²,
///         σ_J = (√(N−1) + √M) (1/√(N−1) + 1/√M)^{1/3}
/// ```
///
/// - `lambda`: ascending, `M` values. `None` if `M < 8` or the median is at most `noise`.
#[must_use]
pub fn marchenko_pastur(
    lambda: &[f64],
    rows: usize,
    cols: usize,
    noise: f64,
) -> Option<MarchenkoPastur> {
    let (n, m) = (rows.max(cols) as f64, rows.min(cols) as f64);
    let count = lambda.len();
    if count < FEWEST {
        return None;
    }
    let median = 0.5 * (lambda[(count - 1) / 2] + lambda[count / 2]);
    if median <= noise {
        return None;
    }
    let variance = median / (n * median_of_law(m / n));
    let edge = variance * (n.sqrt() + m.sqrt()).powi(2);
    let root = (n - 1.0).sqrt();
    let centre = (root + m.sqrt()).powi(2);
    let scale = (root + m.sqrt()) * (1.0 / root + 1.0 / m.sqrt()).cbrt();
    let limit = variance * (centre + TRACY_WIDOM_99 * scale);
    let n_spikes = lambda.iter().filter(|x| **x > limit).count();
    Some(MarchenkoPastur { variance, edge, n_spikes })
}

/// Where the law of `λ/(N s²)` begins and ends: `(1 ∓ √β)²`, for `0 < β ≤ 1`.
#[must_use]
pub fn edges(beta: f64) -> (f64, f64) {
    ((1.0 - beta.sqrt()).powi(2), (1.0 + beta.sqrt()).powi(2))
}

/// Where a rank-one signal of norm `t s √N` shows, as `λ/(N s²)`: at `(β + t²)(1 + 1/t²)`, for large
/// matrices; `None` if `t ≤ β^{1/4}`, where it stays inside the bulk (Baik, Ben Arous & Péché 2005).
#[must_use]
pub fn signal(beta: f64, t: f64) -> Option<f64> {
    let t2 = t * t;
    (t2 > beta.sqrt()).then(|| (beta + t2) * (1.0 + 1.0 / t2))
}

/// Median of the law for aspect ratio `0 < β ≤ 1`.
fn median_of_law(beta: f64) -> f64 {
    // With x = 1 + β + 2√β cos θ the distribution function is smooth in θ: bisect there.
    let (mut low, mut high) = (0.0, PI); // F decreases from 1 to 0
    while high - low > 1e-15 * PI {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if upper_mass(beta, middle) < 0.5 { low = middle } else { high = middle }
    }
    1.0 + beta + 2.0 * beta.sqrt() * (0.5 * (low + high)).cos()
}

/// Mass of the law above `x(θ)`: `(2/π) ∫_0^θ sin²t / (1 + β + 2√β cos t) dt`, in closed form.
fn upper_mass(beta: f64, theta: f64) -> f64 {
    let (a, b) = (1.0 + beta, 2.0 * beta.sqrt());
    // √(a² − b²) = 1 − β;  √((a − b)/(a + b)) = (1 − √β)/(1 + √β)
    let ratio = (1.0 - beta.sqrt()) / (1.0 + beta.sqrt());
    let arc = if theta >= PI { FRAC_PI_2 } else { (ratio * (0.5 * theta).tan()).atan() };
    let integral = (a * theta - b * theta.sin() - 2.0 * (1.0 - beta) * arc) / (b * b);
    2.0 / PI * integral
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    #[test]
    fn medians_are_the_tabulated_ones() {
        for (beta, expected) in
            [(1.0, 0.652_775_94), (0.25, 0.916_004_07), (113.0 / 512.0, 0.925_920_35)]
        {
            let found = median_of_law(beta);
            assert!((found - expected).abs() < 1e-8, "β = {beta}: {found}");
        }
    }

    #[test]
    fn edges_and_signals() {
        for ((rows, cols), (low, high)) in [
            ((512.0, 128.0), (0.25, 2.25)),
            ((512.0, 113.0), (0.281_122_101_4, 2.160_284_148_6)),
            ((64.0, 64.0), (0.0, 4.0)),
        ] {
            let found = edges(cols / rows);
            assert!((found.0 - low).abs() < 1e-10 && (found.1 - high).abs() < 1e-10, "{found:?}");
        }
        let (_, edge) = edges(0.25);
        assert_eq!(signal(0.25, 0.7), None);
        // At the threshold a signal leaves the bulk at its edge.
        assert!((signal(0.25, 0.5f64.sqrt() + 1e-9).unwrap() - edge).abs() < 1e-12);
    }

    /// Nothing is said of short spectra, or where half of the values are noise.
    #[test]
    fn too_few_values_have_no_bulk() {
        let lambda = [1.0; 8];
        assert_eq!(marchenko_pastur(&lambda[1..], 7, 9, 0.0), None);
        assert_eq!(marchenko_pastur(&lambda, 8, 9, 1.0), None);
        let found = marchenko_pastur(&lambda, 9, 8, 0.5).unwrap();
        assert_eq!(marchenko_pastur(&lambda, 8, 9, 0.5), Some(found), "transposed");
        assert_eq!(found.n_spikes, 0);
    }

    /// The closed form against the trapezoidal rule.
    #[test]
    fn mass_is_the_integral_of_the_density() {
        for beta in [0.1, 0.25, 0.9, 1.0] {
            assert!((upper_mass(beta, PI) - 1.0).abs() < 1e-12, "total mass");
            let steps = 200_000;
            let width = 2.0 / f64::from(steps);
            let f = |t: f64| t.sin().powi(2) / (1.0 + beta + 2.0 * f64::sqrt(beta) * t.cos());
            let sum: f64 = (0..steps).map(|i| f((f64::from(i) + 0.5) * width)).sum();
            assert!((upper_mass(beta, 2.0) - 2.0 / PI * sum * width).abs() < 1e-9);
        }
    }

    /// A Gaussian matrix has no spikes; with a strong rank-one signal it has exactly one, at
    /// `(β + t²)(1 + 1/t²)` in units of `N s²`.
    #[test]
    fn a_planted_signal_is_one_spike() {
        let (m, n) = (128, 512);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let noise =
            ndarray::Array2::from_shape_simple_fn((m, n), || StandardNormal.sample(&mut rng));
        let find = |w: &ndarray::Array2<f64>| {
            let sigma = crate::linalg::svd::singular_values(w.view()).unwrap();
            let lambda: Vec<f64> = sigma.iter().rev().map(|s| s * s).collect();
            (marchenko_pastur(&lambda, m, n, 0.0).unwrap(), lambda[m - 1])
        };
        let (bulk, _) = find(&noise);
        assert_eq!(bulk.n_spikes, 0);
        assert!((bulk.variance - 1.0).abs() < 0.03, "{bulk:?}");
        assert!((bulk.edge / 512.0 / bulk.variance - 2.25).abs() < 1e-12);
        let t = 3.0f64;
        let entry = t * (n as f64).sqrt() / ((m * n) as f64).sqrt(); // norm t √N, all entries equal
        let (bulk, largest) = find(&(noise + entry));
        assert_eq!(bulk.n_spikes, 1);
        let expected = signal(0.25, t).unwrap();
        assert!((largest / 512.0 / expected - 1.0).abs() < 0.05, "{}", largest / 512.0);
    }
}
