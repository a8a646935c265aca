//! Eigenvalues of a tridiagonal matrix by QL without square roots, several sweeps behind each other.
//!
//! Source: the rational QL of Pal, Walker and Kahan, as in Parlett (1998), *The Symmetric Eigenvalue
//! Problem*, section 8.15.

use multiversion::multiversion;

/// Sweeps that follow each other, and the length below which there is only one.
const SHIFTS: usize = 8;
const SHORT: usize = 24;
/// Most sweeps until something splits off; it takes two or three on average.
const SWEEPS: usize = 40;

/// Eigenvalues of the tridiagonal matrix in place of its diagonal, in no order; false if the iteration
/// does not end. `squares` (one for each row; the last is not used) are used up.
pub(super) fn rational_ql(d: &mut [f64], squares: &mut [f64]) -> bool {
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
