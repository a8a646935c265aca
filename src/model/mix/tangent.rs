//! Derivatives of [`super::forward`] and [`super::backward`] along a direction of the weights.
//!
//! `x'` is the derivative of `x`. With `m = Σ_j A_j S_j'`:
//!
//! ```text
//! A_i' = A_i (S_i' − m)             mixed' = base' + Σ_h Σ_i (A_i' T_i + A_i T_i')
//! d_T_i' = A_i' d + A_i d'          d_A_i' = d'·T_i + d·T_i'         d_base' = d'
//! d_S_i' = A_i' (d_A_i − μ) + A_i (d_A_i' − μ'),   μ = Σ_j A_j d_A_j,  μ' = Σ_j (A_j' d_A_j + A_j d_A_j')
//! ```

use std::ops::Range;

use multiversion::multiversion;

use super::{CHUNK, OPERANDS, POSITIONS, RowSums, Rows, multiply_add, strips};
use crate::linalg::Scalar;
use crate::linalg::kernels::{LANES, axpy, fold_lanes};

/// Attention weights of a block, `[n, heads, 3]`, and the gradients of the operands' among them,
/// `[n, heads, 2]`.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Weights<'a, F> {
    pub pattern: &'a [F],
    pub d_pattern: &'a [F],
}

/// Fill `pattern' [n, heads, 3]` and `mixed' [n, width]`. Of `moving`, the derivatives of the tables,
/// the exponentials are not looked at.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(in crate::model) fn forward<F: Scalar>(
    tables: Rows<'_, F>,
    moving: Rows<'_, F>,
    pairs: &[[usize; 2]],
    pattern: &[F],
    moving_pattern: &mut [F],
    moving_mixed: &mut [F],
) {
    let Rows { heads, width, .. } = tables;
    let patterns = pattern.chunks_exact(heads * POSITIONS);
    let moving_patterns = moving_pattern.chunks_exact_mut(heads * POSITIONS);
    for ((&pair, pattern), moved) in pairs.iter().zip(patterns).zip(moving_patterns) {
        let of_heads = pattern.as_chunks::<POSITIONS>().0.iter();
        for (head, (a, d)) in of_heads.zip(moved.as_chunks_mut::<POSITIONS>().0).enumerate() {
            let scores = tables.scores_of(pair, head).map(|place| moving.scores[place]);
            let mean = a[0] * scores[0] + a[1] * scores[1] + a[2] * scores[2];
            for position in 0..POSITIONS {
                d[position] = a[position] * (scores[position] - mean);
            }
        }
    }
    for columns in strips(width) {
        let patterns = pattern.chunks_exact(heads * POSITIONS);
        let moving_patterns = moving_pattern.chunks_exact(heads * POSITIONS);
        let rows = pairs.iter().zip(patterns.zip(moving_patterns));
        for ((&pair, (pattern, moved)), mixed) in rows.zip(moving_mixed.chunks_exact_mut(width)) {
            let of_heads =
                || pattern.as_chunks::<POSITIONS>().0.iter().zip(moved.as_chunks::<POSITIONS>().0);
            for at in columns.clone().step_by(CHUNK) {
                let mut sum = [F::zero(); CHUNK];
                sum.copy_from_slice(&moving.base[at..at + CHUNK]);
                for (head, (a, d_a)) in of_heads().enumerate() {
                    let rows = tables.rows_of(pair, head).into_iter();
                    for (row, (a, d_a)) in rows.zip(a.iter().zip(d_a)) {
                        let from = row * width + at;
                        let fixed = &tables.table[from..from + CHUNK];
                        let moving = &moving.table[from..from + CHUNK];
                        for ((sum, x), dx) in sum.iter_mut().zip(fixed).zip(moving) {
                            *sum += *d_a * *x + *a * *dx;
                        }
                    }
                }
                mixed[at..at + CHUNK].copy_from_slice(&sum);
            }
        }
    }
}

/// Add the derivatives of the gradient sums. `d_mixed` is the gradient of every pair's row and
/// `moving_d_mixed` its derivative; `moving_d_pattern` is scratch.
pub(in crate::model) fn backward<F: Scalar>(
    (tables, moving): (Rows<'_, F>, Rows<'_, F>),
    pairs: &[[usize; 2]],
    weights: Weights<'_, F>,
    (moving_pattern, moving_d_pattern): (&[F], &mut [F]),
    (d_mixed, moving_d_mixed): (&[F], &[F]),
    sums: &mut RowSums<'_, F>,
) {
    let Rows { heads, width, .. } = tables;
    moving_d_pattern.fill(F::zero());
    for columns in strips(width) {
        let d = (d_mixed, moving_d_mixed);
        add_products((tables, moving), pairs, d, columns.clone(), moving_d_pattern);
        add_rows(tables, pairs, (weights.pattern, moving_pattern), d, columns, sums);
    }
    let fixed = weights.pattern.chunks_exact(heads * POSITIONS);
    let fixed = fixed.zip(weights.d_pattern.chunks_exact(heads * OPERANDS));
    let moved = moving_pattern.chunks_exact(heads * POSITIONS);
    let moved = moved.zip(moving_d_pattern.chunks_exact(heads * OPERANDS));
    for ((&pair, (a, d_a)), (moved_a, moved_d_a)) in pairs.iter().zip(fixed).zip(moved) {
        for head in 0..heads {
            let of_head =
                |x: &[F]| [x[head * POSITIONS], x[head * POSITIONS + 1], x[head * POSITIONS + 2]];
            // That of `A_=` is 0: its row is the base.
            let operands = |x: &[F]| [x[head * OPERANDS], x[head * OPERANDS + 1], F::zero()];
            let (a, moved_a) = (of_head(a), of_head(moved_a));
            let (d_a, moved_d_a) = (operands(d_a), operands(moved_d_a));
            let mean = a[0] * d_a[0] + a[1] * d_a[1];
            let moved_mean = moved_a[0] * d_a[0]
                + a[0] * moved_d_a[0]
                + moved_a[1] * d_a[1]
                + a[1] * moved_d_a[1];
            for (i, place) in tables.scores_of(pair, head).into_iter().enumerate() {
                sums.scores[place] +=
                    moved_a[i] * (d_a[i] - mean) + a[i] * (moved_d_a[i] - moved_mean);
            }
        }
    }
}

/// `d_A_i' = d'·T_i + d·T_i'`, over some columns.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_products<F: Scalar>(
    (tables, moving): (Rows<'_, F>, Rows<'_, F>),
    pairs: &[[usize; 2]],
    (d_mixed, moving_d_mixed): (&[F], &[F]),
    columns: Range<usize>,
    moving_d_pattern: &mut [F],
) {
    let Rows { heads, width, .. } = tables;
    let rows = d_mixed.chunks_exact(width).zip(moving_d_mixed.chunks_exact(width));
    let d_patterns = moving_d_pattern.chunks_exact_mut(heads * OPERANDS);
    for ((&pair, d_pattern), (d, moved)) in pairs.iter().zip(d_patterns).zip(rows) {
        let d = d[columns.clone()].as_chunks::<LANES>().0;
        let moved = moved[columns.clone()].as_chunks::<LANES>().0;
        for (head, d_a) in d_pattern.as_chunks_mut::<OPERANDS>().0.iter_mut().enumerate() {
            let rows = tables.rows_of(pair, head);
            let mut partial = [[F::zero(); LANES]; OPERANDS];
            for (partial, row) in partial.iter_mut().zip(rows) {
                let range = row * width + columns.start..row * width + columns.end;
                let fixed = tables.table[range.clone()].as_chunks::<LANES>().0;
                let moving = moving.table[range].as_chunks::<LANES>().0;
                for (((d, moved), x), dx) in d.iter().zip(moved).zip(fixed).zip(moving) {
                    multiply_add(partial, moved, x);
                    multiply_add(partial, d, dx);
                }
            }
            // Hidden from the optimiser, which would shape the loop above after the halving.
            let found = std::hint::black_box(partial).map(fold_lanes);
            d_a.iter_mut().zip(found).for_each(|(d_a, found)| *d_a += found);
        }
    }
}

/// `d_T_i' += A_i' d + A_i d'`, and the same for the base, over some columns.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_rows<F: Scalar>(
    tables: Rows<'_, F>,
    pairs: &[[usize; 2]],
    (pattern, moving_pattern): (&[F], &[F]),
    (d_mixed, moving_d_mixed): (&[F], &[F]),
    columns: Range<usize>,
    sums: &mut RowSums<'_, F>,
) {
    let Rows { heads, width, .. } = tables;
    let patterns = pattern.chunks_exact(heads * POSITIONS);
    let patterns = patterns.zip(moving_pattern.chunks_exact(heads * POSITIONS));
    let rows = d_mixed.chunks_exact(width).zip(moving_d_mixed.chunks_exact(width));
    for ((&pair, (a, moved_a)), (d, moved)) in pairs.iter().zip(patterns).zip(rows) {
        let (d, moved) = (&d[columns.clone()], &moved[columns.clone()]);
        axpy(F::one(), moved, &mut sums.base[columns.clone()]);
        for head in 0..heads {
            for (operand, row) in tables.rows_of(pair, head).into_iter().enumerate() {
                let at = head * POSITIONS + operand;
                let (a, moved_a) = (a[at], moved_a[at]);
                let range = row * width + columns.start..row * width + columns.end;
                for ((sum, d), moved) in sums.table[range].iter_mut().zip(d).zip(moved) {
                    *sum += moved_a * *d + a * *moved;
                }
            }
        }
    }
}
