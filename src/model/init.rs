//! Initial weights: independent normal numbers, biases zero.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{Transformer, names};
use crate::linalg::Scalar;
use crate::params::Params;

/// Which standard deviations the weights start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// σ = 1/√d_model for every weight but `W_U`, which has 1/√vocab (arXiv:2301.05217's code).
    Paper,
    /// σ = 0.8/√d_model for every weight (the TransformerLens demonstration).
    TransformerLens,
}

/// Weights `i.i.d. N(0, σ²)`, drawn in f64 from ChaCha8 in the order of the layout, row-major, then
/// rounded to `F`: f32 and f64 runs start from the same numbers.
#[must_use]
pub fn random<F: Scalar>(model: &Transformer, scheme: Scheme, seed: u64) -> Params<F> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let layout = model.layout();
    let mut values = Vec::with_capacity(layout.len());
    for slot in layout.slots() {
        let sigma = match (slot.name.as_str(), scheme) {
            (names::B_IN | names::B_OUT, _) => 0.0,
            (_, Scheme::TransformerLens) => 0.8 / (model.d_model as f64).sqrt(),
            (names::W_U, Scheme::Paper) => 1.0 / (model.classes as f64).sqrt(),
            (_, Scheme::Paper) => 1.0 / (model.d_model as f64).sqrt(),
        };
        values.extend((0..slot.len()).map(|_| {
            let normal: f64 = if sigma > 0.0 { StandardNormal.sample(&mut rng) } else { 0.0 };
            F::narrow(sigma * normal)
        }));
    }
    Params::from_values(layout, &values)
}
