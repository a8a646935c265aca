//! Progress measures: how much of the network's output is the final algorithm.
//!
//! Conventions:
//! - `L[a·p + b, c]` are the f64 logits of all p² inputs over the p real classes.
//! - Each input has a *sum index* `s`: `(a + b) mod p` for addition, `(a − b) mod p` for
//!   subtraction. It is also the label, and the circuit is read along it.
//! - `P_K` projects, class by class, onto the cosine and sine of the frequencies `K` in `s`.
//!
//! Every projection, coefficient and single-frequency loss follows from one p×p table of the
//! logits summed over inputs of equal `s` ([`LogitTable`]); the dense vectors over p² inputs are
//! never formed outside tests.
//!
//! Pure: arrays in, numbers out.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §5.1 and its published code, whose restricted
//! loss adds back the per-class mean.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use crate::config::Task;
use crate::error::Result;
use crate::fourier;
use crate::linalg::{kernels, matmul};

/// Along which index of the inputs the circuit is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `s = (a + b) mod p`
    Sum,
    /// `s = (a − b) mod p`
    Difference,
}

impl Direction {
    /// The direction of a task; `None` where its labels are no character of ℤ_p × ℤ_p.
    #[must_use]
    pub fn of(task: Task) -> Option<Self> {
        match task {
            Task::Add => Some(Self::Sum),
            Task::Sub => Some(Self::Difference),
            _ => None,
        }
    }

    /// Sum index of every input, by `a·p + b`.
    #[must_use]
    pub fn indices(self, p: usize) -> Vec<usize> {
        let index = |a: usize, b: usize| match self {
            Self::Sum => (a + b) % p,
            Self::Difference => (a + p - b) % p,
        };
        (0..p * p).map(|input| index(input / p, input % p)).collect()
    }
}

/// The logits summed over inputs of equal sum index, and their transform.
///
/// ```text
/// M[s,c]   = Σ_{i: s_i = s} L[i,c]              mean_c = Σ_s M[s,c] / p²
/// R_k[s,c] = (2/p²) Σ_t cos(w_k(s − t)) M[t,c]     (P_K L)[i,c] = Σ_{k∈K} R_k[s_i, c]
/// c_k      = √(2/p³) Σ_{s,c} cos(w_k(s − c)) M[s,c]   = ⟨L, e_k⟩,  e_k = √(2/p³) cos(w_k(s_i − c))
/// ```
#[derive(Debug, Clone)]
pub struct LogitTable {
    p: usize,
    basis: Array2<f64>,
    /// `F M`, `[p, p]`: row `r` is the Fourier row over `s`, per class.
    transformed: Array2<f64>,
    /// Mean logit of each class over all inputs, `[p]`.
    mean: Array1<f64>,
}

impl LogitTable {
    /// One pass over the logits `[p², p]`; `sums` is the sum index of each input.
    ///
    /// # Errors
    /// [`crate::Error::Modulus`] if `p` is even or below 3.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn new(logits: ArrayView2<'_, f64>, sums: &[usize]) -> Result<Self> {
        let p = logits.ncols();
        assert_eq!(logits.nrows(), p * p, "one row per input");
        let basis = fourier::basis(p)?;
        let mut m = Array2::<f64>::zeros((p, p)); // [s, c]
        for (row, &s) in logits.rows().into_iter().zip(sums) {
            m.row_mut(s).scaled_add(1.0, &row);
        }
        let mean = m.sum_axis(Axis(0)) / (p * p) as f64;
        Ok(Self { p, transformed: matmul(basis.view(), m.view()), basis, mean })
    }

    /// Mean logit of each class over all inputs, `[p]`.
    #[must_use]
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// `Σ_{k∈K} R_k`, `[p, p]` over `(s, c)`: the part of the logits at these frequencies.
    ///
    /// # Panics
    /// If a frequency is not in `1..=(p − 1)/2`.
    #[must_use]
    pub fn component(&self, keys: &[usize]) -> Array2<f64> {
        let rows: Vec<usize> = keys.iter().flat_map(|k| [2 * k - 1, 2 * k]).collect();
        let basis = self.basis.select(Axis(0), &rows); // [2|K|, p]
        let transformed = self.transformed.select(Axis(0), &rows); // [2|K|, p]
        // (2/p²) Σ_t cos(w_k(s − t)) M[t] = (1/p) Σ_{rows of k} F[row][s] (F M)[row]
        matmul(basis.t(), transformed.view()) / self.p as f64
    }

    /// `c_k`, the coefficient of the unit vector `e_k`.
    ///
    /// # Panics
    /// If `k` is not in `1..=(p − 1)/2`.
    #[must_use]
    pub fn coefficient(&self, k: usize) -> f64 {
        let p = self.p as f64;
        let product: f64 = [2 * k - 1, 2 * k]
            .iter()
            .map(|&row| self.basis.row(row).dot(&self.transformed.row(row)))
            .sum();
        (2.0 / p.powi(3)).sqrt() * (p / 2.0) * product
    }
}

/// Cross-entropy and hit of every input of a table of logits.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLosses {
    /// In nats
    pub loss: Vec<f64>,
    /// Whether the largest logit is the label's; ties go to the lowest class
    pub correct: Vec<bool>,
}

impl RowLosses {
    /// Of logits `[n, classes]`, row by row.
    #[must_use]
    pub fn new(logits: ArrayView2<'_, f64>, labels: &[usize]) -> Self {
        let classes = logits.ncols();
        let logits = logits.as_standard_layout();
        let mut found = Self { loss: vec![0.0; labels.len()], correct: vec![false; labels.len()] };
        let rows = logits.as_slice().expect("standard layout");
        kernels::row_losses(rows, classes, labels, &mut found.loss, &mut found.correct);
        found
    }

    /// Mean loss over these rows; `None` if there are none.
    #[must_use]
    pub fn mean_loss(&self, rows: &[usize]) -> Option<f64> {
        mean(rows.iter().map(|row| self.loss[*row]))
    }

    /// Mean loss over all rows; `None` if there are none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        mean(self.loss.iter().copied())
    }

    /// Share of correct rows; `None` if there are none.
    #[must_use]
    pub fn accuracy(&self, rows: &[usize]) -> Option<f64> {
        mean(rows.iter().map(|row| f64::from(u8::from(self.correct[*row]))))
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let n = values.len();
    (n > 0).then(|| values.sum::<f64>() / n as f64)
}

/// Losses of the network with everything but the frequencies `K` taken out: `CE(mean + P_K L)`.
///
/// The logits depend on the sum index alone, so the losses are those of p rows; the label of row
/// `s` is `s`. Index the result with the sum indices of a split's inputs.
#[must_use]
pub fn restricted(table: &LogitTable, keys: &[usize]) -> RowLosses {
    let logits = table.component(keys) + table.mean();
    let labels: Vec<usize> = (0..table.p).collect();
    RowLosses::new(logits.view(), &labels)
}

/// Losses of the network with the frequencies `K` taken out: `CE(L − P_K L)` for these inputs.
///
/// # Panics
/// If an input is not below p².
#[must_use]
pub fn excluded(
    logits: ArrayView2<'_, f64>,
    table: &LogitTable,
    keys: &[usize],
    sums: &[usize],
    inputs: &[usize],
) -> RowLosses {
    let component = table.component(keys);
    let component = component.as_slice().expect("row-major");
    let p = table.p;
    let labels: Vec<usize> = inputs.iter().map(|input| sums[*input]).collect();
    let mut found = RowLosses { loss: vec![0.0; inputs.len()], correct: vec![false; inputs.len()] };
    // In blocks, so that the reduced logits never leave the cache.
    const BLOCK: usize = 64;
    let mut reduced = Array2::<f64>::zeros((BLOCK, p));
    for (i, block) in inputs.chunks(BLOCK).enumerate() {
        for (mut row, &input) in reduced.rows_mut().into_iter().zip(block) {
            let full = logits.row(input);
            let part = &component[sums[input] * p..(sums[input] + 1) * p];
            for ((row, full), part) in row.iter_mut().zip(full).zip(part) {
                *row = full - part;
            }
        }
        let range = i * BLOCK..i * BLOCK + block.len();
        kernels::row_losses(
            reduced.slice(s![..block.len(), ..]).as_slice().expect("row-major"),
            p,
            &labels[range.clone()],
            &mut found.loss[range.clone()],
            &mut found.correct[range],
        );
    }
    found
}

/// Share of the logits' energy that the cosines `e_k` of these frequencies explain.
///
/// ```text
/// raw:      Σ_K c_k² / ‖L‖_F²         centred:  Σ_K c_k² / ‖L − its mean over classes, per input‖_F²
/// ```
///
/// The `e_k` are orthonormal, so this is a least-squares fit; each sums to 0 over classes, so
/// centring leaves `c_k` as it is. `None` where the denominator is 0.
#[must_use]
pub fn variance_explained(
    logits: ArrayView2<'_, f64>,
    table: &LogitTable,
    keys: &[usize],
) -> (Option<f64>, Option<f64>) {
    let explained: f64 = keys.iter().map(|k| table.coefficient(*k).powi(2)).sum();
    let (mut raw, mut centred) = (0.0, 0.0);
    for row in logits.rows() {
        let mean = row.sum() / row.len() as f64;
        raw += row.fold(0.0, |sum, x| sum + x * x);
        centred += row.fold(0.0, |sum, x| sum + (x - mean) * (x - mean));
    }
    let share = |energy: f64| (energy > 0.0).then(|| explained / energy);
    (share(raw), share(centred))
}

/// The frequencies of the final algorithm, by the norm of `W_L` (or another object) over its
/// Fourier rows: all `k` whose norm exceeds `threshold` times the largest.
///
/// The paper (appendix C.2) names no number; 0.25 is ours. [`KeyFrequencies::margin`] says how clear
/// the gap is.
#[must_use]
pub fn key_frequencies(norms: &fourier::Norms, threshold: f64) -> KeyFrequencies {
    let all: Vec<f64> = (1..=norms.frequencies()).map(|k| norms.norm(k)).collect();
    let largest = all.iter().copied().fold(0.0, f64::max);
    let is_key = |norm: f64| largest > 0.0 && norm > threshold * largest;
    let keys: Vec<usize> = (1..=all.len()).filter(|k| is_key(all[k - 1])).collect();
    let smallest_key = keys.iter().map(|k| all[k - 1]).fold(f64::INFINITY, f64::min);
    let largest_other = all.iter().copied().filter(|norm| !is_key(*norm)).fold(0.0, f64::max);
    let margin = (!keys.is_empty() && largest_other > 0.0).then(|| smallest_key / largest_other);
    KeyFrequencies { keys, margin, above_largest_gap: above_largest_gap(&all) }
}

/// The frequencies whose norms stand above the largest ratio of neighbours in descending order.
fn above_largest_gap(norms: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (1..=norms.len()).collect();
    order.sort_by(|a, b| norms[b - 1].total_cmp(&norms[a - 1]));
    let ratio = |i: usize| norms[order[i] - 1] / norms[order[i + 1] - 1];
    let gaps = (0..norms.len().saturating_sub(1)).filter(|i| ratio(*i).is_finite());
    let Some(last) = gaps.max_by(|a, b| ratio(*a).total_cmp(&ratio(*b))) else { return Vec::new() };
    let mut above = order[..=last].to_vec();
    above.sort_unstable();
    above
}

/// Threshold of [`key_frequencies`].
pub const KEY_THRESHOLD: f64 = 0.25;

/// The key frequencies and how clearly they stand out.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyFrequencies {
    /// Ascending, each in `1..=(p − 1)/2`; may be empty.
    pub keys: Vec<usize>,
    /// Smallest norm of a key over the largest of the others; below 1.5 there is no clear gap.
    pub margin: Option<f64>,
    /// The frequencies above the largest gap (ratio of neighbours among the sorted norms), ascending:
    /// what the rule would give if it looked for the gap instead.
    pub above_largest_gap: Vec<usize>,
}

#[cfg(test)]
mod tests;
