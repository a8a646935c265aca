//! N5a': whole paths of which the highest win.
//!
//! ```text
//! x_w(t) = Σ_j g_wj (x_j(t) − x̄(t))/√(W − 1),   g: independent standard normals,  w, j = 1..W
//! ```
//!
//! W paths for the W frequencies of the run, keys and harmonics too. From save to save they have the covariance
//! that the measured frequencies have, so they are as smooth, and start as far apart, whatever that is:
//! nothing is said of the increments. The law at each save is Gaussian, so a series with a long tail goes in
//! without it, see [`Series::without_tail`](crate::claims::course::Series::without_tail). The keys' own paths are
//! among the measured ones, which makes the null wider where they do differ: p is conservative, and the more so
//! the more of the frequencies are keys.
//!
//! The paths need not be drawn one by one. The ends `x_w(T)` decide who wins, and given them the mean of n paths
//! is Gaussian: with `D[t, j] = (x_j(t) − x̄(t))/√(W − 1)` and `u = D[T]/‖D[T]‖`,
//!
//! ```text
//! mean of the paths in S = D ( z̄_S u + (I − u uᵀ) ν_S ),   z: ends/‖D[T]‖, standard normals;
//!                                                           ν_S: independent normals of variance 1/|S|
//! ```

use ndarray::{Array2, ArrayView2, Axis, Slice};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::winners::{Contest, Winners};
use crate::linalg::kernels::{axpy, dot};
use crate::linalg::matmul;

/// Draws whose contrasts are computed by one product.
const TOGETHER: usize = 256;

/// Let the paths win; `None` without keys, with fewer than [`FEWEST`](super::winners::FEWEST) plain
/// frequencies or fewer than two saves, or if all frequencies end at the same value.
#[must_use]
pub fn winners(contest: &Contest<'_>, draws: usize, seed: u64) -> Option<Winners> {
    let places = contest.places()?;
    let (saves, walks) = contest.series.dim();
    let kept = contest.kept.min(saves);
    let centred = centred(contest.series);
    let end = centred.row(saves - 1).to_vec();
    let (length, last) = (dot(&end, &end).sqrt(), contest.series.row(saves - 1));
    // Equal values have a mean that is off by their rounding.
    if length <= 4.0 * f64::EPSILON * last.dot(&last).sqrt() {
        return None;
    }
    let along: Vec<f64> = end.iter().map(|x| x / length).collect();
    let centred = centred.slice_axis(Axis(0), Slice::from(..kept));
    let left_out = places.left_out();
    let won: Vec<usize> = (0..places.winners).collect();
    let (compared, left) = (places.compared.len() as f64, left_out.len() as f64);
    let variants = if left_out.is_empty() { 1 } else { 2 };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ends = vec![0.0f64; walks];
    let mut contrasts = vec![Array2::<f64>::zeros((draws, kept)); variants];
    for first in (0..draws).step_by(TOGETHER) {
        let count = TOGETHER.min(draws - first);
        let mut weights = vec![Array2::<f64>::zeros((count, walks)); variants];
        for draw in 0..count {
            ends.fill_with(|| StandardNormal.sample(&mut rng));
            ends.sort_unstable_by(|a, b| b.total_cmp(a));
            let mut mean = |places: &[usize]| mean_path(places, &ends, &along, &mut rng);
            let (won, near, out) = (mean(&won), mean(&places.compared), mean(&left_out));
            let own = |(others, of): (f64, f64), j: usize| {
                won[j] - (near[j] * others + out[j] * of) / (others + of)
            };
            for (weights, others) in weights.iter_mut().zip([(compared, left), (compared, 0.0)]) {
                weights.row_mut(draw).indexed_iter_mut().for_each(|(j, x)| *x = own(others, j));
            }
        }
        let rows = Slice::from(first..first + count);
        for (contrast, weights) in contrasts.iter_mut().zip(&weights) {
            contrast.slice_axis_mut(Axis(0), rows).assign(&matmul(weights.view(), centred.t()));
        }
    }
    Some(Winners::new(contrasts))
}

/// Mean of the paths at some places of the order of their ends, as weights of the measured ones; 0 of none.
fn mean_path(places: &[usize], ends: &[f64], along: &[f64], rng: &mut ChaCha8Rng) -> Vec<f64> {
    if places.is_empty() {
        return vec![0.0; along.len()];
    }
    let count = places.len() as f64;
    let end = places.iter().map(|place| ends[*place]).sum::<f64>() / count;
    let normal = |_| Distribution::<f64>::sample(&StandardNormal, rng) / count.sqrt();
    let mut weights: Vec<f64> = (0..along.len()).map(normal).collect();
    axpy(end - dot(along, &weights), along, &mut weights);
    weights
}

/// Distances from the mean of each save over √(W − 1), `[save, frequency]`.
fn centred(series: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut centred = series.to_owned();
    let walks = series.ncols() as f64;
    for mut save in centred.rows_mut() {
        let mean = save.sum() / walks;
        save.mapv_inplace(|x| (x - mean) / (walks - 1.0).sqrt());
    }
    centred
}
