//! The logits summed over inputs of equal index, from which every projection follows.

use multiversion::multiversion;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};

use super::group::{Along, Group, Protocol};
use crate::fourier;
use crate::linalg::{kernels, matmul};

/// Sums of the logits over inputs of equal index `s`, and their transform. Over the n² inputs of the
/// task's group, with `w_k = 2πk/n` and `s` the sum of the two elements (or another index of theirs,
/// see [`Along`]):
///
/// ```text
/// M[s,c]   = Σ_{i: s_i = s} L[i,c]              mean_c = Σ_s M[s,c] / n²
/// R_k[s,c] = (2/n²) Σ_t cos(w_k(s − t)) M[t,c]     (P_K L)[i,c] = Σ_{k∈K} R_k[s_i, c]
/// c_k      = √(2/n³) Σ_{s,c} cos(w_k(s − c)) M[s,c]   = ⟨L, e_k⟩,  e_k = √(2/n³) cos(w_k(s_i − c))
/// ```
///
/// For the unpaired frequency `n/2` of an even n, 2 is replaced by 1. Classes `c` are residues; in
/// `c_k` they stand for their elements.
#[derive(Debug, Clone)]
pub struct LogitTable<'a> {
    group: &'a Group,
    protocol: Protocol,
    /// `F M`, `[n, p]`, along each index that the protocol or the coefficients need, the sum first
    transformed: Vec<(Along, Array2<f64>)>,
    /// Mean logit of each class over all inputs, `[p]`
    mean: Array1<f64>,
    /// `‖L‖²` over the inputs and classes of the group, and that of L less its mean over classes
    energy: f64,
    centred_energy: f64,
}

/// The part of the logits at some frequencies: a sum of tables, one along each index.
#[derive(Debug, Clone)]
pub struct Component {
    tables: Vec<(Along, Array2<f64>)>,
}

impl Component {
    /// The sum of these tables, each `[n, columns]`.
    pub(super) fn new(tables: Vec<(Along, Array2<f64>)>) -> Self {
        Self { tables }
    }

    /// The table, `[n, p]`, if there is only the one along the sums.
    #[must_use]
    pub fn by_sum(&self) -> Option<&Array2<f64>> {
        match self.tables.as_slice() {
            [(Along::Sum, table)] => Some(table),
            _ => None,
        }
    }

    /// Add `scale` times the part at a pair of elements to a row of logits `[p]`.
    ///
    /// # Panics
    /// If the pair is not one of the group's.
    pub fn add_to(&self, scale: f64, group: &Group, pair: [usize; 2], row: &mut [f64]) {
        for (along, table) in &self.tables {
            let part = table.row(group.index(*along, pair));
            add_scaled(scale, part.to_slice().expect("row-major"), row);
        }
    }
}

impl<'a> LogitTable<'a> {
    /// One pass over the logits `[p², p]` of all inputs. (Of other functions of the inputs, `[p², any]`,
    /// the components mean something, the coefficients do not.)
    ///
    /// # Panics
    /// If the sizes do not fit.
    #[must_use]
    pub fn new(logits: ArrayView2<'_, f64>, group: &'a Group, protocol: Protocol) -> Self {
        let (p, n, columns) = (group.p(), group.order(), logits.ncols());
        assert_eq!(logits.nrows(), p * p, "one row per input");
        let others = protocol.along().iter().copied().filter(|along| *along != Along::Sum);
        let alongs: Vec<Along> = std::iter::once(Along::Sum).chain(others).collect();
        let mut sums: Vec<Array2<f64>> =
            alongs.iter().map(|_| Array2::zeros((n, columns))).collect();
        let logits = logits.as_standard_layout();
        // Class 0 is no element of a multiplicative group.
        let first = usize::from(n < p);
        let (mut energy, mut centred_energy) = (0.0, 0.0);
        for x in 0..n {
            let (mut of_rows, mut centred_of_rows) = (0.0, 0.0);
            for y in 0..n {
                let row = logits.row(group.input([x, y]));
                let row = row.to_slice().expect("standard layout");
                for (along, m) in alongs.iter().zip(&mut sums) {
                    let mut m = m.row_mut(group.index(*along, [x, y]));
                    kernels::add(row, m.as_slice_mut().expect("row-major"));
                }
                let (raw, centred) = energies(&row[first..]);
                of_rows += raw;
                centred_of_rows += centred;
            }
            energy += of_rows;
            centred_energy += centred_of_rows;
        }
        let mean = sums[0].sum_axis(Axis(0)) / (n * n) as f64;
        let transform = |(along, m): (Along, Array2<f64>)| (along, matmul(group.basis(), m.view()));
        let transformed = alongs.into_iter().zip(sums).map(transform).collect();
        Self { group, protocol, transformed, mean, energy, centred_energy }
    }

    /// The group that the table is over.
    #[must_use]
    pub fn group(&self) -> &'a Group {
        self.group
    }

    /// Mean logit of each class over all inputs, `[p]`.
    #[must_use]
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// `‖L‖_F` over the inputs and classes of the group.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.energy.sqrt()
    }

    /// `P_K L`: the part of the logits at these frequencies.
    ///
    /// # Panics
    /// If a frequency is not in `1..=n/2`.
    #[must_use]
    pub fn component(&self, keys: &[usize]) -> Component {
        let n = self.group.order();
        let of_protocol = |(along, transformed): &(Along, Array2<f64>)| {
            if !self.protocol.along().contains(along) {
                return None;
            }
            let rows = self.rows_along(*along, keys);
            let basis = self.group.basis().select(Axis(0), &rows); // [2|K|, n]
            let transformed = transformed.select(Axis(0), &rows); // [2|K|, p]
            // (2/n²) Σ_t cos(w_k(s − t)) M[t] = (1/n) Σ_{rows of k} F[row][s] (F M)[row]
            Some((*along, matmul(basis.t(), transformed.view()) / n as f64))
        };
        Component { tables: self.transformed.iter().filter_map(of_protocol).collect() }
    }

    /// The indices along which the protocol takes waves.
    pub(super) fn along(&self) -> impl Iterator<Item = Along> {
        self.protocol.along().iter().copied()
    }

    /// The rows of the basis that stand for these frequencies along an index.
    pub(super) fn rows_along(&self, along: Along, keys: &[usize]) -> Vec<usize> {
        // (−1)^(x−y) = (−1)^(x+y): the unpaired wave of the differences is that of the sums.
        let again = along == Along::Difference && self.protocol != Protocol::DiffDirs;
        let rows = keys.iter().map(|k| fourier::rows_of(self.group.order(), *k));
        rows.filter(|rows| !(again && rows.len() == 1)).flatten().collect()
    }

    /// `c_k`, the coefficient of the unit vector `e_k`, whatever the protocol.
    ///
    /// # Panics
    /// If `k` is not in `1..=n/2`.
    #[must_use]
    pub fn coefficient(&self, k: usize) -> f64 {
        let n = self.group.order();
        let rows = fourier::rows_of(n, k);
        let weight = 1.0 / ((n * rows.len()) as f64).sqrt();
        let transformed = &self.transformed[0].1;
        let product: f64 = rows
            .map(|row| {
                let along = transformed.row(row);
                let classes = self.group.residues().iter().map(|class| along[*class]);
                self.group.basis().row(row).iter().zip(classes).map(|(f, m)| f * m).sum::<f64>()
            })
            .sum();
        // √(2/n³) cos(w_k(s − c)) = √(2/n³) (n/2) Σ_rows F[row][s] F[row][c]
        weight * product
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
    pub fn variance_explained(&self, keys: &[usize]) -> (Option<f64>, Option<f64>) {
        let explained: f64 = keys.iter().map(|k| self.coefficient(*k).powi(2)).sum();
        let share = |energy: f64| (energy > 0.0).then(|| explained / energy);
        (share(self.energy), share(self.centred_energy))
    }

    /// `R_k[s, ·]` of every frequency at one sum, `[n/2, p]`.
    pub(super) fn parts_at(&self, sum: usize, mut parts: ArrayViewMut2<'_, f64>) {
        let n = self.group.order();
        let transformed = &self.transformed[0].1;
        for (k, mut part) in (1..).zip(parts.rows_mut()) {
            let part = part.as_slice_mut().expect("row-major");
            part.fill(0.0);
            for row in fourier::rows_of(n, k) {
                let wave = self.group.basis()[[row, sum]] / n as f64;
                add_scaled(wave, transformed.row(row).to_slice().expect("row-major"), part);
            }
        }
    }

    /// `Σ_K c_k e_k`: what the three-dimensional exclusion takes out, instead of `P_K L`.
    ///
    /// # Panics
    /// If a frequency is not in `1..=n/2`.
    #[must_use]
    pub fn cosines(&self, keys: &[usize]) -> Component {
        let (n, p) = (self.group.order(), self.group.p());
        let mut found = Array2::zeros((n, p));
        for k in keys {
            let rows = fourier::rows_of(n, *k);
            // e_k = Σ_rows F[row][s] F[row][c] / √(n · rows)
            let scale = self.coefficient(*k) / ((n * rows.len()) as f64).sqrt();
            let basis = self.group.basis();
            let basis = basis.slice(s![rows, ..]);
            let waves = matmul(basis.t(), basis);
            for (element, class) in self.group.residues().iter().enumerate() {
                found.column_mut(*class).scaled_add(scale, &waves.column(element));
            }
        }
        Component { tables: vec![(Along::Sum, found)] }
    }
}

/// `y ← y + a x`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_scaled(a: f64, x: &[f64], y: &mut [f64]) {
    kernels::axpy(a, x, y);
}

/// `Σ x²` and `Σ (x − mean)²`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn energies(row: &[f64]) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0; kernels::LANES], [0.0; kernels::LANES]);
    let (blocks, rest) = row.as_chunks::<{ kernels::LANES }>();
    for block in blocks {
        for lane in 0..kernels::LANES {
            sums[lane] += block[lane];
            squares[lane] += block[lane] * block[lane];
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        sums[lane] += x;
        squares[lane] += x * x;
    }
    let mean = kernels::fold_lanes(sums) / row.len() as f64;
    let mut centred = [0.0; kernels::LANES];
    for block in blocks {
        for lane in 0..kernels::LANES {
            let gap = block[lane] - mean;
            centred[lane] += gap * gap;
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        centred[lane] += (x - mean) * (x - mean);
    }
    (kernels::fold_lanes(squares), kernels::fold_lanes(centred))
}
