//! The Gram matrix of the short side of a matrix, in f64: half of the products of a general one.

use multiversion::multiversion;
use ndarray::{ArrayView2, Axis, s};

use super::aligned::Aligned;
use super::svd::times_power_of_two;
use super::tridiagonal::Lower;

/// Rows and columns of a tile, whose sums stay in registers.
const TILE: usize = 8;
/// Terms of a sum that are added before the next tile: two strips of them fit the first cache.
const DEPTH: usize = 128;

/// `TILE` rows of the matrix at one place of the long side.
type Strip = [f64; TILE];

/// `B Bᵀ` for `B = 2ᵉ A`, `[m, n]`, `m ≤ n`, or `Bᵀ B` otherwise. A power of two changes no digit.
///
/// Error of an entry: at most `max(m, n) 2⁻⁵³` times the product of the lengths of its two rows.
pub(super) fn gram(a: ArrayView2<'_, f64>, exponent: i32) -> Lower {
    let scale = [exponent / 2, exponent - exponent / 2].map(|half| times_power_of_two(1.0, half));
    // [short, long]
    let a = if a.nrows() <= a.ncols() { a } else { a.reversed_axes() };
    let (short, long) = a.dim();
    let strips = short.div_ceil(TILE);
    let stride = strips * TILE;
    let mut gram = Lower { n: short, stride, entries: Aligned::zeros(stride * stride) };
    let mut packed = Aligned::zeros(stride * DEPTH.min(long));
    for first in (0..long).step_by(DEPTH) {
        let part = a.slice(s![.., first..(first + DEPTH).min(long)]);
        let packed = &mut packed[..stride * part.ncols()];
        pack(part, scale, packed.as_chunks_mut().0);
        add_tiles(packed.as_chunks().0, part.ncols(), &mut gram);
    }
    gram
}

/// Strip by strip, and within a strip place by place; what is below the last row is left alone.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn pack(part: ArrayView2<'_, f64>, scale: [f64; 2], packed: &mut [Strip]) {
    let depth = part.ncols();
    for (first, packed) in (0..part.nrows()).step_by(TILE).zip(packed.chunks_exact_mut(depth)) {
        let strip = part.slice(s![first..(first + TILE).min(part.nrows()), ..]);
        let row = |i: usize| strip.row(i).to_slice().filter(|_| strip.nrows() == TILE);
        let rows: [Option<&[f64]>; TILE] = std::array::from_fn(|i| row(i.min(strip.nrows() - 1)));
        if let [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h)] = rows {
            turn([a, b, c, d, e, f, g, h], scale, packed);
            continue;
        }
        for (row, column) in strip.axis_iter(Axis(1)).zip(packed) {
            let scaled = row.iter().map(|value| value * scale[0] * scale[1]);
            column.iter_mut().zip(scaled).for_each(|(packed, value)| *packed = value);
        }
    }
}

/// Eight rows as columns of eight.
#[inline(always)]
fn turn(rows: [&[f64]; TILE], scale: [f64; 2], packed: &mut [Strip]) {
    let (blocks, rest) = packed.as_chunks_mut::<TILE>();
    let whole = blocks.len() * TILE;
    let columns = rows.map(|row| row[..whole].as_chunks::<TILE>().0);
    for (k, block) in blocks.iter_mut().enumerate() {
        let tile: [Strip; TILE] = std::array::from_fn(|i| columns[i][k]);
        for (j, column) in block.iter_mut().enumerate() {
            *column = std::array::from_fn(|i| tile[i][j] * scale[0] * scale[1]);
        }
    }
    for (k, column) in rest.iter_mut().enumerate() {
        *column = std::array::from_fn(|i| rows[i][whole + k] * scale[0] * scale[1]);
    }
}

/// Add the products of these parts of the rows, tile by tile, up to the diagonal.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_tiles(packed: &[Strip], depth: usize, gram: &mut Lower) {
    let stride = gram.stride;
    let rows = gram.entries.chunks_exact_mut(TILE * stride);
    for ((i, left), rows) in packed.chunks_exact(depth).enumerate().zip(rows) {
        for (j, right) in packed.chunks_exact(depth).enumerate().take(i + 1) {
            let tile = product(left, right);
            for (row, sums) in rows.chunks_exact_mut(stride).zip(tile) {
                for (entry, sum) in row[j * TILE..][..TILE].iter_mut().zip(sums) {
                    *entry += sum;
                }
            }
        }
    }
}

/// `Σ_k left_k right_kᵀ`
#[inline(always)]
fn product(left: &[Strip], right: &[Strip]) -> [Strip; TILE] {
    let mut sums = [[0.0; TILE]; TILE];
    for (left, right) in left.iter().zip(right) {
        for i in 0..TILE {
            for j in 0..TILE {
                sums[i][j] += left[i] * right[j];
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Sums of integers are exact. Sizes around those of a tile and of a part of the long side, and each
    /// order in which the entries of a matrix may lie.
    #[test]
    fn gram_matrices_are_products() {
        for (rows, cols) in [
            (1, 1),
            (3, 5),
            (8, 8),
            (7, 129),
            (9, 128),
            (63, 70),
            (64, 64),
            (65, 80),
            (150, 130),
            (30, 300),
        ] {
            let a = Array2::from_shape_fn((2 * rows, 3 * cols), |(i, j)| {
                ((i * 31 + j * 17) % 23) as f64 - 11.0
            });
            let whole = a.slice(s![..rows, ..cols]);
            for a in [whole, a.slice(s![..;2, ..;3]), whole.reversed_axes()] {
                let expected = if a.nrows() <= a.ncols() { a.dot(&a.t()) } else { a.t().dot(&a) };
                let found = gram((&a * 4.0).view(), -2);
                assert_eq!(found.n, expected.nrows());
                for ((i, j), expected) in expected.indexed_iter().filter(|((i, j), _)| j <= i) {
                    let value = found.entries[i * found.stride + j];
                    assert!(value == *expected, "{rows} × {cols}: {value} at {i}, {j}");
                }
            }
        }
    }
}
