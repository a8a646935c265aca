//! C3a and C3b: when the circuit's statistics begin to stand out.

use std::collections::BTreeMap;

use crate::claims::course::{Course, Gap, Outcome, Series, short};
use crate::claims::curse::{Walks, head_start, is_gone, largest_p};
use crate::claims::nulls::lottery::lottery;
use crate::claims::nulls::subsets::{Pool, Subsets};
use crate::claims::nulls::winners::contrast_thresholds;
use crate::claims::nulls::{Compared, NullId, compare, mean_of};
use crate::claims::onset::onset;
use crate::claims::rules::Rules;
use crate::claims::stats::Side;
use crate::claims::verdict::{Against, Bounds, Finding, Lack, Measured, Verdict};

/// When one statistic of the keys begins to stand out, and what that means under the nulls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// `None`: never
    pub step: Option<i64>,
    /// Steps at which the statistic is known, and what walks
    pub saves: Vec<i64>,
    /// The mean of the keys there, beside N1; without p, as the save was chosen because it exceeds
    pub at_onset: Option<Compared>,
    /// N5 up to where an onset supports, and up to where it does not refute; by the name of the deadline
    pub curse: BTreeMap<&'static str, [Curse; 2]>,
    /// When the keys of other runs begin to stand out on this one: N4
    pub others: Vec<(String, Option<i64>)>,
    /// Rank correlation of the last save with the first, over all frequencies: N5d, the lottery ticket
    pub ticket: Option<Compared>,
}

impl Origin {
    /// With N5c up to each deadline.
    #[must_use]
    pub fn with_split(
        mut self,
        deadlines: &[Deadline],
        split: impl Fn(i64) -> Result<Compared, Gap>,
    ) -> Self {
        for deadline in deadlines {
            let curses = self.curse.get_mut(deadline.name).into_iter().flatten();
            curses
                .zip(deadline.steps())
                .for_each(|(curse, until)| curse.split = Some(split(until)));
        }
        self
    }
}

/// Whether the keys stand out by one step more than what won by chance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curse {
    /// Their clearance among that of winners: N5a, N5a', N5b
    pub clearance: Vec<Compared>,
    /// N5c, of a statistic that is measured neuron by neuron; or why it is missing
    pub split: Option<Result<Compared, Gap>>,
}

impl Curse {
    fn all(&self) -> Vec<Compared> {
        let split = self.split.iter().flatten().copied();
        self.clearance.iter().copied().chain(split).collect()
    }

    fn is_whole(&self) -> bool {
        !self.clearance.is_empty() && !matches!(self.split, Some(Err(_)))
    }

    /// As [`is_gone`] of the course.
    fn is_gone(&self, rules: &Rules) -> Option<bool> {
        is_gone(rules, &self.all()).filter(|gone| *gone || self.is_whole())
    }

    fn p(&self) -> Option<f64> {
        largest_p(&self.all()).filter(|_| self.is_whole())
    }

    /// Its rows; `when` is the deadline in words.
    fn rows(&self, statistic: &str, when: &str) -> Vec<Measured> {
        let row = |what: &str, null: &Compared| null.row(format!("{what} {statistic} {when}"));
        let split = "odd neurons'";
        let mut rows: Vec<Measured> =
            self.clearance.iter().map(|null| row("clearance of", null)).collect();
        rows.extend(self.split.as_ref().map(|found| match found {
            Ok(null) => row(split, null),
            Err(Gap(lack, reason)) => {
                let against = Against { null: NullId::N5c.name(), ..Against::default() };
                let name = format!("{split} {statistic} {when}");
                Measured::lacking(name, *lack, reason.as_str()).against(against)
            }
        }));
        rows
    }
}

/// Until when an onset supports a claim, and from when on it refutes it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// `t_mem` or `t_peak`
    pub name: &'static str,
    pub unit: i64,
    pub bounds: Bounds,
}

impl Deadline {
    /// The last step that supports, and the one that refutes. Both are fixed by the claim: a deadline that
    /// followed the measured onset would be a second look at the same data.
    fn steps(&self) -> [i64; 2] {
        [self.bounds.supports, self.bounds.refutes]
            .map(|bound| (bound * self.unit as f64).floor() as i64)
    }

    /// The same in words.
    fn words(&self) -> [String; 2] {
        [self.bounds.supports, self.bounds.refutes].map(|bound| format!("by {bound} {}", self.name))
    }
}

/// A statistic of a run, as far as its onset needs it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub series: &'a Series,
    /// What walks: the statistic itself; of a rate what it sums up to
    pub walks: &'a Walks<'a>,
    pub of: OfWalks,
}

/// What of the walks has to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfWalks {
    /// They themselves
    Value,
    /// What they gain per step
    Growth,
}

/// Nulls of an onset that table `onset` has: `step` and `threshold`.
///
/// N5 compares how clearly the keys stand out by a deadline: the largest excess of their contrast over
/// that of N1's threshold that lasts for the saves in a row of the rules. That they stand out at all by then
/// is no measure: among winners of walks that do not differ many do, hardly. What walks is the statistic
/// itself; of a rate it is what the rate sums up to, and what has to stand out is its growth.
///
/// Of the keys of another run (N4), those that are also this run's are left out.
#[must_use]
pub fn origin(
    rules: &Rules,
    course: &Course,
    known: &Known<'_>,
    (step, threshold): (Option<i64>, Option<f64>),
    deadlines: &[Deadline],
) -> Origin {
    let (series, nulls) = (known.series, &rules.nulls);
    let sets = course.subsets(rules, Pool::Plain);
    let at_onset = step.zip(sets.as_ref()).and_then(|(step, sets)| {
        let values = series.values.row(series.steps.binary_search(&step).ok()?);
        let own = mean_of(values, &course.keys)?;
        let found = compare(nulls, NullId::N1, own, &sets.means(values), Side::Upper);
        Some(Compared { quantile: threshold, p: None, ..found })
    });
    let curse = deadlines.iter().map(|deadline| {
        let by = |until| Curse { clearance: clearances(rules, course, known, until), split: None };
        (deadline.name, deadline.steps().map(by))
    });
    let others = course.others.iter().filter_map(|(run, keys)| {
        let theirs: Vec<usize> =
            keys.iter().copied().filter(|key| !course.keys.contains(key)).collect();
        let plain: Vec<usize> =
            course.plain.iter().copied().filter(|key| !theirs.contains(key)).collect();
        let sets = Subsets::new(nulls, &theirs, &plain, Pool::Plain)?;
        let thresholds = sets.thresholds(series.values.view(), nulls.quantile);
        let found = onset(&series.mean(&theirs), &thresholds, nulls.in_a_row);
        Some((run.clone(), found.map(|save| series.steps[save])))
    });
    let mut saves = series.values.rows().into_iter();
    let ends = saves.next().zip(saves.next_back());
    let ticket = ends.and_then(|(first, last)| {
        let found = lottery(&first.to_vec(), &last.to_vec(), nulls.walks, nulls.seed)?;
        Some(compare(nulls, NullId::N5d, found.rho, &found.null, Side::Upper))
    });
    Origin {
        step,
        saves: series.at_steps(&known.walks.series.steps).steps,
        at_onset,
        curse: curse.collect(),
        others: others.collect(),
        ticket,
    }
}

/// The clearance of the keys up to a step, among that of winners by chance.
fn clearances(rules: &Rules, course: &Course, known: &Known<'_>, until: i64) -> Vec<Compared> {
    let Some(sets) = course.subsets(rules, Pool::Plain) else { return Vec::new() };
    known.walks.curse(|series| {
        let growth;
        let seen = match known.of {
            OfWalks::Value => series,
            OfWalks::Growth => {
                growth = series.growth();
                &growth
            }
        };
        let thresholds = sets.thresholds(seen.values.view(), rules.nulls.quantile);
        let bars = contrast_thresholds(seen.values.view(), &course.plain, &thresholds);
        let starts = seen.steps.partition_point(|save| *save <= until);
        move |steps: &[i64], contrast: &[f64]| {
            let clear = |contrast: &[f64]| clearance(contrast, &bars, starts, rules.nulls.in_a_row);
            match known.of {
                OfWalks::Value => clear(contrast),
                OfWalks::Growth => {
                    let pairs = steps.windows(2).zip(contrast.windows(2));
                    let gained = pairs.map(|(t, x)| (x[1] - x[0]) / (t[1] - t[0]) as f64);
                    clear(&gained.collect::<Vec<f64>>())
                }
            }
        }
    })
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

/// What one statistic says.
struct Said {
    verdict: Verdict,
    why: String,
    ratio: Option<f64>,
    p: Option<f64>,
    rows: Vec<Measured>,
}

/// Support needs an onset by the first deadline that N5 does not explain by then; an onset that N5 explains
/// even by the second is gone.
fn judge(
    rules: &Rules,
    course: &Course,
    statistic: &str,
    origin: &Origin,
    deadline: &Deadline,
) -> Result<Said, Gap> {
    for until in deadline.steps() {
        course.require_cover(rules, statistic, (0, until), origin.saves.iter().copied())?;
    }
    let nothing = [Curse::default(), Curse::default()];
    let [early, late] = origin.curse.get(deadline.name).unwrap_or(&nothing);
    let ratio_of = |step: i64| step as f64 / deadline.unit as f64;
    let ratio = origin.step.map(ratio_of);
    let found = ratio.map(|ratio| deadline.bounds.judge(ratio));
    let (verdict, why) = match (found, early.is_gone(rules), late.is_gone(rules)) {
        (None, ..) => (Verdict::Refutes, "never stands out"),
        (Some(Verdict::Refutes), ..) => (Verdict::Refutes, "late"),
        (Some(Verdict::Supports), Some(false), Some(false)) => {
            (Verdict::Supports, "early, not by selection")
        }
        (Some(Verdict::Supports), Some(false), Some(true)) => {
            (Verdict::Undecided, "early, not by selection; by the later deadline gone under N5")
        }
        (_, _, Some(true)) => (Verdict::Refutes, "gone under N5"),
        (Some(Verdict::Supports), Some(true), Some(false)) => {
            (Verdict::Undecided, "early, no more than winners by chance by then")
        }
        (Some(Verdict::Supports), ..) => (Verdict::Undecided, "early, but N5 is undefined"),
        _ => (Verdict::Undecided, "between"),
    };
    let left = if verdict == Verdict::Supports { head_start(&early.clearance) } else { "" };
    let why = format!("{why}{left}");
    let name = format!("{statistic}/{}", deadline.name);
    let mut rows = vec![Measured::number(&name, ratio).judged(verdict, &why)];
    rows.extend(origin.at_onset.map(|null| {
        let row = Measured::number(format!("{statistic} at onset"), Some(null.value));
        row.against(null.into()).because("no p: the save was chosen because it exceeds")
    }));
    for (curse, when) in [early, late].into_iter().zip(deadline.words()) {
        rows.extend(curse.rows(statistic, &when));
    }
    rows.extend(origin.ticket.map(|null| {
        let row = Measured::number(format!("last with first {statistic}"), Some(null.value));
        row.against(null.into())
    }));
    rows.extend(origin.others.iter().map(|(run, step)| {
        let against = Against { null: NullId::N4.name(), ..Against::default() };
        Measured::number(format!("{name}, keys of {run}"), step.map(ratio_of)).against(against)
    }));
    Ok(Said { verdict, why, ratio, p: early.p(), rows })
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
    let deadline = Deadline { name, unit: from?, bounds };
    if deadline.unit <= 0 {
        return Err(Gap(Lack::NotReached, format!("{name} is 0")));
    }
    let (mut parts, mut verdicts, mut p_values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut headline, mut told, mut lack) = (None, Vec::new(), None);
    let (mut held, mut sets) = (0, 0);
    for statistic in &rules.c3.statistics {
        let missing = || Err(Gap(Lack::Missing, "table onset has no row of it".into()));
        let origin = origins.get(statistic).cloned().unwrap_or_else(missing);
        let said = origin.and_then(|origin| {
            let said = judge(rules, course, statistic, &origin, &deadline)?;
            Ok((origin, said))
        });
        let (origin, said) = match said {
            Ok(found) => found,
            Err(Gap(why, reason)) => {
                let row = format!("{statistic}/{name}");
                told.push(format!("{statistic} missing ({reason})"));
                parts.push(Measured::lacking(row, why, reason));
                verdicts.push(Verdict::Undecided);
                lack = Some(why);
                continue;
            }
        };
        let supports =
            |step: i64| bounds.judge(step as f64 / deadline.unit as f64) == Verdict::Supports;
        sets += origin.others.len();
        held += origin.others.iter().filter(|(_, step)| step.is_some_and(supports)).count();
        let ratio = said.ratio.map_or_else(|| "never".into(), short);
        told.push(format!("{statistic} {ratio} ({})", said.why));
        parts.extend(said.rows);
        headline = headline.or(said.ratio);
        p_values.extend(said.p);
        verdicts.push(said.verdict);
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
