//! Which frequencies are the final algorithm's.

use crate::fourier;

/// The frequencies of the final algorithm, by the norm of `W_L` (or another object) over its
/// Fourier rows: all `k` whose norm exceeds `threshold` times the largest.
///
/// The paper (appendix C.2) names no number; 0.25 is ours. [`KeyFrequencies::margin`] says how clear
/// the gap is.
#[must_use]
pub fn key_frequencies(norms: &fourier::Norms, threshold: f64) -> KeyFrequencies {
    let all: Vec<f64> = (1..=norms.frequencies()).map(|k| norms.norm(k)).collect();
    let largest = all.iter().copied().fold(0.0, f64::max);
    KeyFrequencies::above(&all, |norm| largest > 0.0 && norm > threshold * largest)
}

impl KeyFrequencies {
    /// The frequencies of at least `max(3, 0.01 d_mlp)` clear neurons, given how many neurons are clear
    /// at each; the margin is a ratio of such counts.
    #[must_use]
    pub fn of_neuron_counts(counts: &[usize], d_mlp: usize) -> Self {
        let counts: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
        let least = (0.01 * d_mlp as f64).max(3.0);
        Self::above(&counts, |count| count >= least)
    }

    /// Those of the sizes of all frequencies that pass.
    fn above(all: &[f64], is_key: impl Fn(f64) -> bool) -> Self {
        let keys: Vec<usize> = (1..=all.len()).filter(|k| is_key(all[k - 1])).collect();
        let smallest_key = keys.iter().map(|k| all[k - 1]).fold(f64::INFINITY, f64::min);
        let largest_other = all.iter().copied().filter(|size| !is_key(*size)).fold(0.0, f64::max);
        let margin =
            (!keys.is_empty() && largest_other > 0.0).then(|| smallest_key / largest_other);
        Self { keys, margin, above_largest_gap: above_largest_gap(all) }
    }
}

/// The frequencies whose norms stand above the largest ratio of neighbours in descending order.
fn above_largest_gap(norms: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (1..=norms.len()).collect();
    order.sort_by(|a, b| norms[b - 1].total_cmp(&norms[a - 1]));
    let ratio = |i: usize| norms[order[i] - 1] / norms[order[i + 1] - 1];
    let gaps = (0..norms.len().saturating_sub(1)).filter(|i| ratio(*i).is_finite());
    let Some(last) = gaps.max_by(|a, b| ratio(*a).total_cmp(&ratio(*b))) else { return Vec::new() };
    let mut above = order[..=last].to_vec();
    above.sort_unstable();
    above
}

/// Threshold of [`key_frequencies`].
pub const KEY_THRESHOLD: f64 = 0.25;

/// The key frequencies and how clearly they stand out.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyFrequencies {
    /// Ascending, each in `1..=(p − 1)/2`; may be empty.
    pub keys: Vec<usize>,
    /// Smallest norm of a key over the largest of the others; below 1.5 there is no clear gap.
    pub margin: Option<f64>,
    /// The frequencies above the largest gap (ratio of neighbours among the sorted norms), ascending:
    /// what the rule would give if it looked for the gap instead.
    pub above_largest_gap: Vec<usize>,
}
