//! Updates against their formulas.

use super::*;
use crate::config::Settings;
use crate::model::InTurn;

fn config(toml: &str) -> RunConfig {
    let settings = Settings::from_toml(toml, std::path::Path::new("test")).unwrap();
    settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap()
}

/// The formula, term by term, over several updates with warm-up.
#[test]
fn adamw_is_its_formula() {
    let (beta1, beta2, lr, decay) = (0.9, 0.98, 1e-3, 1.0);
    let mut optimizer = Optimizer::<f64>::new(&config("warmup = 3"), 1);
    let mut weight = [0.7];
    let (mut expected, mut m, mut v) = (0.7f64, 0.0f64, 0.0f64);
    for u in 0..6 {
        let g = 0.3 - 0.2 * f64::from(u);
        optimizer.update(&mut weight, &[g], &InTurn);
        let eta = lr * (f64::from(u) / 3.0).min(1.0);
        let t = u + 1;
        expected *= 1.0 - eta * decay;
        m = beta1 * m + (1.0 - beta1) * g;
        v = beta2 * v + (1.0 - beta2) * g * g;
        let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
        expected -= eta * m_hat / (v_hat.sqrt() + EPSILON);
        assert!((weight[0] - expected).abs() < 1e-15, "update {u}: {weight:?} {expected}");
    }
}

#[test]
fn the_first_update_of_a_warm_up_moves_nothing_but_fills_the_moments() {
    let mut optimizer = Optimizer::<f32>::new(&config(""), 1);
    let mut weight = [0.7f32];
    optimizer.update(&mut weight, &[2.0], &InTurn);
    assert_eq!(weight[0].to_bits(), 0.7f32.to_bits());
    assert!((optimizer.m[0] - 0.2).abs() < 1e-6 && (optimizer.v[0] - 0.08).abs() < 1e-6);
    assert!((optimizer.learning_rate() - 1e-4).abs() < 1e-18);
    let mut without = Optimizer::<f32>::new(&config("warmup = 0"), 1);
    assert!((without.learning_rate() - 1e-3).abs() < 1e-18);
    without.update(&mut weight, &[2.0], &InTurn);
    assert!((weight[0] - (0.7 * 0.999 - 0.001)).abs() < 1e-6, "{weight:?}");
}

#[test]
fn sgd_is_its_formula() {
    let toml = "optimizer = 'sgd'\nwarmup = 0\nlr = 0.1\nbeta1 = 0.5\nweight_decay = 0.2";
    let mut optimizer = Optimizer::<f64>::new(&config(toml), 1);
    let mut weight = [1.0];
    optimizer.update(&mut weight, &[1.0], &InTurn);
    assert!((weight[0] - (0.98 - 0.1)).abs() < 1e-15);
    optimizer.update(&mut weight, &[1.0], &InTurn);
    assert!((weight[0] - (0.88 * 0.98 - 0.15)).abs() < 1e-15);
}

/// An update is −η (step + λθ), for both kinds, whatever the state; and what is between two vectors
/// of weights is that step.
#[test]
fn an_update_is_its_step_and_its_decay() {
    for toml in ["warmup = 3", "optimizer = 'sgd'\nwarmup = 1\nbeta1 = 0.7"] {
        let mut optimizer =
            Optimizer::<f64>::new(&config(toml), 4).freezing(std::slice::from_ref(&(1..2)));
        let mut weights = [0.7, -0.2, 1e-3, -2.0];
        assert!(optimizer.is_without_memory());
        for u in 0..5 {
            let gradient = [0.3 - 0.2 * f64::from(u), 0.0, 1e-9, -5.0];
            let before = weights;
            let (step, decay) = (optimizer.step(&gradient), optimizer.decay(&before));
            let (rate, state) = (optimizer.learning_rate(), optimizer.clone());
            optimizer.update(&mut weights, &gradient, &InTurn);
            for i in 0..4 {
                let expected = before[i] - rate * (step[i] + decay[i]);
                assert!((weights[i] - expected).abs() < 4e-15, "{toml}: {u} {i}");
            }
            assert_eq!((step[1], decay[1]), (0.0, 0.0));
            match state.step_between(&before, &weights) {
                None => assert_eq!(u, 0, "{toml}"),
                Some(found) => {
                    for (found, expected) in found.iter().zip(&step) {
                        // Two weights of order 1 differ by η steps.
                        assert!((found - expected).abs() < 4e-15 / rate, "{toml}: {u}");
                    }
                }
            }
        }
        assert!(!optimizer.is_without_memory());
    }
    let plain = config("optimizer = 'sgd'\nbeta1 = 0.0");
    let mut plain = Optimizer::<f64>::new(&plain, 1);
    plain.updates = 7;
    assert!(plain.is_without_memory());
}

/// The parts are updated as one vector would be, and what is frozen not at all, bit for bit.
#[test]
fn parts_change_nothing() {
    let n = 2 * PART + 3;
    let number = |i: usize, scale: f32| ((i * 7919 % 1013) as f32 / 1013.0 - 0.5) * scale;
    let gradient: Vec<f32> = (0..n).map(|i| number(i, 1e-2)).collect();
    let start: Vec<f32> = (0..n).map(|i| number(i + 5, 1.0)).collect();
    let frozen = PART - 7..PART + 9;
    let mut optimizer =
        Optimizer::<f32>::new(&config(""), n).freezing(std::slice::from_ref(&frozen));
    let (mut weights, mut expected) = (start.clone(), start.clone());
    let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
    for update in 0..12u32 {
        let rate = optimizer.learning_rate();
        optimizer.update(&mut weights, &gradient, &InTurn);
        let t = f64::from(update) + 1.0;
        let constants = AdamConstants {
            keep: (1.0 - rate) as f32,
            beta1_rest: (1.0 - 0.9f64) as f32,
            beta2: 0.98,
            beta2_rest: (1.0 - 0.98f64) as f32,
            correction2: (1.0 - 0.98f64.powf(t)).sqrt() as f32,
            epsilon: EPSILON as f32,
            rate: (rate / (1.0 - 0.9f64.powf(t))) as f32,
        };
        adamw(&mut expected, &gradient, &mut m, &mut v, constants);
    }
    expected[frozen.clone()].copy_from_slice(&start[frozen]);
    assert!(weights == expected);
    assert!(weights != start);
}

#[test]
fn coordinates_below_epsilon_are_counted() {
    let optimizer = Optimizer::<f64>::new(&config(""), 4);
    // In the first update v̂ = g².
    let share = optimizer.tiny_second_moment(&[1.0, 1e-7, 1e-9, 0.0]);
    assert!((share.unwrap() - 0.5).abs() < 1e-15);
    let sgd = Optimizer::<f64>::new(&config("optimizer = 'sgd'"), 4);
    assert_eq!(sgd.tiny_second_moment(&[0.0; 4]), None);
}

/// Neither updates nor decay reach frozen weights, whatever their gradient; all others move as if
/// there were none.
#[test]
fn frozen_weights_stay_what_they_are() {
    for toml in ["warmup = 0", "optimizer = 'sgd'\nwarmup = 0"] {
        let plain = Optimizer::<f64>::new(&config(toml), 6);
        let mut freezing = plain.clone().freezing(&[0..1, 3..5]);
        let mut plain = plain;
        let (mut all, mut some) =
            ([1.0, 2.0, -3.0, 4.0, 0.0, 5.0], [1.0, 2.0, -3.0, 4.0, 0.0, 5.0]);
        let gradient = [0.5, -0.25, 1e-12, 2.0, 1.0, 3.0];
        for _ in 0..3 {
            let mut masked = gradient;
            freezing.mask(&mut masked);
            assert_eq!(
                masked.map(f64::to_bits),
                [0.0, -0.25, 1e-12, 0.0, 0.0, 3.0].map(f64::to_bits)
            );
            plain.update(&mut all, &gradient, &InTurn);
            freezing.update(&mut some, &masked, &InTurn);
        }
        for (i, frozen) in [true, false, false, true, true, false].into_iter().enumerate() {
            let start: f64 = [1.0, 2.0, -3.0, 4.0, 0.0, 5.0][i];
            let expected = if frozen { start } else { all[i] };
            assert_eq!(some[i].to_bits(), expected.to_bits(), "{toml}: {i}");
            assert!(!frozen || freezing.m[i].to_bits() == 0, "{toml}: {i}");
        }
    }
    let freezing = Optimizer::<f64>::new(&config(""), 4).freezing(&[1..2, 2..3]);
    assert_eq!(freezing.tiny_second_moment(&[1.0, 0.0, 0.0, 1e-9]), Some(0.5));
}
