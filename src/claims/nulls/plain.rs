//! What a statistic of the key frequencies is compared with.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::config::Schedule;
use crate::tasks::shuffle;

/// The frequencies that N1 draws from: no key, no harmonic of the keys (2k, 3k, k ± k′, which ReLU makes
/// of them), none that passes the key rule in `W_E`. `order` is that of the group; ascending.
#[must_use]
pub fn plain_frequencies(keys: &[usize], in_w_e: &[usize], order: usize) -> Vec<usize> {
    let fold = |k: usize| (k % order).min(order - k % order);
    let mut taken: BTreeSet<usize> = keys.iter().chain(in_w_e).copied().collect();
    for &k in keys {
        taken.extend([fold(2 * k), fold(3 * k)]);
        taken.extend(keys.iter().flat_map(|&other| [fold(k + other), fold(k + order - other)]));
    }
    (1..=order / 2).filter(|k| !taken.contains(k)).collect()
}

/// N3 at the weights of a run: how many permutations of its training labels, and at which steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutations {
    pub count: usize,
    pub at: Schedule,
}

impl Default for Permutations {
    /// 100 permutations, at each of the first 51 steps.
    fn default() -> Self {
        Self { count: 100, at: "0..50:1".parse().expect("a schedule") }
    }
}

/// Seed of [`permuted_labels`]; each permutation is a stream of its own.
pub const LABEL_SEED: u64 = 0;

/// The labels in so many other orders: the same at every step, so that steps can be compared.
#[must_use]
pub fn permuted_labels(labels: &[usize], count: usize) -> Vec<Vec<usize>> {
    let permuted = |stream: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(LABEL_SEED);
        rng.set_stream(stream as u64);
        let mut labels = labels.to_vec();
        shuffle::fisher_yates(&mut labels, &mut rng);
        labels
    };
    (0..count).map(permuted).collect()
}

/// Fewest numbers that a value is compared with.
pub const FEWEST: usize = 3;

/// `(value − mean)/s.d.` of the numbers of a null, the s.d. with n − 1.
///
/// `None` with fewer than [`FEWEST`] numbers, or where they differ by no more than rounding.
#[must_use]
pub fn standard_score(value: f64, null: &[f64]) -> Option<f64> {
    let n = null.len() as f64;
    let mean = null.iter().sum::<f64>() / n;
    let variance = null.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let largest = null.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let varies = variance.sqrt() > 64.0 * f64::EPSILON * largest;
    (null.len() >= FEWEST && varies).then(|| (value - mean) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_keep_the_labels_and_differ() {
        let labels: Vec<usize> = (0..40).map(|i| i % 7).collect();
        let found = permuted_labels(&labels, 5);
        assert_eq!(found, permuted_labels(&labels, 5));
        assert_eq!(found[..3], permuted_labels(&labels, 3));
        let distinct: BTreeSet<&Vec<usize>> = found.iter().chain([&labels]).collect();
        assert_eq!(distinct.len(), 6);
        for mut permuted in found {
            permuted.sort_unstable();
            let mut sorted = labels.clone();
            sorted.sort_unstable();
            assert_eq!(permuted, sorted);
        }
    }

    /// Of 1, 2, 3, 4: mean 5/2, variance 5/3.
    #[test]
    fn a_score_is_in_units_of_the_sample() {
        let found = standard_score(5.0, &[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert!((found - 2.5 / (5.0f64 / 3.0).sqrt()).abs() < 1e-14, "{found}");
        assert_eq!(standard_score(5.0, &[1.0, 2.0]), None);
        assert_eq!(standard_score(5.0, &[0.1; 7]), None);
        assert_eq!(standard_score(5.0, &[]), None);
        assert_eq!(standard_score(0.0, &[0.0; 3]), None);
    }

    #[test]
    fn keys_their_harmonics_and_those_of_the_embedding_are_taken() {
        // Of 3 and 5 modulo 23: 6 and 10, 9 and 8 (15), 8 and 2.
        assert_eq!(plain_frequencies(&[3, 5], &[11], 23), [1, 4, 7]);
        assert_eq!(plain_frequencies(&[], &[], 7), [1, 2, 3]);
    }
}
