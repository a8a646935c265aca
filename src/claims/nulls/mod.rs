//! What a statistic of the key frequencies is compared with.
//!
//! | null | compares the keys with |
//! |---|---|
//! | N1 [`subsets`] | random sets of other frequencies of the same run and save |
//! | N2 | the mirrored directions, difference instead of sum |
//! | N3 | the same weights, or the same initialisation, with permuted labels |
//! | N4 | the keys of other seeds |
//! | N5a, N5b [`walks`] | winners among frequencies that do not differ, or differ in their start alone |
//! | N5a' [`paths`] | winners among frequencies that do not differ, each on a path of its own |
//! | N5c [`split`] | keys that were chosen by the other half of the neurons |
//! | N5d [`lottery`] | a final order that has nothing to do with the initial one |
//! | N6 [`subspaces`] | random subspaces of the same dimension |
//! | N7 | runs that do not grok, or do at once, or of another modulus |
//!
//! N2, N3, N4 and N7 need no draws here: their values come from the tables, and [`compare`] is all of them.

mod labels;
pub mod lottery;
pub mod paths;
mod plain;
pub mod split;
pub mod subsets;
pub mod subspaces;
#[cfg(test)]
mod tests;
pub mod walks;
pub mod winners;

use ndarray::ArrayView1;
use rand::Rng;

pub use labels::{LABEL_SEED, Permutations, permuted_labels};
pub use plain::plain_frequencies;

use super::rules::NullRules;
use super::stats::{self, Side};
use crate::config::names::named_enum;

named_enum! {
    /// Which null a value is compared with.
    NullId, "null":
    /// Random sets of other frequencies
    N1 = "N1",
    /// The mirrored directions
    N2 = "N2",
    /// Permuted labels
    N3 = "N3",
    /// Keys of other seeds
    N4 = "N4",
    /// Winners among exchangeable random walks
    N5a = "N5a",
    /// Winners among exchangeable paths that are drawn as wholes
    N5aPaths = "N5a'",
    /// Winners under one common growth rate, from the measured start
    N5b = "N5b",
    /// Keys of the other half of the neurons
    N5c = "N5c",
    /// A final order without regard to the initial one
    N5d = "N5d",
    /// Random subspaces
    N6 = "N6",
    /// Other runs: without decay, of nearly all data, of another modulus
    N7 = "N7",
}

/// A value beside its null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    pub null: NullId,
    pub value: f64,
    /// Mean of the null; `None` if there are no values of it
    pub mean: Option<f64>,
    /// Its quantile by the rules, 0.999; on the lower side its 0.001 quantile
    pub quantile: Option<f64>,
    /// [`stats::z`]
    pub z: Option<f64>,
    /// [`stats::p_value`]
    pub p: Option<f64>,
    /// Number of values of the null
    pub count: usize,
}

/// Compare a value with the values of a null, on the side that is claimed.
#[must_use]
pub fn compare(
    rules: &NullRules,
    null: NullId,
    value: f64,
    of_null: &[f64],
    side: Side,
) -> Compared {
    let q = match side {
        Side::Upper => rules.quantile,
        Side::Lower => 1.0 - rules.quantile,
    };
    Compared {
        null,
        value,
        mean: stats::mean(of_null),
        quantile: stats::quantile(of_null, q),
        z: stats::z(value, of_null),
        p: stats::p_value(value, of_null, side),
        count: of_null.len(),
    }
}

/// Mean over these frequencies, the statistic of a set; `values` is `[frequency]`. `None` of no frequency.
#[must_use]
pub fn mean_of(values: ArrayView1<'_, f64>, frequencies: &[usize]) -> Option<f64> {
    let sum: f64 = frequencies.iter().map(|k| values[k - 1]).sum();
    (!frequencies.is_empty()).then(|| sum / frequencies.len() as f64)
}

/// A number below `n`, each as likely to `n/2³²`.
pub(super) fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}
