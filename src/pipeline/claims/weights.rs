//! What the tables do not have: a few checkpoints, evaluated or transformed.

use std::collections::BTreeMap;

use ndarray::Array2;

use crate::archive::{CheckpointRef, Run};
use crate::circuits;
use crate::claims::course::{Course, Gap};
use crate::claims::judge::{Overlaps, exponents};
use crate::claims::nulls::subsets::{Pool, Subsets};
use crate::claims::nulls::{Compared, split};
use crate::claims::rules::Rules;
use crate::claims::stats::mean;
use crate::claims::verdict::Lack;
use crate::error::{Error, Result};
use crate::model::{Network, names};
use crate::params::Params;
use crate::pipeline::evaluation::Evaluation;
use crate::pipeline::patience;
use crate::pipeline::run::RunContext;
use crate::progress::{LogitTable, Protocol, restricted};
use crate::weights;

fn load(run: &RunContext, checkpoint: &CheckpointRef) -> Result<Params<f64>> {
    let checkpoint = patience::load_within(run.io_timeout, checkpoint)?;
    weights::of_network(&checkpoint, &run.net)
}

/// Why a claim lacks what a checkpoint would have told.
fn unusable(error: &Error) -> Gap {
    Gap(Lack::Missing, error.to_string())
}

fn saved(run: &Run, step: i64) -> Result<&CheckpointRef> {
    run.checkpoint(u64::try_from(step).unwrap_or(u64::MAX))
}

/// The logits of a checkpoint on all inputs, as sums over inputs of equal index.
fn table<'a>(context: &'a RunContext, checkpoint: &CheckpointRef) -> Result<LogitTable<'a>, Gap> {
    let params = load(context, checkpoint).map_err(|error| unusable(&error))?;
    let finite = params.values.iter().all(|value| value.is_finite());
    let evaluated = Some(params).filter(|_| finite).and_then(|p| Evaluation::new(context, &p));
    let evaluated = evaluated.ok_or_else(|| {
        let path = checkpoint.path.display();
        Gap(Lack::Missing, format!("{path}: leaves the range of its numbers"))
    })?;
    Ok(LogitTable::new(evaluated.logits.view(), &context.group, Protocol::SumDirs))
}

/// How much of the final circuit is there at a step, of the keys, of sets of N1, and of the keys of other
/// runs (N4).
///
/// # Errors
/// What is missing.
pub fn overlaps(
    rules: &Rules,
    course: &Course,
    run: &Run,
    context: &RunContext,
    step: i64,
) -> Result<Overlaps, Gap> {
    let circuit = context.circuit.as_ref();
    let circuit = circuit.ok_or_else(|| Gap(Lack::Missing, "the task is not periodic".into()))?;
    let last = run.checkpoints.last();
    let last = last.ok_or_else(|| Gap(Lack::Missing, "no final checkpoint".into()))?;
    let now = saved(run, step).map_err(|error| unusable(&error))?;
    let (now, end) = (table(context, now)?, table(context, last)?);
    // Parts at different frequencies are orthogonal: products of sets are sums of these.
    let products: Vec<[f64; 3]> = (1..=context.group.order() / 2)
        .map(|k| {
            let [now, end] = [&now, &end].map(|table| table.component(&[k]));
            match (now.by_sum(), end.by_sum()) {
                (Some(now), Some(end)) => {
                    let dot = |x: &Array2<f64>, y: &Array2<f64>| (x * y).sum();
                    [dot(now, end), dot(now, now), dot(end, end)]
                }
                _ => [0.0; 3],
            }
        })
        .collect();
    let cosine = |set: &[usize]| {
        let sum = |i: usize| set.iter().map(|k| products[k - 1][i]).sum::<f64>();
        let norm = (sum(1) * sum(2)).sqrt();
        (norm > 0.0).then(|| sum(0) / norm)
    };
    let accuracy =
        |set: &[usize]| restricted(&now, &now.component(set), &circuit.test).mean_accuracy();
    let largest = products.len();
    let sets = course.subsets(rules, Pool::Plain);
    let sets = sets.iter().flat_map(Subsets::sets);
    // The cosine of a set with one key in it is nearly that key's.
    let single = |set: &[usize]| {
        let each: Option<Vec<f64>> = set.iter().map(|k| cosine(&[*k])).collect();
        each.and_then(|each| mean(&each))
    };
    // Keys that both runs share are this run's, too.
    let others = course.others.iter().filter_map(|(run, keys)| {
        let is_theirs = |key: &usize| *key <= largest && !course.keys.contains(key);
        let keys: Vec<usize> = keys.iter().copied().filter(is_theirs).collect();
        (!keys.is_empty()).then(|| (run.clone(), accuracy(&keys), cosine(&keys)))
    });
    Ok(Overlaps {
        cosine: cosine(&course.keys),
        sets: sets.map(|set| (accuracy(set), cosine(set))).collect(),
        p: (course.exchanged_p(rules, accuracy), course.exchanged_p(rules, single)),
        others: others.collect(),
    })
}

/// N5c: the keys by the even neurons of W_L at the end, in its odd neurons at the last save up to a step.
///
/// # Errors
/// What is missing.
pub fn split_sample(
    rules: &Rules,
    course: &Course,
    run: &Run,
    context: &RunContext,
    until: i64,
) -> Result<Compared, Gap> {
    let halves = |step: i64| {
        let found = saved(run, step).and_then(|checkpoint| load(context, checkpoint));
        let params = found.map_err(|error| unusable(&error))?;
        if params.values.iter().any(|value| !value.is_finite()) {
            return Err(Gap(Lack::Missing, format!("step {step}: weights that are no numbers")));
        }
        let w_l = circuits::w_l(&context.net, &params, &context.group); // [d_mlp, n]
        Ok(split::half_norms(w_l.t(), &context.transform))
    };
    let now = course.steps.iter().rfind(|step| **step <= until);
    let now = now.ok_or_else(|| Gap(Lack::Missing, format!("no save up to step {until}")))?;
    let last = course.steps.last().copied().unwrap_or(*now);
    let ([even, _], [_, odd]) = (halves(last)?, halves(*now)?);
    split::split_sample(&rules.nulls, &course.plain, &even, &odd).ok_or_else(|| {
        let reason = "the even neurons of W_L have no keys at the end, or nothing else";
        Gap(Lack::NoKeys, reason.into())
    })
}

/// Saves in a window that are equally far apart, as far as the coarsest of them, up to its end; after the last
/// that is missing from them.
fn equally_apart(steps: &[i64], first: i64, last: i64) -> Vec<i64> {
    let within: Vec<i64> =
        steps.iter().copied().filter(|step| (first..=last).contains(step)).collect();
    let apart = within.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(1);
    let Some(end) = within.last() else { return Vec::new() };
    let kept: Vec<i64> = within.iter().copied().filter(|step| (end - step) % apart == 0).collect();
    let hole = kept.windows(2).rposition(|pair| pair[1] - pair[0] != apart);
    kept[hole.map_or(0, |before| before + 1)..].to_vec()
}

/// Exponents of the mean squared displacement of every frequency's rows of F·W_Eᵀ between t_mem and t_gen.
///
/// # Errors
/// What is missing.
pub fn embedding_exponents(
    course: &Course,
    run: &Run,
    context: &RunContext,
) -> Result<Vec<f64>, Gap> {
    let (t_mem, t_gen) = (course.t_mem()?, course.t_gen()?);
    let Network::Transformer(_) = &context.net else {
        return Err(Gap(Lack::Missing, "a network of this architecture has no W_E".into()));
    };
    let steps = equally_apart(&course.steps, t_mem, t_gen);
    let order = context.group.order();
    let mut paths: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for step in &steps {
        let found = saved(run, *step).and_then(|checkpoint| load(context, checkpoint));
        let params = found.map_err(|error| unusable(&error))?;
        let w_e = params.matrix(names::W_E).select(ndarray::Axis(1), context.group.residues());
        let rows = context.transform.rows(w_e.view()); // [d_model, n]
        for k in 1..=order / 2 {
            let path = paths.entry(k).or_default();
            for row in crate::fourier::rows_of(order, k) {
                path.extend(rows.column(row));
            }
        }
    }
    let paths: Vec<Array2<f64>> = paths
        .into_values()
        .filter_map(|path| {
            let entries = path.len() / steps.len();
            Array2::from_shape_vec((steps.len(), entries), path).ok()
        })
        .collect();
    let views: Vec<_> = paths.iter().map(|path| path.view()).collect();
    exponents(&views).filter(|found| !found.is_empty()).ok_or_else(|| {
        let found = steps.len();
        Gap(Lack::NotReached, format!("{found} saves equally far apart between t_mem and t_gen"))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::archive::Archive;
    use crate::claims::nulls::NullId;
    use crate::claims::rules::rules;
    use crate::pipeline::run::Subject;

    /// The tiny run has three frequencies: enough for a contrast of the halves, and none for a p.
    #[test]
    fn halves_are_those_of_the_end_and_of_the_save_before_the_deadline() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny");
        let archive = Archive::open(&path).unwrap();
        let run = &archive.runs[0];
        let context = Subject::new(run).and_then(Subject::into_network).unwrap();
        let steps: Vec<i64> = run.checkpoints.iter().map(|c| c.step as i64).collect();
        let course = Course { steps, plain: vec![1, 2, 3], ..Course::default() };
        let at = |until: i64| split_sample(rules(), &course, run, &context, until);
        let [first, later] = [0, course.steps[1] - 1].map(|until| at(until).unwrap());
        assert_eq!((first, first.null, first.p), (later, NullId::N5c, None));
        assert_ne!(first.value, at(course.steps[1]).unwrap().value);
        assert_eq!(at(-1).unwrap_err(), Gap(Lack::Missing, "no save up to step -1".into()));
    }

    /// Keys that another run shares with this one are this run's.
    #[test]
    fn keys_of_other_runs_are_theirs_alone() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny");
        let archive = Archive::open(&path).unwrap();
        let run = &archive.runs[0];
        let context = Subject::new(run).and_then(Subject::into_network).unwrap();
        let steps: Vec<i64> = run.checkpoints.iter().map(|c| c.step as i64).collect();
        let others = [("same", vec![1]), ("other", vec![1, 2, 99])];
        let others = others.map(|(run, keys)| (run.to_owned(), keys)).to_vec();
        let course = Course { steps, keys: vec![1], others, ..Course::default() };
        let found = overlaps(rules(), &course, run, &context, 50).unwrap();
        let of_second = Course { keys: vec![2], others: Vec::new(), ..course };
        let second = overlaps(rules(), &of_second, run, &context, 50).unwrap();
        let [(name, accuracy, cosine)] = &found.others[..] else { panic!("{found:?}") };
        assert_eq!((name.as_str(), *cosine), ("other", second.cosine));
        assert!(accuracy.is_some() && second.cosine != found.cosine);
    }

    #[test]
    fn saves_equally_far_apart_end_where_the_window_ends() {
        let steps: Vec<i64> =
            (0..20).chain((20..100).step_by(10)).chain((100..=500).step_by(100)).collect();
        assert_eq!(equally_apart(&steps, 15, 400), [100, 200, 300, 400]);
        assert_eq!(equally_apart(&steps, 2, 5), [2, 3, 4, 5]);
        // 400 is missing.
        assert_eq!(equally_apart(&[200, 300, 500, 600, 700, 800], 200, 800), [600, 800]);
        assert_eq!(equally_apart(&steps, 18, 50), [20, 30, 40, 50]);
        assert_eq!(equally_apart(&steps, 600, 700), [0; 0]);
    }
}
