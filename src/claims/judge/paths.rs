//! C14: whether a barrier lies between one circuit and the next.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::nulls::NullId;
use crate::claims::rules::Rules;
use crate::claims::stats::{Side, mean, p_value};
use crate::claims::verdict::{Against, Finding, Lack, Measured, Verdict};

/// A line in weight space that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub from: i64,
    pub to: i64,
    /// Of another run
    pub elsewhere: Option<String>,
    /// `barrier_linear` of the train loss, in nats
    pub barrier: f64,
    /// The larger train loss of both ends
    pub end: f64,
}

impl Line {
    /// Whether there is a barrier.
    fn is_blocked(&self, rules: &Rules) -> bool {
        self.barrier > rules.c14.barrier.max(rules.c14.of_end * self.end)
    }
}

/// C14, the counter-position: each new circuit is another basin.
///
/// (i) between consecutive saves, (ii) from t_mem to the end, (iii) from t_mem to the end of another run,
/// the null of (ii).
///
/// # Errors
/// What is missing.
pub fn c14(rules: &Rules, course: &Course, lines: &[Line]) -> Outcome {
    course.require_final()?;
    let t_mem = course.t_mem()?;
    let last = course.steps.last().copied().unwrap_or(0);
    let own = || lines.iter().filter(|line| line.elsewhere.is_none());
    let consecutive: Vec<&Line> = own()
        .filter(|line| course.steps.windows(2).any(|pair| pair == [line.from, line.to]))
        .collect();
    let missing = |what: &str| Gap(Lack::Missing, format!("table barriers has no line {what}"));
    let across = own()
        .find(|line| (line.from, line.to) == (t_mem, last))
        .ok_or_else(|| missing(&format!("from t_mem = {t_mem} to {last} (ii)")))?;
    let to_others: Vec<&Line> =
        lines.iter().filter(|line| line.elsewhere.is_some() && line.from == t_mem).collect();
    let seeds: Vec<f64> = to_others.iter().map(|line| line.barrier).collect();
    let blocked = consecutive.iter().filter(|line| line.is_blocked(rules)).count();
    let highest = consecutive.iter().map(|line| line.barrier).reduce(f64::max);
    let (found, pairs) = (consecutive.len(), course.steps.len().saturating_sub(1));
    let covered = found as f64 >= rules.nulls.coverage * pairs as f64;
    let enough = covered && found >= rules.c14.least_lines;
    let of_seeds = mean(&seeds);
    // Where (iii) is free, nothing is blocked as (iii) is.
    let third = to_others.iter().any(|line| line.is_blocked(rules));
    let alike = of_seeds.map(|of_seeds| third && across.barrier >= rules.c14.alike * of_seeds);
    let second = across.is_blocked(rules);
    let (verdict, why) = match (blocked > 0, second, alike, enough) {
        (true, ..) => (Verdict::Supports, "a barrier between consecutive saves".to_owned()),
        (_, true, Some(true), _) => (Verdict::Supports, "(ii) is blocked, as (iii) is".into()),
        (_, true, Some(false), true) => (
            Verdict::Undecided,
            "(i) is free, (ii) is blocked, but not as (iii) is: a curved valley".into(),
        ),
        (_, true, None, _) => {
            (Verdict::Undecided, "(ii) is blocked; no line to another run to compare with".into())
        }
        (_, false, _, true) => (Verdict::Refutes, "(i) and (ii) are free: one region".into()),
        _ => (Verdict::Undecided, format!("{found} lines between {pairs} pairs of saves")),
    };
    let n4 = Against {
        null: NullId::N4.name(),
        mean: of_seeds,
        p: p_value(across.barrier, &seeds, Side::Upper),
        ..Against::default()
    };
    let mut parts = vec![
        Measured::number("barrier_consecutive", highest),
        Measured::number("blocked_consecutive", Some(blocked as f64)),
        Measured::number("lines_consecutive", Some(consecutive.len() as f64)),
        Measured::number("barrier_to_end", Some(across.barrier)),
    ];
    if !seeds.is_empty() {
        parts.push(Measured::number("barrier_to_end", Some(across.barrier)).against(n4));
    }
    let lack =
        (verdict == Verdict::Undecided && (!enough || alike.is_none())).then_some(Lack::Missing);
    let reason = format!("barrier_to_end {} nats: {why}", short(across.barrier));
    Ok(Finding::new(verdict, Some(across.barrier), reason, parts).lack(lack))
}
