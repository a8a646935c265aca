//! N5c: keys from one half of the neurons, measured on the other.
//!
//! What made a frequency win by chance in the even neurons is not in the odd ones. Both halves read the same
//! embedding, so luck that lies there is not taken away.

use ndarray::{ArrayView2, Axis, s};

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
        let half = w_l.slice_axis(Axis(1), ndarray::Slice::from(first..).step_by(2));
        let norms = transform.norms(half.slice(s![.., ..]).t());
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
