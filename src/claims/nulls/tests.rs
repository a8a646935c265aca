//! Calibration: without an effect p ≤ α happens as often as α says, and a planted effect is found.

use ndarray::{Array1, Array2, ArrayView2, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::subsets::{Pool, Subsets};
use super::walks::{Walk, Winners, contrast, contrast_thresholds, winners};
use super::*;
use crate::fourier::{Transform, basis};

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn normals(rng: &mut ChaCha8Rng, n: usize) -> Array1<f64> {
    Array1::from_shape_simple_fn(n, || normal(rng))
}

fn rate(p: &[f64], level: f64) -> f64 {
    p.iter().filter(|p| **p <= level).count() as f64 / p.len() as f64
}

/// The share of p-values at most 5 % and at most 0.1 % is within 3.3 s.d. of the binomial law.
#[track_caller]
fn assert_calibrated(p: &[f64]) {
    for level in [0.05, 0.001] {
        let n = p.len() as f64;
        let slack = 3.3 * (level * (1.0 - level) / n).sqrt() + 0.5 / n;
        let found = rate(p, level);
        assert!((found - level).abs() <= slack, "{found} at {level}, over {n} repetitions");
    }
}

/// N1 from keys and others together is exact.
#[test]
fn n1_exchanged_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (keys, plain): (Vec<usize>, Vec<usize>) = ((1..=5).collect(), (6..=35).collect());
    let sets = Subsets::new(&keys, &plain, Pool::Exchanged, 999, 1).unwrap();
    let p = |values: Array1<f64>| {
        let own = mean_of(values.view(), &keys).unwrap();
        compare(NullId::N1, own, &sets.means(values.view()), Side::Upper).p.unwrap()
    };
    let without: Vec<f64> = (0..20_000).map(|_| p(normals(&mut rng, 35))).collect();
    assert_calibrated(&without);
    let mut planted = normals(&mut rng, 35);
    keys.iter().for_each(|k| planted[k - 1] += 3.0);
    assert!(p(planted) <= 0.002);
}

/// N1 from the others alone rejects too often, as its doc-comment says: the standard score of the
/// keys has the s.d. 1.18, and P(Z ≥ 1.645/1.18) = 8.2 %. Far out it is worse: 1 % instead of 0.1 %.
#[test]
fn n1_as_written_is_liberal_by_its_formula() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (keys, plain): (Vec<usize>, Vec<usize>) = ((1..=5).collect(), (6..=35).collect());
    let sets = Subsets::new(&keys, &plain, Pool::Plain, 999, 1).unwrap();
    let p = |values: Array1<f64>| {
        let own = mean_of(values.view(), &keys).unwrap();
        stats::p_value(own, &sets.means(values.view()), Side::Upper).unwrap()
    };
    let found: Vec<f64> = (0..20_000).map(|_| p(normals(&mut rng, 35))).collect();
    let spread = ((1.0 / 5.0 + 1.0 / 30.0) / (1.0 / 5.0 - 1.0 / 30.0f64)).sqrt();
    let expected = stats::normal_tail(1.644_853_6 / spread);
    assert!((expected - 0.082).abs() < 0.001, "{expected}");
    assert!((rate(&found, 0.05) - expected).abs() < 0.01, "{}", rate(&found, 0.05));
    let thin = rate(&found, 0.001);
    assert!((0.007..0.013).contains(&thin), "{thin}");
}

const WALKS: usize = 56;
const SAVES: usize = 41;

/// Of the walks: as many as take a second.
const REPETITIONS: usize = 250;

/// Keys are those on top at the end; the others are plain. Both ascending.
fn by_end(series: &Array2<f64>, keys: usize) -> (Vec<usize>, Vec<usize>) {
    let last = series.row(series.nrows() - 1);
    let mut order: Vec<usize> = (1..=series.ncols()).collect();
    order.sort_by(|a, b| last[b - 1].total_cmp(&last[a - 1]));
    let (mut won, mut others) = (order[..keys].to_vec(), order[keys..].to_vec());
    won.sort_unstable();
    others.sort_unstable();
    (won, others)
}

/// Exchangeable walks, with steps of different size by interval and a drift.
fn alike(rng: &mut ChaCha8Rng) -> Array2<f64> {
    let mut series = Array2::zeros((SAVES, WALKS));
    for save in 0..SAVES {
        for walk in 0..WALKS {
            let before = if save == 0 { 0.0 } else { series[[save - 1, walk]] };
            let size = 1.0 + 0.5 * (save % 3) as f64;
            series[[save, walk]] = before + 0.3 + size * normal(rng);
        }
    }
    series
}

/// Walks with one growth rate, from different starts.
fn one_rate(rng: &mut ChaCha8Rng) -> Array2<f64> {
    let mut series = Array2::zeros((SAVES, WALKS));
    for save in 0..SAVES {
        for walk in 0..WALKS {
            let before = if save == 0 { -3.0 } else { f64::ln(series[[save - 1, walk]]) };
            let (drift, size) = if save == 0 { (0.0, 0.3) } else { (0.2, 0.15) };
            series[[save, walk]] = (before + drift + size * normal(rng)).exp();
        }
    }
    series
}

fn curse(series: &Array2<f64>, walk: Walk, draws: usize) -> (Vec<f64>, Winners) {
    let (keys, plain) = by_end(series, 5);
    // Other draws for each series: repetitions are to be independent.
    let seed = series.last().unwrap().to_bits();
    let found = winners(series.view(), &keys, &plain, walk, draws, seed).unwrap();
    (contrast(series.view(), &keys, &plain), found)
}

fn curse_p(series: &Array2<f64>, walk: Walk, save: usize) -> f64 {
    let (contrast, found) = curse(series, walk, 999);
    compare(NullId::N5a, contrast[save], &found.at(save), Side::Upper).p.unwrap()
}

/// The keys of walks that do not differ look early against N1, and do not against N5a.
#[test]
fn n5a_is_calibrated_where_n1_is_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut cursed, mut naive) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let series = alike(&mut rng);
        cursed.push(curse_p(&series, Walk::Additive, 12));
        let (keys, plain) = by_end(&series, 5);
        let sets = Subsets::new(&keys, &plain, Pool::Exchanged, 199, 1).unwrap();
        let own = mean_of(series.row(12), &keys).unwrap();
        naive.push(stats::p_value(own, &sets.means(series.row(12)), Side::Upper).unwrap());
    }
    assert_calibrated(&cursed);
    assert!(rate(&naive, 0.05) > 0.5, "{}", rate(&naive, 0.05));
}

#[test]
fn n5b_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let p: Vec<f64> =
        (0..REPETITIONS).map(|_| curse_p(&one_rate(&mut rng), Walk::Multiplicative, 12)).collect();
    assert_calibrated(&p);
}

/// Five frequencies that rise from the first save on are beyond both nulls, and so is their onset; a head
/// start alone is beyond N5a only.
#[test]
fn an_early_rise_is_beyond_the_winners_curse() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut risen = alike(&mut rng);
    let mut ahead = one_rate(&mut rng);
    let mut faster = ahead.clone();
    for save in 0..SAVES {
        for walk in 0..5 {
            risen[[save, walk]] += 40.0 * (1.0 - (-(save as f64)).exp());
            faster[[save, walk]] *= (0.5 * save as f64).exp();
            ahead[[save, walk]] *= 6.0;
        }
    }
    assert_eq!(curse_p(&risen, Walk::Additive, 2), 0.001);
    assert_eq!(curse_p(&faster, Walk::Multiplicative, 2), 0.001);
    assert!(curse_p(&ahead, Walk::Multiplicative, 2) > 0.05);
    assert!(curse_p(&ahead, Walk::Additive, 2) <= 0.01);

    let (keys, plain) = by_end(&risen, 5);
    let sets = Subsets::new(&keys, &plain, Pool::Plain, 1_000, 0).unwrap();
    let thresholds = sets.thresholds(risen.view(), 0.999);
    let thresholds = contrast_thresholds(risen.view(), &plain, &thresholds);
    let (contrast, found) = curse(&risen, Walk::Additive, 999);
    let measured = crate::claims::onset::onset(&contrast, &thresholds, 5);
    assert_eq!(measured, Some(1));
    let p = found.onset_p(measured, &thresholds, 5).unwrap();
    assert!(p < 0.02, "{p}");
    assert_eq!(found.onset_p(None, &thresholds, 5), None);
    assert_eq!(found.onset_p(Some(SAVES), &[Some(f64::NEG_INFINITY); SAVES], 1), Some(1.0));
}

/// Against paths one by one: winners of few walks by the definition.
#[test]
fn winners_of_certain_steps_are_known() {
    // Every plain frequency makes the same steps: all walks are that of the first row.
    let mut series = Array2::zeros((3, 10));
    for k in 0..10 {
        series.column_mut(k).assign(&array![1.0, 3.0, 6.0]);
    }
    series.column_mut(0).assign(&array![2.0, 30.0, 60.0]);
    let plain: Vec<usize> = (2..=10).collect();
    let found = winners(series.view(), &[1], &plain, Walk::Additive, 4, 0).unwrap();
    assert!(found.contrast.iter().all(|x| x.abs() < 1e-14), "{found:?}");
    // Multiplied, the one that starts ahead stays ahead by its factor of 2, with the mean rate of all.
    let found = winners(series.view(), &[1], &plain, Walk::Multiplicative, 4, 0).unwrap();
    let growth =
        |before: f64, after: f64, own: f64| (0.9 * (after / before).ln() + 0.1 * own.ln()).exp();
    let first = growth(1.0, 3.0, 15.0);
    let second = first * growth(3.0, 6.0, 2.0);
    for (found, expected) in found.contrast.row(0).iter().zip([1.0, first, second]) {
        assert!((found - expected).abs() < 1e-13 * expected, "{found}, not {expected}");
    }
    assert_eq!(winners(series.view(), &[1], &plain[..7], Walk::Additive, 4, 0), None);
    assert_eq!(winners(series.view(), &[], &plain, Walk::Additive, 4, 0), None);
    series.row_mut(1).fill(-1.0);
    assert_eq!(winners(series.view(), &[1], &plain, Walk::Multiplicative, 4, 0), None);
}

#[test]
fn n5c_keys_of_noise_are_nothing_in_the_other_half() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let (p, neurons) = (41, 12);
    let transform = Transform::new(p);
    let halves = |w_l: &Array2<f64>| split::half_norms(w_l.view(), &transform);
    let mut found = Vec::new();
    for _ in 0..3_000 {
        let w_l = Array2::from_shape_simple_fn((p, neurons), || normal(&mut rng));
        let [even, odd] = halves(&w_l);
        let odd = Array1::from(odd);
        let (keys, plain) = by_end(&Array2::from_shape_vec((1, 20), even).unwrap(), 4);
        let sets = Subsets::new(&keys, &plain, Pool::Exchanged, 999, 1).unwrap();
        let own = mean_of(odd.view(), &keys).unwrap();
        found.push(stats::p_value(own, &sets.means(odd.view()), Side::Upper).unwrap());
    }
    assert_calibrated(&found);
    // Planted in every neuron: the rule finds 3 and 8 in the even half, and they are on top in the odd.
    let basis = basis(p);
    let w_l = Array2::from_shape_fn((p, neurons), |(c, neuron)| {
        let k = if neuron % 4 < 2 { 3 } else { 8 };
        5.0 * basis[[2 * k - 1 + neuron % 3 / 2, c]] + 0.02 * normal(&mut rng)
    });
    let [even, odd] = halves(&w_l);
    assert_eq!(split::keys_of(&even), [3, 8]);
    let (mut top, _) = by_end(&Array2::from_shape_vec((1, 20), odd).unwrap(), 2);
    top.sort_unstable();
    assert_eq!(top, [3, 8]);
}

/// Halves add up to the whole, in squares.
#[test]
fn halves_are_the_neurons_of_their_parity() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let w_l = Array2::from_shape_simple_fn((7, 5), || normal(&mut rng));
    let transform = Transform::new(7);
    let [even, odd] = split::half_norms(w_l.view(), &transform);
    let whole = transform.norms(w_l.t());
    for k in 1..=3 {
        let sum = even[k - 1].powi(2) + odd[k - 1].powi(2);
        assert!((sum - whole.norm(k).powi(2)).abs() < 1e-13);
    }
    let only_odd: ArrayView2<'_, f64> = w_l.slice(ndarray::s![.., 1..2]);
    let [even, odd] = split::half_norms(only_odd, &transform);
    assert!(even.iter().all(|norm| *norm > 0.0) && odd.iter().all(|norm| *norm == 0.0));
}

#[test]
fn n5d_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let p = |initial: Vec<f64>, last: Vec<f64>| lottery::lottery(&initial, &last, 999, 3).unwrap();
    let found: Vec<f64> = (0..3_000)
        .map(|_| p(normals(&mut rng, 28).to_vec(), normals(&mut rng, 28).to_vec()).p)
        .collect();
    assert_calibrated(&found);
    let initial = normals(&mut rng, 28).to_vec();
    let last = initial.iter().map(|x| x + 0.5 * normal(&mut rng)).collect();
    let found = p(initial.clone(), last);
    assert!(found.p <= 0.002 && found.rho > 0.6 && found.null.len() == 999, "{}", found.rho);
    assert_eq!(lottery::lottery(&initial, &[1.0; 28], 9, 3), None);
}

/// Own keys drawn like those of forty others: the rank among them is uniform. Five seeds allow no p below 1/5.
#[test]
fn n4_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let draw = |rng: &mut ChaCha8Rng| {
        let mut all: Vec<usize> = (1..=28).collect();
        (0..3).map(|_| all.swap_remove(below(rng, all.len()))).collect::<Vec<usize>>()
    };
    let mut found = Vec::new();
    for _ in 0..4_000 {
        let values = normals(&mut rng, 28);
        let keys: Vec<Vec<usize>> = (0..40).map(|_| draw(&mut rng)).collect();
        let matrix = seeds::key_matrix(&vec![values.view(); 40], &keys).unwrap();
        let others = seeds::others_of(matrix.view(), 0);
        found.push(compare(NullId::N4, matrix[[0, 0]], &others, Side::Upper).p.unwrap());
    }
    let slack = 3.3 * (0.05 * 0.95 / 4_000f64).sqrt();
    assert!((rate(&found, 0.05) - 0.05).abs() < slack, "{}", rate(&found, 0.05));
    assert_eq!(rate(&found, 0.001), 0.0);
}

/// The energy of a Gaussian matrix in any fixed subspace is that in a random one.
#[test]
fn n6_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let (p, d, keys) = (13, 6, [2, 5]);
    let transform = Transform::new(p);
    let share = |w: &Array2<f64>| {
        let norms = transform.norms(w.t());
        keys.iter().map(|k| norms.norm(*k).powi(2)).sum::<f64>()
            / w.iter().map(|x| x * x).sum::<f64>()
    };
    let p_of = |w: &Array2<f64>, seed| {
        let null = subspaces::subspace_shares(w.view(), 4, 999, seed).unwrap();
        compare(NullId::N6, share(w), &null, Side::Upper)
    };
    let found: Vec<f64> = (0..500)
        .map(|seed| {
            p_of(&Array2::from_shape_simple_fn((p, d), || normal(&mut rng)), seed).p.unwrap()
        })
        .collect();
    assert_calibrated(&found);
    let basis = basis(p);
    let planted = Array2::from_shape_fn((p, d), |(a, j)| {
        3.0 * basis[[3 + j % 2, a]] + 0.3 * normal(&mut rng)
    });
    assert_eq!(p_of(&planted, 1).p, Some(0.001));
    assert_eq!(subspaces::subspace_shares(Array2::zeros((p, d)).view(), 4, 9, 0), None);
    assert_eq!(subspaces::subspace_shares(planted.view(), 14, 9, 0), None);
}

/// One column: Beta(r/2, (p − r)/2), mean r/p and variance 2r(p − r)/(p²(p + 2)).
#[test]
fn shares_of_random_subspaces_have_their_law() {
    let (p, r, draws) = (11, 4, 20_000);
    let column = Array2::from_shape_fn((p, 1), |(a, _)| (a as f64 - 3.0).sin());
    let shares = subspaces::subspace_shares(column.view(), r, draws, 2).unwrap();
    let (mean, variance) =
        (stats::mean(&shares).unwrap(), stats::deviation(&shares).unwrap().powi(2));
    let (p, r) = (p as f64, r as f64);
    let expected = 2.0 * r * (p - r) / (p * p * (p + 2.0));
    assert!((mean - r / p).abs() < 4.0 * (expected / draws as f64).sqrt(), "{mean}");
    assert!((variance / expected - 1.0).abs() < 0.05, "{variance}");
    assert!((mean - subspaces::chance_embedding(2, 11)).abs() < 0.005);
    assert_eq!(subspaces::chance_logits(5, 113), 10.0 / 12_769.0);
    let whole = subspaces::subspace_shares(column.view(), 11, 3, 2).unwrap();
    assert!(whole.iter().all(|share| (share - 1.0).abs() < 1e-12));
}

#[test]
fn a_value_beside_its_null() {
    let null: Vec<f64> = (0..=1000).map(f64::from).collect();
    let upper = compare(NullId::N3, 2000.0, &null, Side::Upper);
    assert_eq!((upper.mean, upper.count), (Some(500.0), 1001));
    assert!((upper.quantile.unwrap() - 999.0).abs() < 1e-9 && upper.p == Some(1.0 / 1002.0));
    let lower = compare(NullId::N3, 0.5, &null, Side::Lower);
    assert!((lower.quantile.unwrap() - 1.0).abs() < 1e-9 && lower.p == Some(2.0 / 1002.0));
    let nothing = compare(NullId::N7, 1.0, &[], Side::Upper);
    assert_eq!((nothing.mean, nothing.quantile, nothing.z, nothing.p), (None, None, None, None));
    assert_eq!("N5a".parse::<NullId>().unwrap(), NullId::N5a);
}
