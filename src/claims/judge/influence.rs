//! C2, C7 and C12: which part of the logits decides the loss, and whether the parts interfere.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::rules::Rules;
use crate::claims::verdict::{Finding, Lack, Measured, Verdict};

/// What table `shares` has of a save, as far as the claims need it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShareSave {
    pub step: i64,
    pub share_key_train: Option<f64>,
    pub share_key_test: Option<f64>,
    /// v(∅) − v(KR) on the training pairs: what both parts explain
    pub explained_train: Option<f64>,
    pub interaction_train: Option<f64>,
    /// Of mean, L_K and L_R, training pairs
    pub deltas_train: Option<[f64; 3]>,
    pub closure_train: Option<f64>,
    /// atan2(α*, β*) on the test pairs, in degrees: above 45 the best mixture prefers the keys
    pub angle_test: Option<f64>,
    pub gradient_cosine: Option<f64>,
    pub kernel_cross: Option<f64>,
}

/// C2: the rest determines the output until late.
///
/// # Errors
/// What is missing.
pub fn c2(rules: &Rules, course: &Course, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let (t_mem, t_drop) = (course.t_mem()?, course.t_drop()?);
    let known: Vec<(i64, f64)> = saves
        .iter()
        .filter(|save| save.step <= t_drop)
        .filter_map(|save| Some((save.step, save.share_key_train?)))
        .collect();
    let steps = known.iter().map(|(step, _)| *step);
    course.require_cover(rules, "share_key_train", (t_mem, t_drop), steps)?;
    let bounds = rules.c2.share_key;
    let largest = known.iter().map(|(_, share)| *share).fold(f64::NEG_INFINITY, f64::max);
    let half = passes_half(saves, rules, |save| save.share_key_train);
    let at_drop = known.iter().rfind(|(step, _)| *step == t_drop).map(|(_, share)| *share);
    let middle = t_mem as f64 + rules.c2.middle * (t_drop - t_mem) as f64;
    let early = in_a_row(&known, rules.nulls.in_a_row, |share| share >= bounds.refutes);
    let verdict = match early {
        Some(step) if (step as f64) < middle => Verdict::Refutes,
        _ if largest <= bounds.supports => Verdict::Supports,
        _ => Verdict::Undecided,
    };
    let step = |step: Option<i64>| step.map(|step| step as f64);
    let test = passes_half(saves, rules, |save| save.share_key_test);
    let parts = vec![
        Measured::number("largest_share_key_train", Some(largest)).judged(verdict, bounds.words()),
        Measured::number("share_key_train_at_drop", at_drop),
        Measured::number("step_half_train", step(half)),
        Measured::number("step_half_test", step(test)),
    ];
    let when = half.map_or_else(|| "never".into(), |step| format!("at step {step}"));
    let reason = format!(
        "largest_share_key_train up to t_drop {}; passes ½ {when}, t_drop is {t_drop}",
        short(largest)
    );
    Ok(Finding::new(verdict, Some(largest), reason, parts))
}

/// First save from which a value is so for some saves in a row.
fn in_a_row(saves: &[(i64, f64)], count: usize, is: impl Fn(f64) -> bool) -> Option<i64> {
    saves.windows(count).find(|few| few.iter().all(|(_, value)| is(*value))).map(|few| few[0].0)
}

fn passes_half(
    saves: &[ShareSave],
    rules: &Rules,
    share: impl Fn(&ShareSave) -> Option<f64>,
) -> Option<i64> {
    let known: Vec<(i64, f64)> =
        saves.iter().filter_map(|save| Some((save.step, share(save)?))).collect();
    in_a_row(&known, rules.nulls.in_a_row, |share| share >= 0.5)
}

/// C7: almost all change of the loss is the rest's.
///
/// # Errors
/// What is missing: a single save without its part would leave a gap in the sum.
pub fn c7(rules: &Rules, course: &Course, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let t_drop = course.t_drop()?;
    let first = course.steps.first().copied().unwrap_or(0);
    let (mut sums, mut open) = ([0.0; 3], 0);
    let wanted = course.steps.iter().filter(|step| (first + 1..=t_drop).contains(step));
    for step in wanted {
        let save = saves.iter().find(|save| save.step == *step);
        let deltas = save
            .and_then(|save| save.deltas_train)
            .ok_or_else(|| Gap(Lack::Missing, format!("no deltas at step {step}")))?;
        open += usize::from(save.is_some_and(|s| s.closure_train > Some(rules.c7.closure)));
        sums.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += delta.abs());
    }
    let total: f64 = sums.iter().sum();
    if total <= 0.0 {
        return Err(Gap(Lack::NotReached, "the loss does not change up to t_drop".into()));
    }
    let [mean, key, rest] = sums.map(|sum| sum / total);
    let mut verdict = rules.c7.share_rest.judge(rest);
    let mut reason =
        format!("share_rest {} of all change of the train loss up to t_drop", short(rest));
    if open > 0 {
        verdict = Verdict::Undecided;
        reason += &format!("; the parts of {open} saves miss more than the rules allow");
    }
    let parts = vec![
        Measured::number("share_rest", Some(rest)).judged(verdict, rules.c7.share_rest.words()),
        Measured::number("share_key", Some(key)),
        Measured::number("share_mean", Some(mean)),
    ];
    Ok(Finding::new(verdict, Some(rest), reason, parts))
}

/// C12: the two parts hardly interfere, in the loss, in its gradients, in the tangent kernel.
///
/// # Errors
/// What is missing.
pub fn c12(rules: &Rules, course: &Course, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let (t_mem, t_gen) = (course.t_mem()?, course.t_gen()?);
    let bounds = rules.c12.interference;
    let window = || saves.iter().filter(|save| (t_mem..=t_gen).contains(&save.step));
    let interaction = |save: &ShareSave| {
        let explained = save.explained_train.filter(|explained| *explained > 0.01)?;
        Some(save.interaction_train?.abs() / explained)
    };
    let known = window().filter(|save| interaction(save).is_some()).map(|save| save.step);
    course.require_cover(rules, "interaction_train", (t_mem, t_gen), known)?;
    let largest = |of: &dyn Fn(&ShareSave) -> Option<f64>| {
        window().filter_map(of).map(f64::abs).reduce(f64::max)
    };
    let found = [
        ("interaction", largest(&interaction)),
        ("gradient_cosine", largest(&|save| save.gradient_cosine)),
        ("kernel_cross", largest(&|save| save.kernel_cross)),
    ];
    let judged = |value: Option<f64>| value.map_or(Verdict::Undecided, |v| bounds.judge(v));
    let parts: Vec<Measured> = found
        .iter()
        .map(|(name, value)| match value {
            Some(_) => Measured::number(*name, *value).judged(judged(*value), bounds.words()),
            None => Measured::lacking(*name, Lack::Missing, "table shares has no value of it"),
        })
        .collect();
    let verdicts: Vec<Verdict> = found.iter().map(|(_, value)| judged(*value)).collect();
    let verdict = if verdicts.contains(&Verdict::Refutes) {
        Verdict::Refutes
    } else {
        Verdict::unanimous(&verdicts)
    };
    let missing: Vec<&str> =
        found.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    let worst = found.iter().filter_map(|(_, value)| *value).reduce(f64::max);
    let mut reason = format!("largest_interference {}", worst.map_or_else(String::new, short));
    if !missing.is_empty() {
        reason += &format!("; {} not measured", missing.join(", "));
    }
    let lack = (!missing.is_empty() && verdict == Verdict::Undecided).then_some(Lack::Missing);
    Ok(Finding::new(verdict, worst, reason, parts).lack(lack))
}
