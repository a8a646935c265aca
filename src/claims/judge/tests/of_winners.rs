//! N5 of the numbers that claims take of a contrast. The winners of walks that do not differ have p ≤ 5 % no more
//! often than that says.

use super::*;
use crate::claims::curse::Walks;
use crate::claims::nulls::{Compared, NullId};
use crate::claims::stats;

/// With so many, 8 % would be too many.
const REPETITIONS: u64 = 400;

const FREQUENCIES: usize = 40;

/// Walks whose increments are an autoregression of this coefficient, as `shape` makes them; the keys are the
/// highest at the end, and the next ten are compared with nothing, as harmonics and near-winners are.
fn winners(seed: u64, rho: f64, shape: fn(f64) -> f64) -> (Course, Series) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
    let steps = course().steps;
    let mut values = Array2::zeros((steps.len(), FREQUENCIES));
    for mut walk in values.columns_mut() {
        let (mut x, mut v) = (0.0, normal());
        for value in &mut walk {
            *value = x;
            v = rho * v + (1.0 - rho * rho).sqrt() * normal();
            x += v;
        }
    }
    let last = values.row(steps.len() - 1).to_vec();
    let spread = stats::deviation(&last).unwrap();
    values.mapv_inplace(|x| shape(x / spread));
    let mut order: Vec<usize> = (1..=FREQUENCIES).collect();
    order.sort_by(|a, b| last[b - 1].total_cmp(&last[a - 1]));
    let [mut keys, mut plain] = [&order[..5], &order[15..]].map(<[usize]>::to_vec);
    keys.sort_unstable();
    plain.sort_unstable();
    (Course { keys, plain, ..course() }, Series { steps, values })
}

/// Repeat with other walks and other draws: p of this null, of every number that `numbers` takes.
#[track_caller]
fn assert_conservative(
    (rho, shape): (f64, fn(f64) -> f64),
    null: NullId,
    numbers: impl Fn(&Rules, &Course, &Series) -> Vec<(&'static str, Vec<Compared>)>,
) {
    let mut small = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..REPETITIONS {
        let mut rules = few_draws();
        rules.values.nulls.walks = 199;
        rules.values.nulls.seed = seed;
        let (run, series) = winners(seed, rho, shape);
        for (name, found) in numbers(&rules, &run, &series) {
            let of_null = found.iter().find(|compared| compared.null == null).expect("that null");
            *small.entry(name).or_default() += u64::from(of_null.p.unwrap() <= 0.05);
        }
    }
    let n = REPETITIONS as f64;
    let most = 0.05 + 2.5 * (0.05f64 * 0.95 / n).sqrt();
    let rates = small.iter().map(|(name, count)| (*name, *count as f64 / n));
    let rates: Vec<(&str, f64)> = rates.collect();
    assert!(rates.iter().all(|(_, rate)| *rate <= most), "rho {rho}: {rates:?}, at most {most}");
}

/// The rises of C1, C8 and C4b.
fn rises(rules: &Rules, run: &Course, series: &Series) -> Vec<(&'static str, Vec<Compared>)> {
    let walks = Walks::new(rules, run, series);
    let of = |name, last| (name, walks.rise_over_others((0, last)));
    vec![of("rise to 50", rules.c4.last_step), of("rise to t_gen", T_GEN)]
}

/// The clearances of C3, by the steps that support and that refute.
fn clearances(
    rules: &Rules,
    run: &Course,
    known: &Known<'_>,
) -> Vec<(&'static str, Vec<Compared>)> {
    let deadline = Deadline { name: "t_mem", unit: 2 * T_MEM, bounds: rules.c3.a };
    let mut found = origin(rules, run, known, (None, None), &[deadline]);
    let [early, late] = found.curse.remove("t_mem").expect("that deadline");
    vec![("early", early.clearance), ("late", late.clearance)]
}

fn clearances_of_values(
    rules: &Rules,
    run: &Course,
    series: &Series,
) -> Vec<(&'static str, Vec<Compared>)> {
    let walks = Walks::new(rules, run, series);
    clearances(rules, run, &Known { series, walks: &walks, of: OfWalks::Value })
}

fn clearances_of_growth(
    rules: &Rules,
    run: &Course,
    series: &Series,
) -> Vec<(&'static str, Vec<Compared>)> {
    let walks = Walks::new(rules, run, series);
    clearances(rules, run, &Known { series: &series.growth(), walks: &walks, of: OfWalks::Growth })
}

const AS_THEY_ARE: fn(f64) -> f64 = |x| x;
const LONG_TAILED: fn(f64) -> f64 = |x| (1.5 * x).sinh();

#[test]
fn rises_of_winners_are_theirs() {
    assert_conservative((0.0, AS_THEY_ARE), NullId::N5a, rises);
    for process in [(0.0, AS_THEY_ARE), (0.9, AS_THEY_ARE), (0.9, LONG_TAILED)] {
        assert_conservative(process, NullId::N5aPaths, rises);
    }
}

#[test]
fn clearances_of_winners_are_theirs() {
    assert_conservative((0.0, AS_THEY_ARE), NullId::N5a, clearances_of_values);
    for process in [(0.0, AS_THEY_ARE), (0.9, AS_THEY_ARE), (0.9, LONG_TAILED)] {
        assert_conservative(process, NullId::N5aPaths, clearances_of_values);
    }
}

#[test]
fn clearances_of_the_growth_of_winners_are_theirs() {
    assert_conservative((0.0, AS_THEY_ARE), NullId::N5a, clearances_of_growth);
    for process in [(0.0, AS_THEY_ARE), (0.9, AS_THEY_ARE)] {
        assert_conservative(process, NullId::N5aPaths, clearances_of_growth);
    }
}
