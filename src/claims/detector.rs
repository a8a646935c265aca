//! The blind detector: what tools see of the final circuit that do not know it.
//!
//! At each save every frequency is compared, in every statistic, with the same statistic of runs on permuted
//! labels (twins) at the same step:
//! ```text
//! t = (x − x̄)/(s √(1 + 1/n)),   p = P(T ≥ t),  T Student's with n − 1 degrees of freedom
//! ```
//! over the n values of all frequencies of all twins, on a log scale where a statistic is positive. Then
//! Benjamini and Hochberg's rule over frequencies × statistics.
//!
//! Why not ranks: the smallest p of n values is 1/(n + 1). With 5 twins of 56 frequencies that is 1/281, and
//! of 224 tests at once 16 would have to reach it together: one frequency alone is never seen. Why not the
//! normal law: with few values its tail is too thin (at p = 10⁻³ it rejects 6.5 times too often with 10, 1.1 times with 280). Both laws take the
//! statistic to be normal over frequencies; what the held-out twins say ([`Detector::hold_out`]) is the check of that.
//!
//! **What is rejected** is that a frequency is one of a run on permuted labels, and a run that memorises the
//! true labels is none, at any frequency. For c_k = ⟨L, e_k⟩, e_k = √(2/p³) cos w_k(a+b−c), all k together have
//! ```text
//! mean over k of c_k = √(2p) ⟨L_correct − mean of L_wrong⟩,  over all inputs
//! ```
//! A table of the labels of a share F of the inputs, with margin M, has c_k = M F √(2p) at every k. One of
//! permuted labels has the mean 0 and the s.d. M √(F/p). Its t is p √(2F) everywhere, without a circuit.
//! Therefore a *key* is detected only
//! - among frequencies that stand out of their own run: `centred` takes the median over the frequencies of each
//!   run and save off first;
//! - if the rejected frequencies are selective: see [`chance`].

mod curve;
#[cfg(test)]
mod tests;

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};

pub use curve::{Scores, auc, roc};

use super::nulls::subsets::{Pool, Subsets};
use super::onset::in_a_row;
use super::rules::Rules;
use super::stats;

/// One statistic of all runs.
#[derive(Debug, Clone)]
pub struct Statistic<'a> {
    pub name: &'a str,
    /// Whether its logarithm is compared: norms and shares
    pub log: bool,
    /// Of the run that is looked at, `[save, frequency]`
    pub own: ArrayView2<'a, f64>,
    /// Of each twin, at the same saves
    pub twins: Vec<ArrayView2<'a, f64>>,
}

impl<'a> Statistic<'a> {
    /// The same with a twin in the place of the run, among the other twins.
    fn of_twin(&self, twin: usize) -> Statistic<'a> {
        let mut rest = self.clone();
        rest.own = rest.twins.remove(twin);
        rest
    }
}

/// How to detect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detector {
    /// Expected share of false ones among the rejected
    pub level: f64,
    /// Saves for which a frequency has to stay rejected
    pub in_a_row: usize,
    /// Whether the median over the frequencies of each run and save is taken off
    pub centred: bool,
    /// Largest [`chance`] at each of these saves; with 1 any rejection will do
    pub selectivity: f64,
}

/// A wanted frequency that is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// First save from which on it stays rejected
    pub save: usize,
    /// The lowest if several begin at once
    pub frequency: usize,
    /// The largest [`chance`] at the saves of the row
    pub chance: f64,
}

impl Detector {
    /// The one that claims are judged by: centred and selective.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let (level, selectivity) = (rules.c13.level, rules.c13.selectivity);
        Self { level, in_a_row: rules.nulls.in_a_row, centred: true, selectivity }
    }

    /// The same, neither centred nor selective.
    #[must_use]
    pub fn literal(self) -> Self {
        Self { centred: false, selectivity: 1.0, ..self }
    }

    /// p-values, `[save, statistic, frequency]`. A value that cannot be compared has p = 1: where no
    /// logarithm is, or where fewer than three values of the twins are, or all are equal.
    ///
    /// # Panics
    /// If arrays have different shapes.
    #[must_use]
    pub fn p_values(&self, statistics: &[Statistic<'_>]) -> Array3<f64> {
        let (saves, frequencies) = statistics.first().map_or((0, 0), |first| first.own.dim());
        let mut p = Array3::ones((saves, statistics.len(), frequencies));
        for (statistic, mut p) in statistics.iter().zip(p.axis_iter_mut(Axis(1))) {
            assert_eq!(statistic.own.dim(), (saves, frequencies), "{}", statistic.name);
            for (save, mut p) in p.rows_mut().into_iter().enumerate() {
                let of = |run: &ArrayView2<'_, f64>| self.of_run(*run, save, statistic.log);
                let null: Vec<f64> = statistic.twins.iter().flat_map(of).flatten().collect();
                let law = Law::of(&null);
                for (p, x) in p.iter_mut().zip(of(&statistic.own)) {
                    if let (Some(x), Some(law)) = (x, law) {
                        *p = law.tail(x);
                    }
                }
            }
        }
        p
    }

    /// The values of one run at one save, `[frequency]`, as they are compared.
    fn of_run(&self, run: ArrayView2<'_, f64>, save: usize, log: bool) -> Vec<Option<f64>> {
        let scaled = |x: &f64| match log {
            true => (*x > 0.0).then(|| x.ln()),
            false => Some(*x),
        };
        let values: Vec<Option<f64>> = run.row(save).iter().map(scaled).collect();
        let known: Vec<f64> = values.iter().copied().flatten().collect();
        let centre = stats::median(&known).filter(|_| self.centred).unwrap_or(0.0);
        values.into_iter().map(|x| Some(x? - centre)).collect()
    }

    /// The frequencies that are rejected in any statistic, `[save, frequency]`; `p` is
    /// `[save, statistic, frequency]`.
    #[must_use]
    pub fn rejected(&self, p: ArrayView3<'_, f64>) -> Array2<bool> {
        let (saves, _, frequencies) = p.dim();
        let mut rejected = Array2::from_elem((saves, frequencies), false);
        for (p, mut rejected) in p.outer_iter().zip(rejected.rows_mut()) {
            let all: Vec<f64> = p.iter().copied().collect(); // [statistic, frequency]
            for (test, adjusted) in stats::benjamini_hochberg(&all).iter().enumerate() {
                rejected[test % frequencies] |= *adjusted <= self.level;
            }
        }
        rejected
    }

    /// The first of the `wanted` frequencies that stays among the `rejected`, `[save, frequency]`.
    #[must_use]
    pub fn detect(&self, rejected: ArrayView2<'_, bool>, wanted: &[usize]) -> Option<Detection> {
        let chances: Vec<f64> =
            rejected.rows().into_iter().map(|rejected| chance(rejected, wanted)).collect();
        let length = self.in_a_row.max(1);
        let stays = |k: usize| {
            let saves = rejected.column(k - 1).into_iter().zip(&chances);
            in_a_row(saves.map(|(is, chance)| *is && *chance <= self.selectivity), length)
        };
        let (save, frequency) = wanted.iter().filter_map(|k| Some((stays(*k)?, *k))).min()?;
        let chance = chances[save..save + length].iter().copied().fold(0.0, f64::max);
        Some(Detection { save, frequency, chance })
    }

    /// What is rejected of each twin in turn, looked at as if it were a run, against the other twins: every
    /// discovery is false. Fewer than two twins have no others.
    #[must_use]
    pub fn hold_out(&self, statistics: &[Statistic<'_>]) -> Vec<Array2<bool>> {
        let twins = statistics.iter().map(|s| s.twins.len()).min().unwrap_or(0);
        let held = (0..twins).filter(|_| twins > 1).map(|held| {
            let statistics: Vec<Statistic<'_>> =
                statistics.iter().map(|statistic| statistic.of_twin(held)).collect();
            self.rejected(self.p_values(&statistics).view())
        });
        held.collect()
    }

    /// How often this detector finds keys that are none: the share of random sets of `size` frequencies, `draws`
    /// of them on each held-out twin, of which one is detected. `None` without twins, or if more than half
    /// of the frequencies make a set.
    #[must_use]
    pub fn false_alarms(
        &self,
        held_out: &[Array2<bool>],
        size: usize,
        draws: usize,
        seed: u64,
    ) -> Option<f64> {
        let (first, others) =
            (1..=held_out.first()?.ncols()).partition::<Vec<_>, _>(|k| *k <= size);
        let sets = Subsets::draw(&first, &others, Pool::Exchanged, draws, seed)?;
        let found = |twin: &Array2<bool>| {
            sets.sets().filter(|set| self.detect(twin.view(), set).is_some()).count()
        };
        let all: usize = held_out.iter().map(found).sum();
        Some(all as f64 / (held_out.len() * sets.sets().count()) as f64)
    }

    /// How clearly each frequency is seen: the largest s so that one of its p-values stays at or below
    /// 10^(−s) for so many saves in a row; 0 if there are fewer saves. `p` is `[save, statistic, frequency]`.
    #[must_use]
    pub fn scores(&self, p: ArrayView3<'_, f64>) -> Vec<f64> {
        // The smallest positive number keeps a score finite where a tail underflows.
        let smallest =
            p.map_axis(Axis(1), |p| p.fold(1.0, |a: f64, b| a.min(*b)).max(f64::MIN_POSITIVE));
        let of_frequency = |p: ArrayView1<'_, f64>| {
            let rows = p.windows(self.in_a_row.max(1)).into_iter();
            rows.map(|row| -row.fold(0.0, |a: f64, b| a.max(*b)).log10()).fold(0.0, f64::max)
        };
        smallest.columns().into_iter().map(of_frequency).collect()
    }
}

/// The chance that so many of the `wanted` frequencies are among the rejected: h of them among r of n,
/// ```text
/// P(X ≥ h) = Σ_{i ≥ h} C(|K|, i) C(n − |K|, r − i)/C(n, r)
/// ```
/// Exact if the rejected frequencies have nothing to do with the wanted ones, which the detector does not
/// know. If all are rejected it is 1.
#[must_use]
pub fn chance(rejected: ArrayView1<'_, bool>, wanted: &[usize]) -> f64 {
    let hits = wanted.iter().filter(|k| rejected[**k - 1]).count();
    let drawn = rejected.iter().filter(|is| **is).count();
    hypergeometric_tail(hits, wanted.len(), drawn, rejected.len())
}

/// `P(X ≥ hits)` if `drawn` of `all` things are drawn, of which `good` are good.
fn hypergeometric_tail(hits: usize, good: usize, drawn: usize, all: usize) -> f64 {
    if hits == 0 {
        return 1.0;
    }
    let ln_choose = |n: usize, k: usize| {
        let ln_factorial = |n: usize| libm::lgamma(n as f64 + 1.0);
        ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
    };
    let possible = (hits..=good.min(drawn)).filter(|i| drawn - i <= all - good);
    let of =
        |i: usize| ln_choose(good, i) + ln_choose(all - good, drawn - i) - ln_choose(all, drawn);
    possible.map(|i| of(i).exp()).sum::<f64>().min(1.0)
}

/// The smallest [`chance`] that there can be: all keys are rejected, and nothing else.
#[must_use]
pub fn smallest_chance(keys: usize, frequencies: usize) -> f64 {
    hypergeometric_tail(keys, keys, keys, frequencies)
}

/// The law of one more value, given some of a normal law.
#[derive(Debug, Clone, Copy)]
struct Law {
    mean: f64,
    spread: f64,
    freedom: f64,
}

impl Law {
    fn of(null: &[f64]) -> Option<Self> {
        let n = null.len() as f64;
        // Equal values have no spread but the rounding of their mean.
        stats::z(0.0, null)?;
        let (mean, deviation) = (stats::mean(null)?, stats::deviation(null)?);
        Some(Self { mean, spread: deviation * (1.0 + 1.0 / n).sqrt(), freedom: n - 1.0 })
    }

    fn tail(self, x: f64) -> f64 {
        stats::student_tail((x - self.mean) / self.spread, self.freedom)
    }
}
