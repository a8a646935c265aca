//! N5c: keys from one half of the neurons, measured on the other.
//!
//! What made a frequency win by chance in the even neurons is not in the odd ones. Both halves read the same
//! embedding, so luck that lies there is not taken away.

use ndarray::{ArrayView2, Axis, Slice};

use super::subsets::{Pool, Subsets};
use super::{Compared, NullId, compare};
use crate::claims::rules::NullRules;
use crate::claims::stats::Side;
use crate::fourier::Transform;
use crate::progress::KEY_THRESHOLD;

/// Norm of every frequency in `W_L`, of the even neurons and of the odd ones, `[frequency]` each.
///
/// - `w_l`: `[elements of the group, d_mlp]`; `transform` is over the elements.
///
/// # Panics
/// If `w_l` has not as many rows as the group has elements.
#[must_use]
pub fn half_norms(w_l: ArrayView2<'_, f64>, transform: &Transform) -> [Vec<f64>; 2] {
    [0, 1].map(|first| {
        let half = w_l.slice_axis(Axis(1), Slice::from(first..).step_by(2));
        let norms = transform.norms(half.t());
        (1..=norms.frequencies()).map(|k| norms.norm(k)).collect()
    })
}

/// The keys by these norms: all above a quarter of the largest, the rule of the whole matrix.
#[must_use]
pub fn keys_of(norms: &[f64]) -> Vec<usize> {
    let largest = norms.iter().copied().fold(0.0, f64::max);
    let is_key = |k: &usize| norms[k - 1] > KEY_THRESHOLD * largest;
    (1..=norms.len()).filter(is_key).collect()
}

/// N5c: how far those frequencies that are keys by the even neurons at the end are above the others in the odd
/// ones: the mean of their norms less that of the others, among sets of both together.
///
/// - `plain`: what keys may be compared with; those that are keys here are left out.
/// - `even_at_end`, `odd`: norms of every frequency, the odd ones at the save that is looked at.
///
/// `None` without keys or others; p is `None` with fewer different sets of others than the rules ask for.
#[must_use]
pub fn split_sample(
    rules: &NullRules,
    plain: &[usize],
    even_at_end: &[f64],
    odd: &[f64],
) -> Option<Compared> {
    let keys = keys_of(even_at_end);
    let plain: Vec<usize> = plain.iter().copied().filter(|k| !keys.contains(k)).collect();
    let sum = |set: &[usize]| set.iter().map(|k| odd[k - 1]).sum::<f64>();
    let all = sum(&keys) + sum(&plain);
    let contrast = |set: &[usize]| {
        let rest = keys.len() + plain.len() - set.len();
        let own = sum(set);
        (rest > 0 && !set.is_empty()).then(|| own / set.len() as f64 - (all - own) / rest as f64)
    };
    let own = contrast(&keys)?;
    let sets = Subsets::new(rules, &keys, &plain, Pool::Exchanged);
    let null: Vec<f64> = sets.iter().flat_map(Subsets::sets).filter_map(contrast).collect();
    Some(compare(rules, NullId::N5c, own, &null, Side::Upper))
}
