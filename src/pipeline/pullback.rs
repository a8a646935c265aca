//! Gradients of the weights, from gradients of the logits of all inputs: one backward pass each.

use ndarray::{Array2, ArrayView2, s};

use super::run::RunContext;
use crate::linalg::{Scalar, kernels};
use crate::model::folded::Folded;
use crate::model::mlp::columns::Columns;
use crate::model::{InTurn, Model, Network};
use crate::params::Params;

/// Inputs of a block.
const ROWS: usize = 512;

/// `Jᵀ x` for each x, `[p², p]`, with J the Jacobian of the logits over the real classes; in the numbers of
/// `params`, on this thread.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn pull_back<F: Scalar>(
    run: &RunContext,
    params: &Params<F>,
    gradients: impl IntoIterator<Item = Array2<f64>>,
) -> Vec<Vec<f64>> {
    match run.net.clone() {
        Network::Transformer(net) => through(&Folded::new(net), run.p(), params, gradients),
        Network::Mlp(net) => through(&Columns::new(net), run.p(), params, gradients),
    }
}

fn through<F: Scalar, M: Model<F>>(
    model: &M,
    p: usize,
    params: &Params<F>,
    gradients: impl IntoIterator<Item = Array2<f64>>,
) -> Vec<Vec<f64>> {
    let mut tables = model.new_tables();
    let mut block = model.new_block(ROWS);
    let pairs: Vec<_> = (0..p * p).map(|input| [input / p, input % p]).collect();
    let mut of_one = |x: ArrayView2<'_, f64>| {
        model.prepare(params, &mut tables, &InTurn);
        let mut sums = Params::zeros(model.sums_layout());
        for (i, pairs) in pairs.chunks(ROWS).enumerate() {
            model.forward(&tables, pairs, &mut block);
            let mut logits = model.logits(&mut block);
            logits.fill(F::zero()); // the class of `=`, if there is one
            let rows = x.slice(s![i * ROWS..i * ROWS + pairs.len(), ..]);
            let mut real = logits.slice_mut(s![.., ..p]);
            real.zip_mut_with(&rows, |to, from| *to = kernels::gradient(*from));
            model.backward(&tables, pairs, &mut block, &mut sums);
        }
        let mut gradient = Params::zeros(model.layout());
        model.gradient(params, &mut tables, &sums, &mut gradient, &InTurn);
        gradient.values.iter().map(|x| x.widen()).collect()
    };
    gradients.into_iter().map(|x| of_one(x.view())).collect()
}
