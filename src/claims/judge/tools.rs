//! C13: whether a detector that does not know the keys finds them in time.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::detector::Scores;
use crate::claims::nulls::NullId;
use crate::claims::rules::Rules;
use crate::claims::verdict::{Against, Finding, Lack, Measured, Verdict};

/// A key that is detected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// Step from which on it stays rejected
    pub step: i64,
    pub key: usize,
    /// Chance of as many keys among the rejected frequencies, the largest in the row of saves
    pub chance: f64,
    /// `neuron_share` of all keys, in sum, at that step
    pub neuron_share: Option<f64>,
}

/// What the blind detector says of a run, beside runs on permuted labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detected {
    /// By the detector that is centred and selective, which judges
    pub judged: Option<Seen>,
    /// By that of the definition, which is neither
    pub literal: Option<Seen>,
    /// The last step that was looked at
    pub last: i64,
    /// Saves before t_drop that were looked at
    pub before_drop: usize,
    /// The smallest chance that a detection can have
    pub smallest_chance: f64,
    /// Share of the saves at which anything is rejected
    pub discoveries: Option<f64>,
    /// The same of runs on permuted labels that were held out, their mean
    pub held_out: Option<f64>,
    /// Share of random sets of as many frequencies as keys that are detected on those
    pub false_alarms: Option<f64>,
    /// Share of the rejected frequencies that are plain, and that are harmonics of the keys or pass the rule
    /// of W_E; means over the saves at which anything is rejected
    pub plain_share: Option<f64>,
    pub harmonic_share: Option<f64>,
    /// How clearly keys and plain frequencies are seen before t_drop
    pub scores: Scores,
    /// Runs on permuted labels
    pub twins: usize,
    /// Why others are left out
    pub left_out: Vec<String>,
}

/// C13: before the test loss drops, the circuit cannot be told from noise.
///
/// # Errors
/// What is missing.
pub fn c13(rules: &Rules, course: &Course, found: &Detected) -> Outcome {
    course.require_final()?;
    let (t_drop, t_gen) = (course.t_drop()?, course.t_gen()?);
    let left_out: String = found.left_out.iter().map(|why| format!("; left out: {why}")).collect();
    let gap = |lack, reason: String| Err(Gap(lack, reason + &left_out));
    if found.twins < rules.c13.least_twins {
        let reason = format!(
            "{} runs on permuted labels; the detector needs {}",
            found.twins, rules.c13.least_twins
        );
        return gap(Lack::NoTwin, reason);
    }
    if found.before_drop < rules.nulls.in_a_row {
        let reason = format!(
            "{} saves before t_drop that these runs have in common; a detection is {} in a row",
            found.before_drop, rules.nulls.in_a_row
        );
        return gap(Lack::Missing, reason);
    }
    if found.smallest_chance > rules.c13.selectivity {
        let reason = format!(
            "so few frequencies that all keys and no other are rejected by chance with p = {}",
            short(found.smallest_chance)
        );
        return gap(Lack::NotReached, reason);
    }
    let early = rules.c13.early * t_gen as f64;
    let judge = |seen: Option<Seen>| {
        let Some(Seen { step, .. }) = seen else { return Verdict::Undecided };
        match (step > t_drop, (step as f64) < early) {
            (true, false) => Verdict::Supports,
            (false, true) => Verdict::Refutes,
            _ => Verdict::Undecided,
        }
    };
    let ratio = |seen: Option<Seen>| Some(seen?.step as f64 / t_gen as f64);
    let bounds = format!("supports after t_drop, refutes < {}", rules.c13.early);
    let (seen, literal) = (found.judged, found.literal);
    let verdict = judge(seen);
    let held_out = Against { null: NullId::N3.name(), mean: found.held_out, ..Against::default() };
    let chance = |seen: Option<Seen>| seen.map(|seen| seen.chance);
    let parts = vec![
        Measured::number("detection/t_gen", ratio(seen)).judged(verdict, bounds.clone()),
        Measured::number("detection/t_gen of any rejection", ratio(literal))
            .judged(judge(literal), format!("{bounds}; neither centred nor selective")),
        Measured::number("key_detected", seen.map(|seen| seen.key as f64)),
        Measured::number("selectivity_p", chance(seen)),
        Measured::number("selectivity_p of any rejection", chance(literal)),
        Measured::number("saves_with_discoveries", found.discoveries).against(held_out),
        Measured::number("false_alarms", found.false_alarms),
        Measured::number("plain_of_discoveries", found.plain_share),
        Measured::number("harmonics_of_discoveries", found.harmonic_share),
        Measured::number("neuron_share_at_detection", seen.and_then(|seen| seen.neuron_share)),
        Measured::number("area_under_curve", found.scores.area()),
    ];
    let reason = match seen.zip(ratio(seen)) {
        Some((Seen { step, key, .. }, ratio)) => {
            let late = step > t_drop && (step as f64) < early;
            let both = if late { ", which comes late and early by the two rules" } else { "" };
            format!(
                "detection/t_gen {}: key {key} is found at step {step}, t_drop is {t_drop}{both}",
                short(ratio)
            )
        }
        // A detector that never sees the circuit says nothing of when others could.
        None => format!(
            "detection/t_gen: no key is found up to step {}, t_gen is {t_gen}: nothing shows that this \
             detector could see the circuit",
            found.last
        ),
    };
    Ok(Finding::new(verdict, ratio(seen), reason + &left_out, parts))
}

/// The ROC curve over seeds: the area under it, and the hits at a share of false alarms of `level`. A point of
/// the curve is a threshold; what is counted are the keys and the plain frequencies of all runs whose
/// p stays below it for so many saves in a row before t_drop.
#[must_use]
pub fn curve<'a>(level: f64, runs: impl IntoIterator<Item = &'a Scores>) -> [Measured; 2] {
    let all = Scores::together(runs);
    let told = format!("{} keys, {} plain frequencies", all.keys.len(), all.plain.len());
    [
        Measured::number("area_under_curve of all seeds", all.area()).because(told.clone()),
        Measured::number(format!("hits at {level} false alarms"), all.hits(level)).because(told),
    ]
}
