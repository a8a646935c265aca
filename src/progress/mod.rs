//! Progress measures: how much of the network's output is the final algorithm.
//!
//! Conventions:
//! - `L[a·p + b, c]` are the f64 logits of all p² inputs over the p real classes.
//! - The circuit of a task is read in a cyclic group ([`Group`]) of order n: ℤ_p for addition and
//!   subtraction, the multiplicative group modulo p for multiplication and division. A pair of its
//!   elements has a *sum*, which is also its label: `x + y`, or `x − y`.
//! - `P_K` projects, class by class, onto the cosine and sine of the frequencies `K` in the sum (or
//!   onto more, see [`Protocol`]).
//!
//! Every projection, coefficient and single-frequency loss follows from one n×p table of the logits
//! summed over inputs of equal sum ([`LogitTable`]); the dense vectors over p² inputs are never formed
//! outside tests.
//!
//! Pure: arrays in, numbers out.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §5.1 and its published code, whose restricted
//! loss adds back the per-class mean.

mod by_sum;
mod fit;
mod group;
mod keys;
mod losses;
mod table;

pub use by_sum::{CircuitLosses, SingleLosses, SplitLosses};
pub use group::{Along, Group, KeyRule, Protocol};
pub use keys::{KEY_THRESHOLD, KeyFrequencies, key_frequencies};
pub use losses::{RowLosses, excluded, restricted};
pub use table::{Component, LogitTable};

#[cfg(test)]
mod tests;
