//! C2, C7 and C12: which part of the logits decides the loss, and whether the parts interfere.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::onset::in_a_row;
use crate::claims::rules::Rules;
use crate::claims::shares::LEAST_GAIN;
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
    /// `kernel_cross_jacobian` and its standard error
    pub kernel_cross: Option<[f64; 2]>,
}

/// C2: the rest determines the output until late.
///
/// # Errors
/// What is missing.
pub fn c2(rules: &Rules, course: &Course, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let (t_mem, t_drop) = (course.t_mem()?, course.t_drop()?);
    // Where both parts explain hardly anything there is no share, which is no gap.
    let explained = saves.iter().filter(|save| save.explained_train.is_some());
    course.require_cover(rules, "table shares", (0, t_drop), explained.map(|save| save.step))?;
    let known: Vec<(i64, f64)> = saves
        .iter()
        .filter(|save| save.step <= t_drop)
        .filter_map(|save| Some((save.step, save.share_key_train?)))
        .collect();
    let steps = known.iter().map(|(step, _)| *step);
    course.require_cover(rules, "share_key_train", (t_mem, t_drop), steps)?;
    let bounds = rules.c2.share_key;
    let largest = known.iter().map(|(_, share)| *share).fold(f64::NEG_INFINITY, f64::max);
    let at_drop = known.iter().rfind(|(step, _)| *step == t_drop).map(|(_, share)| *share);
    let middle = t_mem as f64 + rules.c2.middle * (t_drop - t_mem) as f64;
    let passes = |bound: f64, share: Column| stays_above(rules, course, saves, bound, share);
    let early = passes(bounds.refutes, |save| save.share_key_train);
    let verdict = match early {
        Some(step) if (step as f64) < middle => Verdict::Refutes,
        _ if largest <= bounds.supports => Verdict::Supports,
        _ => Verdict::Undecided,
    };
    let step = |step: Option<i64>| step.map(|step| step as f64);
    let half = passes(0.5, |save| save.share_key_train);
    let test = passes(0.5, |save| save.share_key_test);
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

/// A value of a save.
type Column = fn(&ShareSave) -> Option<f64>;

/// First save from which a share is at least `bound` for the saves in a row of the rules. One where it is
/// not known breaks the row.
fn stays_above(
    rules: &Rules,
    course: &Course,
    saves: &[ShareSave],
    bound: f64,
    share: Column,
) -> Option<i64> {
    let of = |step: i64| saves.iter().find(|save| save.step == step).and_then(share);
    let above = course.steps.iter().map(|step| of(*step) >= Some(bound));
    in_a_row(above, rules.nulls.in_a_row).map(|first| course.steps[first])
}

/// C7: almost all change of the loss is the rest's. The sums are over saves, and so most of what they add up
/// is early, where saves are dense; beside them stands the mean of the rest's part over the time.
///
/// # Errors
/// What is missing: a single save without its part would leave a gap in the sum.
pub fn c7(rules: &Rules, course: &Course, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let t_drop = course.t_drop()?;
    // The change before the first checkpoint would be missing.
    course.require_cover(rules, "checkpoints", (0, t_drop), course.steps.iter().copied())?;
    let (mut sums, mut open) = ([0.0; 3], 0);
    let (mut of_time, mut time) = (0.0, 0.0);
    for pair in course.steps.windows(2).filter(|pair| pair[1] <= t_drop) {
        let [before, step] = [pair[0], pair[1]];
        let save = saves.iter().find(|save| save.step == step);
        let deltas = save
            .and_then(|save| save.deltas_train)
            .ok_or_else(|| Gap(Lack::Missing, format!("no deltas at step {step}")))?;
        open += usize::from(save.is_some_and(|s| s.closure_train > Some(rules.c7.closure)));
        let moved = deltas.map(f64::abs);
        sums.iter_mut().zip(moved).for_each(|(sum, moved)| *sum += moved);
        let all: f64 = moved.iter().sum();
        if all > 0.0 {
            time += (step - before) as f64;
            of_time += (step - before) as f64 * moved[2] / all;
        }
    }
    let total: f64 = sums.iter().sum();
    if total <= 0.0 {
        return Err(Gap(Lack::NotReached, "the loss does not change up to t_drop".into()));
    }
    let [mean, key, rest] = sums.map(|sum| sum / total);
    let of_time = of_time / time;
    let mut verdict = rules.c7.share_rest.judge(rest);
    let mut reason = format!(
        "share_rest {} of all change of the train loss up to t_drop, {} in the mean over the time",
        short(rest),
        short(of_time)
    );
    if open > 0 {
        verdict = Verdict::Undecided;
        reason += &format!("; the parts of {open} saves miss more than the rules allow");
    }
    let parts = vec![
        Measured::number("share_rest", Some(rest)).judged(verdict, rules.c7.share_rest.words()),
        Measured::number("share_rest_of_time", Some(of_time)),
        Measured::number("share_key", Some(key)),
        Measured::number("share_mean", Some(mean)),
    ];
    Ok(Finding::new(verdict, Some(rest), reason, parts))
}

/// C12: the two parts hardly interfere, in the loss, in its gradients, in the tangent kernel.
///
/// An estimate is decided if it is at or beyond a bound with two standard errors to spare. The largest over
/// the saves of the window counts: one save is enough to refute, to support it takes as many as the rules say.
///
/// # Errors
/// What is missing.
pub fn c12(rules: &Rules, course: &Course, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let (t_mem, t_gen) = (course.t_mem()?, course.t_gen()?);
    let (bounds, least) = (rules.c12.interference, rules.c12.least_saves);
    let window = || saves.iter().filter(|save| (t_mem..=t_gen).contains(&save.step));
    let interaction = |save: &ShareSave| {
        let explained = save.explained_train.filter(|explained| *explained > LEAST_GAIN)?;
        Some(save.interaction_train?.abs() / explained)
    };
    let known = window().filter(|save| interaction(save).is_some()).map(|save| save.step);
    course.require_cover(rules, "interaction_train", (t_mem, t_gen), known)?;
    // With what it may be off by.
    let of = |name: &'static str, of: &dyn Fn(&ShareSave) -> Option<[f64; 2]>| {
        let found: Vec<[f64; 2]> = window().filter_map(of).collect();
        let largest = |sign: f64| found.iter().map(|[x, off]| x + sign * off).reduce(f64::max);
        let (low, high) = (largest(-1.0), largest(1.0));
        let verdict = if low.map(|low| bounds.judge(low)) == Some(Verdict::Refutes) {
            Verdict::Refutes
        } else if found.len() >= least
            && high.map(|high| bounds.judge(high)) == Some(Verdict::Supports)
        {
            Verdict::Supports
        } else {
            Verdict::Undecided
        };
        let missing = (verdict == Verdict::Undecided && found.len() < least)
            .then(|| format!("{name} at {} saves of t_mem..t_gen, not {least}", found.len()));
        let row = match (&missing, largest(0.0)) {
            (Some(missing), None) => Measured::lacking(name, Lack::Missing, missing),
            (missing, value) => {
                let words = missing.clone().unwrap_or_else(|| bounds.words());
                Measured::number(name, value).judged(verdict, words)
            }
        };
        (row, missing)
    };
    let found = [
        of("interaction", &|save| Some([interaction(save)?, 0.0])),
        of("gradient_cosine", &|save| Some([save.gradient_cosine?.abs(), 0.0])),
        of("kernel_cross", &|save| save.kernel_cross.map(|[value, error]| [value, 2.0 * error])),
    ];
    let verdicts: Vec<Verdict> = found.iter().map(|(row, _)| row.verdict).collect();
    let verdict = if verdicts.contains(&Verdict::Refutes) {
        Verdict::Refutes
    } else {
        Verdict::unanimous(&verdicts)
    };
    let worst = found.iter().filter_map(|(row, _)| row.value).reduce(f64::max);
    let (parts, missing): (Vec<Measured>, Vec<Option<String>>) = found.into_iter().unzip();
    let missing: Vec<String> = missing.into_iter().flatten().collect();
    let mut reason = format!("largest_interference {}", worst.map_or_else(String::new, short));
    if !missing.is_empty() {
        reason += &format!("; {}: `groundswell shares --kernel-at`", missing.join(", "));
    }
    let lack = (!missing.is_empty() && verdict == Verdict::Undecided).then_some(Lack::Missing);
    Ok(Finding::new(verdict, worst, reason, parts).lack(lack))
}
