//! What the judges of all claims share: a run's phases and keys, and statistics over its saves.

use std::cell::OnceCell;

use ndarray::{Array2, Axis};

use super::nulls::subsets::{Pool, Subsets};
use super::nulls::walks::{self, Walk};
use super::nulls::winners::{Contest, Winners};
use super::nulls::{Compared, NullId, compare, mean_of, paths};
use super::phases::Phases;
use super::rules::Rules;
use super::stats::Side;
use super::verdict::{Against, Finding, Lack};

/// Why a claim cannot be decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap(pub Lack, pub String);

impl From<Gap> for Finding {
    fn from(Gap(lack, reason): Gap) -> Self {
        Self::lacking(lack, reason)
    }
}

/// What a judge says: a finding, or why there is none.
pub type Outcome = Result<Finding, Gap>;

/// A run as the judges see it.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// Saved steps, ascending
    pub steps: Vec<i64>,
    pub phases: Phases,
    pub keys: Vec<usize>,
    /// The frequencies that N1 draws from
    pub plain: Vec<usize>,
    /// The keys of the other runs of the same group, by run
    pub others: Vec<(String, Vec<usize>)>,
}

impl Course {
    /// Make sure that the run has a final algorithm.
    ///
    /// # Errors
    /// The gap, if it has none.
    pub fn require_final(&self) -> Result<(), Gap> {
        if self.phases.t_gen.is_none() {
            let reason = "never 99 % test accuracy: there is no final algorithm";
            return Err(Gap(Lack::NotReached, reason.into()));
        }
        if self.keys.is_empty() {
            return Err(Gap(Lack::NoKeys, "the run has no key frequencies".into()));
        }
        Ok(())
    }

    /// First save with train accuracy of 99.9 %.
    ///
    /// # Errors
    /// The gap, if it is not reached; likewise below.
    pub fn t_mem(&self) -> Result<i64, Gap> {
        self.reached(self.phases.t_mem, "t_mem", "train accuracy of 99.9 %")
    }

    /// Step of the largest test loss before the drop.
    ///
    /// # Errors
    /// As [`Course::t_mem`].
    pub fn t_peak(&self) -> Result<i64, Gap> {
        self.reached(self.phases.t_peak, "t_peak", "the test loss does not drop after t_mem")
    }

    /// Where the test loss drops.
    ///
    /// # Errors
    /// As [`Course::t_mem`].
    pub fn t_drop(&self) -> Result<i64, Gap> {
        self.reached(self.phases.t_drop, "t_drop", "the test loss does not drop after t_mem")
    }

    /// First save with test accuracy of 99 %.
    ///
    /// # Errors
    /// As [`Course::t_mem`].
    pub fn t_gen(&self) -> Result<i64, Gap> {
        self.reached(self.phases.t_gen, "t_gen", "test accuracy of 99 %")
    }

    fn reached(&self, step: Option<i64>, name: &str, meaning: &str) -> Result<i64, Gap> {
        let missing =
            || Gap(Lack::NotReached, format!("the run does not reach {name} ({meaning})"));
        let step = step.ok_or_else(missing)?;
        // Of a phase that the archive begins with nobody knows when it began.
        if step > 0 && self.steps.first() == Some(&step) {
            let reason = format!("{name} is not known: the checkpoints begin at step {step}");
            return Err(Gap(Lack::Missing, reason));
        }
        Ok(step)
    }

    /// Make sure that these steps are most of the saves in a window, and that the saves do not begin in it.
    ///
    /// # Errors
    /// The gap, with what is there.
    pub fn require_cover(
        &self,
        rules: &Rules,
        what: &str,
        (first, last): (i64, i64),
        steps: impl Iterator<Item = i64>,
    ) -> Result<(), Gap> {
        let begin = self.steps.first().copied().unwrap_or(0);
        if begin > first {
            let reason =
                format!("{what}: the checkpoints of {first}..{last} begin at step {begin}");
            return Err(Gap(Lack::Missing, reason));
        }
        let within = |step: &i64| (first..=last).contains(step);
        let saved = self.steps.iter().filter(|step| within(step)).count();
        let found = steps.filter(within).count();
        if found == 0 || (found as f64) < rules.nulls.coverage * saved as f64 {
            let reason = format!("{what}: {found} of the {saved} saves of {first}..{last}");
            return Err(Gap(Lack::Missing, reason));
        }
        Ok(())
    }

    /// Random sets of frequencies as large as K, if there are enough.
    #[must_use]
    pub fn subsets(&self, rules: &Rules, pool: Pool) -> Option<Subsets> {
        Subsets::new(&rules.nulls, &self.keys, &self.plain, pool)
    }

    /// N1: a number of the keys beside that of random sets. Mean, quantile and z are those among sets of the
    /// others, the band that claims are about; p is [`Course::exchanged_p`]. Neither with too few sets.
    #[must_use]
    pub fn among_sets(
        &self,
        rules: &Rules,
        value: f64,
        of: impl Fn(&[usize]) -> Option<f64>,
    ) -> Compared {
        let sets = self.subsets(rules, Pool::Plain);
        let null: Vec<f64> = sets.iter().flat_map(Subsets::sets).filter_map(&of).collect();
        let p = self.exchanged_p(rules, of);
        Compared { p, ..compare(&rules.nulls, NullId::N1, value, &null, Side::Upper) }
    }

    /// p of a number of the keys among sets of keys and others together: exact, where nothing differs, for
    /// whatever number of a set. It finds something where sets of a few keys have smaller numbers than the keys:
    /// means over frequencies are such, while the shape of a mean is already that of the keys if one is in it.
    #[must_use]
    pub fn exchanged_p<T: PartialOrd>(
        &self,
        rules: &Rules,
        of: impl Fn(&[usize]) -> Option<T>,
    ) -> Option<f64> {
        let own = of(&self.keys)?;
        let sets = self.subsets(rules, Pool::Exchanged)?;
        let (mut count, mut beyond) = (0, 0);
        for found in sets.sets().filter_map(of) {
            count += 1;
            beyond += usize::from(found >= own);
        }
        (count > 0).then(|| (1 + beyond) as f64 / (1 + count) as f64)
    }
}

/// A statistic of every frequency, at the saves where it is known of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Ascending
    pub steps: Vec<i64>,
    /// `[save, frequency]`, frequency k at k − 1
    pub values: Array2<f64>,
}

impl Series {
    /// Only the saves in a window, both ends included.
    #[must_use]
    pub fn within(&self, first: i64, last: i64) -> Self {
        self.select(|step| (first..=last).contains(&step))
    }

    /// The saves at these steps, all of which it has.
    #[must_use]
    pub fn at_steps(&self, steps: &[i64]) -> Self {
        self.select(|step| steps.binary_search(&step).is_ok())
    }

    fn select(&self, keep: impl Fn(i64) -> bool) -> Self {
        let rows: Vec<usize> =
            (0..self.steps.len()).filter(|save| keep(self.steps[*save])).collect();
        let steps = rows.iter().map(|save| self.steps[*save]).collect();
        Self { steps, values: self.values.select(Axis(0), &rows) }
    }

    /// What every frequency gains per step, from each save to the next; by the first of both.
    #[must_use]
    pub fn growth(&self) -> Self {
        let pairs = self.steps.len().saturating_sub(1);
        let steps = self.steps[..pairs].to_vec();
        let values = Array2::from_shape_fn((pairs, self.values.ncols()), |(save, k)| {
            let gained = self.values[[save + 1, k]] - self.values[[save, k]];
            gained / (self.steps[save + 1] - self.steps[save]) as f64
        });
        Self { steps, values }
    }

    /// Mean over some frequencies, `[save]`.
    #[must_use]
    pub fn mean(&self, frequencies: &[usize]) -> Vec<f64> {
        let of_row = |row| mean_of(row, frequencies).unwrap_or(0.0);
        self.values.rows().into_iter().map(of_row).collect()
    }

    /// The steps as numbers.
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.steps.iter().map(|step| *step as f64).collect()
    }
}

/// A statistic of every frequency, and what it is in frequencies that won by chance: N5a, N5a' and, for a
/// statistic that is positive, as growth rates need, N5b. Draws are made once, when they are first needed.
#[derive(Debug)]
pub struct Walks<'a> {
    pub series: &'a Series,
    rules: &'a Rules,
    course: &'a Course,
    drawn: OnceCell<Vec<(NullId, Winners)>>,
}

impl<'a> Walks<'a> {
    /// Of this statistic.
    #[must_use]
    pub fn new(rules: &'a Rules, course: &'a Course, series: &'a Series) -> Self {
        Self { series, rules, course, drawn: OnceCell::new() }
    }

    /// Saves that a claim looks at, in number: up to the last phase that one ends with, and as many more as
    /// must be in a row. (Of ten thousand draws every save takes 80 kB.)
    fn kept(&self) -> usize {
        let (rules, phases) = (self.rules, self.course.phases);
        let of = |share: f64, step: Option<i64>| step.map(|step| (share * step as f64) as i64);
        let ends = [
            of(1.0, phases.t_gen),
            of(rules.c3.a.refutes, phases.t_mem),
            of(rules.c3.b.refutes, phases.t_peak),
            Some(rules.c4.last_step),
        ];
        let end = ends.into_iter().flatten().max().unwrap_or(0);
        let saves = self.series.steps.partition_point(|step| *step <= end);
        (saves + rules.nulls.in_a_row).min(self.series.steps.len())
    }

    fn contest(&self) -> Contest<'_> {
        let Course { keys, plain, .. } = self.course;
        Contest { series: self.series.values.view(), keys, plain, kept: self.kept() }
    }

    fn draw(&self) -> Vec<(NullId, Winners)> {
        // Nobody has won before the run ends.
        if self.series.steps.last() != self.course.steps.last() {
            return Vec::new();
        }
        let (contest, rules) = (self.contest(), &self.rules.nulls);
        let walk = |walk| walks::winners(&contest, walk, rules.walks, rules.seed);
        let whole = paths::winners(&contest, rules.walks, rules.seed);
        let Some((walked, whole)) = walk(Walk::Additive).zip(whole) else { return Vec::new() };
        let mut drawn = vec![(NullId::N5a, walked), (NullId::N5aPaths, whole)];
        if self.series.values.iter().all(|value| *value > 0.0) {
            drawn.extend(walk(Walk::Multiplicative).map(|grown| (NullId::N5b, grown)));
        }
        drawn
    }

    /// The winner's curse: a number of the contrast of the keys (their mean less that of the plain
    /// frequencies, over the saves that claims look at) among those of winners by chance. Empty where it is
    /// undefined.
    pub fn curse(&self, number: impl Fn(&[i64], &[f64]) -> Option<f64>) -> Vec<Compared> {
        let own = self.contest().contrast();
        let steps = &self.series.steps[..own.len()];
        let measured = if own.is_empty() { None } else { number(steps, &own) };
        let Some(measured) = measured else { return Vec::new() };
        let against = |(null, drawn): &(NullId, Winners)| {
            let values = drawn.numbers(|contrast| number(steps, contrast));
            compare(&self.rules.nulls, *null, measured, &values, Side::Upper)
        };
        self.drawn.get_or_init(|| self.draw()).iter().map(against).collect()
    }
}

impl From<Compared> for Against {
    fn from(found: Compared) -> Self {
        Self {
            null: found.null.name(),
            mean: found.mean,
            quantile: found.quantile,
            z: found.z,
            p: found.p,
        }
    }
}

/// How far a contrast rises from the first save in a window to the last one.
#[must_use]
pub fn rise(steps: &[i64], contrast: &[f64], (first, last): (i64, i64)) -> Option<f64> {
    let begin = steps.partition_point(|step| *step < first);
    let end = steps.partition_point(|step| *step <= last).checked_sub(1)?;
    (begin < end).then(|| contrast[end] - contrast[begin])
}

/// The least favourable p of several nulls; `None` if one of them has none, or there are none.
#[must_use]
pub fn largest_p(all: &[Compared]) -> Option<f64> {
    let p: Option<Vec<f64>> = all.iter().map(|compared| compared.p).collect();
    p?.into_iter().reduce(f64::max)
}

/// Whether a statistic is gone under N5: winners by chance have it, too, by one of its nulls. `None` if none
/// says so and one is undefined, or there are none.
#[must_use]
pub fn is_gone(rules: &Rules, curse: &[Compared]) -> Option<bool> {
    let gone = curse.iter().filter_map(|null| null.p).any(|p| p > rules.nulls.level);
    if gone { Some(true) } else { largest_p(curse).map(|_| false) }
}

/// What support does not rule out if the growth of what is ahead is not among these nulls: N5b needs a
/// statistic that is positive.
#[must_use]
pub fn head_start(curse: &[Compared]) -> &'static str {
    if curse.iter().any(|null| null.null == NullId::N5b) {
        ""
    } else {
        "; without N5b, which needs positive values, a head start is not ruled out"
    }
}

/// `0.042`, or `1.2e-5`: a number in a reason.
#[must_use]
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.2e}")
    } else {
        let text = format!("{value:.3}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { "0".into() } else { text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_reasons_are_short() {
        let found = [0.0, -0.0001, 0.12345, 12.0, -3.5, 1e-7, 2.5e9].map(short);
        assert_eq!(found, ["0", "-1.00e-4", "0.123", "12", "-3.5", "1.00e-7", "2.50e9"]);
    }
}
