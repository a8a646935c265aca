//! Every judge on series that support, refute, or leave a claim open.

mod of_curse;
mod of_runs;
mod of_tables;
mod of_walks;
mod of_winners;

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::claims::course::{Course, Gap, Outcome, Series};
use crate::claims::phases::Phases;
use crate::claims::rules::{Rules, rules};
use crate::claims::verdict::{Lack, Verdict};

const FREQUENCIES: usize = 28;
const KEYS: [usize; 3] = [3, 7, 11];
const T_MEM: i64 = 100;
const T_DROP: i64 = 500;
const T_GEN: i64 = 800;

/// The rules with fewer draws: tests are many.
fn few_draws() -> Rules {
    let mut rules = rules().clone();
    rules.values.nulls.walks = 400;
    rules.values.nulls.subsets = 200;
    rules.values.over_runs.resamples = 200;
    rules
}

/// A run that memorises at 100, drops at 500, generalises at 800, and ends at 1000; saved every 10 steps.
fn course() -> Course {
    let phases =
        Phases { t_mem: Some(T_MEM), t_peak: Some(200), t_drop: Some(T_DROP), t_gen: Some(T_GEN) };
    let plain = (12..=27).chain([1, 2]).collect::<std::collections::BTreeSet<_>>();
    Course {
        steps: (0..=100).map(|save| 10 * save).collect(),
        phases,
        keys: KEYS.to_vec(),
        plain: plain.into_iter().collect(),
        others: Vec::new(),
    }
}

/// Independent random walks, to which the keys add `rise(step)`.
fn walking(noise: f64, rise: impl Fn(f64) -> f64) -> Series {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let steps = course().steps;
    let mut values = Array2::zeros((steps.len(), FREQUENCIES));
    for k in 0..FREQUENCIES {
        let mut x = 0.0;
        for (save, step) in steps.iter().enumerate() {
            let drawn: f64 = StandardNormal.sample(&mut rng);
            x += noise * drawn;
            let is_key = KEYS.contains(&(k + 1));
            values[[save, k]] = 1.0 + x + if is_key { rise(*step as f64) } else { 0.0 };
        }
    }
    Series { steps, values }
}

/// Independent noise at each save, to which the keys add `rate(step)`.
fn noisy(rate: impl Fn(f64) -> f64) -> Series {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let steps = course().steps;
    let values = Array2::from_shape_fn((steps.len(), FREQUENCIES), |(save, k)| {
        let drawn: f64 = StandardNormal.sample(&mut rng);
        let is_key = KEYS.contains(&(k + 1));
        drawn + if is_key { rate(steps[save] as f64) } else { 0.0 }
    });
    Series { steps, values }
}

/// As c_k is: about 0.
fn about_zero(mut series: Series) -> Series {
    series.values -= 1.0;
    series
}

/// The contrast at the last save that is kept.
fn at_end(_: &[i64], contrast: &[f64]) -> Option<f64> {
    contrast.last().copied()
}

#[track_caller]
fn is(outcome: &Outcome, verdict: Verdict) {
    let found = outcome.as_ref().map_or(Verdict::Undecided, |finding| finding.verdict);
    assert_eq!(found, verdict, "{outcome:#?}");
}

#[track_caller]
fn lacks(outcome: &Outcome, lack: Lack) {
    match outcome {
        Err(Gap(found, _)) => assert_eq!(*found, lack, "{outcome:?}"),
        Ok(finding) => {
            assert_eq!(finding.lack, Some(lack), "{outcome:#?}");
            assert_eq!(finding.verdict, Verdict::Undecided, "{outcome:#?}");
        }
    }
}

/// Without a final algorithm there is no verdict, and without keys none.
#[test]
fn a_run_that_does_not_generalise_has_no_verdict() {
    let mut run = course();
    run.phases.t_gen = None;
    lacks(&c2(rules(), &run, &[]), Lack::NotReached);
    lacks(&c14(rules(), &run, &[]), Lack::NotReached);
    let run = Course { keys: Vec::new(), ..course() };
    lacks(&c7(rules(), &run, &[]), Lack::NoKeys);
}
