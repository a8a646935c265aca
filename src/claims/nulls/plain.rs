//! The frequencies that N1 draws from.

use std::collections::BTreeSet;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_their_harmonics_and_those_of_the_embedding_are_taken() {
        // Of 3 and 5 modulo 23: 6 and 10, 9 and 8 (15), 8 and 2.
        assert_eq!(plain_frequencies(&[3, 5], &[11], 23), [1, 4, 7]);
        assert_eq!(plain_frequencies(&[], &[], 7), [1, 2, 3]);
    }
}
