//! C9: how the circuit takes over.

use std::collections::BTreeMap;

use super::influence::ShareSave;
use crate::claims::course::{Course, Gap, Outcome, Series, short};
use crate::claims::onset::in_a_row;
use crate::claims::rules::Rules;
use crate::claims::stats::spearman;
use crate::claims::verdict::{Finding, Lack, Measured, Verdict};

/// C9: the optimal mixture of both parts switches when the test loss drops, and the keys grow faster then.
///
/// # Errors
/// What is missing.
pub fn c9(rules: &Rules, course: &Course, coefficients: &Series, saves: &[ShareSave]) -> Outcome {
    course.require_final()?;
    let (t_mem, t_drop, t_gen) = (course.t_mem()?, course.t_drop()?, course.t_gen()?);
    let of_keys = |step: i64| {
        let save = coefficients.steps.binary_search(&step).ok();
        let mean = save.map(|save| coefficients.mean(&course.keys)[save]);
        mean.ok_or_else(|| Gap(Lack::Missing, format!("no logit coefficients at step {step}")))
    };
    let (at_mem, at_drop, at_gen) = (of_keys(t_mem)?, of_keys(t_drop)?, of_keys(t_gen)?);
    if t_gen <= t_drop || at_mem <= 0.0 || at_drop <= 0.0 || at_gen <= 0.0 {
        let reason = "mean c_k is not positive from t_mem on, or t_gen is not after t_drop";
        return Err(Gap(Lack::NotReached, reason.into()));
    }
    let before = (at_drop / at_mem).ln() / (t_drop - t_mem) as f64;
    let after = (at_gen / at_drop).ln() / (t_gen - t_drop) as f64;
    let mut parts = vec![
        Measured::number("growth_before", Some(before)),
        Measured::number("growth_after", Some(after)),
    ];
    // Against a standstill or a fall any growth is infinitely faster.
    let ratio = if before > 0.0 { Some(after / before) } else { None };
    let growth = match ratio {
        Some(ratio) => rules.c9.rate.judge(ratio),
        None if after > 0.0 => Verdict::Supports,
        None => Verdict::Refutes,
    };
    parts.push(Measured::number("growth_ratio", ratio).judged(growth, rules.c9.rate.words()));
    let pairs = growth_against_share(course, coefficients, saves, (t_mem, t_gen));
    let (growths, shares): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    parts.push(Measured::number("growth_with_share", spearman(&growths, &shares)));
    let passage = passage(rules, course, saves, (t_mem, t_gen));
    let passes = passage.step();
    parts.push(Measured::number("alpha_beta_pass", passes.map(|step| step as f64)));
    let close = passes.map(|step| (step - t_drop).abs() as f64 <= rules.c9.within * t_drop as f64);
    let verdict = match (growth, close) {
        (Verdict::Refutes, _) => Verdict::Refutes,
        (Verdict::Supports, Some(true)) => Verdict::Supports,
        _ => Verdict::Undecided,
    };
    let where_to = match passage {
        Passage::At(step) => format!("α*/β* on test passes 1 at step {step}, t_drop is {t_drop}"),
        Passage::Unknown => "where α*/β* on test passes 1 is not known at enough saves".into(),
        Passage::Before => "α*/β* on test is above 1 from t_mem on".into(),
        Passage::Never => "α*/β* on test does not pass 1 between t_mem and t_gen".into(),
    };
    let told = ratio.map_or_else(|| "infinite".into(), short);
    let unknown = passage == Passage::Unknown && verdict == Verdict::Undecided;
    let reason = format!("growth_ratio {told}; {where_to}");
    Ok(Finding::new(verdict, ratio, reason, parts).lack(unknown.then_some(Lack::Missing)))
}

/// Where the best mixture turns to the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// From this save on it prefers them for the saves in a row of the rules
    At(i64),
    /// It prefers them at every save of the window
    Before,
    /// It does not come to prefer them for so long
    Never,
    /// Saves at which it is not known could be those of an earlier passage, or of the only one
    Unknown,
}

impl Passage {
    fn step(self) -> Option<i64> {
        if let Self::At(step) = self { Some(step) } else { None }
    }
}

/// The passage of α*/β* on the test pairs through 1, for the first time from t_mem on.
///
/// Only where the run has memorised is there a switch to be made: before that the keys and the rest are noise,
/// and so is the sign of α*. So the search begins at the first save from t_mem on that does not prefer the
/// keys. The passage is up to t_gen; the saves in a row that confirm it may be later.
fn passage(
    rules: &Rules,
    course: &Course,
    saves: &[ShareSave],
    (t_mem, t_gen): (i64, i64),
) -> Passage {
    let angles: BTreeMap<i64, f64> =
        saves.iter().filter_map(|save| Some((save.step, save.angle_test?))).collect();
    let steps = course.steps.iter().filter(|step| **step >= t_mem);
    let prefers: Vec<(i64, Option<bool>)> =
        steps.map(|step| (*step, angles.get(step).map(|angle| *angle > 45.0))).collect();
    // What is not known decides only if it makes no difference.
    let guess = |unknown: bool| -> Passage {
        let known: Vec<(i64, bool)> =
            prefers.iter().map(|(step, keys)| (*step, keys.unwrap_or(unknown))).collect();
        passes(&known, rules.nulls.in_a_row, t_gen)
    };
    let (one, other) = (guess(true), guess(false));
    if one == other { one } else { Passage::Unknown }
}

fn passes(prefers: &[(i64, bool)], count: usize, last: i64) -> Passage {
    let within = prefers.partition_point(|(step, _)| *step <= last);
    let Some(rest) = prefers[..within].iter().position(|(_, keys)| !keys) else {
        return Passage::Before;
    };
    let found = in_a_row(prefers[rest..].iter().map(|(_, keys)| *keys), count);
    match found.map(|place| prefers[rest + place].0) {
        Some(step) if step <= last => Passage::At(step),
        _ => Passage::Never,
    }
}

/// d ln c/dt between consecutive saves, and the keys' share of the test loss at the later one.
fn growth_against_share(
    course: &Course,
    coefficients: &Series,
    saves: &[ShareSave],
    (first, last): (i64, i64),
) -> Vec<(f64, f64)> {
    let window = coefficients.within(first, last);
    let means = window.mean(&course.keys);
    let of_pair = |i: usize| {
        let step = window.steps[i + 1];
        let share = saves.iter().find(|save| save.step == step)?.share_key_test?;
        let growth = (means[i + 1] / means[i]).ln() / (step - window.steps[i]) as f64;
        growth.is_finite().then_some((growth, share))
    };
    (0..window.steps.len().saturating_sub(1)).filter_map(of_pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::rules::rules;

    /// `k`: the mixture prefers the keys, `r`: the rest, `?`: not known. Saves every 10 steps.
    fn passage_of(text: &str, window: (i64, i64)) -> Passage {
        let angle = |c: u8| match c {
            b'k' => Some(60.0),
            b'r' => Some(30.0),
            _ => None,
        };
        let save = |(i, c): (usize, u8)| ShareSave {
            step: 10 * i as i64,
            angle_test: angle(c),
            ..ShareSave::default()
        };
        let saves: Vec<ShareSave> = text.bytes().enumerate().map(save).collect();
        let steps = saves.iter().map(|save| save.step).collect();
        let mut rules = rules().clone();
        rules.values.nulls.in_a_row = 3;
        passage(&rules, &Course { steps, ..Course::default() }, &saves, window)
    }

    #[test]
    fn a_mixture_passes_where_it_stays() {
        let of = |text: &str| passage_of(text, (0, 1000));
        assert_eq!(of("rrkrkkkr"), Passage::At(40));
        // Noise that prefers the keys at first is no passage, and hides none.
        assert_eq!(of("kkkrrrkkk"), Passage::At(60));
        assert_eq!(
            (of("kkkk"), of("rrkk"), of("kkkr")),
            (Passage::Before, Passage::Never, Passage::Never)
        );
    }

    #[test]
    fn a_passage_is_looked_for_between_memorising_and_generalising() {
        // Up to step 50 the run has not memorised.
        assert_eq!(passage_of("rrkkkrrkkk", (50, 1000)), Passage::At(70));
        // Begun by t_gen, confirmed after it; or begun after it.
        assert_eq!(passage_of("rrrrkkk", (0, 40)), Passage::At(40));
        assert_eq!(passage_of("rrrrkkk", (0, 30)), Passage::Never);
        assert_eq!(passage_of("kkkkrkkk", (0, 30)), Passage::Before);
    }

    #[test]
    fn what_is_not_known_makes_no_passage() {
        let of = |text: &str| passage_of(text, (0, 1000));
        assert_eq!(of("rr?kkk"), Passage::Unknown); // at 20 or at 30
        assert_eq!(of("r???kkk"), Passage::Unknown);
        assert_eq!(of("rkk?"), Passage::Unknown);
        assert_eq!(of("?kkk"), Passage::Unknown);
        assert_eq!(of("????"), Passage::Unknown);
        // Too few to hide one.
        assert_eq!(of("r?rkkk?"), Passage::At(30));
    }
}
