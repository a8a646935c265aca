//! The winner's curse of a statistic (N5): what winners by chance have of it, and what a claim makes of that.

use std::cell::OnceCell;

use super::course::{Course, Series};
use super::nulls::walks::{self, Walk};
use super::nulls::winners::{Contest, Winners};
use super::nulls::{Compared, NullId, compare, paths};
use super::rules::Rules;
use super::stats::Side;
use super::verdict::{Against, Measured};

/// A statistic of every frequency, and what it is in frequencies that won by chance: N5a, N5a' and, for a
/// statistic that is positive, as growth rates need, N5b. Draws are made once, when they are first needed.
#[derive(Debug)]
pub struct Walks<'a> {
    pub series: &'a Series,
    rules: &'a Rules,
    course: &'a Course,
    /// [`Series::without_tail`]
    tamed: OnceCell<Series>,
    drawn: OnceCell<Vec<(NullId, Winners)>>,
}

impl<'a> Walks<'a> {
    /// Of this statistic.
    #[must_use]
    pub fn new(rules: &'a Rules, course: &'a Course, series: &'a Series) -> Self {
        Self { series, rules, course, tamed: OnceCell::new(), drawn: OnceCell::new() }
    }

    /// Saves that a claim looks at, in number: up to the last phase that one ends with, and as many more as
    /// must be in a row. (Of ten thousand draws every save takes up to half a megabyte.)
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

    /// The series that walks in a null. Whole paths are Gaussian: values with a long tail, as norms have, would look
    /// early far too often, so it is taken off there.
    fn walked(&self, null: NullId) -> &Series {
        if null == NullId::N5aPaths {
            self.tamed.get_or_init(|| self.series.without_tail())
        } else {
            self.series
        }
    }

    fn contest(&self, null: NullId) -> Contest<'_> {
        let Course { keys, plain, .. } = self.course;
        Contest { series: self.walked(null).values.view(), keys, plain, kept: self.kept() }
    }

    fn draw(&self) -> Vec<(NullId, Winners)> {
        // Nobody has won before the run ends.
        if self.series.steps.last() != self.course.steps.last() {
            return Vec::new();
        }
        let rules = &self.rules.nulls;
        let walk = |null, walk| walks::winners(&self.contest(null), walk, rules.walks, rules.seed);
        let whole = paths::winners(&self.contest(NullId::N5aPaths), rules.walks, rules.seed);
        let Some((walked, whole)) = walk(NullId::N5a, Walk::Additive).zip(whole) else {
            return Vec::new();
        };
        let mut drawn = vec![(NullId::N5a, walked), (NullId::N5aPaths, whole)];
        // What is never negative is a norm or a share: where it does not grow, there is no null of a head start,
        // and nothing is said without it.
        if self.series.values.iter().all(|value| *value >= 0.0) {
            let Some(grown) = walk(NullId::N5b, Walk::Multiplicative) else { return Vec::new() };
            drawn.push((NullId::N5b, grown));
        }
        drawn
    }

    /// The winner's curse: a number of the contrast of the keys (their mean less that of the plain
    /// frequencies, over the saves that claims look at) among those of winners by chance. Empty where it is
    /// undefined.
    ///
    /// - `number`: what is taken of a contrast, given its series: the statistic, or what it is without its tail.
    pub fn curse<N>(&self, number: impl Fn(&Series) -> N) -> Vec<Compared>
    where
        N: Fn(&[i64], &[f64]) -> Option<f64>,
    {
        let against = |(null, drawn): &(NullId, Winners)| {
            let own = self.contest(*null).contrast();
            let (number, steps) = (number(self.walked(*null)), &self.series.steps[..own.len()]);
            let measured = number(steps, &own)?;
            let values = drawn.numbers(|contrast| number(steps, contrast));
            Some(compare(&self.rules.nulls, *null, measured, &values, Side::Upper))
        };
        let all: Option<Vec<Compared>> =
            self.drawn.get_or_init(|| self.draw()).iter().map(against).collect();
        all.unwrap_or_default()
    }
}

impl Walks<'_> {
    /// [`curse`](Self::curse) of how far the contrast rises from the first save in a window to the last one: how
    /// far, not how steadily, as winners by chance rise steadily, too, where a statistic is smooth in time. Empty
    /// also if too few saves of the window are known.
    #[must_use]
    pub fn rise_over_others(&self, window: (i64, i64)) -> Vec<Compared> {
        let steps = self.series.steps.iter().copied();
        if self.course.require_cover(self.rules, "what walks", window, steps).is_err() {
            return Vec::new();
        }
        self.curse(|_| move |steps: &[i64], contrast: &[f64]| rise(steps, contrast, window))
    }
}

impl Compared {
    /// A row of the number beside this null.
    #[must_use]
    pub fn row(self, statistic: impl Into<String>) -> Measured {
        Measured::number(statistic, Some(self.value)).against(self.into())
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

/// p of a claim about the keys, which needs N1 and N5: the less favourable one, `None` without either.
#[must_use]
pub fn p_of_keys(n1: Compared, curse: &[Compared]) -> Option<f64> {
    let both = [&[n1][..], curse].concat();
    largest_p(&both).filter(|_| !curse.is_empty())
}

/// Whether a statistic is gone under N5: winners by chance have it, too, by one of its nulls. `None` if none
/// says so and one is undefined, or there are none.
#[must_use]
pub fn is_gone(rules: &Rules, curse: &[Compared]) -> Option<bool> {
    let gone = curse.iter().filter_map(|null| null.p).any(|p| p > rules.nulls.level);
    if gone { Some(true) } else { largest_p(curse).map(|_| false) }
}

/// What support does not rule out: that a head start was amplified. N5b needs positive values, and increments
/// that are independent from save to save.
#[must_use]
pub fn head_start(curse: &[Compared]) -> &'static str {
    if curse.iter().any(|null| null.null == NullId::N5b) {
        "; a head start is ruled out for independent increments alone"
    } else {
        "; without N5b, which needs positive values, a head start is not ruled out"
    }
}
