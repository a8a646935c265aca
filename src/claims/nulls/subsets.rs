//! N1: random sets of frequencies, as many as there are keys.

use ndarray::{ArrayView1, ArrayView2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::below;
use crate::claims::stats;

/// Sets that are drawn.
pub const DRAWS: usize = 1_000;

/// Fewer other frequencies than this are no null for a single one.
pub const FEWEST: usize = 3;

/// What the sets are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The plain frequencies: claims of "beyond the others".
    ///
    /// The sets are drawn without replacement from few frequencies, so their means spread less than that of
    /// the keys does about them. Without any effect the standard score of the keys has the s.d.
    /// ```text
    /// √( (1/|K| + 1/m) / (1/|K| − 1/m) ),   m plain frequencies
    /// ```
    /// which is 1.18 for 5 keys and 30 others: p ≤ 5 % then happens in 8 % of all cases, and
    /// p ≤ 0.1 % in 1 %.
    Plain,
    /// Keys and plain frequencies together. The p-value is exact if these are exchangeable, but a key among
    /// the drawn raises the null, and few sets mean that none can be rare.
    Exchanged,
}

/// Sets of as many frequencies as there are keys. The same sets serve at every save.
#[derive(Debug, Clone, PartialEq)]
pub struct Subsets {
    /// Frequencies of all sets, one after the other
    drawn: Vec<usize>,
    size: usize,
}

impl Subsets {
    /// Draw the sets; `None` if there are no keys, or fewer plain frequencies than keys.
    #[must_use]
    pub fn new(
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
                drawn.push(from[place]);
            }
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

    #[test]
    fn sets_are_drawn_without_replacement_and_evenly() {
        let plain = [2, 4, 6, 7];
        let sets = Subsets::new(&[1, 3], &plain, Pool::Plain, 6_000, 5).unwrap();
        let mut counts = [0u32; 8];
        for set in sets.drawn.chunks_exact(2) {
            assert!(set[0] != set[1] && set.iter().all(|k| plain.contains(k)), "{set:?}");
            set.iter().for_each(|k| counts[*k] += 1);
        }
        // 3000 each, s.d. √(6000/4).
        assert!(plain.iter().all(|k| counts[*k].abs_diff(3000) < 160), "{counts:?}");
        assert_eq!(sets, Subsets::new(&[1, 3], &plain, Pool::Plain, 6_000, 5).unwrap());
        let both = Subsets::new(&[1, 3], &plain, Pool::Exchanged, 100, 5).unwrap();
        assert!(both.drawn.contains(&1) && both.drawn.contains(&7));
        assert_eq!(Subsets::new(&[1, 3], &[5], Pool::Plain, 9, 5), None);
        assert_eq!(Subsets::new(&[], &plain, Pool::Plain, 9, 5), None);
    }

    #[test]
    fn means_and_thresholds_by_hand() {
        let series = array![[9.0, 1.0, 9.0, 3.0], [0.0, 5.0, 0.0, 5.0]];
        let sets = Subsets::new(&[1, 3], &[2, 4], Pool::Plain, 50, 0).unwrap();
        assert_eq!(sets.means(series.row(0)), [2.0; 50]);
        assert_eq!(sets.thresholds(series.view(), 0.999), [Some(2.0), Some(5.0)]);
        assert_eq!(single_thresholds(series.view(), &[2, 4], 0.5), [None, None]);
        assert_eq!(single_thresholds(series.view(), &[1, 2, 4], 0.5), [Some(3.0), Some(5.0)]);
    }
}
