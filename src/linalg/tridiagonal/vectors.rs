//! Eigenvectors of a tridiagonal matrix whose eigenvalues are known: inverse iteration.
//!
//! Vectors of neighbouring eigenvalues are made orthogonal to each other after each solution; what they
//! span is what matters, since within a cluster single vectors are arbitrary.
//!
//! Source: Parlett (1998), *The Symmetric Eigenvalue Problem*, sections 4.2 and 4.3.

use ndarray::Array2;

use crate::linalg::kernels::{axpy, dot};

/// Eigenvalues nearer to each other than this, relative to the largest, share a subspace.
const CLUSTER: f64 = 1e-3;
/// Solutions for a vector: the second one is usually exact.
const MOST: usize = 6;

/// Orthonormal eigenvectors as columns, `[n, r]`, for `values` in descending order; `None` if
/// `|T u − λ u|` does not come down to rounding.
pub(super) fn of_tridiagonal(
    diagonal: &[f64],
    beside: &[f64],
    values: &[f64],
) -> Option<Array2<f64>> {
    let n = diagonal.len();
    let largest = |x: &[f64]| x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let norm = (largest(diagonal) + 2.0 * largest(beside)).max(f64::MIN_POSITIVE);
    let tolerance = 4.0 * (n as f64).sqrt() * f64::EPSILON * norm;
    let mut found = vec![0.0; n * values.len()]; // by rows
    let mut factors = Factors::default();
    for (i, value) in values.iter().enumerate() {
        let cluster = values[..i].iter().rposition(|other| other - value > CLUSTER * norm);
        let (before, now) = found.split_at_mut(i * n);
        let (before, now) = (&before[cluster.map_or(0, |last| last + 1) * n..], &mut now[..n]);
        factors.factorise([diagonal, beside], *value, norm);
        // Without structure, and another one for each vector.
        for (j, x) in now.iter_mut().enumerate() {
            *x = 0.5 + (((i + 1) * (j + 3)) as f64 * 0.618_033_988_749_894_9).fract();
        }
        let settled = (0..MOST).any(|_| {
            factors.solve(now);
            normalise(now);
            for _ in 0..2 {
                for other in before.chunks_exact(n) {
                    axpy(-dot(other, now), other, now);
                }
            }
            normalise(now);
            residual([diagonal, beside], *value, now) <= tolerance
        });
        settled.then_some(())?;
    }
    let rows = Array2::from_shape_vec((values.len(), n), found).ok()?;
    Some(rows.t().as_standard_layout().into_owned())
}

fn normalise(x: &mut [f64]) {
    // In two steps, so that no square leaves the range of f64.
    for _ in 0..2 {
        let largest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let scaled: f64 = x.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x = *x / largest / scaled);
    }
}

/// `|T x − λ x|`
fn residual([diagonal, beside]: [&[f64]; 2], value: f64, x: &[f64]) -> f64 {
    let n = x.len();
    let row = |i: usize| {
        let above = if i > 0 { beside[i - 1] * x[i - 1] } else { 0.0 };
        let below = if i + 1 < n { beside[i] * x[i + 1] } else { 0.0 };
        (diagonal[i] - value) * x[i] + above + below
    };
    (0..n).map(|i| row(i).powi(2)).sum::<f64>().sqrt()
}

/// `T − λ I = P L U` with row exchanges: each row of `U` has three entries.
#[derive(Debug, Default)]
struct Factors {
    upper: Vec<[f64; 3]>,
    /// The multiple of each row that was taken from the next, and whether the two were exchanged before
    steps: Vec<(f64, bool)>,
}

impl Factors {
    fn factorise(&mut self, [diagonal, beside]: [&[f64]; 2], value: f64, norm: f64) {
        let n = diagonal.len();
        self.upper.clear();
        self.steps.clear();
        // A pivot of zero is the eigenvalue itself: any tiny number does.
        let pivot = |x: f64| if x.abs() < f64::EPSILON * norm { f64::EPSILON * norm } else { x };
        let after = |i: usize| beside.get(i).copied().unwrap_or(0.0);
        let (mut first, mut second) = (diagonal[0] - value, after(0));
        for i in 0..n - 1 {
            let next = [beside[i], diagonal[i + 1] - value, after(i + 1)];
            if next[0].abs() > first.abs() {
                let multiple = first / next[0];
                self.upper.push(next);
                self.steps.push((multiple, true));
                (first, second) = (second - multiple * next[1], -multiple * next[2]);
            } else {
                let first_pivot = pivot(first);
                let multiple = next[0] / first_pivot;
                self.upper.push([first_pivot, second, 0.0]);
                self.steps.push((multiple, false));
                (first, second) = (next[1] - multiple * second, next[2]);
            }
        }
        self.upper.push([pivot(first), 0.0, 0.0]);
    }

    /// `x ← (T − λ I)⁻¹ x`
    fn solve(&self, x: &mut [f64]) {
        for (i, (multiple, exchanged)) in self.steps.iter().enumerate() {
            if *exchanged {
                x.swap(i, i + 1);
            }
            x[i + 1] -= multiple * x[i];
        }
        let (mut next, mut after) = (0.0, 0.0);
        for (x, [first, second, third]) in x.iter_mut().zip(&self.upper).rev() {
            *x = (*x - second * next - third * after) / first;
            (next, after) = (*x, next);
        }
    }
}
