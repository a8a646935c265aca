//! The network of a checkpoint on all p² inputs: its logits, and what is kept of its neurons.

use ndarray::Array2;

use super::run::RunContext;
use super::view::LARGEST_ACTIVATION;
use crate::circuits::NeuronSums;
use crate::config::names::named_enum;
use crate::linalg::Scalar;
use crate::model::folded::Folded;
use crate::model::mlp::columns::Columns;
use crate::model::{InTurn, Model, Network};
use crate::params::Params;

named_enum! {
    /// In which numbers the network is evaluated. Logits are f64 from there on, and so is everything
    /// that is computed from weights alone.
    Precision, "precision":
    /// In f32; weights that are stored in f64, or whose activations leave the range of f32, in f64
    F32 = "f32",
    /// In f64, at twice the time
    F64 = "f64",
}

/// The network on all inputs.
#[derive(Debug)]
pub struct Evaluation {
    /// `[p², p]`, the real classes
    pub logits: Array2<f64>,
    /// Of the activations of the neurons, over the inputs of the group
    pub neurons: NeuronSums,
}

impl Evaluation {
    /// Evaluate the network in the numbers of `params`; `None` if the squares of its activations leave
    /// the range of f64, or its activations the range of f32.
    #[must_use]
    pub fn new<F: Scalar>(run: &RunContext, params: &Params<F>) -> Option<Self> {
        let (evaluated, fits) = match run.net.clone() {
            Network::Transformer(net) => Self::of(&Folded::new(net), run, params),
            Network::Mlp(net) => Self::of(&Columns::new(net), run, params),
        };
        let fits = fits && all_below(LARGEST_ACTIVATION, &[evaluated.neurons.size()]);
        fits.then_some(evaluated)
    }

    /// The same for a model, in blocks of whole rows of the grid; and whether all logits are in range.
    fn of<F: Scalar, M: Model<F>>(model: &M, run: &RunContext, params: &Params<F>) -> (Self, bool) {
        let (p, d_mlp) = (run.p(), run.net.d_mlp());
        let block_rows = NeuronSums::block(p);
        let mut tables = model.new_tables();
        model.prepare(params, &mut tables, &InTurn);
        let mut block = model.new_block(block_rows * p);
        let mut logits = Vec::with_capacity(p * p * p);
        let (mut wide, mut fits) = (vec![0.0; p], true);
        let mut neurons = NeuronSums::zeros(&run.group, d_mlp);
        for first in (0..p).step_by(block_rows) {
            let rows = first..p.min(first + block_rows);
            let pairs: Vec<_> = rows.flat_map(|a| (0..p).map(move |b| [a, b])).collect();
            model.forward(&tables, &pairs, &mut block);
            neurons.add(&run.group, first, model.neurons(&block));
            for row in model.logits(&mut block).rows() {
                // Without the class of `=`, if there is one.
                let row = &row.to_slice().expect("columns are neighbours")[..p];
                wide.iter_mut().zip(row).for_each(|(wide, logit)| *wide = logit.widen());
                fits &= all_below(LARGEST_ACTIVATION, &wide);
                logits.extend_from_slice(&wide);
            }
        }
        let logits = Array2::from_shape_vec((p * p, p), logits).expect("p² rows of p logits");
        (Self { logits, neurons }, fits)
    }
}

/// Whether all values are numbers smaller than this.
pub(super) fn all_below(limit: f64, values: &[f64]) -> bool {
    // Without stopping at the first that is not, many are looked at together.
    values.iter().fold(true, |below, value| below & (value.abs() < limit))
}
