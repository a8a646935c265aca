//! Closed forms, and the tables against the dense vectors that they replace.

use std::f64::consts::TAU;

use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;

use super::*;
use crate::config::Task;
use crate::fourier;

/// Logits `Σ_k A cos(w_k(s − c))` over all inputs of a group; 0 for what is no element.
fn ideal(group: &Group, keys: &[usize], amplitude: f64) -> Array2<f64> {
    let (p, n) = (group.p(), group.order());
    let mut logits = Array2::zeros((p * p, p));
    for input in group.inputs() {
        let sum = group.index(Along::Sum, group.pair(input).unwrap());
        for (element, class) in group.residues().iter().enumerate() {
            let wave = |k: &usize| (TAU * ((k * (sum + n - element)) % n) as f64 / n as f64).cos();
            logits[[input, *class]] = amplitude * keys.iter().map(wave).sum::<f64>();
        }
    }
    logits
}

fn table<'a>(logits: &Array2<f64>, group: &'a Group) -> LogitTable<'a> {
    LogitTable::new(logits.view(), group, Protocol::SumDirs)
}

fn labels(group: &Group) -> Vec<usize> {
    group.inputs().iter().map(|input| group.label(group.pair(*input).unwrap())).collect()
}

/// ln(p e^{−A} I₀(A)) for p = 113: the loss of a perfect cosine of amplitude A (the sum over classes
/// is the trapezoidal rule for the Bessel function, exact here beyond double precision for A = 1, 10).
#[test]
fn an_ideal_cosine_has_the_closed_form_of_every_measure() {
    let group = Group::additive(113);
    let all = group.inputs();
    for (amplitude, loss) in [(1.0, 3.963302), (10.0, 2.670360), (50.0, 1.854963)] {
        for k in [1, 14, 56] {
            let logits = ideal(&group, &[k], amplitude);
            let table = table(&logits, &group);
            let c_k = table.coefficient(k);
            assert!((c_k / amplitude - 849.381245).abs() < 1e-6, "{c_k}");
            let (raw, centred) = table.variance_explained(&[k]);
            assert!((raw.unwrap() - 1.0).abs() < 1e-12 && (centred.unwrap() - 1.0).abs() < 1e-12);
            assert!((table.norm() - c_k).abs() < 1e-9 * c_k);

            let found = CircuitLosses::new(logits.view(), &table, &[k], &all[..3830], &all[3830..]);
            for split in [found.train, found.test] {
                let (total, kept) = (split.loss.unwrap(), split.restricted_loss.unwrap());
                assert!((total - loss).abs() < 1e-6, "A = {amplitude}: {total}");
                assert!((kept - total).abs() < 1e-9, "restricted {kept}, full {total}");
                let left = split.excluded_loss.unwrap();
                assert!((left - 113f64.ln()).abs() < 1e-9, "excluded {left}");
            }

            // Without the wrong frequency nothing is missing; it alone explains nothing.
            let other = if k == 5 { 6 } else { 5 };
            assert!(table.coefficient(other).abs() < 1e-9);
            let single = found.single[other - 1];
            assert!((single.excluded_train.unwrap() - loss).abs() < 1e-6);
            assert!((single.restricted_all.unwrap() - 113f64.ln()).abs() < 1e-9);
            let single = found.single[k - 1];
            assert!((single.excluded_train.unwrap() - 113f64.ln()).abs() < 1e-9);
            assert!((single.restricted_all.unwrap() - loss).abs() < 1e-6);
        }
    }
}

/// The circuit of a product is that of a sum of exponents: the same closed forms, with n = p − 1, and
/// with the unpaired frequency n/2, whose cosine has twice the energy.
#[test]
fn products_have_the_closed_forms_of_sums() {
    for task in [Task::Sub, Task::Mul, Task::Div] {
        let group = Group::of(task, 13).unwrap();
        let (n, all) = (group.order(), group.inputs());
        let last = fourier::frequencies(n);
        for keys in [vec![1], vec![last], vec![2, last]] {
            let logits = ideal(&group, &keys, 3.0);
            let table = table(&logits, &group);
            for k in &keys {
                let energy = if 2 * k == n { 1.0 } else { 0.5 };
                let expected = 3.0 * (energy * (n as f64).powi(3)).sqrt();
                assert!((table.coefficient(*k) - expected).abs() < 1e-9, "{task} {k}");
            }
            assert!((table.variance_explained(&keys).0.unwrap() - 1.0).abs() < 1e-12);
            let found = CircuitLosses::new(logits.view(), &table, &keys, &all, &[]);
            let split = found.train;
            assert!((split.restricted_loss.unwrap() - split.loss.unwrap()).abs() < 1e-12);
            assert!((split.excluded_loss.unwrap() - 13f64.ln()).abs() < 1e-12);
            assert_eq!((found.test.loss, found.test.excluded_loss), (None, None));
        }
        // Read along the other index there is none of it.
        let logits = ideal(&group, &[2], 1.0);
        let wrong = LogitTable::new(logits.view(), &group, Protocol::DiffDirs);
        let left = excluded(logits.view(), &wrong, &wrong.component(&[2]), &all);
        let plain = excluded(logits.view(), &wrong, &wrong.component(&[]), &all);
        assert!((left.mean().unwrap() - plain.mean().unwrap()).abs() < 1e-12, "{task}");
    }
}

/// Random logits hold no algorithm: a few frequencies explain what chance gives, 2|K|/p² of the energy
/// of the inputs, and taking them out changes next to nothing.
#[test]
fn a_random_table_has_none_of_it() {
    use rand::SeedableRng;
    use rand_distr::Distribution;
    let group = Group::additive(31);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let normal = rand_distr::Normal::new(0.0, 0.3).unwrap();
    let logits = Array2::from_shape_fn((961, 31), |_| normal.sample(&mut rng));
    let (table, all) = (table(&logits, &group), group.inputs());
    let keys = [3, 7, 15];
    // c_k² of unit vectors: 3 of 29,791 directions, a mean of 1e-4.
    let (raw, centred) = table.variance_explained(&keys);
    assert!(raw.unwrap() < 1e-3 && centred.unwrap() < 1e-3, "{raw:?} {centred:?}");
    let found = CircuitLosses::new(logits.view(), &table, &keys, &all, &[]).train;
    let (loss, ln_p) = (found.loss.unwrap(), 31f64.ln());
    // Variance 0.09 of each logit: the loss is about ln p + 0.045; s.d. of the mean 0.01.
    assert!((loss - ln_p - 0.045).abs() < 0.03, "{loss}");
    assert!((found.excluded_loss.unwrap() - loss).abs() < 2e-3, "{found:?}");
    assert!((found.restricted_loss.unwrap() - ln_p).abs() < 2e-2, "{found:?}");
    assert!(found.restricted_accuracy.unwrap() < 0.3, "{found:?}");
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

/// At least three neurons, or one in a hundred.
#[test]
fn keys_by_neurons_have_enough_of_them() {
    let counts = [0, 3, 2, 40, 9];
    let few = KeyFrequencies::of_neuron_counts(&counts, 100);
    assert_eq!((few.keys, few.margin), (vec![2, 4, 5], Some(1.5)));
    let many = KeyFrequencies::of_neuron_counts(&counts, 1000);
    assert_eq!((many.keys, many.margin), (vec![4], Some(40.0 / 9.0)));
}

#[test]
fn the_empty_key_set_is_legal() {
    let group = Group::additive(5);
    let logits = ideal(&group, &[1], 2.0) + 0.5;
    let (table, all) = (table(&logits, &group), group.inputs());
    let plain = RowLosses::new(logits.view(), &labels(&group));
    assert_eq!(excluded(logits.view(), &table, &table.component(&[]), &all), plain);
    let found = CircuitLosses::new(logits.view(), &table, &[], &all, &[]).train;
    let kept = found.restricted_loss.unwrap();
    assert!((kept - 5f64.ln()).abs() < 1e-12, "constant logits: {kept}");
    assert_eq!(found.excluded_loss, found.loss);
}

/// Products of exponentials against exponentials of sums, where they are tiny, huge, and equal.
#[test]
fn losses_by_sum_keep_their_digits() {
    let group = Group::additive(7);
    let (all, waves) = (group.inputs(), ideal(&group, &[2, 3], 1.0));
    let bumps = Array2::from_shape_fn((49, 7), |(i, c)| ((i * 31 + c * 17) % 11) as f64 / 11.0);
    for amplitude in [0.0, 1e-3, 1.0, 20.0, 90.0, 400.0, 1e4] {
        let logits = &waves * amplitude + &bumps;
        let table = table(&logits, &group);
        let (train, test) = all.split_at(20);
        let fast = CircuitLosses::new(logits.view(), &table, &[2], train, test);
        let slow = CircuitLosses::one_by_one(logits.view(), &table, &[2], train, test);
        assert_close(&fast, &slow, 1e-12);
    }
}

/// Equal but for a relative difference.
fn assert_close(found: &CircuitLosses, expected: &CircuitLosses, relative: f64) {
    let of = |losses: &CircuitLosses| -> Vec<Option<f64>> {
        let split = |s: &SplitLosses| {
            [s.loss, s.accuracy, s.restricted_loss, s.restricted_accuracy, s.excluded_loss]
        };
        let single = losses.single.iter().flat_map(|s| [s.excluded_train, s.restricted_all]);
        split(&losses.train).into_iter().chain(split(&losses.test)).chain(single).collect()
    };
    for (i, (x, y)) in of(found).into_iter().zip(of(expected)).enumerate() {
        match (x, y) {
            (Some(x), Some(y)) => {
                assert!((x - y).abs() <= relative * y.abs(), "value {i}: {x:e}, not {y:e}");
            }
            (x, y) => assert_eq!(x, y, "value {i}"),
        }
    }
}

/// `P_K L` by dense orthonormal vectors over the inputs of the group.
fn dense(logits: &Array2<f64>, group: &Group, protocol: Protocol, keys: &[usize]) -> Array2<f64> {
    let n = group.order();
    let basis = fourier::basis(n);
    let waves = |k: usize| fourier::rows_of(n, k);
    let mut projected = Array2::<f64>::zeros(logits.dim());
    let mut project = |value: &dyn Fn([usize; 2]) -> f64| {
        let mut u = Array1::<f64>::zeros(logits.nrows());
        for input in group.inputs() {
            u[input] = value(group.pair(input).unwrap());
        }
        assert!((u.dot(&u) - 1.0).abs() < 1e-12);
        let row = u.dot(logits); // [p]
        projected += &u.insert_axis(Axis(1)).dot(&row.insert_axis(Axis(0)));
    };
    let root = (n as f64).sqrt();
    for &k in keys {
        match protocol {
            Protocol::SumDirs | Protocol::DiffDirs => {
                for row in waves(k) {
                    project(&|pair| basis[[row, group.index(protocol.along()[0], pair)]] / root);
                }
            }
            Protocol::Block2x2 => {
                for (i, j) in waves(k).flat_map(|i| waves(k).map(move |j| (i, j))) {
                    project(&|[x, y]| basis[[i, x]] * basis[[j, y]]);
                }
            }
            Protocol::Block3x3 => {
                let rows = || std::iter::once(0).chain(waves(k));
                let pairs = rows().flat_map(|i| rows().map(move |j| (i, j)));
                for (i, j) in pairs.filter(|pair| *pair != (0, 0)) {
                    project(&|[x, y]| basis[[i, x]] * basis[[j, y]]);
                }
            }
        }
    }
    projected
}

/// Rows of a component at all inputs of the group.
fn spread(component: &Component, group: &Group) -> Array2<f64> {
    let mut found = Array2::<f64>::zeros((group.p() * group.p(), group.p()));
    for input in group.inputs() {
        let mut row = found.row_mut(input);
        let row = row.as_slice_mut().unwrap();
        component.add_to(1.0, group, group.pair(input).unwrap(), row);
    }
    found
}

fn largest_gap(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    x.iter().zip(y).fold(0.0, |max, (x, y)| (x - y).abs().max(max))
}

proptest! {
    /// R_k, c_k and the losses against dense orthonormal vectors over all inputs, for every protocol
    /// and group; and what is projected twice, or taken from another vector, is a projection.
    #[test]
    fn the_table_is_the_dense_projection(
        task in prop::sample::select(vec![Task::Add, Task::Sub, Task::Mul, Task::Div]),
        which in 0usize..4, pick in 0usize..3,
        keep in prop::collection::vec(any::<bool>(), 5),
        data in prop::collection::vec(-3.0..3.0f64, 2 * 1331),
    ) {
        let p = [5, 7, 11][pick];
        let group = Group::of(task, p).unwrap();
        let protocol = Protocol::ALL[which];
        let last = fourier::frequencies(group.order());
        let keys: Vec<usize> = (1..=last).filter(|k| keep[k - 1]).collect();
        let logits = Array2::from_shape_fn((p * p, p), |(i, c)| data[i * p + c]);
        let table = LogitTable::new(logits.view(), &group, protocol);
        let component = table.component(&keys);
        let projected = dense(&logits, &group, protocol, &keys);
        let found = spread(&component, &group);
        prop_assert!(largest_gap(&found, &projected) < 1e-12);

        // Idempotent and symmetric: P(P L) = P L,  ⟨P L, L'⟩ = ⟨L, P L'⟩
        let again = LogitTable::new(found.view(), &group, protocol).component(&keys);
        prop_assert!(largest_gap(&spread(&again, &group), &found) < 1e-12);
        let other = Array2::from_shape_fn((p * p, p), |(i, c)| data[1331 + i * p + c]);
        let of_other = LogitTable::new(other.view(), &group, protocol).component(&keys);
        let (left, right) = ((&found * &other).sum(), (&logits * &spread(&of_other, &group)).sum());
        prop_assert!((left - right).abs() < 1e-9);

        for k in 1..=last {
            let e = ideal(&group, &[k], 1.0);
            let e = &e / (&e * &e).sum().sqrt();
            prop_assert!((table.coefficient(k) - (&e * &logits).sum()).abs() < 1e-11);
            let cosine = spread(&table.cosines(&[k]), &group);
            prop_assert!(largest_gap(&cosine, &(&e * table.coefficient(k))) < 1e-12);
        }

        let all = group.inputs();
        let (labels, mean) = (labels(&group), table.mean().clone());
        let own = |l: &Array2<f64>| l.select(Axis(0), &all);
        let expected = RowLosses::new(own(&(&logits - &projected)).view(), &labels);
        let left = excluded(logits.view(), &table, &component, &all);
        let kept = restricted(&table, &component, &all);
        let of_keys = RowLosses::new(own(&(&projected + &mean)).view(), &labels);
        for (x, y) in left.loss.iter().zip(&expected.loss).chain(kept.loss.iter().zip(&of_keys.loss)) {
            prop_assert!((x - y).abs() < 1e-11);
        }
        let inputs = (&all[..p], &all[p..]);
        let fast = CircuitLosses::new(logits.view(), &table, &keys, inputs.0, inputs.1);
        let slow = CircuitLosses::one_by_one(logits.view(), &table, &keys, inputs.0, inputs.1);
        assert_close(&fast, &slow, 1e-12);
    }

    /// All frequencies together leave no dependence on the sum: Σ_k R_k[s,c] = M[s,c]/n − mean_c.
    #[test]
    fn the_projections_are_complete(data in prop::collection::vec(-3.0..3.0f64, 343), product: bool) {
        let group = Group::of(if product { Task::Mul } else { Task::Add }, 7).unwrap();
        let logits = Array2::from_shape_fn((49, 7), |(i, c)| data[i * 7 + c]);
        let (table, n) = (table(&logits, &group), group.order());
        let mut m = Array2::<f64>::zeros((n, 7));
        for input in group.inputs() {
            let sum = group.index(Along::Sum, group.pair(input).unwrap());
            m.row_mut(sum).scaled_add(1.0, &logits.row(input));
        }
        let expected = m / n as f64 - table.mean();
        let all: Vec<usize> = (1..=fourier::frequencies(n)).collect();
        let found = table.component(&all);
        prop_assert!(largest_gap(found.by_sum().unwrap(), &expected) < 1e-12);
    }
}
