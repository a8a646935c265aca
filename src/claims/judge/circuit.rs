//! C5: how much of the final circuit is there when the test loss starts to move.

use crate::claims::course::{Course, Outcome, short};
use crate::claims::nulls::{Compared, NullId, compare};
use crate::claims::rules::Rules;
use crate::claims::stats::Side;
use crate::claims::verdict::{Against, Finding, Lack, Measured, Verdict};

/// What the network is at t_drop.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AtDrop {
    /// Restricted accuracy on the test pairs
    pub accuracy: Option<f64>,
    /// From the weights; `None` if they were not read
    pub weights: Option<Overlaps>,
    /// Share of the neurons with a clear frequency at the end that have it already
    pub neurons: Option<f64>,
}

/// Accuracy and cosine of a set of frequencies.
pub type OfSet = (Option<f64>, Option<f64>);

/// How one set of frequencies is at t_drop, and that of others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overlaps {
    /// Cosine of L_K at t_drop and at the end
    pub cosine: Option<f64>,
    /// Accuracy and cosine of the sets of N1
    pub sets: Vec<OfSet>,
    /// p of both among sets of keys and others together; of the cosine that of the mean over single
    /// frequencies
    pub p: OfSet,
    /// The same of the keys of other runs: N4
    pub others: Vec<(String, Option<f64>, Option<f64>)>,
}

/// One of both.
type Column = fn(&OfSet) -> Option<f64>;

/// C5: the circuit is almost right.
///
/// # Errors
/// What is missing.
pub fn c5(rules: &Rules, course: &Course, found: &AtDrop) -> Outcome {
    course.require_final()?;
    let t_drop = course.t_drop()?;
    let rule = &rules.c5;
    let mut parts = Vec::new();
    let accuracy = match found.accuracy {
        Some(accuracy) => {
            let verdict = rule.accuracy.judge(accuracy);
            let row = Measured::number("restricted_accuracy_test", Some(accuracy));
            parts.push(row.judged(verdict, rule.accuracy.words()));
            verdict
        }
        None => {
            let reason = format!("table progress has none at step {t_drop}");
            parts.push(Measured::lacking("restricted_accuracy_test", Lack::Missing, reason));
            Verdict::Undecided
        }
    };
    let at_least = |value: f64, least: f64| {
        if value >= least { Verdict::Supports } else { Verdict::Undecided }
    };
    let cosine = found.weights.as_ref().and_then(|weights| weights.cosine);
    let mut of_others = String::new();
    let p = found.weights.as_ref().and_then(|weights| weights.p.0);
    if let Some(weights) = &found.weights {
        let both: [(&str, Option<f64>, Column); 2] = [
            ("restricted_accuracy_test", found.accuracy, |set| set.0),
            ("cosine_to_end", weights.cosine, |set| set.1),
        ];
        for (name, value, of) in both {
            let Some(value) = value else { continue };
            let null: Vec<f64> = weights.sets.iter().filter_map(of).collect();
            let n1 = compare(&rules.nulls, NullId::N1, value, &null, Side::Upper);
            let n1 = Compared { p: of(&weights.p), ..n1 };
            parts.push(Measured::number(name, Some(value)).against(n1.into()));
        }
        for (run, accuracy, cosine) in &weights.others {
            let against = Against { null: NullId::N4.name(), ..Against::default() };
            for (name, value) in [("restricted_accuracy_test", accuracy), ("cosine_to_end", cosine)]
            {
                let row = Measured::number(format!("{name}, keys of {run}"), *value);
                parts.push(row.against(against));
            }
        }
        let as_right = |(_, accuracy, _): &&(String, Option<f64>, Option<f64>)| {
            accuracy.is_some_and(|value| rule.accuracy.judge(value) == Verdict::Supports)
        };
        let (held, sets) = (weights.others.iter().filter(as_right).count(), weights.others.len());
        if sets > 0 {
            of_others = format!("; as right with the keys of other runs: {held} of {sets}");
        }
    }
    let mut part = |name: &str, value: Option<f64>, least: f64, from: &str| {
        let verdict = value.map_or(Verdict::Undecided, |value| at_least(value, least));
        parts.push(match value {
            Some(_) => Measured::number(name, value).judged(verdict, format!("supports ≥ {least}")),
            None => Measured::lacking(name, Lack::Missing, from),
        });
        verdict
    };
    let of_cosine = part("cosine_to_end", cosine, rule.cosine, "the weights could not be read");
    let of_neurons =
        part("neurons_at_final_frequency", found.neurons, rule.neurons, "no rows in table neurons");
    let verdict = match accuracy {
        Verdict::Refutes => Verdict::Refutes,
        accuracy => Verdict::unanimous(&[accuracy, of_cosine, of_neurons]),
    };
    let bare = verdict == Verdict::Supports && p.is_none();
    let verdict = if bare { Verdict::Undecided } else { verdict };
    let missing = bare || found.accuracy.is_none() || cosine.is_none() || found.neurons.is_none();
    let lack = (missing && verdict == Verdict::Undecided).then_some(Lack::Missing);
    let told = |value: Option<f64>| value.map_or_else(|| "unknown".into(), short);
    if bare {
        of_others += "; N1 is undefined";
    }
    let reason = format!(
        "restricted_accuracy_test {} at t_drop = {t_drop}; cosine to the end {}, neurons at their final \
         frequency {}{of_others}",
        told(found.accuracy),
        told(cosine),
        told(found.neurons),
    );
    Ok(Finding::new(verdict, found.accuracy, reason, parts).with_p(p).lack(lack))
}
