//! The two-layer MLP on concatenated one-hot inputs.
//!
//! ```text
//! x = [onehot(a), onehot(b)]  (2p)      pre = W_in x      logits = W_out act(pre)
//! ```
//!
//! No token `=`, no residual stream, no biases, one logit per residue. Two implementations:
//! [`plain::OneHot`] multiplies the one-hot vectors out and is the oracle; [`columns::Columns`] adds
//! two columns of `W_in`, which is the same, and is held to the oracle by a property test.
//!
//! Source: Gromov (2023), arXiv:2301.02679. What is different here:
//! - **Loss.** The paper minimises the mean squared error against one-hot labels; here it is the mean
//!   cross-entropy, as for the other architecture, so that losses can be compared.
//! - **Normalisation.** The paper's network is `(1/d_mlp) W_out act( W_in x / √(2p) )` with entries
//!   from N(0, 1). Here both factors stand in the weights: σ = 1/√(2p) and 1/d_mlp, the same function
//!   at step 0. An optimiser then moves it differently, since its steps are not scaled by the factors.
//! - **Training.** Full batch as there; but AdamW with decay by default, the paper's main runs being
//!   plain gradient descent (`--optimizer sgd --beta1 0 --weight-decay 0`).

pub mod columns;
pub mod plain;

use std::sync::Arc;

use crate::config::{Activation, RunConfig};
use crate::params::Layout;

/// Names of the MLP's tensors, as on disk.
pub mod names {
    pub const W_IN: &str = "mlp.W_in";
    pub const W_OUT: &str = "mlp.W_out";
}

/// Sizes of the two-layer MLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mlp {
    /// The modulus; inputs are two one-hot vectors of this length, outputs the residues.
    pub p: usize,
    /// Number of neurons.
    pub d_mlp: usize,
    pub activation: Activation,
    layout: Arc<Layout>,
}

impl Mlp {
    /// The network that a run of this architecture trains.
    #[must_use]
    pub fn new(config: &RunConfig) -> Self {
        let (p, d_mlp) = (config.modulus, config.d_mlp);
        let layout = Layout::new([
            // Columns 0..p belong to a, columns p..2p to b.
            (names::W_IN, vec![d_mlp, 2 * p]),
            (names::W_OUT, vec![p, d_mlp]),
        ]);
        Self { p, d_mlp, activation: config.activation, layout }
    }

    /// Names and shapes of the weights.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }
}

#[cfg(test)]
mod tests;
