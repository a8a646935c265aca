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
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::model::InTurn;

    fn config(toml: &str) -> RunConfig {
        let settings = Settings::from_toml(toml, std::path::Path::new("test")).unwrap();
        settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap()
    }

    /// The formula, term by term, over several updates with warm-up.
    #[test]
    fn adamw_is_its_formula() {
        let (beta1, beta2, lr, decay) = (0.9, 0.98, 1e-3, 1.0);
        let mut optimizer = Optimizer::<f64>::new(&config("warmup = 3"), 1);
        let mut weight = [0.7];
        let (mut expected, mut m, mut v) = (0.7f64, 0.0f64, 0.0f64);
        for u in 0..6 {
            let g = 0.3 - 0.2 * f64::from(u);
            optimizer.update(&mut weight, &[g], &InTurn);
            let eta = lr * (f64::from(u) / 3.0).min(1.0);
            let t = u + 1;
            expected *= 1.0 - eta * decay;
            m = beta1 * m + (1.0 - beta1) * g;
            v = beta2 * v + (1.0 - beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
            expected -= eta * m_hat / (v_hat.sqrt() + EPSILON);
            assert!((weight[0] - expected).abs() < 1e-15, "update {u}: {weight:?} {expected}");
        }
    }

    #[test]
    fn the_first_update_of_a_warm_up_moves_nothing_but_fills_the_moments() {
        let mut optimizer = Optimizer::<f32>::new(&config(""), 1);
        let mut weight = [0.7f32];
        optimizer.update(&mut weight, &[2.0], &InTurn);
        assert_eq!(weight[0].to_bits(), 0.7f32.to_bits());
        assert!((optimizer.m[0] - 0.2).abs() < 1e-6 && (optimizer.v[0] - 0.08).abs() < 1e-6);
        assert!((optimizer.learning_rate() - 1e-4).abs() < 1e-18);
        let mut without = Optimizer::<f32>::new(&config("warmup = 0"), 1);
        assert!((without.learning_rate() - 1e-3).abs() < 1e-18);
        without.update(&mut weight, &[2.0], &InTurn);
        assert!((weight[0] - (0.7 * 0.999 - 0.001)).abs() < 1e-6, "{weight:?}");
    }

    #[test]
    fn sgd_is_its_formula() {
        let toml = "optimizer = 'sgd'\nwarmup = 0\nlr = 0.1\nbeta1 = 0.5\nweight_decay = 0.2";
        let mut optimizer = Optimizer::<f64>::new(&config(toml), 1);
        let mut weight = [1.0];
        optimizer.update(&mut weight, &[1.0], &InTurn);
        assert!((weight[0] - (0.98 - 0.1)).abs() < 1e-15);
        optimizer.update(&mut weight, &[1.0], &InTurn);
        assert!((weight[0] - (0.88 * 0.98 - 0.15)).abs() < 1e-15);
    }

    /// The parts are updated as one vector would be, and what is frozen not at all, bit for bit.
    #[test]
    fn parts_change_nothing() {
        let n = 2 * PART + 3;
        let number = |i: usize, scale: f32| ((i * 7919 % 1013) as f32 / 1013.0 - 0.5) * scale;
        let gradient: Vec<f32> = (0..n).map(|i| number(i, 1e-2)).collect();
        let start: Vec<f32> = (0..n).map(|i| number(i + 5, 1.0)).collect();
        let frozen = PART - 7..PART + 9;
        let mut optimizer =
            Optimizer::<f32>::new(&config(""), n).freezing(std::slice::from_ref(&frozen));
        let (mut weights, mut expected) = (start.clone(), start.clone());
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        for update in 0..12u32 {
            let rate = optimizer.learning_rate();
            optimizer.update(&mut weights, &gradient, &InTurn);
            let t = f64::from(update) + 1.0;
            let constants = AdamConstants {
                keep: (1.0 - rate) as f32,
                beta1_rest: (1.0 - 0.9f64) as f32,
                beta2: 0.98,
                beta2_rest: (1.0 - 0.98f64) as f32,
                correction2: (1.0 - 0.98f64.powf(t)).sqrt() as f32,
                epsilon: EPSILON as f32,
                rate: (rate / (1.0 - 0.9f64.powf(t))) as f32,
            };
            adamw(&mut expected, &gradient, &mut m, &mut v, constants);
        }
        expected[frozen.clone()].copy_from_slice(&start[frozen]);
        assert!(weights == expected);
        assert!(weights != start);
    }

    #[test]
    fn coordinates_below_epsilon_are_counted() {
        let optimizer = Optimizer::<f64>::new(&config(""), 4);
        // In the first update v̂ = g².
        let share = optimizer.tiny_second_moment(&[1.0, 1e-7, 1e-9, 0.0]);
        assert!((share.unwrap() - 0.5).abs() < 1e-15);
        let sgd = Optimizer::<f64>::new(&config("optimizer = 'sgd'"), 4);
        assert_eq!(sgd.tiny_second_moment(&[0.0; 4]), None);
    }

    /// Neither updates nor decay reach frozen weights, whatever their gradient; all others move as if
    /// there were none.
    #[test]
    fn frozen_weights_stay_what_they_are() {
        for toml in ["warmup = 0", "optimizer = 'sgd'\nwarmup = 0"] {
            let plain = Optimizer::<f64>::new(&config(toml), 6);
            let mut freezing = plain.clone().freezing(&[0..1, 3..5]);
            let mut plain = plain;
            let (mut all, mut some) =
                ([1.0, 2.0, -3.0, 4.0, 0.0, 5.0], [1.0, 2.0, -3.0, 4.0, 0.0, 5.0]);
            let gradient = [0.5, -0.25, 1e-12, 2.0, 1.0, 3.0];
            for _ in 0..3 {
                let mut masked = gradient;
                freezing.mask(&mut masked);
                assert_eq!(
                    masked.map(f64::to_bits),
                    [0.0, -0.25, 1e-12, 0.0, 0.0, 3.0].map(f64::to_bits)
                );
                plain.update(&mut all, &gradient, &InTurn);
                freezing.update(&mut some, &masked, &InTurn);
            }
            for (i, frozen) in [true, false, false, true, true, false].into_iter().enumerate() {
                let start: f64 = [1.0, 2.0, -3.0, 4.0, 0.0, 5.0][i];
                let expected = if frozen { start } else { all[i] };
                assert_eq!(some[i].to_bits(), expected.to_bits(), "{toml}: {i}");
                assert!(!frozen || freezing.m[i].to_bits() == 0, "{toml}: {i}");
            }
        }
        let freezing = Optimizer::<f64>::new(&config(""), 4).freezing(&[1..2, 2..3]);
        assert_eq!(freezing.tiny_second_moment(&[1.0, 0.0, 0.0, 1e-9]), Some(0.5));
    }
}
