//! Attention as a mixture of table rows: the inner loops of [`super::folded`].
//!
//! The last position attends to `[a, b, =]`; each head's output for a (token, position) is a row of
//! a table, so the residual stream after attention is a weighted sum of `3 · heads` rows, and the
//! part of the logits that skips the MLP is the same sum of rows of a second table.

use multiversion::multiversion;

use super::POSITIONS;
use crate::linalg::Scalar;
use crate::linalg::kernels::{axpy, dot, exp};

/// The tables of all heads, row by row. Row `t` of a head: token `t` at position 0 for `t < p`,
/// token `t − p` at position 1 for `t < 2p`, `=` at position 2 for `t = 2p`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, F> {
    pub p: usize,
    pub heads: usize,
    pub d_model: usize,
    pub classes: usize,
    /// Attention scores, `[heads, 2p + 1]`
    pub scores: &'a [F],
    /// Head outputs in the residual stream, `[heads, 2p + 1, d_model]`
    pub out: &'a [F],
    /// Head outputs in the logits, `[heads, 2p + 1, classes]`
    pub direct: &'a [F],
    /// What every pair starts from, `[d_model]` and `[classes]`
    pub base_mid: &'a [F],
    pub base_logits: &'a [F],
}

/// Gradient sums with respect to [`Rows`], same shapes.
#[derive(Debug)]
pub(super) struct RowSums<'a, F> {
    pub scores: &'a mut [F],
    pub out: &'a mut [F],
    pub direct: &'a mut [F],
    pub base_mid: &'a mut [F],
    pub base_logits: &'a mut [F],
}

impl<F> Rows<'_, F> {
    /// The three table rows that a pair attends to, of one head.
    #[inline(always)]
    fn rows_of(&self, pair: [usize; 2], head: usize) -> [usize; POSITIONS] {
        let first = head * (2 * self.p + 1);
        [first + pair[0], first + self.p + pair[1], first + 2 * self.p]
    }
}

/// Fill `pattern [n, heads, 3]`, `mid [n, d_model]` and the skip part of `logits [n, classes]`.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn forward<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    pattern: &mut [F],
    mid: &mut [F],
    logits: &mut [F],
) {
    let Rows { heads, d_model, classes, .. } = tables;
    for (i, &pair) in pairs.iter().enumerate() {
        let mid = &mut mid[i * d_model..(i + 1) * d_model];
        let logits = &mut logits[i * classes..(i + 1) * classes];
        mid.copy_from_slice(tables.base_mid);
        logits.copy_from_slice(tables.base_logits);
        for head in 0..heads {
            let rows = tables.rows_of(pair, head);
            let scores = rows.map(|row| tables.scores[row].widen());
            let max = scores[0].max(scores[1]).max(scores[2]);
            let weights = scores.map(|score| exp(score - max));
            let total = weights[0] + weights[1] + weights[2];
            for position in 0..POSITIONS {
                let (row, a) = (rows[position], F::narrow(weights[position] / total));
                pattern[(i * heads + head) * POSITIONS + position] = a;
                axpy(a, &tables.out[row * d_model..(row + 1) * d_model], mid);
                axpy(a, &tables.direct[row * classes..(row + 1) * classes], logits);
            }
        }
    }
}

/// Add the gradient sums of all table entries, given `d_mid` and `d_logits`.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn backward<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    pattern: &[F],
    d_mid: &[F],
    d_logits: &[F],
    sums: &mut RowSums<'_, F>,
) {
    let Rows { heads, d_model, classes, .. } = tables;
    for (i, &pair) in pairs.iter().enumerate() {
        let d_mid = &d_mid[i * d_model..(i + 1) * d_model];
        let d_logits = &d_logits[i * classes..(i + 1) * classes];
        axpy(F::one(), d_mid, sums.base_mid);
        axpy(F::one(), d_logits, sums.base_logits);
        for head in 0..heads {
            let rows = tables.rows_of(pair, head);
            let at = (i * heads + head) * POSITIONS;
            let mut d_a = [F::zero(); POSITIONS];
            for position in 0..POSITIONS {
                let (row, a) = (rows[position], pattern[at + position]);
                let out = row * d_model..(row + 1) * d_model;
                let direct = row * classes..(row + 1) * classes;
                d_a[position] = dot(d_mid, &tables.out[out.clone()])
                    + dot(d_logits, &tables.direct[direct.clone()]);
                axpy(a, d_mid, &mut sums.out[out]);
                axpy(a, d_logits, &mut sums.direct[direct]);
            }
            let mean = (0..POSITIONS)
                .map(|position| pattern[at + position] * d_a[position])
                .fold(F::zero(), |sum, term| sum + term);
            for position in 0..POSITIONS {
                let d_score = pattern[at + position] * (d_a[position] - mean);
                sums.scores[rows[position]] += d_score;
            }
        }
    }
}
