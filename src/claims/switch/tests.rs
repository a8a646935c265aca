use ndarray::Array2;
use proptest::prelude::*;

use super::*;
use crate::claims::parts::tests::{cosine, noise};
use crate::progress::{Group, LogitTable, Protocol};

const P: usize = 7;

fn with<T>(logits: &Array2<f64>, keys: &[usize], work: impl FnOnce(&Parts<'_>) -> T) -> T {
    let group = Group::additive(P);
    let table = LogitTable::new(logits.view(), &group, Protocol::SumDirs);
    work(&Parts::new(logits.view(), &table, keys))
}

fn all() -> Vec<usize> {
    (0..P * P).collect()
}

/// Hardly more than noise: whatever the scales, some inputs are wrong, and the minimum is finite.
fn disturbed(seed: u64) -> Array2<f64> {
    cosine(P, 2) * 0.3 + noise(P, 3.0, seed)
}

/// Gradient and Hessian are those of central differences.
#[test]
fn derivatives_are_differences() {
    with(&disturbed(1), &[2], |parts| {
        let (at, h) = ([0.7, -0.3], 1e-4);
        let f = |a: f64, b: f64| Bend::new(parts, &all(), [at[0] + a, at[1] + b]).loss;
        let found = Bend::new(parts, &all(), at);
        assert!((found.gradient[0] - (f(h, 0.0) - f(-h, 0.0)) / (2.0 * h)).abs() < 1e-7);
        assert!((found.gradient[1] - (f(0.0, h) - f(0.0, -h)) / (2.0 * h)).abs() < 1e-7);
        let second = [
            f(h, 0.0) - 2.0 * f(0.0, 0.0) + f(-h, 0.0),
            (f(h, h) - f(h, -h) - f(-h, h) + f(-h, -h)) / 4.0,
            f(0.0, h) - 2.0 * f(0.0, 0.0) + f(0.0, -h),
        ];
        for (found, expected) in found.hessian.iter().zip(second) {
            assert!((found - expected / (h * h)).abs() < 1e-6);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// No point of a fine grid around it is lower, and the gradient vanishes.
    #[test]
    fn the_minimum_is_that_of_a_grid(seed in 0u64..500) {
        with(&disturbed(seed), &[2], |parts| {
            let found = Scales::new(parts, &all()).unwrap();
            let Scales::Finite(alpha, beta) = found else { panic!("{found:?}") };
            let bend = Bend::new(parts, &all(), [alpha, beta]);
            assert!(bend.gradient.iter().all(|x| x.abs() < 1e-9), "{bend:?}");
            for i in -20..=20 {
                for j in -20..=20 {
                    let at = [alpha + 0.1 * f64::from(i), beta + 0.1 * f64::from(j)];
                    let other = Bend::new(parts, &all(), at).loss;
                    assert!(other >= bend.loss - 1e-14, "{at:?}");
                }
            }
        });
    }

    /// L_K a third of what it was: α* three times as large, β* the same.
    #[test]
    fn scales_undo_a_scaling(seed in 0u64..100) {
        let logits = disturbed(seed);
        let before = with(&logits, &[2], |parts| Scales::new(parts, &all()).unwrap());
        let group = Group::additive(P);
        let table = LogitTable::new(logits.view(), &group, Protocol::SumDirs);
        let mut scaled = logits.clone();
        for (input, mut row) in scaled.rows_mut().into_iter().enumerate() {
            let row = row.as_slice_mut().unwrap();
            let pair = group.pair(input).unwrap();
            table.component(&[2]).add_to(1.0 / 3.0 - 1.0, &group, pair, row);
        }
        let after = with(&scaled, &[2], |parts| Scales::new(parts, &all()).unwrap());
        let ((a, b), (c, d)) = (before.finite().unwrap(), after.finite().unwrap());
        prop_assert!((c / a - 3.0).abs() < 1e-6 && (d - b).abs() < 1e-6, "{a} {b} {c} {d}");
    }

    /// The nearest point of the hull is the best of all directions, in steps of a thousandth of a turn.
    #[test]
    fn the_ray_has_the_widest_margin(seed in 0u64..100, key in 2.0..9.0f64, rest in 3.0..9.0f64) {
        let mut logits = cosine(P, 2) * key + noise(P, 1.0, seed);
        for (i, mut row) in logits.rows_mut().into_iter().enumerate() {
            row[(i / P + i % P) % P] += rest; // both parts know every label
        }
        with(&logits, &[2], |parts| {
            let Some(Scales::Ray(alpha, beta)) = Scales::new(parts, &all()) else {
                panic!("separable")
            };
            let margin = |direction: [f64; 2]| dot(lowest(parts, &all(), direction), direction);
            let best = margin([alpha, beta]);
            assert!(best > 0.0 && (alpha.hypot(beta) - 1.0).abs() < 1e-12);
            for i in 0..1000 {
                let angle = std::f64::consts::TAU * f64::from(i) / 1000.0;
                assert!(margin([angle.cos(), angle.sin()]) <= best + 1e-9);
            }
            // The loss has no minimum: it falls along the ray.
            let loss = |t: f64| Bend::new(parts, &all(), [t * alpha, t * beta]).loss;
            assert!(loss(8.0) < loss(4.0) && loss(40.0) < loss(8.0));
        });
    }
}

/// Only the key frequencies say something, and always the truth: the ray is theirs. Only the rest:
/// its own. Both: between the two, where a search over angles finds it.
#[test]
fn rays_in_closed_form() {
    let ray = |logits: Array2<f64>, keys: &[usize]| {
        with(&logits, keys, |parts| Scales::new(parts, &all()).unwrap())
    };
    let angle = ray(cosine(P, 2) * 5.0, &[2]).angle().unwrap();
    assert!((angle - 90.0).abs() < 1e-9, "{angle}");
    let angle = ray(cosine(P, 2) * 5.0, &[1]).angle().unwrap();
    assert!(angle.abs() < 1e-9, "{angle}");
    // cos w_1 x has margins 1 − cos w_1 x at the differences x; cos w_2 x those of 2x.
    let gap = |k: usize, x: usize| 1.0 - (std::f64::consts::TAU * (k * x) as f64 / 7.0).cos();
    let best = (0..90_001)
        .map(|i| f64::from(i) * 1e-3)
        .max_by(|a, b| {
            let least = |degrees: &f64| {
                let (sin, cos) = degrees.to_radians().sin_cos();
                let margin = |x| 5.0 * sin * gap(2, x) + 3.0 * cos * gap(1, x);
                (1..P).map(margin).fold(f64::INFINITY, f64::min)
            };
            least(a).total_cmp(&least(b))
        })
        .unwrap();
    let angle = ray(cosine(P, 2) * 5.0 + cosine(P, 1) * 3.0, &[2]).angle().unwrap();
    assert!((angle - best).abs() < 2e-3, "{angle} {best}");
}

/// A part that is nothing, or a multiple of the other, has no best scale.
#[test]
fn flat_losses_have_no_scales() {
    let mut wrong = Array2::<f64>::zeros((P * P, P));
    for (input, mut row) in wrong.rows_mut().into_iter().enumerate() {
        let shift = if input % 4 == 0 { 1 } else { 0 };
        row[(input / P + input % P + shift) % P] = 3.0;
    }
    // No keys: L_K = 0.
    let found = with(&wrong, &[], |parts| Scales::new(parts, &all()).unwrap());
    assert_eq!(found, Scales::Undefined);
    assert_eq!((found.finite(), found.angle()), (None, None));
    assert_eq!(with(&wrong, &[2], |parts| Scales::new(parts, &[])), None);
    let nothing = Array2::<f64>::zeros((P * P, P));
    assert_eq!(
        with(&nothing, &[2], |parts| Scales::new(parts, &all()).unwrap()),
        Scales::Undefined
    );
}
