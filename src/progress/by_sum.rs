//! The losses of one checkpoint, all from one table of exponentials.
//!
//! Taken one by one, the excluded losses of all frequencies are `CE(L − R_k)` of every training input
//! for every k: 24 million exponentials for the mainline. Since the part of a frequency depends on
//! the sum `s` of an input alone, they are products instead: with `E_c = e^{L_c − L_y}` of the input
//! and `Q_c = e^{P[s,y] − P[s,c]}` of the sum, for a part P of the logits,
//!
//! ```text
//! CE(L − P) = log1p( Σ_{c≠y} E_c Q_c ),      P = 0, L_K, R_1, R_2, …
//! ```
//!
//! one matrix product for each sum. Every term is positive, so nothing cancels, and a loss near 0 keeps
//! its relative precision. E and Q are scaled by their largest entries; where these together exceed
//! [`LARGEST_SHIFT`], small terms could leave the range of f64, and the loss is computed directly.
//! Losses of several inputs are added up as the logarithm of a product, kept as its distance A from 1:
//! `A ← A + x + A x` for a factor `1 + x`. The restricted losses follow from the same table:
//!
//! ```text
//! CE(mean + R_k) = log1p( Σ_{c≠y} e^{mean_c − mean_y} / Q_c )
//! ```

use multiversion::multiversion;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

use super::group::Along;
use super::losses::{self, RowLosses};
use super::table::LogitTable;
use crate::fourier;
use crate::linalg::kernels::{self, exp};
use crate::linalg::matmul_into;

/// Means over the inputs of one split; `None` where it has none. Losses in nats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SplitLosses {
    /// CE(L)
    pub loss: Option<f64>,
    /// Share of the inputs whose largest logit is the label's; ties go to the lowest class
    pub accuracy: Option<f64>,
    /// CE(mean + L_K), and its accuracy
    pub restricted_loss: Option<f64>,
    pub restricted_accuracy: Option<f64>,
    /// CE(L − L_K)
    pub excluded_loss: Option<f64>,
}

/// Losses of one frequency alone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SingleLosses {
    /// `CE(L − R_k)` on the training inputs, in nats; `None` if there are none
    pub excluded_train: Option<f64>,
    /// `CE(mean + R_k)` on all inputs, in nats; `None` if there are none
    pub restricted_all: Option<f64>,
}

/// Every loss of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitLosses {
    pub train: SplitLosses,
    pub test: SplitLosses,
    /// Of every frequency `1..=n/2`, at index `k − 1`
    pub single: Vec<SingleLosses>,
}

/// Largest sum of the exponents by which a row of E and one of Q are scaled down: a term that leaves
/// the range of f64 is then below `e^{300 − 708}`.
const LARGEST_SHIFT: f64 = 300.0;

/// A product above this is turned into its logarithm before the next factor, which is at most
/// `1 + p e^{300}`, comes.
const LARGEST_PRODUCT: f64 = 1e100;

/// An entry of Q below this has lost digits; then its reciprocal is not used.
const SMALLEST_ENTRY: f64 = 1e-290;

/// Rows of Q before those of the single frequencies: P = 0 and P = L_K.
const OF_ALL_INPUTS: usize = 2;

impl CircuitLosses {
    /// Of logits `[p², p]` with the key frequencies `keys`; `train` and `test` are inputs of the group.
    ///
    /// # Panics
    /// If an input is not one of the group's, or the sizes do not fit.
    #[must_use]
    pub fn new(
        logits: ArrayView2<'_, f64>,
        table: &LogitTable<'_>,
        keys: &[usize],
        train: &[usize],
        test: &[usize],
    ) -> Self {
        let component = table.component(keys);
        let Some(of_keys) = component.by_sum() else {
            return Self::one_by_one(logits, table, keys, train, test);
        };
        let logits = logits.as_standard_layout();
        let group = table.group();
        let (train_by_sum, test_by_sum) = (by_sum(table, train), by_sum(table, test));
        let mut pass = Pass::new(table);
        for (sum, label) in group.residues().iter().copied().enumerate() {
            pass.prepare(table, sum, label, of_keys.row(sum).to_slice().expect("row-major"));
            let of = |inputs: &[usize]| -> Vec<&[f64]> {
                let row = |input: &usize| logits.row(*input).to_slice();
                inputs.iter().map(|input| row(input).expect("standard layout")).collect()
            };
            pass.add(of(&train_by_sum[sum]), label, Split::Train);
            pass.add(of(&test_by_sum[sum]), label, Split::Test);
            let inputs = train_by_sum[sum].len() + test_by_sum[sum].len();
            pass.restrict(table, label, inputs as f64);
        }
        let restricted = |inputs: &[usize]| losses::restricted(table, &component, inputs);
        let of_split = |totals: &Totals, inputs: &[usize]| {
            let restricted = restricted(inputs);
            let mean = |total: f64| (!inputs.is_empty()).then(|| total / inputs.len() as f64);
            SplitLosses {
                loss: mean(totals.excluded[0]),
                accuracy: mean(totals.correct as f64),
                restricted_loss: restricted.mean(),
                restricted_accuracy: restricted.mean_accuracy(),
                excluded_loss: mean(totals.excluded[1]),
            }
        };
        let [of_train, of_test] = &pass.totals;
        let mean = |total: f64, inputs: usize| (inputs > 0).then(|| total / inputs as f64);
        let singles = of_train.excluded[OF_ALL_INPUTS..].iter().zip(&pass.restricted);
        Self {
            train: of_split(of_train, train),
            test: of_split(of_test, test),
            single: singles
                .map(|(excluded, restricted)| SingleLosses {
                    excluded_train: mean(*excluded, train.len()),
                    restricted_all: mean(*restricted, train.len() + test.len()),
                })
                .collect(),
        }
    }

    /// The same, loss by loss: for protocols whose parts depend on more than the sum, and the oracle
    /// of the fast way.
    ///
    /// # Panics
    /// As [`CircuitLosses::new`].
    #[must_use]
    pub fn one_by_one(
        logits: ArrayView2<'_, f64>,
        table: &LogitTable<'_>,
        keys: &[usize],
        train: &[usize],
        test: &[usize],
    ) -> Self {
        let (nothing, component) = (table.component(&[]), table.component(keys));
        let of_split = |inputs: &[usize]| {
            let plain = losses::excluded(logits, table, &nothing, inputs);
            let restricted = losses::restricted(table, &component, inputs);
            SplitLosses {
                loss: plain.mean(),
                accuracy: plain.mean_accuracy(),
                restricted_loss: restricted.mean(),
                restricted_accuracy: restricted.mean_accuracy(),
                excluded_loss: losses::excluded(logits, table, &component, inputs).mean(),
            }
        };
        let all = [train, test].concat();
        let single = |k: usize| {
            let part = table.component(&[k]);
            SingleLosses {
                excluded_train: losses::excluded(logits, table, &part, train).mean(),
                restricted_all: losses::restricted(table, &part, &all).mean(),
            }
        };
        let last = fourier::frequencies(table.group().order());
        Self {
            train: of_split(train),
            test: of_split(test),
            single: (1..=last).map(single).collect(),
        }
    }
}

/// Inputs by their sum.
fn by_sum(table: &LogitTable<'_>, inputs: &[usize]) -> Vec<Vec<usize>> {
    let group = table.group();
    let mut found = vec![Vec::new(); group.order()];
    for input in inputs {
        let pair = group.pair(*input).expect("an input of the group");
        found[group.index(Along::Sum, pair)].push(*input);
    }
    found
}

/// Sums over the inputs of one split.
struct Totals {
    /// Of CE(L − P), by row of Q
    excluded: Vec<f64>,
    correct: usize,
}

#[derive(Clone, Copy)]
enum Split {
    Train,
    Test,
}

/// The sums so far, and memory for the inputs of one sum.
struct Pass {
    /// Of train and test
    totals: [Totals; 2],
    /// Sums of CE(mean + R_k), by frequency
    restricted: Vec<f64>,
    /// The parts P, `[2 + frequencies, p]`
    parts: Array2<f64>,
    /// Q, `[2 + frequencies, padded]`, scaled by `e^{−shift}`, and the shifts
    q: Array2<f64>,
    q_shifts: Vec<f64>,
    q_scales: Vec<f64>,
    /// E, `[inputs, padded]`, scaled as well, and the scales
    e: Array2<f64>,
    e_scales: Vec<f64>,
    /// `E Qᵀ`, `[inputs, 2 + frequencies]`
    products: Vec<f64>,
    /// Distance from 1 of the product of the inputs so far, by row of Q
    distance: Vec<f64>,
    /// `e^{mean_c − mean_y}`, scaled
    means: Vec<f64>,
}

impl Pass {
    fn new(table: &LogitTable<'_>) -> Self {
        let (p, frequencies) = (table.mean().len(), fourier::frequencies(table.group().order()));
        let rows = OF_ALL_INPUTS + frequencies;
        let width = padded(p);
        let totals = |rows| Totals { excluded: vec![0.0; rows], correct: 0 };
        Self {
            totals: [totals(rows), totals(OF_ALL_INPUTS)],
            restricted: vec![0.0; frequencies],
            parts: Array2::zeros((rows, p)),
            q: Array2::zeros((rows, width)),
            q_shifts: vec![0.0; rows],
            q_scales: vec![0.0; rows],
            e: Array2::zeros((0, width)),
            e_scales: Vec::new(),
            products: Vec::new(),
            distance: vec![0.0; rows],
            means: vec![0.0; width],
        }
    }

    /// Q of the inputs with this sum.
    fn prepare(&mut self, table: &LogitTable<'_>, sum: usize, label: usize, of_keys: &[f64]) {
        let p = of_keys.len();
        let parts = self.parts.as_slice_mut().expect("row-major"); // the first row stays 0
        parts[p..2 * p].copy_from_slice(of_keys);
        table.parts_at(sum, self.parts.slice_mut(s![OF_ALL_INPUTS.., ..]));
        let parts = self.parts.as_slice().expect("row-major").chunks_exact(p);
        let q = self.q.as_slice_mut().expect("row-major").chunks_exact_mut(padded(p));
        let shifts = self.q_shifts.iter_mut().zip(&mut self.q_scales);
        for ((parts, q), (shift, scale)) in parts.zip(q).zip(shifts) {
            *shift = relative(parts, label, -1.0, q).max(0.0);
            *scale = exp(*shift);
        }
    }

    /// Add the losses of these logits, which share the sum and the label.
    fn add(&mut self, rows: Vec<&[f64]>, label: usize, split: Split) {
        let (p, width) = (self.parts.ncols(), self.q.ncols());
        let totals = &mut self.totals[split as usize];
        let columns = totals.excluded.len();
        if self.e.nrows() < rows.len() {
            self.e = Array2::zeros((rows.len(), width));
        }
        let largest_q = self.q_shifts[..columns].iter().copied().fold(0.0, f64::max);
        self.e_scales.clear();
        for row in rows {
            let mut e = self.e.row_mut(self.e_scales.len());
            let largest = relative(row, label, 1.0, e.as_slice_mut().expect("row-major"));
            // Equal logits are rare: only then does the order of the classes matter.
            let ties = || largest <= 0.0 && kernels::argmax(row) == label;
            totals.correct += usize::from(largest < 0.0 || ties());
            let shift = largest.max(0.0);
            if shift + largest_q <= LARGEST_SHIFT {
                self.e_scales.push(exp(shift));
                continue;
            }
            let parts = self.parts.as_slice().expect("row-major").chunks_exact(p);
            for (total, part) in totals.excluded.iter_mut().zip(parts) {
                *total += direct(row, -1.0, part, label);
            }
        }
        let used = self.e_scales.len();
        self.products.resize(self.products.len().max(used * columns), 0.0);
        let products = &mut self.products[..used * columns];
        let (e, q) = (self.e.slice(s![..used, ..]), self.q.slice(s![..columns, ..]));
        let shaped = ArrayViewMut2::from_shape((used, columns), &mut *products);
        matmul_into(e, q.t(), 0.0, shaped.expect("as many as there are"));
        let distance = &mut self.distance[..columns];
        distance.fill(0.0);
        for (row, scale) in products.chunks_exact(columns).zip(&self.e_scales) {
            if multiply(row, *scale, &self.q_scales, distance) > LARGEST_PRODUCT {
                flush(distance, &mut totals.excluded);
            }
        }
        flush(distance, &mut totals.excluded);
    }

    /// Add the restricted losses of every frequency, for that many inputs with the sum prepared.
    fn restrict(&mut self, table: &LogitTable<'_>, label: usize, inputs: f64) {
        let (p, width) = (self.parts.ncols(), self.q.ncols());
        let mean = table.mean().as_slice().expect("one row");
        let shift = relative(mean, label, 1.0, &mut self.means).max(0.0);
        let parts = self.parts.as_slice().expect("row-major").chunks_exact(p);
        let q = self.q.as_slice_mut().expect("row-major").chunks_exact_mut(width);
        let of_frequencies = parts.zip(q).zip(&self.q_shifts).skip(OF_ALL_INPUTS);
        for (total, ((part, q), q_shift)) in self.restricted.iter_mut().zip(of_frequencies) {
            q[label] = 1.0; // where `means` is 0
            q[p..].fill(1.0);
            let (quotients, smallest) = sum_of_quotients(&self.means, q);
            let others = quotients * exp(shift - q_shift);
            let exact = smallest > SMALLEST_ENTRY && others < LARGEST_PRODUCT;
            let loss = if exact && shift + q_shift <= LARGEST_SHIFT {
                others.ln_1p()
            } else {
                direct(mean, 1.0, part, label)
            };
            *total += inputs * loss;
        }
    }
}

/// `CE(z + sign · part)` of one row.
fn direct(z: &[f64], sign: f64, part: &[f64], label: usize) -> f64 {
    let mut row = z.to_vec();
    kernels::axpy(sign, part, &mut row);
    let row = ArrayView2::from_shape((1, row.len()), &row).expect("one row");
    RowLosses::new(row, &[label]).loss[0]
}

/// Turn the products into losses.
fn flush(distances: &mut [f64], totals: &mut [f64]) {
    for (total, distance) in totals.iter_mut().zip(distances) {
        *total += distance.ln_1p();
        *distance = 0.0;
    }
}

/// `e^{±(z_c − z_y) − shift}`, 0 for the label and behind the last class, where the shift is the largest
/// of the exponents but at least 0; returns the largest of the exponents. `found` is [`padded`].
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn relative(z: &[f64], label: usize, sign: f64, found: &mut [f64]) -> f64 {
    let own = z[label];
    for (found, z) in found.iter_mut().zip(z) {
        *found = sign * (z - own);
    }
    found[z.len()..].fill(f64::NEG_INFINITY);
    found[label] = f64::NEG_INFINITY;
    let largest = kernels::max(found);
    let shift = if largest < 0.0 { 0.0 } else { largest };
    for found in found.iter_mut() {
        *found = exp(*found - shift);
    }
    largest
}

/// Exponentials that are computed together.
const BLOCK: usize = 8;

/// Length of a row of `p` classes in whole blocks: what would be left over costs as much as a block for
/// each class.
fn padded(p: usize) -> usize {
    p.next_multiple_of(BLOCK)
}

/// `A ← A + x + A x` with `x = product · scale · q_scale`; returns the largest A.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn multiply(products: &[f64], scale: f64, q_scales: &[f64], distance: &mut [f64]) -> f64 {
    for ((distance, product), q_scale) in distance.iter_mut().zip(products).zip(q_scales) {
        let x = product * scale * q_scale;
        *distance += x + *distance * x;
    }
    kernels::max(distance)
}

/// `Σ x/y`, and the smallest y.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn sum_of_quotients(x: &[f64], y: &[f64]) -> (f64, f64) {
    const LANES: usize = kernels::LANES;
    let (mut sum, mut smallest) = ([0.0; LANES], [f64::INFINITY; LANES]);
    let ((x_blocks, x_rest), (y_blocks, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for lane in 0..LANES {
            sum[lane] += x[lane] / y[lane];
            smallest[lane] = if y[lane] < smallest[lane] { y[lane] } else { smallest[lane] };
        }
    }
    for (lane, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        sum[lane] += x / y;
        smallest[lane] = smallest[lane].min(*y);
    }
    (kernels::fold_lanes(sum), smallest.into_iter().fold(f64::INFINITY, f64::min))
}
