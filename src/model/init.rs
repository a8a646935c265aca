//! Initial weights: independent normal numbers, biases zero.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::mlp::{self, Mlp};
use super::{Transformer, names};
use crate::linalg::Scalar;
use crate::params::{Layout, Params};

/// Which standard deviations the weights of a transformer start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// σ = 1/√d_model for every weight but `W_U`, which has 1/√classes (arXiv:2301.05217's code).
    Paper,
    /// σ = 0.8/√d_model for every weight (the TransformerLens demonstration).
    TransformerLens,
}

/// Weights of a transformer.
#[must_use]
pub fn random<F: Scalar>(model: &Transformer, scheme: Scheme, seed: u64) -> Params<F> {
    draw(model.layout(), seed, |name| match (name, scheme) {
        (names::B_IN | names::B_OUT, _) => 0.0,
        (_, Scheme::TransformerLens) => 0.8 / (model.d_model as f64).sqrt(),
        (names::W_U, Scheme::Paper) => 1.0 / (model.classes as f64).sqrt(),
        (_, Scheme::Paper) => 1.0 / (model.d_model as f64).sqrt(),
    })
}

/// Weights of an mlp: σ = 1/√(2p) for `W_in`, 1/d_mlp for `W_out`. These are the factors that
/// arXiv:2301.02679 writes before weights of σ = 1, so the network starts as the same function.
#[must_use]
pub fn random_mlp<F: Scalar>(model: &Mlp, seed: u64) -> Params<F> {
    draw(model.layout(), seed, |name| match name {
        mlp::names::W_IN => 1.0 / (2.0 * model.p as f64).sqrt(),
        _ => 1.0 / model.d_mlp as f64,
    })
}

/// Weights `i.i.d. N(0, σ²)`, drawn in f64 from ChaCha8 in the order of the layout, row-major, then
/// rounded to `F`: f32 and f64 runs start from the same numbers. Nothing is drawn for σ = 0.
fn draw<F: Scalar>(layout: &Arc<Layout>, seed: u64, sigma: impl Fn(&str) -> f64) -> Params<F> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(layout.len());
    for slot in layout.slots() {
        let sigma = sigma(&slot.name);
        values.extend((0..slot.len()).map(|_| {
            let normal: f64 = if sigma > 0.0 { StandardNormal.sample(&mut rng) } else { 0.0 };
            F::narrow(sigma * normal)
        }));
    }
    Params::from_values(layout, &values)
}
