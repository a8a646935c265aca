//! What the principal components of a trajectory say of a walk that goes nowhere: the null
//! hypothesis of `explained_i`.
//!
//! In many dimensions, the inner products of the points of one random walk are close to their
//! expectation, so its components are known without a simulation: those of the walk along new axes,
//! `θ_t = e_1 + … + e_t`, each step of which is at right angles to all others.
//!
//! Source: Antognini & Sohl-Dickstein (2018), arXiv:1806.08805.

use std::f64::consts::PI;

use super::trajectory::{COMPONENTS, Weighting, trajectory};
use crate::linalg::svd::NoSpectrum;

/// Share of the variance in component `i` (from 1) of a random walk of `points` evenly spaced points
/// of equal weight, in many dimensions:
/// ```text
/// 6 / ( (T² − 1) · 4 sin²(πi / 2T) )  →  6 / (π² i²)
/// ```
/// 0 beyond the `T − 1` components that there are.
#[must_use]
pub fn share(points: usize, i: usize) -> f64 {
    if i == 0 || i >= points {
        return 0.0;
    }
    let t = points as f64;
    let sine = (PI * i as f64 / (2.0 * t)).sin();
    6.0 / ((t * t - 1.0) * 4.0 * sine * sine)
}

/// Shares of the first components of a random walk seen at these ascending steps, in many dimensions:
/// its variance grows with the steps. For a logarithmic cadence there is no formula; this is the
/// limit of a simulation in ever more dimensions.
///
/// # Errors
/// [`NoSpectrum`] without steps, or if LAPACK finds no eigenvalues.
pub fn shares(
    steps: &[i64],
    weighting: Weighting,
) -> Result<Option<[f64; COMPONENTS]>, NoSpectrum> {
    let last = steps.last().copied().unwrap_or(0);
    // Relative to the last point: ⟨x_s, x_t⟩ is what both still have before them.
    let gram = |s: usize, t: usize| (last - steps[s.max(t)]) as f64;
    Ok(trajectory(gram, &weighting.weights(steps))?.explained)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    #[test]
    fn shares_are_those_of_the_formula() {
        for (i, expected) in [0.619_143_31, 0.158_668_73, 0.073_512_73].into_iter().enumerate() {
            assert!((share(10, i + 1) - expected).abs() < 1e-8);
        }
        for (i, expected) in [0.6079, 0.1520, 0.0675].into_iter().enumerate() {
            assert!((share(1_000_000, i + 1) - expected).abs() < 5e-5);
            assert!((6.0 / (PI * (i + 1) as f64).powi(2) - expected).abs() < 5e-5);
        }
        let all: f64 = (1..30).map(|i| share(30, i)).sum();
        assert!((all - 1.0).abs() < 1e-13);
        assert_eq!((share(10, 10), share(1, 1), share(5, 0)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn an_even_cadence_has_the_formula() {
        let steps: Vec<i64> = (0..25).map(|t| 100 * t).collect();
        let found = shares(&steps, Weighting::Uniform).unwrap().unwrap();
        for (i, found) in found.iter().enumerate() {
            assert!((found - share(25, i + 1)).abs() < 1e-13);
        }
        assert_eq!(shares(&[7], Weighting::Time), Ok(None));
        assert_eq!(shares(&[], Weighting::Time), Err(NoSpectrum::Empty));
    }

    /// A walk in 4,000 dimensions, seen at 0, 1, 2, 4, …, 1024.
    #[test]
    fn a_simulated_walk_under_a_logarithmic_cadence() {
        let steps: Vec<i64> = std::iter::once(0).chain((0..=10).map(|i| 1 << i)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let dimensions = 4_000;
        let mut points = Array2::<f64>::zeros((steps.len(), dimensions));
        for t in 1..steps.len() {
            let spread = ((steps[t] - steps[t - 1]) as f64).sqrt();
            for j in 0..dimensions {
                let step: f64 = StandardNormal.sample(&mut rng);
                points[[t, j]] = points[[t - 1, j]] + spread * step;
            }
        }
        let relative = &points - &points.row(steps.len() - 1);
        let gram = relative.dot(&relative.t());
        for weighting in [Weighting::Time, Weighting::Uniform] {
            let simulated = trajectory(|s, t| gram[[s, t]], &weighting.weights(&steps)).unwrap();
            let expected = shares(&steps, weighting).unwrap().unwrap();
            for (found, expected) in simulated.explained.unwrap().iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 0.06, "{found} {expected}");
            }
        }
    }
}
