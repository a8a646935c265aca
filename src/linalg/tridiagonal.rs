//! Eigenvalues of a symmetric matrix, without vectors: reduction to a tridiagonal one by reflections,
//! then QL without square roots.
//!
//! Made for the sizes at which a library spends its time on calls and on passing over the matrix: here
//! each reflection is applied in the same pass that multiplies by the next one.
//!
//! Sources: Householder's reduction and the rational QL of Pal, Walker and Kahan as in Parlett (1998),
//! *The Symmetric Eigenvalue Problem*, sections 7.4 and 8.15.

use multiversion::multiversion;

use super::aligned::Aligned;

/// Columns that are computed together.
const LANES: usize = 8;
type Lanes = [f64; LANES];
/// Ones up to a lane.
static UP_TO: [Lanes; LANES + 1] = {
    let mut masks = [[0.0; LANES]; LANES + 1];
    let mut end = 0;
    while end <= LANES {
        let mut lane = 0;
        while lane < end {
            masks[end][lane] = 1.0;
            lane += 1;
        }
        end += 1;
    }
    masks
};
/// Sweeps that follow each other, and the length below which there is only one.
const SHIFTS: usize = 8;
const SHORT: usize = 24;
/// Most sweeps until something splits off; it takes two or three on average.
const SWEEPS: usize = 40;

/// The lower triangle of a symmetric matrix: row `i` begins at `i · stride` and has `i + 1` entries;
/// what lies behind them is never read.
#[derive(Debug, Clone)]
pub(super) struct Lower {
    pub(super) n: usize,
    /// A multiple of [`LANES`], at least `n`; there are as many rows
    pub(super) stride: usize,
    pub(super) entries: Aligned<f64>,
}

impl Lower {
    pub(super) fn diagonal(&self) -> impl Iterator<Item = f64> {
        (0..self.n).map(|i| self.entries[i * self.stride + i])
    }
}

/// Eigenvalues in ascending order; `None` if the iteration does not end.
///
/// Absolute error a small multiple of `2⁻⁵² max |eigenvalue|`. Entries should be far from the limits of
/// f64: their squares are summed.
pub(super) fn eigenvalues(mut a: Lower) -> Option<Vec<f64>> {
    let (mut diagonal, mut squares) = (vec![0.0; a.n], vec![0.0; a.n]);
    reduce(&mut a, &mut diagonal, &mut squares);
    rational_ql(&mut diagonal, &mut squares).then_some(())?;
    diagonal.sort_unstable_by(f64::total_cmp);
    Some(diagonal)
}

/// Diagonal and squared off-diagonal `e²_i = t²_{i, i+1}` of a tridiagonal matrix with the eigenvalues
/// of `a`, which is used up.
///
/// From the last row `k` on, a reflection `I − τ v vᵀ` of the first `k` coordinates leaves of it only
/// `±|x|` beside the diagonal, `x = (a_k0 … a_k,k−1)`:
/// ```text
/// v = x + sign(x_{k−1}) |x| e_{k−1},   τ = 2/vᵀv
/// p = τ A v,   w = p − ½ τ (pᵀv) v,    A ← A − v wᵀ − w vᵀ
/// ```
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn reduce(a: &mut Lower, diagonal: &mut [f64], squares: &mut [f64]) {
    let Lower { n, stride, .. } = *a;
    if n == 0 {
        return;
    }
    // v and w of the reflection that is still to be applied, v of the one after it, and A times that.
    let mut memory = Aligned::zeros(4 * stride);
    let (memory, _) = memory.as_chunks_mut::<LANES>();
    let (mut v, rest) = memory.split_at_mut(stride / LANES);
    let (w, rest) = rest.split_at_mut(stride / LANES);
    let (mut next, product) = rest.split_at_mut(stride / LANES);
    for k in (1..n).rev() {
        let row = &mut a.entries[k * stride..][..=k];
        {
            let (v, w) = (v.as_flattened(), w.as_flattened());
            update_row(row, v[k], w[k], v, w);
        }
        diagonal[k] = row[k];
        let (tau, square) = reflector(&row[..k], next.as_flattened_mut());
        squares[k - 1] = square;
        // After this the matrix is up to date, and this reflection is the next to be applied.
        pass(a, k, [v, w, next], product);
        let mut along = [0.0; LANES];
        for (product, next) in product.iter().zip(&*next).take(k.div_ceil(LANES)) {
            along = plus(along, times(*product, *next));
        }
        let half = [0.5 * tau * tau * halves(along); LANES];
        for ((w, product), next) in w.iter_mut().zip(&*product).zip(&*next) {
            *w = minus(times([tau; LANES], *product), times(half, *next));
        }
        std::mem::swap(&mut v, &mut next);
    }
    diagonal[0] = a.entries[0] - 2.0 * v[0][0] * w[0][0];
}

/// `row_j ← row_j − v_i w_j − w_i v_j`
#[inline(always)]
fn update_row(row: &mut [f64], v_i: f64, w_i: f64, v: &[f64], w: &[f64]) {
    for ((a, v), w) in row.iter_mut().zip(v).zip(w) {
        *a = *a - v_i * w - w_i * v;
    }
}

/// The reflection of `x` onto its last axis: `v` (zero behind it), `τ`, and `|x|²`.
#[inline(always)]
fn reflector(x: &[f64], v: &mut [f64]) -> (f64, f64) {
    let (last, others) = (x[x.len() - 1], &x[..x.len() - 1]);
    let rest = sum_of_squares(others);
    v.fill(0.0);
    if rest <= 0.0 {
        return (0.0, last * last); // nothing to do
    }
    let square = rest + last * last;
    v[..x.len()].copy_from_slice(x);
    let pivot = last + square.sqrt().copysign(last);
    v[x.len() - 1] = pivot;
    (2.0 / (rest + pivot * pivot), square)
}

#[inline(always)]
fn sum_of_squares(x: &[f64]) -> f64 {
    let mut partial = [0.0; 16];
    let (blocks, rest) = x.as_chunks::<16>();
    for block in blocks {
        for lane in 0..16 {
            partial[lane] += block[lane] * block[lane];
        }
    }
    partial.iter().sum::<f64>() + rest.iter().map(|x| x * x).sum::<f64>()
}

/// `A ← A − v wᵀ − w vᵀ` for the first `k` rows, and `product ← A next` with the new `A`.
///
/// Two rows at a time, so that the vectors are loaded once for both. Where `k` is odd the row behind
/// them comes along, which is done with, and which `next` does not see.
#[inline(always)]
fn pass(a: &mut Lower, k: usize, [v, w, next]: [&[Lanes]; 3], product: &mut [Lanes]) {
    product.fill([0.0; LANES]);
    let chunks = a.stride / LANES;
    let rows = a.entries.as_chunks_mut::<LANES>().0;
    for (pair, rows) in rows.chunks_exact_mut(2 * chunks).enumerate().take(k.div_ceil(2)) {
        let (upper, lower) = rows.split_at_mut(chunks);
        let (last, lane) = (2 * pair / LANES, 2 * pair % LANES);
        let of = |x: &[Lanes]| [[x[last][lane]; LANES], [x[last][lane + 1]; LANES]];
        let scalars = [of(v), of(w), of(next)];
        let mut sums = [[0.0; LANES]; 2];
        for ((((upper, lower), v), (w, next)), product) in (upper[..last].iter_mut())
            .zip(&mut lower[..last])
            .zip(&v[..last])
            .zip(w[..last].iter().zip(&next[..last]))
            .zip(&mut product[..last])
        {
            two_rows([upper, lower], [v, w, next], &scalars, &mut sums, product, None);
        }
        // Where the diagonal passes: each entry below it counts for both of its places, one on it once.
        let masks = [lane + 1, lane + 2, lane].map(|end| &UP_TO[end]);
        let [of_sums, of_product] = [[masks[0], masks[1]], [masks[2], masks[0]]];
        let ends = [&v[last], &w[last], &next[last]];
        let rows = [&mut upper[last], &mut lower[last]];
        two_rows(rows, ends, &scalars, &mut sums, &mut product[last], Some([of_sums, of_product]));
        product[last][lane] += halves(sums[0]);
        product[last][lane + 1] += halves(sums[1]);
    }
}

/// [`LANES`] columns of two rows.
#[inline(always)]
fn two_rows(
    rows: [&mut Lanes; 2],
    [v, w, next]: [&Lanes; 3],
    [v_i, w_i, next_i]: &[[Lanes; 2]; 3],
    sums: &mut [Lanes; 2],
    product: &mut Lanes,
    masks: Option<[[&Lanes; 2]; 2]>,
) {
    let mut add = *product;
    for (i, row) in rows.into_iter().enumerate() {
        let a = minus(minus(*row, times(v_i[i], *w)), times(w_i[i], *v));
        let (of_sums, of_product) = match masks {
            Some([sums, product]) => (times(a, *sums[i]), times(a, *product[i])),
            None => (a, a),
        };
        sums[i] = plus(sums[i], times(of_sums, *next));
        add = plus(add, times(of_product, next_i[i]));
        *row = a;
    }
    *product = add;
}

/// The sum, by halving.
#[inline(always)]
fn halves(x: Lanes) -> f64 {
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

#[inline(always)]
fn plus(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[inline(always)]
fn minus(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] - b[lane])
}

#[inline(always)]
fn times(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] * b[lane])
}

/// Eigenvalues of the tridiagonal matrix in place of its diagonal, in no order; false if the iteration
/// does not end. `squares` (one for each row; the last is not used) are used up.
fn rational_ql(d: &mut [f64], squares: &mut [f64]) -> bool {
    let n = d.len();
    let norm = d.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
        + 2.0 * squares.iter().fold(0.0, |m: f64, x| m.max(*x)).sqrt();
    // What lies beside the diagonal and is this small changes no eigenvalue by more than itself.
    let negligible = (0.25 * f64::EPSILON * norm).powi(2);
    let (mut l, mut sweeps) = (0, 0);
    while l < n {
        let m = (l..n - 1).find(|i| squares[*i] <= negligible).unwrap_or(n - 1);
        let done = match m - l {
            0 => 1,
            1 => {
                (d[l], d[m]) = two_by_two(d[l], d[m], squares[l]);
                2
            }
            _ => 0,
        };
        if done > 0 {
            (l, sweeps) = (l + done, 0);
            continue;
        }
        sweeps += 1;
        if sweeps > SWEEPS {
            return false;
        }
        let (d, squares) = (&mut d[l..=m], &mut squares[l..=m]);
        if d.len() < SHORT {
            // The eigenvalue of the first two rows that is nearer to the first.
            let (low, high) = two_by_two(d[0], d[1], squares[0]);
            let shift = if d[0] - low < high - d[0] { low } else { high };
            sweep(d, squares, [shift]);
        } else {
            let mut shifts: [f64; SHIFTS] = std::array::from_fn(|i| d[i]);
            let mut beside: [f64; SHIFTS] = std::array::from_fn(|i| squares[i]);
            if !rational_ql(&mut shifts, &mut beside) {
                return false;
            }
            many_sweeps(d, squares, shifts);
        }
    }
    true
}

/// [`sweep`] for several shifts, compiled for wider vectors.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn many_sweeps(d: &mut [f64], squares: &mut [f64], shifts: [f64; SHIFTS]) {
    sweep(d, squares, shifts);
}

/// `L` sweeps of QL with these shifts, one behind the other, so that the long chain of operations from
/// row to row goes on in `L` places at once.
///
/// A row enters the first sweep from below, `(d_i, e²_i)`; what leaves it, the row that entered before,
/// enters the second one in the next step, and so on. Around the matrix are rows of zeros: with
/// `e² = 0` a sweep begins anew, or hands out what it still has.
#[inline(always)]
fn sweep<const L: usize>(d: &mut [f64], squares: &mut [f64], shifts: [f64; L]) {
    const TINY: f64 = f64::MIN_POSITIVE;
    let len = d.len();
    let (mut gamma, mut p, mut cos, mut sin) = ([0.0; L], [0.0; L], [1.0; L], [0.0; L]);
    let (mut d_out, mut square_out) = ([0.0; L], [0.0; L]);
    squares[len - 1] = 0.0;
    for t in 0..len + 2 * L - 1 {
        let (entering, square_entering) = match (len - 1).checked_sub(t) {
            Some(row) => (d[row], squares[row]),
            None => (0.0, 0.0),
        };
        let d_in: [f64; L] = std::array::from_fn(|j| if j == 0 { entering } else { d_out[j - 1] });
        let square: [f64; L] =
            std::array::from_fn(|j| if j == 0 { square_entering } else { square_out[j - 1] });
        let (mut next_gamma, mut next_p) = ([0.0; L], [0.0; L]);
        for j in 0..L {
            let r = p[j] + square[j];
            square_out[j] = sin[j] * r;
            let (inverse, ratio) = (1.0 / r, r / p[j]);
            let a = d_in[j] - shifts[j];
            let turned = (p[j] * a - square[j] * gamma[j]) * inverse;
            let next = if p[j] > TINY { turned * turned * ratio } else { cos[j] * square[j] };
            let alone = r <= TINY;
            next_gamma[j] = if alone { a } else { turned };
            next_p[j] = if alone { a * a } else { next };
            cos[j] = if alone { 1.0 } else { p[j] * inverse };
            sin[j] = if alone { 0.0 } else { square[j] * inverse };
            d_out[j] = gamma[j] + (d_in[j] - next_gamma[j]);
        }
        (gamma, p) = (next_gamma, next_p);
        // What the last sweep hands out, 2L − 1 rows below the one that enters the first.
        if let Some(row) = (len + 2 * L - 2).checked_sub(t).filter(|row| *row < len) {
            (d[row], squares[row]) = (d_out[L - 1], square_out[L - 1]);
        }
    }
}

/// Eigenvalues of `[[a, e], [e, c]]` with `e²` given.
fn two_by_two(a: f64, c: f64, square: f64) -> (f64, f64) {
    let (mean, half) = (0.5 * (a + c), 0.5 * (a - c));
    let root = (half * half + square).sqrt();
    (mean - root, mean + root)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;
    use crate::linalg::library;

    fn lower(a: &Array2<f64>) -> Lower {
        let n = a.nrows();
        let stride = n.next_multiple_of(LANES);
        let mut entries = Aligned::zeros(stride * stride);
        for ((i, j), value) in a.indexed_iter().filter(|((i, j), _)| j <= i) {
            entries[i * stride + j] = *value;
        }
        Lower { n, stride, entries }
    }

    /// Within `c n ε max |λ|` of those expected, which are ascending.
    fn check(a: &Array2<f64>, expected: &[f64], c: f64) {
        let found = eigenvalues(lower(a)).unwrap();
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let tolerance = c * a.nrows() as f64 * f64::EPSILON * largest;
        for (i, (x, y)) in found.iter().zip(expected).enumerate() {
            assert!((x - y).abs() <= tolerance, "{i} of {}: {x}, not {y}", a.nrows());
        }
    }

    /// `(I − 2vvᵀ/vᵀv) A (I − 2vvᵀ/vᵀv)` for a vector without structure: the same eigenvalues.
    fn turned(a: &Array2<f64>) -> Array2<f64> {
        let v = ndarray::Array1::from_shape_fn(a.nrows(), |i| 1.0 + ((i * 7) % 5) as f64);
        let eye = Array2::<f64>::eye(a.nrows());
        let column = v.view().insert_axis(ndarray::Axis(1));
        let reflection = eye - column.dot(&column.t()) * (2.0 / v.dot(&v));
        reflection.dot(a).dot(&reflection)
    }

    /// Second differences have the eigenvalues `2 − 2 cos(π k/(n+1))`; sizes around those of a vector and
    /// of the shortest matrix that is swept for several eigenvalues at once.
    #[test]
    fn second_differences() {
        for n in (1..40).chain([63, 64, 65, 127, 128, 129]) {
            let a = Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
                0 => 2.0,
                1 => -1.0,
                _ => 0.0,
            });
            let angle = |k: usize| PI * k as f64 / (n + 1) as f64;
            let expected: Vec<f64> = (1..=n).map(|k| 2.0 - 2.0 * angle(k).cos()).collect();
            check(&a, &expected, 2.0);
            check(&turned(&a), &expected, 4.0);
        }
        assert_eq!(eigenvalues(lower(&Array2::zeros((0, 0)))), Some(vec![]));
    }

    /// Where eigenvalues coincide, or the matrix falls apart: diagonals, few different values, rank one,
    /// Wilkinson's W⁺ with pairs that agree to 15 digits, steps down to 2⁻⁶⁰ and beyond.
    #[test]
    fn coinciding_eigenvalues() {
        for n in [2, 5, 21, 41, 64, 100] {
            check(&Array2::zeros((n, n)), &vec![0.0; n], 1.0);
            check(&Array2::eye(n), &vec![1.0; n], 1.0);
            let of = |value: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..n).map(value).collect() };
            for mut values in [
                of(&|i| (i % 3) as f64),
                of(&|i| f64::from(u8::from(i == n / 2))),
                of(&|i| 2f64.powi(-(i as i32))),
                of(&|i| 2f64.powi(i as i32 - n as i32)),
                of(&|i| if i < n / 2 { 1.0 } else { 1e-9 * i as f64 }),
            ] {
                let a = Array2::from_diag(&ndarray::Array1::from(values.clone()));
                values.sort_by(f64::total_cmp);
                check(&a, &values, 1.0);
                check(&turned(&a), &values, 4.0);
            }
            let wilkinson = Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
                0 => (i as f64 - (n - 1) as f64 / 2.0).abs(),
                1 => 1.0,
                _ => 0.0,
            });
            check(&wilkinson, &library::eigenvalues(wilkinson.clone()).unwrap(), 2.0);
        }
    }

    proptest! {
        /// Against the library's routine, for symmetric matrices of either sign, steep ones included.
        #[test]
        fn they_are_those_of_the_library(
            n in 1usize..48, seed in prop::collection::vec(-1.0..1.0f64, 48 * 48), grade in 0i32..8,
            holes in prop::bool::ANY,
        ) {
            let half = Array2::from_shape_fn((n, n), |(i, j)| {
                let kept = !holes || (i * 7 + j * 3) % 4 == 0;
                seed[i * 48 + j] * 2f64.powi(-grade * i as i32) * f64::from(u8::from(kept))
            });
            let a = &half + &half.t();
            let expected = library::eigenvalues(a.clone()).unwrap();
            check(&a, &expected, 4.0);
        }
    }
}
