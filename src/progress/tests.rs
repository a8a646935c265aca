//! Closed forms, and the p×p table against the dense vectors that it replaces.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

/// Logits `Σ_k A cos(w_k(a + b − c))` over all inputs.
fn ideal(p: usize, keys: &[usize], amplitude: f64) -> Array2<f64> {
    Array2::from_shape_fn((p * p, p), |(input, c)| {
        let gap = input / p + input % p + p - c;
        keys.iter().map(|k| amplitude * (TAU * ((k * gap) % p) as f64 / p as f64).cos()).sum()
    })
}

fn labels(p: usize) -> Vec<usize> {
    Direction::Sum.indices(p)
}

/// ln(p e^{−A} I₀(A)) for p = 113: the loss of a perfect cosine of amplitude A (the sum over classes
/// is the trapezoidal rule for the Bessel function, exact here beyond double precision for A = 1, 10).
#[test]
fn an_ideal_cosine_has_the_closed_form_of_every_measure() {
    let p = 113;
    for (amplitude, loss) in [(1.0, 3.963302), (10.0, 2.670360), (50.0, 1.854963)] {
        for k in [1, 14, 56] {
            let logits = ideal(p, &[k], amplitude);
            let sums = labels(p);
            let all: Vec<usize> = (0..p * p).collect();
            let table = LogitTable::new(logits.view(), &sums).unwrap();
            let total = RowLosses::new(logits.view(), &sums).mean_loss(&all).unwrap();
            assert!((total - loss).abs() < 1e-6, "A = {amplitude}: {total}");

            let c_k = table.coefficient(k);
            assert!((c_k / amplitude - 849.381245).abs() < 1e-6, "{c_k}");
            let (raw, centred) = variance_explained(logits.view(), &table, &[k]);
            assert!((raw.unwrap() - 1.0).abs() < 1e-12 && (centred.unwrap() - 1.0).abs() < 1e-12);

            let kept = restricted(&table, &[k]).mean_loss(&sums).unwrap();
            assert!((kept - total).abs() < 1e-9, "restricted {kept}, full {total}");
            let left = excluded(logits.view(), &table, &[k], &sums, &all);
            let left = left.mean_loss(&all).unwrap();
            assert!((left - (p as f64).ln()).abs() < 1e-9, "excluded {left}");

            // The wrong frequency explains nothing.
            let other = if k == 5 { 6 } else { 5 };
            assert!(table.coefficient(other).abs() < 1e-9);
            let kept = excluded(logits.view(), &table, &[other], &sums, &all);
            assert!((kept.mean_loss(&all).unwrap() - total).abs() < 1e-9);
        }
    }
}

/// The circuit of subtraction is read along a − b, and not along a + b.
#[test]
fn subtraction_is_read_along_the_difference() {
    let (p, k) = (11, 3);
    let sums = Direction::Difference.indices(p);
    let logits = Array2::from_shape_fn((p * p, p), |(input, c)| {
        (TAU * ((k * (sums[input] + p - c)) % p) as f64 / p as f64).cos()
    });
    let table = LogitTable::new(logits.view(), &sums).unwrap();
    let (raw, _) = variance_explained(logits.view(), &table, &[k]);
    assert!((raw.unwrap() - 1.0).abs() < 1e-12);
    let wrong = LogitTable::new(logits.view(), &labels(p)).unwrap();
    assert!(variance_explained(logits.view(), &wrong, &[k]).0.unwrap() < 1e-12);
}

#[test]
fn keys_are_those_above_a_quarter_of_the_largest() {
    let mut rows = Array1::<f64>::from_elem(113, 0.1);
    for (k, norm) in [(14, 4.0), (35, 2.0), (56, 1.5)] {
        rows[2 * k - 1] = norm;
        rows[2 * k] = 0.0;
    }
    let found = key_frequencies(&fourier::Norms { rows }, KEY_THRESHOLD);
    assert_eq!(found.keys, [14, 35, 56], "the last frequency counts, too");
    assert_eq!(found.above_largest_gap, [14, 35, 56]);
    assert!((found.margin.unwrap() - 1.5 / 0.1f64.hypot(0.1)).abs() < 1e-12);
    let zero = fourier::Norms { rows: Array1::zeros(7) };
    let none = key_frequencies(&zero, KEY_THRESHOLD);
    assert_eq!(none, KeyFrequencies { keys: vec![], margin: None, above_largest_gap: vec![] });
}

#[test]
fn the_empty_key_set_is_legal() {
    let p = 5;
    let logits = ideal(p, &[1], 2.0) + 0.5;
    let sums = labels(p);
    let all: Vec<usize> = (0..p * p).collect();
    let table = LogitTable::new(logits.view(), &sums).unwrap();
    let plain = RowLosses::new(logits.view(), &sums);
    assert_eq!(excluded(logits.view(), &table, &[], &sums, &all), plain);
    let kept = restricted(&table, &[]).mean_loss(&sums).unwrap();
    assert!((kept - (p as f64).ln()).abs() < 1e-12, "constant logits: {kept}");
}

proptest! {
    /// R_k, c_k and the losses against dense orthonormal vectors over all p² inputs.
    #[test]
    fn the_table_is_the_dense_projection(
        pick in 0usize..3, keep in prop::collection::vec(any::<bool>(), 5),
        data in prop::collection::vec(-3.0..3.0f64, 1331),
    ) {
        let p = [5, 7, 11][pick];
        let keys: Vec<usize> =
            (1..=fourier::frequencies(p)).filter(|k| keep[k - 1]).collect();
        let logits = Array2::from_shape_fn((p * p, p), |(i, c)| data[i * p + c]);
        let sums = labels(p);
        let table = LogitTable::new(logits.view(), &sums).unwrap();

        // u_k, v_k = (√2/p) cos, sin of w_k(a + b)
        let mut projected = Array2::<f64>::zeros((p * p, p));
        for k in &keys {
            for phase in [0.0, 0.25] {
                let u = Array1::from_shape_fn(p * p, |input| {
                    let turns = ((k * sums[input]) % p) as f64 / p as f64;
                    2f64.sqrt() / p as f64 * (TAU * (turns - phase)).cos()
                });
                prop_assert!((u.dot(&u) - 1.0).abs() < 1e-12);
                let row = u.dot(&logits); // [p]
                projected += &u.clone().insert_axis(Axis(1)).dot(&row.insert_axis(Axis(0)));
            }
        }
        let component = table.component(&keys);
        for input in 0..p * p {
            for c in 0..p {
                let (found, expected) = (component[[sums[input], c]], projected[[input, c]]);
                prop_assert!((found - expected).abs() < 1e-12, "{} {}", found, expected);
            }
        }

        for k in 1..=fourier::frequencies(p) {
            let e = ideal(p, &[k], (2.0 / (p as f64).powi(3)).sqrt());
            let expected = (&e * &logits).sum();
            prop_assert!((table.coefficient(k) - expected).abs() < 1e-11);
        }

        let all: Vec<usize> = (0..p * p).collect();
        let expected = RowLosses::new((&logits - &projected).view(), &sums);
        let found = excluded(logits.view(), &table, &keys, &sums, &all);
        for (x, y) in found.loss.iter().zip(&expected.loss) {
            prop_assert!((x - y).abs() < 1e-11);
        }
        let expected = RowLosses::new((&projected + table.mean()).view(), &sums);
        let found = restricted(&table, &keys);
        for (s, expected) in sums.iter().zip(&expected.loss) {
            prop_assert!((found.loss[*s] - expected).abs() < 1e-11);
        }
    }

    /// Projecting twice changes nothing, and all frequencies together leave no sum dependence.
    #[test]
    fn the_projection_is_idempotent_and_complete(
        data in prop::collection::vec(-3.0..3.0f64, 343), key in 1usize..=3,
    ) {
        let p = 7;
        let logits = Array2::from_shape_fn((p * p, p), |(i, c)| data[i * p + c]);
        let sums = labels(p);
        let table = LogitTable::new(logits.view(), &sums).unwrap();
        let once = table.component(&[key]);
        let spread = Array2::from_shape_fn((p * p, p), |(i, c)| once[[sums[i], c]]);
        let again = LogitTable::new(spread.view(), &sums).unwrap().component(&[key]);
        let close = |x: &Array2<f64>, y: &Array2<f64>| {
            x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-12)
        };
        prop_assert!(close(&once, &again));

        // Σ_k R_k[s,c] = M[s,c]/p − mean_c
        let mut m = Array2::<f64>::zeros((p, p));
        for (i, row) in logits.rows().into_iter().enumerate() {
            m.row_mut(sums[i]).scaled_add(1.0, &row);
        }
        let expected = m / p as f64 - table.mean();
        prop_assert!(close(&table.component(&[1, 2, 3]), &expected));
    }
}
