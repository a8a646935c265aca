//! The logits of one checkpoint in three parts: their mean, the key frequencies, the rest.

use multiversion::multiversion;
use ndarray::ArrayView2;

use crate::linalg::kernels::{self, LANES, exp, fold_lanes};
use crate::progress::{Component, Group, LogitTable};

/// `L = mean + L_K + L_R` over the inputs of a group.
#[derive(Debug)]
pub struct Parts<'a> {
    /// L, `[p², p]`
    logits: ArrayView2<'a, f64>,
    group: &'a Group,
    /// Mean of every class over all inputs, `[p]`
    mean: Vec<f64>,
    /// `L_K`
    key: Component,
}

/// The parts at one input, each less its entry at the label: `X_c − X_y`, `[p]`, 0 at the label.
///
/// A loss depends on these differences alone, and sums of them keep the relative precision of a loss
/// near 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaps {
    pub label: usize,
    pub mean: Vec<f64>,
    pub key: Vec<f64>,
    pub rest: Vec<f64>,
}

impl<'a> Parts<'a> {
    /// Of logits `[p², p]`, row-major, with their table and the key frequencies.
    ///
    /// # Panics
    /// If the sizes do not fit, or a frequency is not one of the group's.
    #[must_use]
    pub fn new(logits: ArrayView2<'a, f64>, table: &LogitTable<'a>, keys: &[usize]) -> Self {
        let p = table.group().p();
        assert_eq!(logits.dim(), (p * p, p), "one row per input, one column per class");
        assert!(logits.is_standard_layout(), "row-major");
        Self {
            logits,
            group: table.group(),
            mean: table.mean().to_vec(),
            key: table.component(keys),
        }
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.mean.len()
    }

    /// Put the parts at an input into `gaps`.
    ///
    /// # Panics
    /// If the input is not one of the group's.
    pub fn at(&self, input: usize, gaps: &mut Gaps) {
        let pair = self.group.pair(input).expect("an input of the group");
        gaps.label = self.group.label(pair);
        gaps.key.fill(0.0);
        self.key.add_to(1.0, self.group, pair, &mut gaps.key);
        let row = self.logits.row(input).to_slice().expect("row-major");
        split(row, &self.mean, gaps);
    }
}

impl Gaps {
    /// Memory for so many classes.
    #[must_use]
    pub fn zeros(classes: usize) -> Self {
        let zeros = || vec![0.0; classes];
        Self { label: 0, mean: zeros(), key: zeros(), rest: zeros() }
    }
}

/// From `L_K` in `gaps.key` to all differences.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn split(row: &[f64], mean: &[f64], gaps: &mut Gaps) {
    let Gaps { label, mean: of_mean, key, rest } = gaps;
    let own = [mean[*label], key[*label], row[*label] - mean[*label] - key[*label]];
    let parts = of_mean.iter_mut().zip(key.iter_mut()).zip(rest.iter_mut());
    for ((logit, average), ((of_mean, key), rest)) in row.iter().zip(mean).zip(parts) {
        *rest = logit - average - *key - own[2];
        *key -= own[1];
        *of_mean = average - own[0];
    }
}

/// `e^{z − s}` in the place of z, s the largest of z, and their sum; z is 0 at the label, so s ≥ 0.
#[inline(always)]
pub(super) fn exponentials(z: &mut [f64]) -> (f64, f64) {
    let shift = kernels::max(z);
    for z in z.iter_mut() {
        *z = exp(*z - shift);
    }
    (shift, sum(z))
}

/// `Σ x` in [`LANES`] partial sums.
#[inline(always)]
pub(super) fn sum(x: &[f64]) -> f64 {
    let mut partial = [0.0; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            partial[lane] += block[lane];
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        partial[lane] += x;
    }
    fold_lanes(partial)
}

#[cfg(test)]
pub(super) mod tests {
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Uniform};

    use super::*;
    use crate::config::Task;
    use crate::progress::{Along, Protocol};

    /// Logits of all inputs, uniform in ±scale.
    pub fn noise(p: usize, scale: f64, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let uniform = Uniform::new(-scale, scale).unwrap();
        Array2::from_shape_simple_fn((p * p, p), || uniform.sample(&mut rng))
    }

    /// `cos(w_k(a + b − c))`.
    pub fn cosine(p: usize, k: usize) -> Array2<f64> {
        Array2::from_shape_fn((p * p, p), |(input, c)| {
            let index = k * (input / p + input % p + p - c) % p;
            (std::f64::consts::TAU * index as f64 / p as f64).cos()
        })
    }

    /// The three parts add up to the logits, in every group and protocol; the mean and L_K are those of
    /// the table.
    #[test]
    fn parts_add_up() {
        let (p, keys) = (11, [1, 3]);
        for task in [Task::Add, Task::Sub, Task::Mul] {
            let group = Group::of(task, p).unwrap();
            for protocol in Protocol::ALL {
                let logits = noise(p, 4.0, 1);
                let table = LogitTable::new(logits.view(), &group, *protocol);
                let parts = Parts::new(logits.view(), &table, &keys);
                let mut gaps = Gaps::zeros(p);
                for input in group.inputs() {
                    parts.at(input, &mut gaps);
                    let pair = group.pair(input).unwrap();
                    let y = group.residues()[group.index(Along::Sum, pair)];
                    assert_eq!(gaps.label, y);
                    let mut key = vec![0.0; p];
                    table.component(&keys).add_to(1.0, &group, pair, &mut key);
                    for c in 0..p {
                        let whole = gaps.mean[c] + gaps.key[c] + gaps.rest[c];
                        let expected = logits[[input, c]] - logits[[input, y]];
                        assert!((whole - expected).abs() < 1e-13);
                        assert!((gaps.key[c] - (key[c] - key[y])).abs() < 1e-15);
                        assert!((gaps.mean[c] - (table.mean()[c] - table.mean()[y])).abs() < 1e-15);
                    }
                }
            }
        }
    }
}
