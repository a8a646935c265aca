//! Principal components of the path that the weights of a run take.
//!
//! From the inner products of the checkpoints alone: their number is far below that of the weights.
//! Shown on the first components any path looks smooth, a random walk like a Lissajous curve
//! ([`super::random_walk`]); hence the residuals.
//!
//! Source: Li et al. (2018), arXiv:1712.09913, section 7 (trajectories); Antognini & Sohl-Dickstein
//! (2018), arXiv:1806.08805 (what such components are of a random walk).

use ndarray::Array2;

use crate::config::names::named_enum;
use crate::linalg::eigen;
use crate::linalg::svd::NoSpectrum;

/// Number of components.
pub const COMPONENTS: usize = 3;

named_enum! {
    /// What a checkpoint counts in the principal components.
    Weighting, "weighting":
    /// Half the number of steps between its two neighbours: where checkpoints are dense, each
    /// counts less
    Time = "time",
    /// All the same
    Uniform = "uniform",
}

impl Weighting {
    /// `ω_t`, with sum 1, for checkpoints at these ascending steps. The first and the last have one
    /// neighbour, hence half the distance to it.
    #[must_use]
    pub fn weights(self, steps: &[i64]) -> Vec<f64> {
        let n = steps.len();
        if self == Self::Uniform || n < 2 {
            return vec![1.0 / n as f64; n];
        }
        let total = 2.0 * (steps[n - 1] - steps[0]) as f64;
        (0..n)
            .map(|t| (steps[(t + 1).min(n - 1)] - steps[t.saturating_sub(1)]) as f64 / total)
            .collect()
    }
}

/// The principal components of a run, and where its checkpoints lie on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// `λ_i / Σλ`; none if the weights never move
    pub explained: Option<[f64; COMPONENTS]>,
    /// One per checkpoint
    pub points: Vec<Point>,
}

/// One checkpoint on the principal components of its run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Distances from the weighted mean along the components, in weight units
    pub pc: [f64; COMPONENTS],
    /// Distance from the space that the components span
    pub residual_norm: f64,
    /// The same over the distance from the mean; none at the mean itself
    pub residual_fraction: Option<f64>,
}

/// Principal components of points, the last of which is the origin, from their inner products.
///
/// ```text
/// C = H G Hᵀ, H = I − 1 ωᵀ        (inner products relative to the weighted mean)
/// √ω_s C_st √ω_t = Σ_i λ_i v_i v_iᵀ
/// pc_i(t) = √λ_i v_i(t) / √ω_t     explained_i = λ_i / Σλ
/// residual_norm = √( C_tt − Σ_{i≤3} pc_i² )
/// ```
/// Signs: `pc_i ≥ 0` for the last point. Components beyond the number of dimensions are 0, as are
/// residuals within the rounding of `G`: about 1e-8 of the largest distance.
///
/// - `gram(s, t)`: `G_st = ⟨θ_s − θ_T, θ_t − θ_T⟩`, for `s, t` below the number of `weights` (ω).
///
/// # Errors
/// [`NoSpectrum`] if there are no points, or LAPACK finds no eigenvalues.
pub fn trajectory(
    gram: impl Fn(usize, usize) -> f64,
    weights: &[f64],
) -> Result<Trajectory, NoSpectrum> {
    let n = weights.len();
    // mean[s] = ⟨x_s, x̄⟩, and ⟨x̄, x̄⟩
    let mean: Vec<f64> = (0..n).map(|s| (0..n).map(|t| weights[t] * gram(s, t)).sum()).collect();
    let mean_sq: f64 = mean.iter().zip(weights).map(|(mean, weight)| mean * weight).sum();
    let centred = |s: usize, t: usize| gram(s, t) - mean[s] - mean[t] + mean_sq;
    let root: Vec<f64> = weights.iter().map(|weight| weight.sqrt()).collect();
    let matrix = Array2::from_shape_fn((n, n), |(s, t)| root[s] * centred(s, t) * root[t]);
    let eigen = eigen::symmetric(matrix)?;
    let total: f64 = eigen.values.iter().map(|value| value.max(0.0)).sum();
    let noise = n as f64 * f64::EPSILON * total;
    let lambda: [f64; COMPONENTS] = std::array::from_fn(|i| {
        eigen.values.get(i).copied().filter(|value| *value > noise).unwrap_or(0.0)
    });
    let sign: [f64; COMPONENTS] = std::array::from_fn(|i| {
        let last = (i < n).then(|| eigen.vectors[[n - 1, i]]);
        if last.is_some_and(|last| last < 0.0) { -1.0 } else { 1.0 }
    });
    let points = (0..n).map(|t| {
        let pc: [f64; COMPONENTS] = std::array::from_fn(|i| match lambda[i] {
            0.0 => 0.0,
            lambda => sign[i] * lambda.sqrt() * eigen.vectors[[t, i]] / root[t],
        });
        // How far rounding of the terms alone may be off.
        let terms = gram(t, t).abs() + 2.0 * mean[t].abs() + mean_sq;
        let noise = 8.0 * f64::EPSILON * terms;
        let distance_sq = centred(t, t);
        let residual_sq = distance_sq - pc.iter().map(|x| x * x).sum::<f64>();
        let residual_norm = if residual_sq > noise { residual_sq.sqrt() } else { 0.0 };
        let fraction = || (residual_norm / distance_sq.sqrt()).min(1.0);
        Point { pc, residual_norm, residual_fraction: (distance_sq > noise).then(fraction) }
    });
    Ok(Trajectory {
        explained: (total > 0.0).then(|| lambda.map(|lambda| lambda / total)),
        points: points.collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dynamics::random_walk;

    /// Rows are points; relative to the last.
    fn of(points: &Array2<f64>, weights: &[f64]) -> Trajectory {
        let relative = points - &points.row(points.nrows() - 1);
        let gram = relative.dot(&relative.t());
        trajectory(|s, t| gram[[s, t]], weights).unwrap()
    }

    /// θ_t = e_1 + … + e_t: every step is a new axis.
    #[test]
    fn a_walk_along_new_axes() {
        let points = Array2::from_shape_fn((10, 10), |(t, j)| f64::from(u8::from(j <= t)));
        let found = of(&points, &[0.1; 10]);
        let explained = found.explained.unwrap();
        for (i, expected) in [0.619_143_31, 0.158_668_73, 0.073_512_73].into_iter().enumerate() {
            assert!((explained[i] - expected).abs() < 1e-8, "{explained:?}");
            assert!((random_walk::share(10, i + 1) - explained[i]).abs() < 1e-14);
        }
        let last = found.points[9];
        assert!(last.pc.iter().all(|pc| *pc > 0.0), "{last:?}");
        // The whole of the variance is that of the components and the residuals.
        let total: f64 = found.points.iter().map(|p| p.residual_norm.powi(2)).sum();
        let left = 1.0 - explained.iter().sum::<f64>();
        assert!((total / 10.0 / (99.0 / 60.0) - left).abs() < 1e-13); // Σλ = (T² − 1)/(6T)
    }

    /// On a straight line everything is the first component: `θ_t − mean`, from behind to ahead.
    #[test]
    fn a_straight_line_has_one_component() {
        let steps = [0, 1, 2, 4, 8, 16];
        let points = Array2::from_shape_fn((6, 3), |(t, j)| steps[t] as f64 * [2.0, -1.0, 2.0][j]);
        for weighting in [Weighting::Time, Weighting::Uniform] {
            let weights = weighting.weights(&steps);
            let found = of(&points, &weights);
            let mean: f64 = steps.iter().zip(&weights).map(|(s, w)| *s as f64 * w).sum();
            for (point, step) in found.points.iter().zip(steps) {
                assert!((point.pc[0] - 3.0 * (step as f64 - mean)).abs() < 1e-12, "{point:?}");
                assert_eq!(point.pc[1..], [0.0, 0.0]);
                assert!(point.residual_norm < 1e-6, "{point:?}");
            }
            assert!((found.explained.unwrap()[0] - 1.0).abs() < 1e-13);
        }
    }

    #[test]
    fn one_point_and_no_movement() {
        let still = of(&Array2::ones((3, 4)), &[0.25, 0.5, 0.25]);
        assert_eq!(still.explained, None);
        let zero = Point { pc: [0.0; 3], residual_norm: 0.0, residual_fraction: None };
        assert_eq!(still.points, [zero; 3]);
        assert_eq!(of(&Array2::ones((1, 4)), &[1.0]).points, [zero]);
        assert_eq!(trajectory(|_, _| 0.0, &[]), Err(NoSpectrum::Empty));
        // Two points have one dimension.
        let two = of(&ndarray::array![[0.0, 0.0], [3.0, 4.0]], &[0.5, 0.5]);
        assert!((two.explained.unwrap()[0] - 1.0).abs() < 1e-15);
        assert!((two.points[1].pc[0] - 2.5).abs() < 1e-14 && two.points[1].pc[1..] == [0.0; 2]);
    }

    #[test]
    fn time_weights_are_half_the_distance_to_both_neighbours() {
        assert_eq!(Weighting::Time.weights(&[0, 1, 2, 4]), [0.125, 0.25, 0.375, 0.25]);
        assert_eq!(Weighting::Time.weights(&[7]), [1.0]);
        assert_eq!(Weighting::Time.weights(&[5, 9]), [0.5, 0.5]);
        assert_eq!(Weighting::Uniform.weights(&[0, 1, 2, 4]), [0.25; 4]);
        assert!(Weighting::Time.weights(&[]).is_empty());
    }

    proptest! {
        /// Against the definition: axes from an SVD of the weighted, centred points.
        #[test]
        fn components_are_those_of_the_points(
            values in prop::collection::vec(-1.0..1.0f64, 9 * 5),
            gaps in prop::collection::vec(1i64..50, 9), n in 2usize..9,
        ) {
            let points = Array2::from_shape_fn((n, 5), |(t, j)| values[5 * t + j] + gaps[t] as f64);
            let steps: Vec<i64> =
                gaps[..n].iter().scan(0, |step, gap| { *step += gap; Some(*step) }).collect();
            let weights = Weighting::Time.weights(&steps);
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
            let found = of(&points, &weights);

            let weight = ndarray::Array1::from(weights);
            let centred = &points - &weight.dot(&points);
            let scaled = &centred * &weight.mapv(f64::sqrt).insert_axis(ndarray::Axis(1));
            let axes = crate::linalg::svd::singular_vectors(scaled.view()).unwrap();
            let total: f64 = axes.sigma.iter().map(|s| s * s).sum();
            let scale = centred.iter().map(|x| x * x).sum::<f64>().sqrt();
            let apart = |i: usize| {
                let s = |i: usize| axes.sigma.get(i).copied().unwrap_or(0.0);
                (s(i) - s(i + 1)).min(if i == 0 { s(0) } else { s(i - 1) - s(i) }) > 0.02 * s(0)
            };
            for i in 0..3.min(axes.sigma.len()) {
                let share = axes.sigma[i].powi(2) / total;
                prop_assert!((found.explained.unwrap()[i] - share).abs() < 1e-12);
                let along = centred.dot(&axes.vt.row(i));
                let sign = if along[n - 1] < 0.0 { -1.0 } else { 1.0 };
                if apart(i) && along[n - 1].abs() > 1e-6 * scale {
                    for t in 0..n {
                        prop_assert!((found.points[t].pc[i] - sign * along[t]).abs() < 1e-6 * scale);
                    }
                }
            }
            if (0..3).all(apart) {
                for t in 0..n {
                    let mut left = centred.row(t).to_owned();
                    for i in 0..3.min(axes.sigma.len()) {
                        let axis = axes.vt.row(i);
                        left = &left - &(&axis * left.dot(&axis));
                    }
                    let norm = left.dot(&left).sqrt();
                    prop_assert!((found.points[t].residual_norm - norm).abs() < 1e-6 * scale);
                }
            }
        }
    }
}
