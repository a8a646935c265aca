//! Eigenvalues of a symmetric matrix, and some of its eigenvectors: reduction to a tridiagonal one by
//! reflections, then [`ql`] for the values and [`vectors`] for the vectors.
//!
//! Made for the sizes at which a library spends its time on calls and on passing over the matrix: here
//! each reflection is applied in the same pass that multiplies by the next one.
//!
//! Source: Parlett (1998), *The Symmetric Eigenvalue Problem*, section 7.4.

mod ql;
mod vectors;

use multiversion::multiversion;
use ndarray::{Array2, s};

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

/// The lower triangle of a symmetric matrix: row `i` begins at `i · stride` and has `i + 1` entries;
/// what lies behind them is never read.
#[derive(Debug, Clone)]
pub struct Lower {
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

/// A tridiagonal matrix `T`, and the reflections that made it of a symmetric matrix `A`: `A = H T Hᵀ`.
#[derive(Debug)]
pub(super) struct Tridiagonal {
    diagonal: Vec<f64>,
    /// `t_{i, i+1}`, one less than there are rows
    beside: Vec<f64>,
    /// In row `k` the `v` of the reflection `I − τ_k v vᵀ` of the first `k` coordinates
    reflections: Lower,
    tau: Vec<f64>,
}

impl Tridiagonal {
    /// Reduce `a`. Entries should be far from the limits of f64: their squares are summed.
    pub(super) fn new(mut a: Lower) -> Self {
        let n = a.n;
        let (mut diagonal, mut beside, mut tau) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        reduce(&mut a, [&mut diagonal, &mut beside, &mut tau]);
        beside.truncate(n.saturating_sub(1));
        Self { diagonal, beside, reflections: a, tau }
    }

    /// Eigenvalues in ascending order; `None` if the iteration does not end.
    ///
    /// Absolute error a small multiple of `2⁻⁵² max |eigenvalue|`.
    pub(super) fn eigenvalues(&self) -> Option<Vec<f64>> {
        let mut values = self.diagonal.clone();
        let mut squares: Vec<f64> = self.beside.iter().map(|e| e * e).chain([0.0]).collect();
        squares.truncate(values.len());
        ql::rational_ql(&mut values, &mut squares).then_some(())?;
        values.sort_unstable_by(f64::total_cmp);
        Some(values)
    }

    /// Orthonormal eigenvectors of `A`, as columns, for eigenvalues of which each occurs as often as it is
    /// given, in descending order; `None` if they do not come out as such.
    pub(super) fn eigenvectors(&self, values: &[f64]) -> Option<Array2<f64>> {
        let mut vectors = vectors::of_tridiagonal(&self.diagonal, &self.beside, values)?; // [n, r]
        // H is the product of the reflections, the largest first.
        let mut along = ndarray::Array1::zeros(values.len());
        for (k, tau) in self.tau.iter().enumerate().skip(1) {
            let v = &self.reflections.entries[k * self.reflections.stride..][..k];
            along.fill(0.0);
            let mut part = vectors.slice_mut(s![..k, ..]);
            for (row, v) in part.outer_iter().zip(v) {
                along.scaled_add(tau * v, &row);
            }
            for (mut row, v) in part.outer_iter_mut().zip(v) {
                row.scaled_add(-v, &along);
            }
        }
        Some(vectors)
    }
}

/// Diagonal and off-diagonal of a tridiagonal matrix with the eigenvalues of `a`, and the `τ` of the
/// reflections, whose `v` take the place of the rows.
///
/// From the last row `k` on, a reflection `I − τ v vᵀ` of the first `k` coordinates leaves of it only
/// `∓|x|` beside the diagonal, `x = (a_k0 … a_k,k−1)`:
/// ```text
/// v = x ± |x| e_{k−1}, the sign that of x_{k−1};   τ = 2/vᵀv
/// p = τ A v,   w = p − ½ τ (pᵀv) v,                A ← A − v wᵀ − w vᵀ
/// ```
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn reduce(a: &mut Lower, [diagonal, beside, taus]: [&mut [f64]; 3]) {
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
        let (tau, left) = reflector(&row[..k], next.as_flattened_mut());
        (taus[k], beside[k - 1]) = (tau, left);
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
        a.entries[k * stride..][..k].copy_from_slice(&next.as_flattened()[..k]);
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

/// The reflection of `x` onto its last axis: `v` (zero behind it), `τ`, and what is left of `x`.
#[inline(always)]
fn reflector(x: &[f64], v: &mut [f64]) -> (f64, f64) {
    let (last, others) = (x[x.len() - 1], &x[..x.len() - 1]);
    let rest = sum_of_squares(others);
    v.fill(0.0);
    if rest <= 0.0 {
        return (0.0, last); // nothing to do
    }
    let length = (rest + last * last).sqrt().copysign(last);
    v[..x.len()].copy_from_slice(x);
    let pivot = last + length;
    v[x.len() - 1] = pivot;
    (2.0 / (rest + pivot * pivot), -length)
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

#[cfg(test)]
mod tests;
