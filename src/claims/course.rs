//! What the judges of all claims share: a run's phases and keys, and statistics over its saves.

use ndarray::{Array2, Axis};

use super::nulls::subsets::{Pool, Subsets};
use super::nulls::{Compared, NullId, compare, mean_of};
use super::phases::Phases;
use super::rules::Rules;
use super::stats::{self, Side};
use super::verdict::{Finding, Lack};

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

    /// Without the tail that few large frequencies make. Of positive values ln x; otherwise a logarithm of what is
    /// far from the median of its save, and the distance itself of what is near, in one unit for all saves:
    ///
    /// ```text
    /// asinh( (x − median_t)/u ),   u = median of all |x − median_t|
    /// ```
    ///
    /// The order at each save stays. All 0 where no value differs, and with the root mean square in the place of a
    /// unit that is 0.
    #[must_use]
    pub fn without_tail(&self) -> Self {
        let steps = self.steps.clone();
        if self.values.iter().all(|value| *value > 0.0) {
            return Self { steps, values: self.values.mapv(f64::ln) };
        }
        let mut values = self.values.clone();
        for mut save in values.rows_mut() {
            let middle = stats::median(&save.to_vec()).unwrap_or(0.0);
            save -= middle;
        }
        let sizes: Vec<f64> = values.iter().map(|distance| distance.abs()).collect();
        let square = values.iter().map(|distance| distance * distance).sum::<f64>();
        let unit = stats::median(&sizes).filter(|unit| *unit > 0.0);
        let unit = unit.unwrap_or_else(|| (square / sizes.len().max(1) as f64).sqrt());
        let scale = if unit > 0.0 { 1.0 / unit } else { 0.0 };
        values.mapv_inplace(|distance| (distance * scale).asinh());
        Self { steps, values }
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

    /// Distances −1, 0, 9 and −2, 0, 1: the median of their sizes is 1. Of three that are equal the unit is 0.
    #[test]
    fn tails_are_taken_off_by_logarithms() {
        let series =
            |values: Array2<f64>| Series { steps: Vec::new(), values }.without_tail().values;
        let root = |x: f64| (x + (x * x + 1.0).sqrt()).ln();
        let found = series(ndarray::array![[2.0, 3.0, 12.0], [-5.0, -3.0, -2.0]]);
        let expected = ndarray::array![[-root(1.0), 0.0, root(9.0)], [-root(2.0), 0.0, root(1.0)]];
        assert!((&found - &expected).iter().all(|gap| gap.abs() < 1e-14), "{found}");
        let found = series(ndarray::array![[0.0, 0.0, 0.0, 4.0]]);
        assert!((found[[0, 3]] - root(2.0)).abs() < 1e-14 && found[[0, 0]] == 0.0, "{found}");
        assert_eq!(series(ndarray::array![[-1.0, -1.0]]), ndarray::array![[0.0, 0.0]]);
        assert_eq!(series(ndarray::array![[1.0, 2.0]]), ndarray::array![[0.0, 2.0f64.ln()]]);
    }

    #[test]
    fn numbers_in_reasons_are_short() {
        let found = [0.0, -0.0001, 0.12345, 12.0, -3.5, 1e-7, 2.5e9].map(short);
        assert_eq!(found, ["0", "-1.00e-4", "0.123", "12", "-3.5", "1.00e-7", "2.50e9"]);
    }
}
