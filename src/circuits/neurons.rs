//! What frequency each neuron computes.
//!
//! A neuron's activations over all pairs of elements `(x, y)` of the group, centred, are transformed
//! in both axes; of the terms of frequency k
//!
//! ```text
//! Ĝ = F G Fᵀ,      fve_k = Σ_{i,j ∈ {0, 2k−1, 2k}, (i,j) ≠ (0,0)} Ĝ[i,j]² / Σ G²
//! ```
//!
//! those with a constant are the waves of the marginals over x and over y, and the four products of
//! waves are those of `x + y` and `x − y`. So all frequencies follow from four sums over the inputs,
//! each n long, and the n² activations of a neuron are read once and never kept:
//!
//! ```text
//! fve_k = (2/n²) (|Â_k|² + |B̂_k|² + |Ŝ_k|² + |D̂_k|²) / Σ G²,      Â_k = Σ_x A[x] e^{−2πikx/n}, …
//! A[x] = Σ_y N[x,y],   B[y] = Σ_x N[x,y],   S[s] = Σ_{x+y≡s} N[x,y],   D[d] = Σ_{x−y≡d} N[x,y]
//! ```

use multiversion::multiversion;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

use crate::fourier;
use crate::linalg::{Scalar, matmul};
use crate::progress::{Along, Group};

/// What frequency a neuron computes, and how well that describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeuronFrequency {
    /// The frequency that explains most, in `1..=n/2`; ties go to the lowest
    pub frequency: usize,
    /// Share of the neuron's variance over inputs that it explains, 0 to 1
    pub fve: f64,
}

/// What frequencies the neurons compute, one by one and together.
#[derive(Debug, Clone, PartialEq)]
pub struct NeuronSpectrum {
    /// Of every neuron; `None` for a dead one: its energy `Σ G²` is at most `n² (1e-6 · max |N|)²`, the
    /// maximum over all neurons
    pub neurons: Vec<Option<NeuronFrequency>>,
    /// Share of the variance of all neurons together that each frequency `1..=n/2` explains, at index
    /// `k − 1`; `None` if all are dead
    pub shares: Option<Vec<f64>>,
}

/// A neuron counts towards a frequency from this share on (the paper's 85 %).
pub const CLEAR_FVE: f64 = 0.85;

/// Number of clear neurons of each frequency `1..=last`, at index `k − 1`.
#[must_use]
pub fn clear_neurons(neurons: &[Option<NeuronFrequency>], last: usize) -> Vec<usize> {
    let mut counts = vec![0; last];
    for neuron in neurons.iter().flatten().filter(|neuron| neuron.fve >= CLEAR_FVE) {
        counts[neuron.frequency - 1] += 1;
    }
    counts
}

/// The sums over the inputs from which the shares of all frequencies follow.
#[derive(Debug, Clone)]
pub struct NeuronSums {
    /// A, B, S and D in the order of [`Along::ALL`], `[n, d_mlp]`
    tables: [Array2<f64>; 4],
    /// Σ N² of each neuron, `[d_mlp]`
    squares: Array1<f64>,
    /// Largest |N| of all
    max: f64,
}

/// Most rows of activations that are added up together.
const ROWS: usize = 340;

impl NeuronSums {
    /// Of no inputs yet.
    #[must_use]
    pub fn zeros(group: &Group, d_mlp: usize) -> Self {
        let table = || Array2::zeros((group.order(), d_mlp));
        Self {
            tables: [table(), table(), table(), table()],
            squares: Array1::zeros(d_mlp),
            max: 0.0,
        }
    }

    /// How many residues `a`, with all b each, make a block that stays in the cache.
    #[must_use]
    pub fn block(p: usize) -> usize {
        (ROWS / p).clamp(1, p)
    }

    /// Add the activations of the inputs `(a, b)` with `a` in `first..first + rows/p` and every b,
    /// `[rows, d_mlp]`.
    ///
    /// # Panics
    /// If the sizes do not fit, or the columns are not neighbours in memory.
    pub fn add<F: Scalar>(&mut self, group: &Group, first: usize, neurons: ArrayView2<'_, F>) {
        let (p, n) = (group.p(), group.order());
        let a = first..first + neurons.nrows() / p;
        let x: Vec<(usize, usize)> =
            a.clone().filter_map(|a| Some((a, group.pair(a * p + a)?[0]))).collect();
        let row = |a: usize, y: usize| {
            let row = (a - first) * p + group.residues()[y];
            neurons.row(row).to_slice().expect("columns are neighbours")
        };
        let [sums, differences, firsts, seconds] = &mut self.tables;
        let mut squares = Array1::<f64>::zeros(self.squares.len());
        let squares_slice = squares.as_slice_mut().expect("one row");
        let mut largest = vec![F::zero(); self.squares.len()];
        for &(a, x) in &x {
            let mut of_x = firsts.row_mut(x);
            let of_x = of_x.as_slice_mut().expect("row-major");
            let rows: Vec<&[F]> = (0..n).map(|y| row(a, y)).collect();
            add_moments(&rows, of_x, squares_slice, &mut largest);
        }
        self.squares += &squares;
        self.max = largest.iter().fold(self.max, |max, x| max.max(x.widen()));
        let mut rows = Vec::with_capacity(x.len());
        for index in 0..n {
            let mut add = |table: &mut Array2<f64>, y_of: &dyn Fn(usize) -> usize| {
                rows.clear();
                rows.extend(x.iter().map(|&(a, x)| row(a, y_of(x))));
                let mut table = table.row_mut(index);
                add_rows(&rows, table.as_slice_mut().expect("row-major"));
            };
            add(seconds, &|_| index);
            add(sums, &|x| (index + n - x) % n);
            add(differences, &|x| (x + n - index) % n);
        }
    }

    /// A number that is large where an activation is, and NaN where one is.
    #[must_use]
    pub fn size(&self) -> f64 {
        self.squares.sum().sqrt()
    }

    /// Frequency of every neuron, and the shares of the frequencies in all of them:
    ///
    /// ```text
    /// share_k = Σ_neurons fve_k Σ G² / Σ_neurons Σ G²
    /// ```
    #[must_use]
    pub fn spectrum(&self, group: &Group) -> NeuronSpectrum {
        let (n, d_mlp) = self.tables[0].dim();
        let inputs = (n * n) as f64;
        let energies = self.energies(group.basis());
        let total = self.tables[2].sum_axis(Axis(0));
        let dead = inputs * (1e-6 * self.max).powi(2);
        // The variance of a dead neuron would be a difference of roundings, and can be below 0.
        let energy = |neuron: usize| {
            let energy = self.squares[neuron] - total[neuron] * total[neuron] / inputs;
            Some(energy).filter(|energy| *energy > dead)
        };
        let of_neuron = |neuron: usize| {
            let energy = energy(neuron)?;
            let mut best = NeuronFrequency { frequency: 1, fve: f64::NEG_INFINITY };
            for (k, explained) in (1..).zip(energies.column(neuron)) {
                let fve = explained / energy;
                if fve > best.fve {
                    best = NeuronFrequency { frequency: k, fve };
                }
            }
            Some(NeuronFrequency { fve: best.fve.min(1.0), ..best })
        };
        let alive: Vec<(usize, f64)> =
            (0..d_mlp).filter_map(|neuron| Some((neuron, energy(neuron)?))).collect();
        let whole: f64 = alive.iter().map(|(_, energy)| energy).sum();
        let share = |row: ArrayView1<'_, f64>| {
            let sum: f64 = alive.iter().map(|(neuron, _)| row[*neuron]).sum();
            (sum / whole).min(1.0)
        };
        NeuronSpectrum {
            neurons: (0..d_mlp).map(of_neuron).collect(),
            shares: (whole > 0.0).then(|| energies.rows().into_iter().map(share).collect()),
        }
    }

    /// Frequency of every neuron, as in [`NeuronSums::spectrum`].
    #[must_use]
    pub fn frequencies(&self, group: &Group) -> Vec<Option<NeuronFrequency>> {
        self.spectrum(group).neurons
    }

    /// Energy of every neuron in the terms of every frequency, `[n/2, d_mlp]`.
    fn energies(&self, basis: ArrayView2<'_, f64>) -> Array2<f64> {
        let (n, d_mlp) = self.tables[0].dim();
        let mut found = Array2::<f64>::zeros((fourier::frequencies(n), d_mlp));
        for (along, table) in Along::ALL.iter().zip(&self.tables) {
            let waves = matmul(basis.slice(s![1.., ..]), table.view());
            for (k, mut found) in (1..).zip(found.rows_mut()) {
                let rows = fourier::rows_of(n, k);
                // (−1)^(x−y) = (−1)^(x+y): the same term.
                if rows.len() == 1 && *along == Along::Difference {
                    continue;
                }
                for row in rows {
                    // (2/n²)|Ŝ_k|² = (1/n) Σ_{rows of k} (F S)[row]²
                    let wave = waves.row(row - 1);
                    found.zip_mut_with(&wave, |sum, x| *sum += x * x / n as f64);
                }
            }
        }
        found
    }
}

/// `sum ← sum + Σ rows`, `squares ← squares + Σ rows²`, `largest ← max(largest, |rows|)`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_moments<F: Scalar>(rows: &[&[F]], sum: &mut [f64], squares: &mut [f64], largest: &mut [F]) {
    let larger = |a: F, b: F| if b > a { b } else { a };
    let (threes, rest) = rows.as_chunks::<3>();
    for [x, y, z] in threes {
        let rows = x.iter().zip(*y).zip(*z);
        let totals = sum.iter_mut().zip(&mut *squares).zip(&mut *largest);
        for (((x, y), z), ((sum, squares), largest)) in rows.zip(totals) {
            let wide = [x.widen(), y.widen(), z.widen()];
            *sum += wide[0] + wide[1] + wide[2];
            *squares += wide[0] * wide[0] + wide[1] * wide[1] + wide[2] * wide[2];
            *largest = larger(larger(*largest, x.abs()), larger(y.abs(), z.abs()));
        }
    }
    for x in rest {
        let totals = sum.iter_mut().zip(&mut *squares).zip(&mut *largest);
        for (x, ((sum, squares), largest)) in x.iter().zip(totals) {
            let wide = x.widen();
            *sum += wide;
            *squares += wide * wide;
            *largest = larger(*largest, x.abs());
        }
    }
}

/// `sum ← sum + Σ rows`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_rows<F: Scalar>(rows: &[&[F]], sum: &mut [f64]) {
    let (threes, rest) = rows.as_chunks::<3>();
    for [x, y, z] in threes {
        for (((sum, x), y), z) in sum.iter_mut().zip(*x).zip(*y).zip(*z) {
            *sum += x.widen() + y.widen() + z.widen();
        }
    }
    for x in rest {
        for (sum, x) in sum.iter_mut().zip(*x) {
            *sum += x.widen();
        }
    }
}

/// As [`NeuronSums::frequencies`], by the two-dimensional transform of every neuron: the oracle.
///
/// - `neurons`: `[n², d_mlp]`, finite, activations after the nonlinearity, by `x·n + y`.
#[must_use]
pub fn by_two_dimensional_transform(
    n: usize,
    neurons: ArrayView2<'_, f64>,
) -> Vec<Option<NeuronFrequency>> {
    let basis = fourier::basis(n);
    let max = neurons.fold(0.0f64, |max, x| max.max(x.abs()));
    let dead = (n as f64 * 1e-6 * max).powi(2);
    let of_neuron = |neuron: ndarray::ArrayView1<'_, f64>| {
        let centred = &neuron - neuron.mean().expect("n² inputs");
        let energy = centred.dot(&centred);
        let grid = centred.into_shape_with_order((n, n)).expect("n² inputs");
        let terms = matmul(matmul(basis.view(), grid.view()).view(), basis.t());
        let share = |k: usize| {
            let rows = || std::iter::once(0).chain(fourier::rows_of(n, k));
            let pairs = rows().flat_map(|i| rows().map(move |j| (i, j)));
            let squares = pairs.filter(|pair| *pair != (0, 0)).map(|pair| terms[pair].powi(2));
            squares.sum::<f64>() / energy
        };
        let shares: Vec<f64> = (1..=fourier::frequencies(n)).map(share).collect();
        let fve = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best = shares.iter().position(|share| share.to_bits() == fve.to_bits());
        best.filter(|_| energy > dead).map(|i| NeuronFrequency { frequency: i + 1, fve })
    };
    neurons.columns().into_iter().map(of_neuron).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Task;

    /// The sums of activations `[p², d_mlp]`, block by block as they are evaluated.
    fn summed<F: Scalar>(group: &Group, neurons: ArrayView2<'_, F>, block: usize) -> NeuronSums {
        let mut sums = NeuronSums::zeros(group, neurons.ncols());
        for first in (0..group.p()).step_by(block) {
            let rows = first * group.p()..(first + block).min(group.p()) * group.p();
            sums.add(group, first, neurons.slice(s![rows, ..]));
        }
        sums
    }

    /// Activations that are exactly terms of one frequency, of two, constant, or zero.
    #[test]
    fn neurons_show_their_frequency() {
        let p = 11;
        let wave = |k: usize, x: usize| (TAU * ((k * x) % p) as f64 / p as f64).cos();
        let neurons = Array2::from_shape_fn((p * p, 6), |(input, neuron)| {
            let (a, b) = (input / p, input % p);
            match neuron {
                0 => wave(5, a) + wave(5, b) + 3.0,
                1 => wave(2, a + b),
                2 => 2.0 * wave(1, a) + wave(4, b), // energies 4 : 1
                3 => wave(3, a) * wave(3, b),
                4 => 7.0,
                _ => 0.0,
            }
        });
        let group = Group::additive(p);
        let of_sums = summed(&group, neurons.view(), 3).frequencies(&group);
        for found in [of_sums, by_two_dimensional_transform(p, neurons.view())] {
            for (neuron, (frequency, fve)) in
                [(5, 1.0), (2, 1.0), (1, 0.8), (3, 1.0)].iter().enumerate()
            {
                let neuron = found[neuron].unwrap();
                assert_eq!(neuron.frequency, *frequency);
                assert!((neuron.fve - fve).abs() < 1e-12, "{neuron:?}");
            }
            assert_eq!(found[4..], [None, None]);
        }
    }

    /// Of all neurons together: energies are added, so large neurons count for more; dead ones do not.
    #[test]
    fn frequencies_share_the_variance_of_all_neurons() {
        let p = 11;
        let group = Group::additive(p);
        let wave = |k: usize, x: usize| (TAU * ((k * x) % p) as f64 / p as f64).cos();
        let of = |neuron: &dyn Fn(usize, usize, usize) -> f64| {
            let neurons = Array2::from_shape_fn((p * p, 3), |(input, neuron_index)| {
                neuron(neuron_index, input / p, input % p)
            });
            summed(&group, neurons.view(), 4).spectrum(&group).shares
        };
        // Only frequency 3, in three forms: all of the variance is its own.
        let pure = of(&|neuron, a, b| match neuron {
            0 => 2.0 + wave(3, a),
            1 => wave(3, a + b),
            _ => wave(3, a) * wave(3, b) - 1.0,
        });
        for (k, share) in (1..).zip(pure.unwrap()) {
            assert!((share - if k == 3 { 1.0 } else { 0.0 }).abs() < 1e-12, "{k}: {share}");
        }
        // Energies 4 : 1 of two waves of a, and nothing.
        let mixed = of(&|neuron, a, _| match neuron {
            0 => 2.0 * wave(1, a),
            1 => wave(4, a),
            _ => 5.0,
        });
        let mixed = mixed.unwrap();
        assert!((mixed[0] - 0.8).abs() < 1e-12 && (mixed[3] - 0.2).abs() < 1e-12, "{mixed:?}");
        assert_eq!(of(&|neuron, _, _| neuron as f64), None, "all dead");
    }

    proptest! {
        /// Four sums are the two-dimensional transform, in every group, whatever the blocks.
        #[test]
        fn sums_are_the_two_dimensional_transform(
            task in prop::sample::select(vec![Task::Add, Task::Sub, Task::Mul, Task::Div]),
            pick in 0usize..3, block in 1usize..6,
            data in prop::collection::vec(-3.0..3.0f64, 242),
        ) {
            let p = [5, 7, 11][pick];
            let group = Group::of(task, p).unwrap();
            let neurons = Array2::from_shape_fn((p * p, 2), |(i, j)| data[2 * i + j]);
            let found = summed(&group, neurons.view(), block).frequencies(&group);
            let n = group.order();
            let of_elements = Array2::from_shape_fn((n * n, 2), |(i, j)| {
                neurons[[group.input([i / n, i % n]), j]]
            });
            let expected = by_two_dimensional_transform(n, of_elements.view());
            for (found, expected) in found.iter().zip(&expected) {
                let (found, expected) = (found.unwrap(), expected.unwrap());
                prop_assert_eq!(found.frequency, expected.frequency);
                prop_assert!((found.fve - expected.fve).abs() < 1e-12);
            }
            // In f32 the sums are as exact as their terms.
            let narrow = neurons.mapv(|x| x as f32);
            let wide = narrow.mapv(f64::from);
            let (narrow, wide) =
                (summed(&group, narrow.view(), block), summed(&group, wide.view(), block));
            prop_assert_eq!(narrow.frequencies(&group), wide.frequencies(&group));
        }
    }
}
