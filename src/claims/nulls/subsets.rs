//! N1: random sets of frequencies, as many as there are keys.

use ndarray::{ArrayView1, ArrayView2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::below;
use crate::claims::rules::NullRules;
use crate::claims::stats;

/// Fewer other frequencies than this are no null for a single one.
pub const FEWEST: usize = 3;

/// What the sets are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The plain frequencies: claims of "beyond the others", for thresholds and standard scores.
    ///
    /// The sets are drawn without replacement from few frequencies, so their means spread less than that of
    /// the keys does about them. Without any effect the standard score of the keys has the s.d.
    /// ```text
    /// √( (1/|K| + 1/m) / (1/|K| − 1/m) ),   m plain frequencies
    /// ```
    /// which is 1.18 for 5 keys and 30 others: a value in the upper 5 % of the sets then happens in 8 % of
    /// all cases, one in the upper 0.1 % in 1 %.
    Plain,
    /// Keys and plain frequencies together, for p-values: exact if these are exchangeable. A key among the
    /// drawn raises the null, and few sets mean that none can be rare.
    Exchanged,
}

/// Sets of as many frequencies as there are keys, each ascending: a set that is the keys has their statistic to
/// the last bit. The same sets serve at every save.
#[derive(Debug, Clone, PartialEq)]
pub struct Subsets {
    /// Frequencies of all sets, one after the other
    drawn: Vec<usize>,
    size: usize,
}

impl Subsets {
    /// Draw the sets; `None` if there are no keys, or fewer different sets of plain frequencies than the
    /// rules ask for, whatever they are drawn from.
    #[must_use]
    pub fn new(rules: &NullRules, keys: &[usize], plain: &[usize], pool: Pool) -> Option<Self> {
        let enough = different_sets(plain.len(), keys.len()) >= rules.least_sets as f64;
        Self::draw(keys, plain, pool, rules.subsets, rules.seed).filter(|_| enough)
    }

    /// The same, however few different ones there are; `None` with fewer plain frequencies than keys.
    #[must_use]
    pub fn draw(
        keys: &[usize],
        plain: &[usize],
        pool: Pool,
        draws: usize,
        seed: u64,
    ) -> Option<Self> {
        let size = keys.len();
        if size == 0 || plain.len() < size {
            return None;
        }
        let mut from = match pool {
            Pool::Plain => plain.to_vec(),
            Pool::Exchanged => [keys, plain].concat(),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn = Vec::with_capacity(draws * size);
        for _ in 0..draws {
            for place in 0..size {
                let other = place + below(&mut rng, from.len() - place);
                from.swap(place, other);
            }
            let begin = drawn.len();
            drawn.extend_from_slice(&from[..size]);
            drawn[begin..].sort_unstable();
        }
        Some(Self { drawn, size })
    }

    /// The sets themselves.
    pub fn sets(&self) -> impl Iterator<Item = &[usize]> {
        self.drawn.chunks_exact(self.size)
    }

    /// Mean of a statistic over each set; `values` is `[frequency]`, of one save.
    #[must_use]
    pub fn means(&self, values: ArrayView1<'_, f64>) -> Vec<f64> {
        let mean =
            |set: &[usize]| set.iter().map(|k| values[k - 1]).sum::<f64>() / self.size as f64;
        self.drawn.chunks_exact(self.size).map(mean).collect()
    }

    /// The `q`-quantile of the means at each save.
    #[must_use]
    pub fn thresholds(&self, series: ArrayView2<'_, f64>, q: f64) -> Vec<Option<f64>> {
        let of_save = |values| stats::quantile_of(&mut self.means(values), q);
        series.rows().into_iter().map(of_save).collect()
    }
}

/// Standard score of the mean of a set among the means of all sets as large that can be drawn from the rest of
/// a pool, which are not drawn for it:
/// ```text
/// z = (x̄_S − x̄_R)/√( s²_R (1/|S| − 1/|R|) ),   R: the pool without S;  s²: with |R| − 1
/// ```
/// - `values`: `[frequency]`, of one save.
///
/// `None` if the rest has no more frequencies than the set, or equal values.
#[must_use]
pub fn score(values: ArrayView1<'_, f64>, set: &[usize], pool: &[usize]) -> Option<f64> {
    let rest: Vec<f64> = pool.iter().filter(|k| !set.contains(k)).map(|k| values[k - 1]).collect();
    let (mean, deviation) = (stats::mean(&rest)?, stats::deviation(&rest)?);
    let spread = deviation * (1.0 / set.len() as f64 - 1.0 / rest.len() as f64).max(0.0).sqrt();
    // Equal values have a mean that is off by their rounding.
    let rounding = 4.0 * f64::EPSILON * mean.abs();
    (spread > rounding).then(|| (super::mean_of(values, set).unwrap_or(mean) - mean) / spread)
}

/// Number of sets of `k` of `n` things.
fn different_sets(n: usize, k: usize) -> f64 {
    if k > n {
        return 0.0;
    }
    (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

/// The same for a single key: at each save the `q`-quantile of the plain frequencies' own values, which of
/// fewer than a thousand is nearly the largest. `None` below [`FEWEST`].
#[must_use]
pub fn single_thresholds(series: ArrayView2<'_, f64>, plain: &[usize], q: f64) -> Vec<Option<f64>> {
    let of_save = |values: ArrayView1<'_, f64>| {
        let mut own: Vec<f64> = plain.iter().map(|k| values[k - 1]).collect();
        stats::quantile_of(&mut own, q).filter(|_| plain.len() >= FEWEST)
    };
    series.rows().into_iter().map(of_save).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::claims::rules::rules;

    /// So many draws, of as few different sets as there may be.
    fn drawing(subsets: usize) -> NullRules {
        NullRules { subsets, seed: 5, least_sets: 1, ..rules().nulls.clone() }
    }

    #[test]
    fn sets_are_drawn_without_replacement_and_evenly() {
        let plain = [2, 4, 6, 7];
        let sets = Subsets::new(&drawing(6_000), &[1, 3], &plain, Pool::Plain).unwrap();
        let mut counts = [0u32; 8];
        for set in sets.sets() {
            assert!(set[0] < set[1] && set.iter().all(|k| plain.contains(k)), "{set:?}");
            set.iter().for_each(|k| counts[*k] += 1);
        }
        // 3000 each, s.d. √(6000/4).
        assert!(plain.iter().all(|k| counts[*k].abs_diff(3000) < 160), "{counts:?}");
        let again = Subsets::new(&drawing(6_000), &[1, 3], &plain, Pool::Plain).unwrap();
        assert_eq!(sets, again);
    }

    /// Three of six: one set in 20 is that of the keys, and is not told from it by its rounding.
    #[test]
    fn the_keys_among_the_sets_are_the_keys() {
        let (keys, plain) = ([1, 3, 5], [2, 4, 6]);
        let sets = Subsets::new(&drawing(2_000), &keys, &plain, Pool::Exchanged).unwrap();
        let values = array![0.1, 9.0, 0.7, -4.0, 0.3, 1e-3];
        let own = super::super::mean_of(values.view(), &keys).unwrap();
        let means = sets.means(values.view());
        let same = means.iter().filter(|mean| mean.total_cmp(&own).is_eq()).count();
        assert!((60..145).contains(&same), "{same}");
    }

    /// Against the mean and s.d. of all ten pairs of the other five.
    #[test]
    fn a_score_is_that_among_all_sets_of_the_rest() {
        let values = array![4.0, 7.0, 0.5, -1.0, 2.5, 8.0, 3.0];
        let (set, rest) = ([2, 6], [1, 3, 4, 5, 7]);
        let pairs: Vec<f64> = (0..5)
            .flat_map(|i| (0..i).map(move |j| (rest[i], rest[j])))
            .map(|(a, b)| (values[a - 1] + values[b - 1]) / 2.0)
            .collect();
        let mean = stats::mean(&pairs).unwrap();
        let squares = pairs.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let expected = (7.5 - mean) / (squares / pairs.len() as f64).sqrt();
        let found = score(values.view(), &set, &[1, 2, 3, 4, 5, 6, 7]).unwrap();
        assert!((found - expected).abs() < 1e-14, "{found}, not {expected}");
        assert_eq!(score(array![1.0, 1.0, 1.0, 5.0].view(), &[4], &[1, 2, 3, 4]), None);
        assert_eq!(score(values.view(), &set, &[1, 2, 3, 6]), None);
    }

    #[test]
    fn few_frequencies_make_no_null() {
        assert_eq!(
            [(5, 2), (6, 6), (4, 5), (30, 0)].map(|(n, k)| different_sets(n, k)),
            [10.0, 1.0, 0.0, 1.0]
        );
        let plain: Vec<usize> = (10..24).collect();
        for pool in [Pool::Plain, Pool::Exchanged] {
            let of = |keys: &[usize]| Subsets::new(&rules().nulls, keys, &plain, pool);
            assert!(of(&[1, 2]).is_none(), "91 sets");
            assert!(of(&[1, 2, 3]).is_some(), "364 sets");
            assert!(of(&[]).is_none());
        }
    }

    #[test]
    fn means_and_thresholds_by_hand() {
        let series = array![[9.0, 1.0, 9.0, 3.0], [0.0, 5.0, 0.0, 5.0]];
        let sets = Subsets::new(&drawing(50), &[1, 3], &[2, 4], Pool::Plain).unwrap();
        assert_eq!(sets.means(series.row(0)), [2.0; 50]);
        assert_eq!(sets.thresholds(series.view(), 0.999), [Some(2.0), Some(5.0)]);
        assert_eq!(single_thresholds(series.view(), &[2, 4], 0.5), [None, None]);
        assert_eq!(single_thresholds(series.view(), &[1, 2, 4], 0.5), [Some(3.0), Some(5.0)]);
    }
}
