//! C13: whether a detector that does not know the keys finds them in time.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::nulls::NullId;
use crate::claims::rules::Rules;
use crate::claims::verdict::{Against, Finding, Lack, Measured, Verdict};

/// What the blind detector says of a run, beside runs on permuted labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detected {
    /// Step from which some final key stays rejected
    pub step: Option<i64>,
    /// The last step that was looked at
    pub last: i64,
    /// The key
    pub key: Option<usize>,
    /// Mean over saves of the share of rejected frequencies that are no keys
    pub false_share: Option<f64>,
    /// The same on a run on permuted labels that was held out, all frequencies
    pub held_out: Option<f64>,
    /// Area under the curve of hits against false alarms, over saves of this run and of the held-out one
    pub area: Option<f64>,
    /// `neuron_share` of the keys, in sum, at the detection
    pub neuron_share: Option<f64>,
    /// Runs on permuted labels
    pub twins: usize,
}

/// C13: before the test loss drops, the circuit cannot be told from noise.
///
/// # Errors
/// What is missing.
pub fn c13(rules: &Rules, course: &Course, found: &Detected) -> Outcome {
    course.require_final()?;
    let (t_drop, t_gen) = (course.t_drop()?, course.t_gen()?);
    if found.twins < rules.c13.least_twins {
        let reason = format!(
            "{} runs on permuted labels; the detector needs {}",
            found.twins, rules.c13.least_twins
        );
        return Err(Gap(Lack::NoTwin, reason));
    }
    let early = rules.c13.early * t_gen as f64;
    let verdict = match found.step {
        None if found.last >= t_drop => Verdict::Supports,
        None => {
            let last = found.last;
            let reason = format!("the runs on permuted labels end at step {last}, before t_drop");
            return Err(Gap(Lack::NoTwin, reason));
        }
        Some(step) if step > t_drop => Verdict::Supports,
        Some(step) if (step as f64) < early => Verdict::Refutes,
        Some(_) => Verdict::Undecided,
    };
    let ratio = found.step.map(|step| step as f64 / t_gen as f64);
    let n3 = Against { null: NullId::N3.name(), mean: found.held_out, ..Against::default() };
    let parts = vec![
        Measured::number("detection/t_gen", ratio)
            .judged(verdict, format!("supports after t_drop, refutes < {}", rules.c13.early)),
        Measured::number("key_detected", found.key.map(|key| key as f64)),
        Measured::number("false_discoveries", found.false_share).against(n3),
        Measured::number("area_under_curve", found.area),
        Measured::number("neuron_share_at_detection", found.neuron_share),
    ];
    let reason = match (found.step, ratio) {
        (Some(step), Some(ratio)) => format!(
            "detection/t_gen {}: a key is found at step {step}, t_drop is {t_drop}",
            short(ratio)
        ),
        _ => "detection/t_gen: no key is ever found".to_owned(),
    };
    Ok(Finding::new(verdict, ratio, reason, parts))
}
