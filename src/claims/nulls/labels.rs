//! N3 at given weights: the training labels in other orders.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::config::Schedule;
use crate::tasks::shuffle;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
}
