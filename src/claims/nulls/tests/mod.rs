//! Calibration: without an effect p ≤ α happens as often as α says, and a planted effect is found.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::subsets::{Pool, Subsets};
use super::*;
use crate::claims::rules::rules;
use crate::fourier::{Transform, basis};

mod winners;

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

/// Rules that draw so many sets.
fn drawing(subsets: usize) -> NullRules {
    NullRules { subsets, seed: 1, least_sets: 1, ..rules().nulls.clone() }
}

/// p of the mean of some keys among sets drawn from both.
fn exchanged_p(
    rules: &NullRules,
    values: ArrayView1<'_, f64>,
    keys: &[usize],
    plain: &[usize],
) -> f64 {
    let sets = Subsets::new(rules, keys, plain, Pool::Exchanged).unwrap();
    let own = mean_of(values, keys).unwrap();
    stats::p_value(own, &sets.means(values), Side::Upper).unwrap()
}

/// N1 from keys and others together is exact.
#[test]
fn n1_exchanged_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (keys, plain): (Vec<usize>, Vec<usize>) = ((1..=5).collect(), (6..=35).collect());
    let sets = Subsets::new(&drawing(999), &keys, &plain, Pool::Exchanged).unwrap();
    let p = |values: Array1<f64>| {
        let own = mean_of(values.view(), &keys).unwrap();
        stats::p_value(own, &sets.means(values.view()), Side::Upper).unwrap()
    };
    let without: Vec<f64> = (0..20_000).map(|_| p(normals(&mut rng, 35))).collect();
    assert_calibrated(&without);
    let mut planted = normals(&mut rng, 35);
    keys.iter().for_each(|k| planted[k - 1] += 3.0);
    assert!(p(planted) <= 0.002);
}

/// N1 from the others alone would reject too often, as its doc-comment says: the standard score of the
/// keys has the s.d. 1.18, and P(Z ≥ 1.645/1.18) = 8.2 %. Far out it is worse: 1 % instead of 0.1 %.
#[test]
fn n1_from_the_others_is_liberal_by_its_formula() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (keys, plain): (Vec<usize>, Vec<usize>) = ((1..=5).collect(), (6..=35).collect());
    let sets = Subsets::new(&drawing(999), &keys, &plain, Pool::Plain).unwrap();
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

/// Few others, and values with a long tail: p ≤ 5 % is as rare, where N1 from the others alone rejects more
/// often.
#[test]
fn n1_exchanged_is_calibrated_with_few_others_and_long_tails() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let (keys, plain): (Vec<usize>, Vec<usize>) = ((1..=5).collect(), (6..=30).collect());
    let rules = drawing(999);
    let [plain_sets, exchanged] = [Pool::Plain, Pool::Exchanged]
        .map(|pool| Subsets::new(&rules, &keys, &plain, pool).unwrap());
    let (mut found, mut liberal) = (Vec::new(), Vec::new());
    for _ in 0..6_000 {
        let values = normals(&mut rng, 30).mapv(f64::exp);
        let own = mean_of(values.view(), &keys).unwrap();
        let [plain, exchanged] = [&plain_sets, &exchanged].map(|sets| sets.means(values.view()));
        let p = |null: &[f64]| stats::p_value(own, null, Side::Upper).unwrap();
        found.push(p(&exchanged));
        liberal.push(p(&plain));
    }
    assert_calibrated(&found);
    assert!(rate(&liberal, 0.05) > 0.08, "{}", rate(&liberal, 0.05));
}

/// Ten saves of independent noise: how far the keys are above the others over all of them has an exact p,
/// when every set is scored among sets of all the rest.
#[test]
fn scores_of_every_set_among_its_rest_are_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let (keys, pool): (Vec<usize>, Vec<usize>) = ((1..=3).collect(), (1..=18).collect());
    let sets = Subsets::new(&drawing(999), &keys, &pool[3..], Pool::Exchanged).unwrap();
    let mut found = Vec::new();
    for _ in 0..1_500 {
        let series = Array2::from_shape_simple_fn((10, 18), || normal(&mut rng));
        let above = |set: &[usize]| {
            let saves = series.rows().into_iter();
            let scores = saves.filter_map(|save| subsets::score(save, set, &pool));
            scores.map(|z| (z - 1.0).max(0.0)).sum::<f64>()
        };
        let null: Vec<f64> = sets.sets().map(above).collect();
        found.push(stats::p_value(above(&keys), &null, Side::Upper).unwrap());
    }
    assert_calibrated(&found);
}

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

#[test]
fn n5c_keys_of_noise_are_nothing_in_the_other_half() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let (p, neurons) = (41, 12);
    let transform = Transform::new(p);
    let halves = |w_l: &Array2<f64>| split::half_norms(w_l.view(), &transform);
    let (rules, all): (_, Vec<usize>) = (drawing(999), (1..=20).collect());
    let mut found = Vec::new();
    for _ in 0..3_000 {
        let w_l = Array2::from_shape_simple_fn((p, neurons), || normal(&mut rng));
        let [even, odd] = halves(&w_l);
        let (keys, plain) = by_end(&Array2::from_shape_vec((1, 20), even.clone()).unwrap(), 4);
        // With the others at 0 those four are the keys by the rule, too.
        let raised: Vec<f64> =
            (1..=20).map(|k| if keys.contains(&k) { even[k - 1] } else { 0.0 }).collect();
        let compared = split::split_sample(&rules, &all, &raised, &odd).unwrap();
        let expected = exchanged_p(&rules, Array1::from(odd).view(), &keys, &plain);
        assert!(compared.p == Some(expected) && compared.null == NullId::N5c);
        found.push(expected);
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
    let compared = split::split_sample(&rules, &all, &even, &odd).unwrap();
    assert!(compared.p.unwrap() < 0.02 && compared.value > 5.0 * compared.mean.unwrap().abs());
    // Without keys there is nothing to compare; with too few others no p.
    assert_eq!(split::split_sample(&rules, &all, &[0.0; 20], &odd), None);
    let few = NullRules { least_sets: 1_000, ..rules };
    assert_eq!(split::split_sample(&few, &all, &even, &odd).unwrap().p, None);
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
        compare(&rules().nulls, NullId::N6, share(w), &null, Side::Upper)
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
    let upper = compare(&rules().nulls, NullId::N3, 2000.0, &null, Side::Upper);
    assert_eq!((upper.mean, upper.count), (Some(500.0), 1001));
    assert!((upper.quantile.unwrap() - 999.0).abs() < 1e-9 && upper.p == Some(1.0 / 1002.0));
    let lower = compare(&rules().nulls, NullId::N3, 0.5, &null, Side::Lower);
    assert!((lower.quantile.unwrap() - 1.0).abs() < 1e-9 && lower.p == Some(2.0 / 1002.0));
    let nothing = compare(&rules().nulls, NullId::N7, 1.0, &[], Side::Upper);
    assert_eq!((nothing.mean, nothing.quantile, nothing.z, nothing.p), (None, None, None, None));
    assert_eq!("N5a'".parse::<NullId>().unwrap(), NullId::N5aPaths);
    let other = NullRules { quantile: 0.5, ..rules().nulls.clone() };
    assert_eq!(compare(&other, NullId::N3, 0.5, &null, Side::Upper).quantile, Some(500.0));
}
