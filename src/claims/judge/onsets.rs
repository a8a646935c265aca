//! C3a and C3b: when the circuit's statistics begin to stand out.

use std::collections::BTreeMap;

use ndarray::Array2;

use crate::claims::course::{
    Course, Gap, Outcome, Series, Walks, is_gone, largest_p, short, subsets,
};
use crate::claims::nulls::lottery::lottery;
use crate::claims::nulls::walks::{contrast, contrast_thresholds};
use crate::claims::nulls::{Compared, NullId, compare};
use crate::claims::onset::onset;
use crate::claims::rules::Rules;
use crate::claims::stats::Side;
use crate::claims::verdict::{Against, Bounds, Finding, Lack, Measured, Verdict};

/// When one statistic of the keys begins to stand out, and what that means under the nulls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// `None`: never
    pub step: Option<i64>,
    /// The 0.999 quantile of N1 there
    pub threshold: Option<f64>,
    /// How clearly the keys stand out up to the deadline of each claim, among winners by chance: N5a and
    /// N5b; by the name of the deadline
    pub curse: BTreeMap<&'static str, Vec<Compared>>,
    /// When the keys of other runs begin to stand out on this one: N4
    pub others: Vec<(String, Option<i64>)>,
    /// Rank correlation of the last save with the first, over all frequencies: N5d, the lottery ticket
    pub ticket: Option<Compared>,
}

/// Until when an onset has to be no selection: up to where it supports a claim, if it does; otherwise up to
/// where it would refute it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// `t_mem` or `t_peak`
    pub name: &'static str,
    pub unit: i64,
    pub bounds: Bounds,
}

impl Deadline {
    fn of(&self, step: i64) -> i64 {
        let [early, late] = [self.bounds.supports, self.bounds.refutes]
            .map(|bound| (bound * self.unit as f64).floor() as i64);
        if step <= early { early } else { late }
    }
}

/// Nulls of an onset that table `onset` has: `step` and `threshold`.
///
/// N5 compares how clearly the keys stand out by the deadline: the largest excess of their contrast over
/// that of N1's threshold that lasts for the saves in a row of the rules. That they stand out at all by then
/// is no measure: among winners of walks that do not differ many do, hardly. What walks is the statistic
/// itself; of a rate it is what the rate sums up to, and what has to stand out is its growth.
///
/// Of the keys of another run (N4), those that are also this run's are left out.
#[must_use]
pub fn origin(
    rules: &Rules,
    course: &Course,
    series: &Series,
    walked: (&Walks<'_>, OfWalks),
    (step, threshold): (Option<i64>, Option<f64>),
    deadlines: &[Deadline],
) -> Origin {
    let count = rules.nulls.in_a_row;
    let curse = step.map(|step| curse(rules, course, walked, step, deadlines));
    let others = course.others.iter().filter_map(|(run, keys)| {
        let theirs: Vec<usize> =
            keys.iter().copied().filter(|key| !course.keys.contains(key)).collect();
        let plain: Vec<usize> =
            course.plain.iter().copied().filter(|key| !theirs.contains(key)).collect();
        let sets = subsets(rules, &theirs, &plain).filter(|_| !theirs.is_empty())?;
        let thresholds = sets.thresholds(series.values.view(), rules.nulls.quantile);
        let found = onset(&series.mean(&theirs), &thresholds, count);
        Some((run.clone(), found.map(|save| series.steps[save])))
    });
    let mut saves = series.values.rows().into_iter();
    let ends = saves.next().zip(saves.next_back());
    let ticket = ends.and_then(|(first, last)| {
        let (first, last) = (first.to_vec(), last.to_vec());
        let found = lottery(&first, &last, rules.nulls.walks, rules.nulls.seed)?;
        Some(compare(NullId::N5d, found.rho, &found.null, Side::Upper))
    });
    let (curse, others) = (curse.unwrap_or_default(), others.collect());
    Origin { step, threshold, curse, others, ticket }
}

/// What of the walks has to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfWalks {
    /// They themselves
    Value,
    /// What they gain per step
    Growth,
}

fn curse(
    rules: &Rules,
    course: &Course,
    (walks, of): (&Walks<'_>, OfWalks),
    step: i64,
    deadlines: &[Deadline],
) -> BTreeMap<&'static str, Vec<Compared>> {
    let count = rules.nulls.in_a_row;
    let growth;
    let seen = match of {
        OfWalks::Value => walks.series,
        OfWalks::Growth => {
            growth = walks.series.growth();
            &growth
        }
    };
    let mut found: BTreeMap<&'static str, Vec<Compared>> = BTreeMap::new();
    let Some(sets) = course.subsets(rules) else { return found };
    let thresholds = sets.thresholds(seen.values.view(), rules.nulls.quantile);
    let bars = contrast_thresholds(seen.values.view(), &course.plain, &thresholds);
    let measured = contrast(seen.values.view(), &course.keys, &course.plain);
    for (null, drawn) in walks.drawn() {
        let gained;
        let drawn = match of {
            OfWalks::Value => &drawn.contrast,
            OfWalks::Growth => {
                gained = grown(&walks.series.steps, &drawn.contrast);
                &gained
            }
        };
        for deadline in deadlines {
            let until = deadline.of(step);
            let starts = seen.steps.partition_point(|save| *save <= until);
            let clear = |contrast: &[f64]| clearance(contrast, &bars, starts, count);
            let values: Vec<f64> =
                drawn.rows().into_iter().filter_map(|row| clear(&row.to_vec())).collect();
            let own = clear(&measured);
            let compared = own.map(|own| compare(null, own, &values, Side::Upper));
            found.entry(deadline.name).or_default().extend(compared);
        }
    }
    found
}

/// The largest excess over the bars that lasts for `count` saves in a row, from one of the first `starts`
/// saves on.
fn clearance(contrast: &[f64], bars: &[Option<f64>], starts: usize, count: usize) -> Option<f64> {
    let needed = (starts + count - 1).min(contrast.len());
    let excess: Option<Vec<f64>> =
        contrast[..needed].iter().zip(bars).map(|(value, bar)| Some(value - (*bar)?)).collect();
    let excess = excess?;
    let lasting = excess.windows(count);
    lasting.map(|few| few.iter().copied().fold(f64::INFINITY, f64::min)).reduce(f64::max)
}

/// Gain per step of each draw, `[draw, save]`.
fn grown(steps: &[i64], drawn: &Array2<f64>) -> Array2<f64> {
    let walks = Series { steps: steps.to_vec(), values: drawn.t().to_owned() };
    walks.growth().values.t().to_owned()
}

/// C3a with `bounds` of step_onset/t_mem, C3b of step_onset/t_peak: the circuit stands out early, and not
/// because the winners were picked.
///
/// # Errors
/// What is missing.
pub fn c3(
    rules: &Rules,
    course: &Course,
    origins: &BTreeMap<String, Result<Origin, Gap>>,
    bounds: Bounds,
    (name, from): (&'static str, Result<i64, Gap>),
) -> Outcome {
    course.require_final()?;
    let unit = from?;
    if unit <= 0 {
        return Err(Gap(Lack::NotReached, format!("{name} is 0")));
    }
    let (mut parts, mut verdicts, mut p_values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut headline, mut told, mut lack) = (None, Vec::new(), None);
    let (mut held, mut sets) = (0, 0);
    for statistic in &rules.c3.statistics {
        let missing = || Err(Gap(Lack::Missing, "table onset has no row of it".into()));
        let row = format!("{statistic}/{name}");
        let origin = match origins.get(statistic).cloned().unwrap_or_else(missing) {
            Ok(origin) => origin,
            Err(Gap(why, reason)) => {
                parts.push(Measured::lacking(&row, why, reason));
                told.push(format!("{statistic} missing"));
                verdicts.push(Verdict::Undecided);
                lack = Some(why);
                continue;
            }
        };
        let ratio = origin.step.map(|step| step as f64 / unit as f64);
        let curse = origin.curse.get(name).map_or(&[][..], Vec::as_slice);
        let (worst, gone) = (largest_p(curse), is_gone(rules, curse));
        let (verdict, why) = match (ratio.map(|ratio| bounds.judge(ratio)), gone) {
            (None, _) => (Verdict::Refutes, "never stands out"),
            (Some(Verdict::Refutes), _) => (Verdict::Refutes, "late"),
            (_, Some(true)) => (Verdict::Refutes, "gone under N5"),
            (Some(Verdict::Supports), Some(false)) => {
                (Verdict::Supports, "early, not by selection")
            }
            (Some(Verdict::Supports), _) => (Verdict::Undecided, "early, but N5 is undefined"),
            _ => (Verdict::Undecided, "between"),
        };
        parts.push(Measured::number(&row, ratio).judged(verdict, why));
        let at = Against {
            null: NullId::N1.name(),
            quantile: origin.threshold,
            p: origin.step.map(|_| 1.0 / (1.0 + rules.nulls.subsets as f64)),
            ..Against::default()
        };
        parts.push(Measured::number(&row, ratio).against(at).because("p: at the onset, at most"));
        let clear = format!("clearance of {row}");
        parts.extend(
            curse
                .iter()
                .map(|null| Measured::number(&clear, Some(null.value)).against((*null).into())),
        );
        let ticket = origin.ticket.map(|null| {
            let row = Measured::number(format!("last with first {statistic}"), Some(null.value));
            row.against(null.into())
        });
        parts.extend(ticket);
        for (run, step) in &origin.others {
            let ratio = step.map(|step| step as f64 / unit as f64);
            let against = Against { null: NullId::N4.name(), ..Against::default() };
            parts.push(Measured::number(format!("{row}, keys of {run}"), ratio).against(against));
            sets += 1;
            held += usize::from(ratio.is_some_and(|r| bounds.judge(r) == Verdict::Supports));
        }
        told.push(format!("{statistic} {} ({why})", ratio.map_or_else(|| "never".into(), short)));
        headline = headline.or(ratio);
        p_values.extend(worst);
        verdicts.push(verdict);
    }
    let verdict = Verdict::unanimous(&verdicts);
    let mut reason = format!("step_onset/{name}: {}", told.join(", "));
    if sets > 0 {
        reason += &format!("; as early with the keys of other runs: {held} of {sets}");
    }
    // The claim needs all of them: the least favourable p counts.
    let p = (p_values.len() == verdicts.len()).then(|| p_values.into_iter().reduce(f64::max));
    let lack = lack.filter(|_| verdict == Verdict::Undecided);
    Ok(Finding::new(verdict, headline, reason, parts).with_p(p.flatten()).lack(lack))
}
