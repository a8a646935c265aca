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

/// `Jᵀ x` for each x, `[p², p]`, with J the Jacobian of the logits over the real classes, and 0 for weights
/// that are frozen: no training moves them. In the numbers of `params`, on this thread.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn pull_back<F: Scalar>(
    run: &RunContext,
    params: &Params<F>,
    gradients: impl IntoIterator<Item = Array2<f64>>,
) -> Vec<Vec<f64>> {
    let mut found = match run.net.clone() {
        Network::Transformer(net) => through(&Folded::new(net), run.p(), params, gradients),
        Network::Mlp(net) => through(&Columns::new(net), run.p(), params, gradients),
    };
    for part in &run.frozen {
        found.iter_mut().for_each(|gradient| gradient[part.clone()].fill(0.0));
    }
    found
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::archive::Archive;
    use crate::config::Biases;
    use crate::model::names;
    use crate::pipeline::run::Subject;
    use crate::weights;

    /// The same weights in a run that trains its biases and in one that freezes them: gradients that
    /// differ in the biases alone, which are there in the first and 0 in the second.
    #[test]
    fn frozen_biases_have_no_gradient() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny");
        let archive = Archive::open(&path).unwrap();
        let of = |biases: Biases| {
            let mut run = archive.runs[0].clone();
            run.info.as_mut().unwrap().config.biases = biases;
            let context = Subject::new(&run).unwrap().into_network().unwrap();
            let checkpoint = run.checkpoints.last().unwrap().load(None).unwrap();
            let params: Params<f64> = weights::of_network(&checkpoint, &context.net).unwrap();
            let p = context.p();
            let x = Array2::from_shape_fn((p * p, p), |(i, c)| ((i * 5 + c * 3) % 11) as f64);
            let found = pull_back(&context, &params, [x]).remove(0);
            Params::from_values(params.layout(), &found)
        };
        let (trained, frozen) = (of(Biases::Trained), of(Biases::Frozen));
        for slot in trained.layout().slots() {
            let own = slot.offset..slot.offset + slot.len();
            let of = |params: &Params<f64>| params.values[own.clone()].to_vec();
            assert!(of(&trained).iter().any(|x| *x != 0.0), "{}", slot.name);
            if [names::B_IN, names::B_OUT].contains(&slot.name.as_str()) {
                assert!(of(&frozen).iter().all(|x| *x == 0.0), "{}", slot.name);
            } else {
                assert_eq!(of(&frozen), of(&trained), "{}", slot.name);
            }
        }
    }
}
