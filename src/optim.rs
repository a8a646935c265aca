//! Optimisers: one update of all weights from their gradient.
//!
//! Conventions: update `u = 0, 1, …` turns `θ_u` into `θ_{u+1}`; `t = u + 1` counts it in the bias
//! corrections; the learning rate rises over the first `warmup` updates from 0, so with a warm-up
//! the very first update moves nothing but fills the moments. Decay is decoupled and acts on every
//! parameter, biases included; but a frozen parameter is neither moved nor decayed, and its moments
//! stay 0.
//!
//! Source: Loshchilov & Hutter (2019), arXiv:1711.05101, in the order of operations of PyTorch's
//! `AdamW`, which the published runs used.

use std::ops::Range;

use multiversion::multiversion;

use crate::config::{OptimizerKind, RunConfig};
use crate::linalg::Scalar;
use crate::linalg::kernels::LANES;
use crate::model::Fork;

/// Most weights that one thread updates at a time.
const PART: usize = 1 << 15;

/// ε of AdamW's denominator.
pub const EPSILON: f64 = 1e-8;

/// The state of an optimiser between updates.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer<F> {
    kind: OptimizerKind,
    lr: f64,
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    warmup: u64,
    /// Where in the flat vector the parameters are that it moves, ascending.
    trained: Vec<Range<usize>>,
    /// Number of updates done.
    pub updates: u64,
    /// First moment of the gradient (`m`); the velocity of SGD. Layout of the weights.
    pub m: Vec<F>,
    /// Second moment (`v`); empty for SGD.
    pub v: Vec<F>,
}

impl<F: Scalar> Optimizer<F> {
    /// Before the first update of `parameters` weights.
    #[must_use]
    pub fn new(config: &RunConfig, parameters: usize) -> Self {
        let second = match config.optimizer {
            OptimizerKind::AdamW => parameters,
            OptimizerKind::Sgd => 0,
        };
        Self {
            kind: config.optimizer,
            lr: config.lr,
            weight_decay: config.weight_decay,
            beta1: config.beta1,
            beta2: config.beta2,
            warmup: config.warmup,
            trained: std::iter::once(0..parameters).collect(),
            updates: 0,
            m: vec![F::zero(); parameters],
            v: vec![F::zero(); second],
        }
    }

    /// The same, but leaving these parts of the flat vector as they are; ascending, not empty.
    ///
    /// # Panics
    /// If they are not ascending, or reach beyond the vector.
    #[must_use]
    pub fn freezing(mut self, frozen: &[Range<usize>]) -> Self {
        let starts = std::iter::once(0).chain(frozen.iter().map(|part| part.end));
        let ends = frozen.iter().map(|part| part.start).chain([self.m.len()]);
        self.trained = starts.zip(ends).map(|(start, end)| start..end).collect();
        assert!(self.trained.iter().all(|part| part.start <= part.end), "{frozen:?}");
        self
    }

    /// Take out of a gradient what it says about frozen parameters.
    ///
    /// # Panics
    /// If the length differs from that of the state.
    pub fn mask(&self, gradient: &mut [F]) {
        assert_eq!(gradient.len(), self.m.len());
        for frozen in self.trained.windows(2) {
            gradient[frozen[0].end..frozen[1].start].fill(F::zero());
        }
    }

    /// Learning rate of the next update: `lr · min(u / warmup, 1)`.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        if self.updates >= self.warmup {
            self.lr
        } else {
            self.lr * (self.updates as f64 / self.warmup as f64)
        }
    }

    /// One update.
    ///
    /// ```text
    /// adamw:  θ ← θ(1 − ηλ);  m ← β1 m + (1−β1) g;  v ← β2 v + (1−β2) g²
    ///         θ ← θ − η/(1−β1^t) · m / ( √v/√(1−β2^t) + ε )
    /// sgd:    θ ← θ(1 − ηλ);  m ← β1 m + g;  θ ← θ − η m
    /// ```
    ///
    /// # Panics
    /// If the lengths differ from that of the state.
    pub fn update(&mut self, weights: &mut [F], gradient: &[F], fork: &impl Fork) {
        assert_eq!((weights.len(), gradient.len()), (self.m.len(), self.m.len()));
        let rate = self.learning_rate();
        self.updates += 1;
        let t = self.updates as f64;
        let keep = F::narrow(1.0 - rate * self.weight_decay);
        match self.kind {
            OptimizerKind::AdamW => {
                let correction2 = (1.0 - self.beta2.powf(t)).sqrt();
                let constants = AdamConstants {
                    keep,
                    beta1_rest: F::narrow(1.0 - self.beta1),
                    beta2: F::narrow(self.beta2),
                    beta2_rest: F::narrow(1.0 - self.beta2),
                    correction2: F::narrow(correction2),
                    epsilon: F::narrow(EPSILON),
                    rate: F::narrow(rate / (1.0 - self.beta1.powf(t))),
                };
                for part in self.trained.iter().cloned() {
                    let (weights, gradient) = (&mut weights[part.clone()], &gradient[part.clone()]);
                    let (m, v) = (&mut self.m[part.clone()], &mut self.v[part]);
                    in_parts(weights, gradient, m, v, constants, fork);
                }
            }
            OptimizerKind::Sgd => {
                let (beta1, rate) = (F::narrow(self.beta1), F::narrow(rate));
                for part in self.trained.iter().cloned() {
                    let (weights, gradient) = (&mut weights[part.clone()], &gradient[part.clone()]);
                    sgd(weights, gradient, &mut self.m[part], keep, beta1, rate);
                }
            }
        }
    }

    /// What the next update will subtract per unit of learning rate, but for the decay, given its
    /// gradient; 0 for what is frozen. The state stays what it is.
    ///
    /// ```text
    /// adamw:  m̂/(√v̂ + ε), after taking in the gradient          sgd:  β1 m + g
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn step(&self, gradient: &[F]) -> Vec<F> {
        assert_eq!(gradient.len(), self.m.len());
        let mut step = vec![F::zero(); gradient.len()];
        let t = self.updates as f64 + 1.0;
        let (correction1, correction2) = (1.0 - self.beta1.powf(t), 1.0 - self.beta2.powf(t));
        for i in self.trained.iter().cloned().flatten() {
            let (g, m) = (gradient[i].widen(), self.m[i].widen());
            step[i] = F::narrow(match self.kind {
                OptimizerKind::Sgd => self.beta1 * m + g,
                OptimizerKind::AdamW => {
                    let m = self.beta1 * m + (1.0 - self.beta1) * g;
                    let v = self.beta2 * self.v[i].widen() + (1.0 - self.beta2) * g * g;
                    (m / correction1) / ((v / correction2).sqrt() + EPSILON)
                }
            });
        }
        step
    }

    /// The same from the weights before and after the next update; `None` if its learning rate is 0.
    ///
    /// ```text
    /// (θ_t − θ_{t+1})/η − λ θ_t
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn step_between(&self, before: &[F], after: &[F]) -> Option<Vec<F>> {
        assert_eq!((before.len(), after.len()), (self.m.len(), self.m.len()));
        let rate = self.learning_rate();
        if rate <= 0.0 {
            return None;
        }
        let mut step = vec![F::zero(); before.len()];
        for i in self.trained.iter().cloned().flatten() {
            let (before, after) = (before[i].widen(), after[i].widen());
            step[i] = F::narrow((before - after) / rate - self.weight_decay * before);
        }
        Some(step)
    }

    /// What the decay subtracts per unit of learning rate: λ θ, and 0 for what is frozen.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn decay(&self, weights: &[F]) -> Vec<F> {
        let mut decay: Vec<F> =
            weights.iter().map(|w| F::narrow(self.weight_decay * w.widen())).collect();
        self.mask(&mut decay);
        decay
    }

    /// Whether the next step is decided by the gradient alone: before the first update, and for SGD
    /// without momentum.
    #[must_use]
    pub fn is_without_memory(&self) -> bool {
        self.updates == 0 || (self.kind == OptimizerKind::Sgd && self.beta1 <= 0.0)
    }

    /// Share of the trained coordinates whose `√v̂` will be below ε in an update with this gradient: there
    /// the denominator is ε rather than the gradient's size. `None` for SGD.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn tiny_second_moment(&self, gradient: &[F]) -> Option<f64> {
        if self.v.is_empty() {
            return None;
        }
        assert_eq!(gradient.len(), self.v.len());
        let correction = 1.0 - self.beta2.powf(self.updates as f64 + 1.0);
        let limit = EPSILON * EPSILON * correction;
        let next =
            |(v, g): (&F, &F)| self.beta2 * v.widen() + (1.0 - self.beta2) * g.widen().powi(2);
        let parts = self.trained.iter().cloned();
        let tiny = parts.clone().flat_map(|part| self.v[part.clone()].iter().zip(&gradient[part]));
        let tiny = tiny.map(next).filter(|v| *v < limit).count();
        Some(tiny as f64 / parts.map(|part| part.len()).sum::<usize>() as f64)
    }
}

/// The update of AdamW in parts of at most [`PART`] weights, each by itself.
fn in_parts<F: Scalar>(
    weights: &mut [F],
    gradient: &[F],
    m: &mut [F],
    v: &mut [F],
    constants: AdamConstants<F>,
    fork: &impl Fork,
) {
    if weights.len() <= PART {
        return adamw(weights, gradient, m, v, constants);
    }
    let middle = (weights.len() / 2).next_multiple_of(LANES);
    let (first_weights, weights) = weights.split_at_mut(middle);
    let (first_gradient, gradient) = gradient.split_at(middle);
    let (first_m, m) = m.split_at_mut(middle);
    let (first_v, v) = v.split_at_mut(middle);
    fork.both(
        || in_parts(first_weights, first_gradient, first_m, first_v, constants, fork),
        || in_parts(weights, gradient, m, v, constants, fork),
    );
}

#[derive(Debug, Clone, Copy)]
struct AdamConstants<F> {
    keep: F,
    beta1_rest: F,
    beta2: F,
    beta2_rest: F,
    correction2: F,
    epsilon: F,
    rate: F,
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn adamw<F: Scalar>(
    weights: &mut [F],
    gradient: &[F],
    m: &mut [F],
    v: &mut [F],
    c: AdamConstants<F>,
) {
    let n = weights.len();
    let (gradient, m, v) = (&gradient[..n], &mut m[..n], &mut v[..n]);
    for i in 0..n {
        let g = gradient[i];
        m[i] += c.beta1_rest * (g - m[i]);
        v[i] = c.beta2 * v[i] + c.beta2_rest * (g * g);
        let denominator = v[i].sqrt() / c.correction2 + c.epsilon;
        weights[i] = weights[i] * c.keep - c.rate * (m[i] / denominator);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn sgd<F: Scalar>(weights: &mut [F], gradient: &[F], m: &mut [F], keep: F, beta1: F, rate: F) {
    let n = weights.len();
    let (gradient, m) = (&gradient[..n], &mut m[..n]);
    for i in 0..n {
        m[i] = beta1 * m[i] + gradient[i];
        weights[i] = weights[i] * keep - rate * m[i];
    }
}

#[cfg(test)]
mod tests;
