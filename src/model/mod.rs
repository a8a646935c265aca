//! Networks, with forward and backward pass written by hand.
//!
//! [`Model`] splits a pass where the engines need seams: what depends on the weights alone is
//! prepared once ([`Model::prepare`]), blocks of a batch are then independent of each other, their
//! gradient sums are added up in a fixed order, and [`Model::gradient`] turns the sum into the
//! gradient of every weight. So the result depends on the blocks, never on the threads.
//!
//! Two implementations of the one-layer transformer: [`plain::Plain`], layer by layer, is the
//! oracle; [`folded::Folded`] computes the same function by exact algebra at a tenth of the cost,
//! and is held to the oracle by a property test. [`mod@mlp`] has the same pair for the two-layer MLP.
//! [`Network`] is whichever of the two a run trains.
//!
//! Pure: arrays in, arrays out.

pub mod activation;
pub mod folded;
pub mod init;
mod mix;
pub mod mlp;
pub mod plain;
pub mod tangent;

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::config::{Activation, Architecture, Biases, RunConfig};
use crate::linalg::{Scalar, kernels};
use crate::params::{Layout, Params};
use crate::tasks::Batch;
use mlp::Mlp;

/// Does two pieces of work that share nothing either writes, one after the other or at once: where
/// threads come from is the engines' business.
pub trait Fork: Sync {
    /// Do both.
    fn both(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send);
}

/// One after the other.
#[derive(Debug, Clone, Copy)]
pub struct InTurn;

impl Fork for InTurn {
    fn both(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        first();
        second();
    }
}

/// A network that maps pairs of tokens to logits.
pub trait Model<F: Scalar>: Send + Sync {
    /// What is computed once per weight vector.
    type Tables: Send + Sync;
    /// Activations of one block of a batch.
    type Block: Send + Sync;

    /// Names and shapes of the weights.
    fn layout(&self) -> &Arc<Layout>;

    /// Names and shapes of the gradient sums that [`Model::backward`] adds to.
    fn sums_layout(&self) -> &Arc<Layout>;

    /// Number of logits per pair.
    fn classes(&self) -> usize;

    /// Fewest pairs for which it pays to have gradient sums of their own, which must be cleared and
    /// added to those of the others.
    fn least_rows(&self) -> usize;

    /// Memory for the tables.
    fn new_tables(&self) -> Self::Tables;

    /// Memory for the activations of up to `rows` pairs.
    fn new_block(&self, rows: usize) -> Self::Block;

    /// Fill the tables from the weights.
    fn prepare(&self, params: &Params<F>, tables: &mut Self::Tables, fork: &impl Fork);

    /// Compute the logits of these pairs; they stay in the block.
    fn forward(&self, tables: &Self::Tables, pairs: &[[usize; 2]], block: &mut Self::Block);

    /// Logits of the last forward pass, `[pairs, classes]`. [`Model::backward`] takes the gradient
    /// with respect to them from the same place.
    fn logits<'a>(&self, block: &'a mut Self::Block) -> ArrayViewMut2<'a, F>;

    /// Activations of the neurons in the last forward pass, `[pairs, d_mlp]`, until [`Model::backward`].
    fn neurons<'a>(&self, block: &'a Self::Block) -> ArrayView2<'a, F>;

    /// Add this block's gradient sums, for the gradient of the logits that stands in the block.
    fn backward(
        &self,
        tables: &Self::Tables,
        pairs: &[[usize; 2]],
        block: &mut Self::Block,
        sums: &mut Params<F>,
    );

    /// The gradient of every weight from the sums over all blocks.
    fn gradient(
        &self,
        params: &Params<F>,
        tables: &mut Self::Tables,
        sums: &Params<F>,
        gradient: &mut Params<F>,
        fork: &impl Fork,
    );

    /// Logits of these pairs, in one block.
    fn evaluate(&self, params: &Params<F>, pairs: &[[usize; 2]]) -> Array2<F> {
        let (mut tables, mut block) = (self.new_tables(), self.new_block(pairs.len()));
        self.prepare(params, &mut tables, &InTurn);
        self.forward(&tables, pairs, &mut block);
        self.logits(&mut block).to_owned()
    }

    /// Mean cross-entropy over a batch, in nats, and its gradient, in one block.
    fn loss_and_gradient(&self, params: &Params<F>, batch: &Batch) -> (f64, Params<F>) {
        let n = batch.pairs.len();
        let (mut tables, mut block) = (self.new_tables(), self.new_block(n));
        self.prepare(params, &mut tables, &InTurn);
        self.forward(&tables, &batch.pairs, &mut block);
        let (scale, mut terms) = (1.0 / n as f64, vec![0.0; self.classes()]);
        let logits = self.logits(&mut block);
        let rows = kernels::cross_entropy_backward(logits, &batch.labels, scale, &mut terms);
        let mut sums = Params::zeros(self.sums_layout());
        self.backward(&tables, &batch.pairs, &mut block, &mut sums);
        let mut gradient = Params::zeros(self.layout());
        self.gradient(params, &mut tables, &sums, &mut gradient, &InTurn);
        (rows.loss * scale, gradient)
    }
}

/// Names of the transformer's tensors, as on disk.
pub mod names {
    pub const W_E: &str = "embed.W_E";
    pub const W_POS: &str = "pos_embed.W_pos";
    pub const W_Q: &str = "blocks.0.attn.W_Q";
    pub const W_K: &str = "blocks.0.attn.W_K";
    pub const W_V: &str = "blocks.0.attn.W_V";
    pub const W_O: &str = "blocks.0.attn.W_O";
    pub const W_IN: &str = "blocks.0.mlp.W_in";
    pub const B_IN: &str = "blocks.0.mlp.b_in";
    pub const W_OUT: &str = "blocks.0.mlp.W_out";
    pub const B_OUT: &str = "blocks.0.mlp.b_out";
    pub const W_U: &str = "unembed.W_U";
}

/// Sizes of the one-layer transformer of arXiv:2301.05217: one causal block without LayerNorm,
/// untied embeddings, read at the last of its three positions `[a, b, =]`.
///
/// ```text
/// x_i = W_E[:,tok_i] + W_pos[i]
/// A_i = softmax_i( q_2 · k_i / √d_head ),   z = Σ_i A_i v_i   (per head),   mid = x_2 + W_O z
/// logits = ( mid + W_out act(W_in mid + b_in) + b_out ) W_U
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transformer {
    /// The modulus; tokens are the residues and `=`, which is token `p`.
    pub p: usize,
    pub d_model: usize,
    pub heads: usize,
    pub d_head: usize,
    pub d_mlp: usize,
    /// Number of logits: `p + 1` in the published layout, `p` without the class of `=`.
    pub classes: usize,
    pub activation: Activation,
    layout: Arc<Layout>,
}

/// Positions of a sequence `[a, b, =]`.
pub const POSITIONS: usize = 3;

impl Transformer {
    /// The network that a run of this architecture trains.
    ///
    /// # Panics
    /// If the run's architecture is another one.
    #[must_use]
    pub fn new(config: &RunConfig) -> Self {
        let own = "settings of a transformer, checked";
        let (d_model, heads) = (config.d_model.expect(own), config.heads.expect(own));
        let (vocab, classes, d_mlp) = (config.vocab(), config.classes(), config.d_mlp);
        let d_head = d_model / heads;
        let per_head = vec![heads, d_head, d_model];
        let layout = Layout::new([
            (names::W_E, vec![d_model, vocab]),
            (names::W_POS, vec![POSITIONS, d_model]),
            (names::W_Q, per_head.clone()),
            (names::W_K, per_head.clone()),
            (names::W_V, per_head),
            (names::W_O, vec![d_model, d_model]),
            (names::W_IN, vec![d_mlp, d_model]),
            (names::B_IN, vec![d_mlp]),
            (names::W_OUT, vec![d_model, d_mlp]),
            (names::B_OUT, vec![d_model]),
            (names::W_U, vec![d_model, classes]),
        ]);
        Self {
            p: config.modulus,
            d_model,
            heads,
            d_head,
            d_mlp,
            classes,
            activation: config.activation,
            layout,
        }
    }

    /// Names and shapes of the weights.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Number of different (token, position) vectors: p at each operand and `=`.
    #[must_use]
    pub fn token_rows(&self) -> usize {
        2 * self.p + 1
    }
}

/// The network of a run, whatever its architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    Transformer(Transformer),
    Mlp(Mlp),
}

impl Network {
    /// The network that a run trains.
    #[must_use]
    pub fn new(config: &RunConfig) -> Self {
        match config.architecture {
            Architecture::Transformer => Self::Transformer(Transformer::new(config)),
            Architecture::Mlp => Self::Mlp(Mlp::new(config)),
        }
    }

    /// Names and shapes of the weights.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        match self {
            Self::Transformer(net) => net.layout(),
            Self::Mlp(net) => net.layout(),
        }
    }

    /// Number of neurons.
    #[must_use]
    pub fn d_mlp(&self) -> usize {
        match self {
            Self::Transformer(net) => net.d_mlp,
            Self::Mlp(net) => net.d_mlp,
        }
    }

    /// The nonlinearity of the neurons.
    #[must_use]
    pub fn activation(&self) -> Activation {
        match self {
            Self::Transformer(net) => net.activation,
            Self::Mlp(net) => net.activation,
        }
    }

    /// The parts of the flat vector that the optimiser leaves as they are: the biases, where a run
    /// freezes them.
    #[must_use]
    pub fn frozen(&self, biases: Biases) -> Vec<Range<usize>> {
        let is_bias = |name: &str| [names::B_IN, names::B_OUT].contains(&name);
        match biases {
            Biases::Frozen => {
                let slots = self.layout().slots().iter().filter(|slot| is_bias(&slot.name));
                slots.map(|slot| slot.offset..slot.offset + slot.len()).collect()
            }
            Biases::Trained | Biases::Absent => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
