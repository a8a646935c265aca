//! Lines through weight space, and the barriers on them.
//!
//! Sources: Goodfellow, Vinyals & Saxe (2015), arXiv:1412.6544 (linear interpolation); Lucas et al.
//! (2021), arXiv:2104.11044 (monotonicity); Frankle et al. (2020), arXiv:1912.05671 (barriers).

/// Evenly spaced `α` from 0 to 1, both included.
///
/// # Panics
/// With fewer than two points.
#[must_use]
pub fn alphas(points: usize) -> Vec<f64> {
    assert!(points >= 2, "a line has two ends");
    (0..points).map(|i| i as f64 / (points - 1) as f64).collect()
}

/// `(1 − α) θ_a + α θ_b`; at `α` = 0 and 1 exactly the ends.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn interpolate(from: &[f64], to: &[f64], alpha: f64) -> Vec<f64> {
    assert_eq!(from.len(), to.len(), "both ends have the same weights");
    from.iter().zip(to).map(|(a, b)| (1.0 - alpha) * a + alpha * b).collect()
}

/// What stands in the way between two points, on the train loss along the line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Barriers {
    /// `max_α ℓ(α) − ½ (ℓ(0) + ℓ(1))`
    pub mean: f64,
    /// `max_α [ ℓ(α) − (1 − α) ℓ(0) − α ℓ(1) ]`: 0 for a convex loss
    pub linear: f64,
    /// `max_{α₁ ≤ α₂} ( ℓ(α₂) − ℓ(α₁) )`: 0 if the loss never rises from a to b
    pub mli_delta: f64,
}

/// Barriers on a sampled line; `None` if a loss is not finite.
///
/// # Panics
/// If the lengths differ or there is no point.
#[must_use]
pub fn barriers(alphas: &[f64], losses: &[f64]) -> Option<Barriers> {
    assert_eq!(alphas.len(), losses.len());
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    if !losses.iter().all(|loss| loss.is_finite()) {
        return None;
    }
    let mut lowest = first;
    let (mut highest, mut linear, mut mli_delta) = (first, 0.0f64, 0.0f64);
    for (alpha, loss) in alphas.iter().zip(losses) {
        highest = highest.max(*loss);
        linear = linear.max(loss - (1.0 - alpha) * first - alpha * last);
        lowest = lowest.min(*loss);
        mli_delta = mli_delta.max(loss - lowest);
    }
    Some(Barriers { mean: highest - 0.5 * (first + last), linear, mli_delta })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ½ θᵀAθ along a line is a parabola: no linear barrier where A ⪰ 0, c‖Δ‖²/8 where A = −cI.
    #[test]
    fn quadratics_have_closed_barriers() {
        let (a, b) = ([1.0, -2.0, 0.5], [-1.0, 0.0, 2.0]);
        let along = |curvature: [f64; 3]| {
            let alphas = alphas(25);
            let losses: Vec<f64> = alphas
                .iter()
                .map(|alpha| {
                    let theta = interpolate(&a, &b, *alpha);
                    theta.iter().zip(curvature).map(|(t, c)| 0.5 * c * t * t).sum()
                })
                .collect();
            (barriers(&alphas, &losses).unwrap(), losses)
        };
        let (convex, losses) = along([1.0, 3.0, 0.0]);
        assert!(convex.linear.abs() < 1e-15);
        assert!((convex.mean - 0.5 * (losses[0] - losses[24]).abs()).abs() < 1e-12);
        let c = 2.0;
        let (concave, _) = along([-c; 3]);
        let square: f64 = a.iter().zip(b).map(|(a, b)| (b - a).powi(2)).sum();
        assert!((concave.linear - c * square / 8.0).abs() < 1e-12, "{concave:?}");
    }

    #[test]
    fn monotone_and_bumpy_lines() {
        let alphas = alphas(4);
        let falling = barriers(&alphas, &[3.0, 2.0, 1.0, 0.5]).unwrap();
        assert!(falling.mli_delta.abs() < 1e-15);
        let bumpy = barriers(&alphas, &[3.0, 1.0, 2.5, 0.0]).unwrap();
        assert!((bumpy.mli_delta - 1.5).abs() < 1e-15);
        assert!((bumpy.mean - 1.5).abs() < 1e-15);
        assert!((bumpy.linear - 1.5).abs() < 1e-15, "{bumpy:?}"); // 2.5 − 1 at α = 2/3
        assert_eq!(barriers(&alphas, &[1.0, f64::NAN, 1.0, 0.0]), None);
    }

    #[test]
    fn ends_are_exact() {
        let (a, b) = ([0.1, f64::MAX, -3.3e-300], [0.7, 1.0, 9.9]);
        assert_eq!(interpolate(&a, &b, 0.0), a);
        assert_eq!(interpolate(&a, &b, 1.0), b);
        let ends = alphas(25);
        assert!(ends[0].to_bits() == 0 && ends[24].to_bits() == 1.0f64.to_bits());
    }
}
