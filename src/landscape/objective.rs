//! The losses whose curvature is measured, as functions of the logits: value, gradient, second
//! derivative.
//!
//! ```text
//! ℓ(L) = Σ_{i counted} CE((A L)_i, y_i) / n        ∇ℓ = Aᵀ d,   d_i = (softmax_i − onehot_i)/n
//! (∇ℓ)' = Aᵀ d',   d_i' = softmax_i ∘ (z_i' − ⟨softmax_i, z_i'⟩)/n,   z' = A L'
//! ```
//!
//! `A` is the identity for the losses of the network, and a projection of the inputs, class by class,
//! for those of one algorithm alone; it is symmetric:
//!
//! ```text
//! excluded    A L = L − P_K L           (A L)[i,c] = L[i,c] − Σ_t Q[s_i,t] M[t,c],  M[t,c] = Σ_{s_i=t} L[i,c]
//! restricted  A L = mean + P_K L        Q[s,t] = (2/p²) Σ_{k∈K} cos(w_k(s − t))     (and 1/p² for the mean)
//! ```
//!
//! Conventions: `s_i`, `P_K`, `mean` as in [`crate::progress`]; the p real classes; nats.

use std::f64::consts::PI;

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::config::names::named_enum;
use crate::linalg::{kernels, matmul};

named_enum! {
    /// A loss, by its part of the network and of the inputs.
    Loss, "loss":
    /// Of the network, on the training pairs
    Train = "train",
    /// Of the network, on the held-out pairs
    Test = "test",
    /// Without the key frequencies, on the training pairs
    Excluded = "excluded",
    /// Of the key frequencies alone, on all pairs
    Restricted = "restricted",
}

/// What is known of a task and its split.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    pub p: usize,
    /// Label of every input, `a·p + b`
    pub labels: &'a [usize],
    pub train: &'a [usize],
    pub test: &'a [usize],
    /// All inputs that have a label
    pub all: &'a [usize],
    /// Sum index of every input, and the key frequencies; none without a circuit
    pub circuit: Option<(&'a [usize], &'a [usize])>,
}

/// One loss of one task.
#[derive(Debug, Clone)]
pub struct Objective {
    /// The inputs whose logits it is a function of
    pub inputs: Vec<usize>,
    p: usize,
    labels: Vec<usize>,
    counted: Vec<bool>,
    /// 1/n
    weight: f64,
    projection: Option<Projection>,
}

/// `A L = [L] + Q M`, over inputs of equal sum index.
#[derive(Debug, Clone)]
struct Projection {
    /// Whether L itself is a part
    keeps: bool,
    /// Q, `[p, p]`
    kernel: Array2<f64>,
    sums: Vec<usize>,
}

impl Objective {
    /// A loss of a task; `None` if the task has no circuit and the loss is that of one, or if no input
    /// counts.
    #[must_use]
    pub fn new(loss: Loss, task: &Task<'_>) -> Option<Self> {
        let Task { p, labels, train, test, all, circuit } = *task;
        let mut counted = match loss {
            Loss::Train | Loss::Excluded => train,
            Loss::Test => test,
            Loss::Restricted => all,
        }
        .to_vec();
        counted.sort_unstable();
        if counted.is_empty() {
            return None;
        }
        let projection = match loss {
            Loss::Train | Loss::Test => None,
            Loss::Excluded | Loss::Restricted => {
                let (sums, keys) = circuit?;
                let square = (p * p) as f64;
                let alone = loss == Loss::Restricted;
                let kernel = Array2::from_shape_fn((p, p), |(s, t)| {
                    let angle = |k: &usize| 2.0 * PI * ((k * (s + p - t)) % p) as f64 / p as f64;
                    let keys: f64 = keys.iter().map(|k| 2.0 * angle(k).cos() / square).sum();
                    if alone { keys + 1.0 / square } else { -keys }
                });
                Some(Projection { keeps: !alone, kernel, sums: sums.to_vec() })
            }
        };
        let weight = 1.0 / counted.len() as f64;
        let inputs = if projection.is_some() { (0..p * p).collect() } else { counted.clone() };
        let of_input = |input: &usize| counted.binary_search(input).is_ok();
        Some(Self {
            p,
            labels: inputs.iter().map(|input| labels[*input]).collect(),
            counted: inputs.iter().map(of_input).collect(),
            weight,
            projection,
            inputs,
        })
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.p
    }

    /// Q; none where inputs do not act on each other.
    #[must_use]
    pub fn kernel(&self) -> Option<ArrayView2<'_, f64>> {
        self.projection.as_ref().map(|projection| projection.kernel.view())
    }

    /// Whether logits of different inputs act on each other.
    #[must_use]
    pub fn mixes_inputs(&self) -> bool {
        self.projection.is_some()
    }

    /// `x ← A x`, `[inputs, p]`; also `Aᵀ x`.
    pub fn project(&self, x: &mut Array2<f64>) {
        let Some(Projection { keeps, kernel, sums }) = &self.projection else { return };
        let mut table = Array2::<f64>::zeros((self.p, self.p)); // M
        for (row, input) in x.rows().into_iter().zip(&self.inputs) {
            let mut sum = table.row_mut(sums[*input]);
            sum += &row;
        }
        let part = matmul(kernel.view(), table.view());
        for (mut row, input) in x.rows_mut().into_iter().zip(&self.inputs) {
            let part = part.row(sums[*input]);
            if *keeps { row += &part } else { row.assign(&part) }
        }
    }

    /// The loss of some rows, from `first` on, and `d` in the place of their projected logits.
    pub fn gradient(&self, first: usize, mut logits: ArrayViewMut2<'_, f64>) -> f64 {
        let mut loss = 0.0;
        let mut terms = vec![0.0; self.p];
        for (i, mut row) in logits.rows_mut().into_iter().enumerate() {
            if !self.counted[first + i] {
                row.fill(0.0);
                continue;
            }
            let label = [self.labels[first + i]];
            let row = row.insert_axis(ndarray::Axis(0));
            loss += kernels::cross_entropy_backward(row, &label, self.weight, &mut terms).loss;
        }
        loss * self.weight
    }

    /// `d'` in the place of `z'`, for some rows from `first` on, given their `d`.
    ///
    /// Through the differences to the label's, so that a small `d'` keeps its relative precision:
    ///
    /// ```text
    /// d_c' = d_c (g_c − μ)  (c ≠ y),   d_y' = −Σ_{c≠y} d_c',   g_c = z_c' − z_y',   μ = n Σ_{c≠y} d_c g_c
    /// ```
    pub fn bend(&self, first: usize, d: ArrayView2<'_, f64>, mut z: ArrayViewMut2<'_, f64>) {
        for (i, (mut z, d)) in z.rows_mut().into_iter().zip(d.rows()).enumerate() {
            if !self.counted[first + i] {
                z.fill(0.0);
                continue;
            }
            let label = self.labels[first + i];
            let own = z[label];
            let mut mean = 0.0;
            for (c, (z, d)) in z.iter_mut().zip(d).enumerate() {
                *z -= own;
                mean += if c == label { 0.0 } else { *d * *z };
            }
            mean /= self.weight;
            let mut others = 0.0;
            for (c, (z, d)) in z.iter_mut().zip(d).enumerate() {
                if c != label {
                    *z = *d * (*z - mean);
                    others += *z;
                }
            }
            z[label] = -others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: usize, p: usize, seed: usize) -> Array2<f64> {
        Array2::from_shape_fn((rows, p), |(i, c)| ((i * 31 + c * 17 + seed * 7) % 23) as f64 / 9.0)
    }

    /// A loss by the definition, from all logits.
    fn loss(objective: &Objective, logits: &Array2<f64>) -> (f64, Array2<f64>) {
        let mut d = logits.clone();
        objective.project(&mut d);
        let loss = objective.gradient(0, d.view_mut());
        (loss, d)
    }

    /// Mean cross-entropy over some rows, by the textbook.
    fn mean_loss(logits: &Array2<f64>, labels: &[usize], rows: &[usize]) -> f64 {
        let of_row = |row: &usize| {
            let z = logits.row(*row);
            z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[labels[*row]]
        };
        rows.iter().map(of_row).sum::<f64>() / rows.len() as f64
    }

    /// P_K L from dense vectors: cosine and sine of w_k s over all inputs, each of unit length.
    fn key_part(logits: &Array2<f64>, sums: &[usize], keys: &[usize]) -> Array2<f64> {
        let p = logits.ncols() as f64;
        let mut part = Array2::zeros(logits.dim());
        for k in keys {
            for wave in [f64::cos, f64::sin] {
                let angle = |s: &usize| 2.0 * PI * (k * s) as f64 / p;
                let u: Vec<f64> = sums.iter().map(|s| 2f64.sqrt() / p * wave(angle(s))).collect();
                let u = ndarray::Array1::from(u);
                let shares = u.dot(logits);
                let column = u.view().insert_axis(ndarray::Axis(1));
                part = part + column.dot(&shares.insert_axis(ndarray::Axis(0)));
            }
        }
        part
    }

    /// The losses are those of their definitions; gradient and second derivative those of differences.
    #[test]
    fn losses_and_their_derivatives() {
        let p = 7;
        let labels: Vec<usize> = (0..p * p).map(|input| (input / p + input % p) % p).collect();
        let (train, test): (Vec<usize>, Vec<usize>) = (0..p * p).partition(|input| input % 3 == 0);
        let all: Vec<usize> = (0..p * p).collect();
        let keys = [1, 3];
        let circuit = Some((&labels[..], &keys[..]));
        let task = Task { p, labels: &labels, train: &train, test: &test, all: &all, circuit };
        let logits = sample(p * p, p, 1);
        let part = key_part(&logits, &labels, &keys);
        let mean = logits.mean_axis(ndarray::Axis(0)).unwrap();
        let expected = |loss: Loss| match loss {
            Loss::Train => mean_loss(&logits, &labels, &train),
            Loss::Test => mean_loss(&logits, &labels, &test),
            Loss::Excluded => mean_loss(&(&logits - &part), &labels, &train),
            Loss::Restricted => mean_loss(&(&part + &mean), &labels, &all),
        };
        for kind in Loss::ALL {
            let objective = Objective::new(*kind, &task).unwrap();
            let own = logits.select(ndarray::Axis(0), &objective.inputs);
            let (value, inner) = loss(&objective, &own);
            assert!((value - expected(*kind)).abs() < 1e-13, "{kind}");
            let mut gradient = inner.clone();
            objective.project(&mut gradient);

            let v = sample(own.nrows(), p, 5);
            let step = 1e-5;
            let (up, down) = (
                loss(&objective, &(&own + &(&v * step))),
                loss(&objective, &(&own - &(&v * step))),
            );
            let slope = (up.0 - down.0) / (2.0 * step);
            assert!(((&gradient * &v).sum() - slope).abs() < 1e-9, "{kind}");

            let mut bent = v.clone();
            objective.project(&mut bent);
            objective.bend(0, inner.view(), bent.view_mut());
            objective.project(&mut bent);
            let mut difference = (&up.1 - &down.1) / (2.0 * step);
            objective.project(&mut difference);
            let worst = (&bent - &difference).fold(0.0f64, |worst, x| worst.max(x.abs()));
            assert!(worst < 1e-9, "{kind}: {worst:e}");
        }
        let without = Task { circuit: None, ..task };
        assert!(Objective::new(Loss::Excluded, &without).is_none());
        assert!(Objective::new(Loss::Test, &Task { test: &[], ..without }).is_none());
    }
}
