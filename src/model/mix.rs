//! Attention as a mixture of table rows: the inner loops of [`super::folded`].
//!
//! The last position attends to `[a, b, =]`, and what each head writes at a (token, position) beyond
//! what it writes at `=`, as neurons and logits read it, is a row of a table. The three weights sum to
//! one, so a pair's row, `[neurons | logits]` before the nonlinearity, is what all pairs start from and
//! a weighted sum of `2 · heads` table rows.

pub(super) mod tangent;

use std::ops::Range;

use multiversion::multiversion;

use super::POSITIONS;
use crate::linalg::Scalar;
use crate::linalg::kernels::{LANES, axpy, exp, fold_lanes};

/// Columns that are summed up in registers before they are written; table rows are padded with
/// zeros to a multiple of it.
pub(super) const CHUNK: usize = 4 * LANES;

/// Columns that are worked on for all pairs of a block before the next: so many that the rows
/// of `a`, which neighbouring pairs share, stay in the nearest cache.
const STRIP: usize = 5 * CHUNK;

/// Smallest sum of a pair's exponentials that still has its full precision.
const SMALLEST_SUM: f64 = 1e-280;

/// The operands of a pair, each a row of the table.
const OPERANDS: usize = 2;

/// The table of all heads, row by row. Row `t` of a head: token `t` at position 0 for `t < p`,
/// token `t − p` at position 1 for `t < 2p`; among the scores also `=` at position 2, `t = 2p`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, F> {
    pub p: usize,
    pub heads: usize,
    /// Length of a row, a multiple of [`CHUNK`]
    pub width: usize,
    /// Attention scores S, `[heads, 2p + 1]`
    pub scores: &'a [F],
    /// `exp(S − max S)`, the maximum of each head, `[heads, 2p + 1]`
    pub exponentials: &'a [f64],
    /// `[heads, 2p, width]`
    pub table: &'a [F],
    /// What every pair starts from, `[width]`
    pub base: &'a [F],
}

/// Gradient sums with respect to [`Rows`], same shapes.
#[derive(Debug)]
pub(super) struct RowSums<'a, F> {
    pub scores: &'a mut [F],
    pub table: &'a mut [F],
    pub base: &'a mut [F],
}

impl<F: Scalar> Rows<'_, F> {
    /// The table rows of a pair's operands, of one head.
    #[inline(always)]
    fn rows_of(&self, pair: [usize; OPERANDS], head: usize) -> [usize; OPERANDS] {
        let first = head * 2 * self.p;
        [first + pair[0], first + self.p + pair[1]]
    }

    /// The places of the scores that a pair's softmax is over, of one head.
    #[inline(always)]
    fn scores_of(&self, pair: [usize; OPERANDS], head: usize) -> [usize; POSITIONS] {
        let first = head * (2 * self.p + 1);
        [first + pair[0], first + self.p + pair[1], first + 2 * self.p]
    }

    /// Softmax over three scores.
    ///
    /// The exponentials are made once per score, not once per pair. Where all three are so far below
    /// their head's largest that they leave the range of f64, they are made anew.
    #[inline(always)]
    fn pattern(&self, rows: [usize; POSITIONS]) -> [F; POSITIONS] {
        let mut weights = rows.map(|row| self.exponentials[row]);
        if weights[0] + weights[1] + weights[2] < SMALLEST_SUM {
            let scores = rows.map(|row| self.scores[row].widen());
            let max = scores[0].max(scores[1]).max(scores[2]);
            weights = scores.map(|score| exp(score - max));
        }
        let total = weights[0] + weights[1] + weights[2];
        weights.map(|weight| F::narrow(weight / total))
    }
}

/// `exp(S − max S)` for the scores of one head.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn exponentials<F: Scalar>(scores: &[F], found: &mut [f64]) {
    let max = scores.iter().fold(f64::NEG_INFINITY, |max, score| max.max(score.widen()));
    for (found, score) in found.iter_mut().zip(scores) {
        *found = exp(score.widen() - max);
    }
}

/// The columns of a row in strips of [`STRIP`].
fn strips(width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..width).step_by(STRIP).map(move |from| from..width.min(from + STRIP))
}

/// Fill `pattern [n, heads, 3]` and `mixed [n, width]`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn forward<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    pattern: &mut [F],
    mixed: &mut [F],
) {
    let Rows { heads, width, .. } = tables;
    for (&pair, pattern) in pairs.iter().zip(pattern.chunks_exact_mut(heads * POSITIONS)) {
        for (head, weights) in pattern.as_chunks_mut::<POSITIONS>().0.iter_mut().enumerate() {
            *weights = tables.pattern(tables.scores_of(pair, head));
        }
    }
    for columns in strips(width) {
        let patterns = pattern.chunks_exact(heads * POSITIONS);
        let mixed = mixed.chunks_exact_mut(width);
        for ((&pair, pattern), mixed) in pairs.iter().zip(patterns).zip(mixed) {
            for at in columns.clone().step_by(CHUNK) {
                let mut sum = [F::zero(); CHUNK];
                sum.copy_from_slice(&tables.base[at..at + CHUNK]);
                for (head, weights) in pattern.as_chunks::<POSITIONS>().0.iter().enumerate() {
                    for (row, a) in tables.rows_of(pair, head).into_iter().zip(weights) {
                        let from = row * width + at;
                        for (sum, x) in sum.iter_mut().zip(&tables.table[from..from + CHUNK]) {
                            *sum += *a * *x;
                        }
                    }
                }
                mixed[at..at + CHUNK].copy_from_slice(&sum);
            }
        }
    }
}

/// Add the gradient sums of all table entries, given the gradient of every pair's row. `d_pattern`
/// is scratch, `[n, heads, 2]`.
///
/// Since the rows are relative to `=`, so are the gradients of the weights: that of `A_=` is 0, and
/// the softmax does not see the difference.
pub(super) fn backward<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    (pattern, d_pattern): (&[F], &mut [F]),
    d_mixed: &[F],
    sums: &mut RowSums<'_, F>,
) {
    d_pattern.fill(F::zero());
    for columns in strips(tables.width) {
        add_products(tables, pairs, d_mixed, columns.clone(), d_pattern);
        add_rows(tables, pairs, pattern, d_mixed, columns, sums);
    }
    let Rows { heads, .. } = tables;
    let patterns = pattern.chunks_exact(heads * POSITIONS);
    let d_patterns = d_pattern.chunks_exact(heads * OPERANDS);
    for ((&pair, pattern), d_pattern) in pairs.iter().zip(patterns).zip(d_patterns) {
        let of_heads = pattern.as_chunks::<POSITIONS>().0.iter();
        for (head, (a, d_a)) in of_heads.zip(d_pattern.as_chunks::<OPERANDS>().0).enumerate() {
            let mean = a[0] * d_a[0] + a[1] * d_a[1];
            let d_a = [d_a[0], d_a[1], F::zero()];
            for (position, place) in tables.scores_of(pair, head).into_iter().enumerate() {
                sums.scores[place] += a[position] * (d_a[position] - mean);
            }
        }
    }
}

/// `d_A_i = d · T_i`, over some columns.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_products<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    d_mixed: &[F],
    columns: Range<usize>,
    d_pattern: &mut [F],
) {
    let Rows { heads, width, .. } = tables;
    let d_patterns = d_pattern.chunks_exact_mut(heads * OPERANDS);
    let pairs = pairs.iter().zip(d_patterns).zip(d_mixed.chunks_exact(width));
    for ((&pair, d_pattern), d_mixed) in pairs {
        let d_mixed = d_mixed[columns.clone()].as_chunks::<LANES>().0;
        for (head, d_a) in d_pattern.as_chunks_mut::<OPERANDS>().0.iter_mut().enumerate() {
            let [x0, x1] = tables.rows_of(pair, head).map(|row| {
                let of_row = &tables.table[row * width..(row + 1) * width];
                of_row[columns.clone()].as_chunks::<LANES>().0
            });
            let mut partial = [[F::zero(); LANES]; OPERANDS];
            for ((d, x0), x1) in d_mixed.iter().zip(x0).zip(x1) {
                multiply_add(&mut partial[0], d, x0);
                multiply_add(&mut partial[1], d, x1);
            }
            // Hidden from the optimiser, which would shape the loop above after the halving.
            let found = std::hint::black_box(partial).map(fold_lanes);
            d_a.iter_mut().zip(found).for_each(|(d_a, found)| *d_a += found);
        }
    }
}

/// `d_T_i += A_i d`, and the same for the base, over some columns.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_rows<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    pattern: &[F],
    d_mixed: &[F],
    columns: Range<usize>,
    sums: &mut RowSums<'_, F>,
) {
    let Rows { heads, width, .. } = tables;
    let patterns = pattern.chunks_exact(heads * POSITIONS);
    for ((&pair, pattern), d_mixed) in pairs.iter().zip(patterns).zip(d_mixed.chunks_exact(width)) {
        let d_mixed = &d_mixed[columns.clone()];
        axpy(F::one(), d_mixed, &mut sums.base[columns.clone()]);
        for (head, a) in pattern.as_chunks::<POSITIONS>().0.iter().enumerate() {
            for (row, a) in tables.rows_of(pair, head).into_iter().zip(a) {
                let of_row = &mut sums.table[row * width..(row + 1) * width];
                axpy(*a, d_mixed, &mut of_row[columns.clone()]);
            }
        }
    }
}

/// `sum ← sum + x ∘ y`, lane by lane.
#[inline(always)]
fn multiply_add<F: Scalar, const N: usize>(sum: &mut [F; N], x: &[F; N], y: &[F; N]) {
    for ((sum, x), y) in sum.iter_mut().zip(x).zip(y) {
        *sum += *x * *y;
    }
}
