//! The blind detector: what tools see of the final circuit that do not know it.
//!
//! At each save every frequency is compared, in every statistic, with the same statistic of runs on permuted
//! labels from the same initialisation (twins) at the same step:
//! ```text
//! t = (x − x̄)/(s √(1 + 1/n)),   p = P(T ≥ t),  T Student's with n − 1 degrees of freedom
//! ```
//! over the n values of all frequencies of all twins, on a log scale where a statistic is positive. Then
//! Benjamini and Hochberg at 5 % over frequencies × statistics.
//!
//! Why not ranks: the smallest p of n values is 1/(n + 1). With 5 twins of 56 frequencies that is 1/281, and
//! of 224 tests at once 16 would have to reach it together: one frequency alone is never seen. Why not the
//! normal law: with few values its tail is too thin (at p = 10⁻³ it rejects 6.5 times too often with 10, 1.1 times with 280). Both laws take the
//! statistic to be normal over frequencies; what the held-out twins say ([`Detector::hold_out`]) is the check of that.
//!
//! Frequencies of one run share its scale, so that a run whose norms are all larger is seen at every
//! frequency. `centred` takes the median over frequencies of each run off first, and asks for frequencies
//! that stand out of their own run.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};

use super::stats;

/// Level of Benjamini and Hochberg's rule.
pub const LEVEL: f64 = 0.05;

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
}

impl Default for Detector {
    fn default() -> Self {
        Self { level: LEVEL, in_a_row: super::onset::IN_A_ROW, centred: false }
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// First save from which on one of the wanted frequencies stays rejected
    pub save: Option<usize>,
    /// That frequency, the lowest if several begin at once
    pub frequency: Option<usize>,
    /// By any statistic, `[save, frequency]`
    pub rejected: Array2<bool>,
    /// Share of the rejected frequencies that are none of the wanted, by save; 0 where nothing is rejected
    pub others: Vec<f64>,
    /// −log₁₀ of the smallest p, by save: what an ROC curve is drawn over
    pub score: Vec<f64>,
}

impl Detector {
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

    /// Reject, and look for the first of the `wanted` frequencies that stays so: the final keys, or all
    /// frequencies to count false discoveries. `p` is `[save, statistic, frequency]`.
    #[must_use]
    pub fn detect(&self, p: ArrayView3<'_, f64>, wanted: &[usize]) -> Detection {
        let (saves, _, frequencies) = p.dim();
        let mut rejected = Array2::from_elem((saves, frequencies), false);
        let (mut others, mut score) = (Vec::new(), Vec::new());
        for (p, mut rejected) in p.outer_iter().zip(rejected.rows_mut()) {
            let all: Vec<f64> = p.iter().copied().collect(); // [statistic, frequency]
            let adjusted = stats::benjamini_hochberg(&all);
            for (test, adjusted) in adjusted.iter().enumerate() {
                rejected[test % frequencies] |= *adjusted <= self.level;
            }
            let is = |wanted_ones: bool| {
                let seen = (1..=frequencies).filter(|k| rejected[k - 1]);
                seen.filter(|k| wanted.contains(k) == wanted_ones).count() as f64
            };
            let (of_wanted, of_others) = (is(true), is(false));
            others.push(of_others / (of_wanted + of_others).max(1.0));
            // The smallest positive number keeps the score finite where a tail underflows.
            let smallest = all.iter().copied().fold(1.0, f64::min).max(f64::MIN_POSITIVE);
            score.push(-smallest.log10());
        }
        let stays = |k: usize| {
            let mut row = 0;
            rejected.column(k - 1).iter().enumerate().find_map(|(save, is)| {
                row = if *is { row + 1 } else { 0 };
                (row == self.in_a_row.max(1)).then(|| save + 1 - row)
            })
        };
        let first = wanted.iter().filter_map(|k| Some((stays(*k)?, *k))).min();
        Detection {
            save: first.map(|(save, _)| save),
            frequency: first.map(|(_, k)| k),
            rejected,
            others,
            score,
        }
    }

    /// Each twin in turn looked at as if it were a run, against the other twins: every discovery is false.
    /// Fewer than two twins have no others.
    #[must_use]
    pub fn hold_out(&self, statistics: &[Statistic<'_>]) -> Vec<Detection> {
        let twins = statistics.iter().map(|s| s.twins.len()).min().unwrap_or(0);
        let held = (0..twins).filter(|_| twins > 1).map(|held| {
            let statistics: Vec<Statistic<'_>> =
                statistics.iter().map(|statistic| statistic.of_twin(held)).collect();
            let p = self.p_values(&statistics);
            let all: Vec<usize> = (1..=p.dim().2).collect();
            self.detect(p.view(), &all)
        });
        held.collect()
    }
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

/// Share of the negatives and of the positives at or above each score, from `[0, 0]` to `[1, 1]`: false
/// against true positives. Empty without both.
#[must_use]
pub fn roc(positive: &[f64], negative: &[f64]) -> Vec<[f64; 2]> {
    if positive.is_empty() || negative.is_empty() {
        return Vec::new();
    }
    let mut scores = [positive, negative].concat();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    let share = |values: &[f64], score: f64| {
        values.iter().filter(|x| **x >= score).count() as f64 / values.len() as f64
    };
    let points = scores.into_iter().map(|score| [share(negative, score), share(positive, score)]);
    std::iter::once([0.0, 0.0]).chain(points).collect()
}

/// Area under [`roc`]: the chance that a positive scores above a negative, ties half. `None` without both.
#[must_use]
pub fn auc(positive: &[f64], negative: &[f64]) -> Option<f64> {
    let of_pair = |a: f64, b: f64| match a.total_cmp(&b) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let pairs = positive.iter().flat_map(|a| negative.iter().map(move |b| of_pair(*a, *b)));
    let all = positive.len() * negative.len();
    (all > 0).then(|| pairs.sum::<f64>() / all as f64)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    const SAVES: usize = 40;
    const FREQUENCIES: usize = 28;

    /// Statistics of a run and its twins without any difference: a norm (log-normal) and a coefficient,
    /// each frequency an autoregressive process so that saves in a row depend on each other.
    fn alike(runs: usize, seed: u64) -> [Vec<Array2<f64>>; 2] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut one = |log: bool| {
            let mut values = Array2::zeros((SAVES, FREQUENCIES));
            for k in 0..FREQUENCIES {
                let mut x: f64 = StandardNormal.sample(&mut rng);
                for save in 0..SAVES {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    x = 0.8 * x + 0.6 * noise;
                    values[[save, k]] = if log { (0.3 * x).exp() } else { x };
                }
            }
            values
        };
        [true, false].map(|log| (0..runs).map(|_| one(log)).collect())
    }

    fn statistics(runs: &[Vec<Array2<f64>>; 2]) -> Vec<Statistic<'_>> {
        let [norms, coefficients] = runs;
        [("norm", true, norms), ("coefficient", false, coefficients)]
            .map(|(name, log, runs)| Statistic {
                name,
                log,
                own: runs[0].view(),
                twins: runs[1..].iter().map(|run| run.view()).collect(),
            })
            .into()
    }

    /// A component that grows from 0 to 8 s.d. in 40 saves is detected while it is still small, and is the
    /// only one.
    #[test]
    fn a_planted_component_is_found() {
        for centred in [false, true] {
            let detector = Detector { centred, ..Detector::default() };
            let mut runs = alike(6, 1);
            for save in 0..SAVES {
                runs[1][0][[save, 4]] += 8.0 * save as f64 / SAVES as f64;
                runs[0][0][[save, 4]] *= (0.3 * 8.0 * save as f64 / SAVES as f64).exp();
            }
            let found = detector.detect(detector.p_values(&statistics(&runs)).view(), &[5, 9]);
            assert_eq!(found.frequency, Some(5));
            assert!((10..30).contains(&found.save.unwrap()), "{found:?}");
            assert_eq!(*found.others.last().unwrap(), 0.0);
            assert!(found.rejected[[SAVES - 1, 4]] && found.score[SAVES - 1] > 8.0);
        }
    }

    /// Without a difference a save has any rejection in at most 5 % of cases (for a true null throughout, Benjamini
    /// and Hochberg's rule keeps the chance of one), up to the binomial error; and no frequency stays
    /// rejected for five saves.
    #[test]
    fn runs_that_are_alike_are_not_told_apart() {
        let (mut saves, mut rejecting, mut detected) = (0, 0, 0);
        for seed in 0..60 {
            let runs = alike(4, 100 + seed);
            for found in Detector::default().hold_out(&statistics(&runs)) {
                // Every tenth: saves further apart are nearly independent (0.8¹⁰ = 0.1).
                let any = |save: &usize| found.rejected.row(*save).iter().any(|is| *is);
                rejecting += (0..SAVES).step_by(10).filter(any).count();
                saves += SAVES.div_ceil(10);
                detected += usize::from(found.save.is_some());
            }
        }
        let expected = 0.05 * saves as f64;
        assert!(
            (rejecting as f64 - expected).abs() < 3.5 * expected.sqrt(),
            "{rejecting} of {saves}"
        );
        assert!(detected <= 2, "{detected} of 180 detected");
    }

    /// With twins of few values p-values are uniform by Student's law, and not by the normal one.
    #[test]
    fn tails_are_those_of_one_more_value() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut student, mut normal) = (0, 0);
        let draws = 40_000;
        for _ in 0..draws {
            let null: Vec<f64> = (0..10).map(|_| StandardNormal.sample(&mut rng)).collect();
            let x: f64 = StandardNormal.sample(&mut rng);
            let law = Law::of(&null).unwrap();
            student += usize::from(law.tail(x) <= 0.001);
            normal += usize::from(stats::normal_tail((x - law.mean) / law.spread) <= 0.001);
        }
        assert!((20..=62).contains(&student), "{student}"); // 40 ± 3.5 · 6.3
        assert!(normal > 5 * student, "{normal} against {student}");
    }

    #[test]
    fn what_cannot_be_compared_is_not_rejected() {
        let own = Array2::from_elem((3, 2), -1.0);
        let twin = Array2::from_elem((3, 2), 1.0);
        let of = |log, own: &Array2<f64>| {
            let (own, twins) = (own.view(), vec![twin.view(), twin.view()]);
            let statistic = Statistic { name: "any", log, own, twins };
            Detector::default().p_values(&[statistic])
        };
        assert!(of(true, &own).iter().all(|p| *p == 1.0)); // no logarithm
        assert!(of(false, &own).iter().all(|p| *p == 1.0)); // no spread
        assert!(Detector::default().hold_out(&[]).is_empty());
    }

    /// A run that is larger at every frequency is seen everywhere, unless it is centred.
    #[test]
    fn centring_takes_the_scale_of_a_run_away() {
        let mut runs = alike(5, 3);
        runs.iter_mut().for_each(|runs| runs[0].mapv_inplace(|x| 20.0 + 20.0 * x.abs()));
        let rejected = |centred| {
            let detector = Detector { centred, ..Detector::default() };
            let mut statistics = statistics(&runs);
            statistics.truncate(1); // the scale of a norm is a summand of its logarithm
            let found = detector.detect(detector.p_values(&statistics).view(), &[1]);
            found.rejected.iter().filter(|is| **is).count()
        };
        assert_eq!(rejected(false), SAVES * FREQUENCIES);
        assert!(rejected(true) < SAVES * FREQUENCIES / 50, "{}", rejected(true));
    }

    #[test]
    fn roc_by_hand() {
        let (positive, negative) = ([3.0, 2.0], [2.0, 1.0]);
        let expected = [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]];
        assert_eq!(roc(&positive, &negative), expected);
        assert_eq!(auc(&positive, &negative), Some(0.875));
        assert_eq!((auc(&[], &negative), roc(&[], &negative)), (None, vec![]));
    }
}
