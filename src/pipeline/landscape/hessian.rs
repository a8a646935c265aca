//! Products with the Hessian of a loss at one point, on several threads, with the same bits on any
//! number of them.
//!
//! The inputs are divided into blocks, the blocks among a fixed number of lanes; a lane adds to its own
//! sums, and the sums of the lanes are added up in order. What does not depend on the direction is
//! computed once and kept: about 7 kB an input in f32 for the mainline's sizes, twice that with its
//! derivatives.

use ndarray::{Array2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use super::evaluate::task;
use crate::error::Result;
use crate::landscape::objective::{Loss, Objective};
use crate::linalg::Scalar;
use crate::linalg::kernels;
use crate::model::Network;
use crate::model::folded::Folded;
use crate::model::tangent::Tangent;
use crate::params::Params;
use crate::pipeline::run::RunContext;
use crate::train::step::Threads;

/// Inputs of a block.
const ROWS: usize = 256;

/// Sums that are added to independently of each other.
const LANES: usize = 4;

/// A loss at one point, ready for products with its Hessian.
#[allow(missing_debug_implementations)] // workspace: nothing in it is worth printing
pub struct Hessian<'a, F: Scalar, M: Tangent<F>> {
    model: &'a M,
    objective: &'a Objective,
    params: Params<F>,
    tables: M::Tables,
    moving: M::Tables,
    sums: Params<F>,
    lanes: Vec<Lane<F, M>>,
    /// Gradient with respect to the projected logits, `[inputs, p]`
    inner: Array2<f64>,
    /// In nats
    pub loss: f64,
    pub gradient: Params<F>,
}

/// Blocks that follow each other, and the derivatives of their gradient sums.
struct Lane<F: Scalar, M: Tangent<F>> {
    first: usize,
    blocks: Vec<(M::Fixed, M::Shifted)>,
    sums: Params<F>,
}

impl<'a, F: Scalar, M: Tangent<F>> Hessian<'a, F, M> {
    /// Evaluate the loss and its gradient at these weights. `pairs` are those of the objective's inputs.
    pub fn new(
        model: &'a M,
        objective: &'a Objective,
        params: &Params<F>,
        pairs: &[[usize; 2]],
    ) -> Self {
        let p = objective.classes();
        let mut tables = model.new_tables();
        model.prepare(params, &mut tables, &Threads);
        let lane_rows = pairs.len().div_ceil(LANES).next_multiple_of(ROWS);
        let mut logits = Array2::zeros((pairs.len(), p)); // [inputs, p]
        let forward: Vec<Vec<M::Block>> = parts(&mut logits, lane_rows)
            .into_par_iter()
            .zip(pairs.par_chunks(lane_rows))
            .map(|(mut logits, pairs)| {
                let rows = logits.axis_chunks_iter_mut(Axis(0), ROWS);
                let blocks = pairs.chunks(ROWS).zip(rows).map(|(pairs, mut logits)| {
                    let mut block = model.new_block(pairs.len());
                    model.forward(&tables, pairs, &mut block);
                    let found = model.logits(&mut block);
                    logits.zip_mut_with(&found.slice(s![.., ..p]), |to, from| *to = from.widen());
                    block
                });
                blocks.collect()
            })
            .collect();

        objective.project(&mut logits);
        let losses: Vec<f64> = parts(&mut logits, ROWS)
            .into_par_iter()
            .enumerate()
            .map(|(block, logits)| objective.gradient(block * ROWS, logits))
            .collect();
        let inner = logits;
        let mut outer = inner.clone();
        objective.project(&mut outer);

        let lanes: Vec<(Lane<F, M>, Params<F>)> = forward
            .into_par_iter()
            .zip(pairs.par_chunks(lane_rows))
            .enumerate()
            .map(|(lane, (blocks, pairs))| {
                let mut sums = Params::zeros(model.sums_layout());
                let first = lane * lane_rows;
                let blocks = blocks.into_iter().zip(pairs.chunks(ROWS)).enumerate();
                let blocks = blocks.map(|(i, (block, pairs))| {
                    let at = first + i * ROWS;
                    let rows = outer.slice(s![at..at + pairs.len(), ..]);
                    let mut d_logits = Array2::zeros((pairs.len(), model.classes()));
                    let mut real = d_logits.slice_mut(s![.., ..p]);
                    real.zip_mut_with(&rows, |to, from| *to = kernels::gradient(*from));
                    let fixed = model.fix(&tables, pairs, block, d_logits.view(), &mut sums);
                    (fixed, model.new_shifted(pairs.len()))
                });
                let blocks = blocks.collect();
                (Lane { first, blocks, sums: Params::zeros(model.sums_layout()) }, sums)
            })
            .collect();
        let mut sums = Params::zeros(model.sums_layout());
        lanes.iter().for_each(|(_, lane)| kernels::add(&lane.values, &mut sums.values));
        let mut gradient = Params::zeros(model.layout());
        model.gradient(params, &mut tables, &sums, &mut gradient, &Threads);
        Self {
            model,
            objective,
            params: params.clone(),
            moving: model.new_tables(),
            tables,
            sums,
            lanes: lanes.into_iter().map(|(lane, _)| lane).collect(),
            inner,
            loss: losses.iter().sum(),
            gradient,
        }
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.params.values.len()
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `H v`.
    ///
    /// # Panics
    /// If `v` is not as long as the weights.
    pub fn product(&mut self, v: &[f64]) -> Vec<f64> {
        let (model, objective, inner) = (self.model, self.objective, &self.inner);
        let v: Vec<F> = v.iter().map(|x| F::narrow(*x)).collect();
        let v = Params::from_values(model.layout(), &v);
        model.shift_tables(&self.params, &v, &self.tables, &mut self.moving, &Threads);
        let tables = (&self.tables, &self.moving);
        if objective.mixes_inputs() {
            let mut z = Array2::<f64>::zeros(inner.dim());
            let lane_rows = self.lanes.get(1).map_or(inner.nrows(), |lane| lane.first);
            let rows = parts(&mut z, lane_rows.max(1)).into_par_iter();
            self.lanes.par_iter_mut().zip(rows).for_each(|(lane, mut rows)| {
                let rows = rows.axis_chunks_iter_mut(Axis(0), ROWS);
                for ((fixed, shifted), rows) in lane.blocks.iter_mut().zip(rows) {
                    model.shift_forward(tables, fixed, shifted);
                    widen_into(model.shifted_logits(fixed, shifted), rows);
                }
            });
            objective.project(&mut z);
            let blocks = parts(&mut z, ROWS).into_par_iter().enumerate();
            blocks.for_each(|(i, z)| {
                let at = i * ROWS;
                objective.bend(at, inner.slice(s![at..at + z.nrows(), ..]), z);
            });
            objective.project(&mut z);
            self.lanes.par_iter_mut().for_each(|lane| {
                lane.sums.values.fill(F::zero());
                for (i, (fixed, shifted)) in lane.blocks.iter_mut().enumerate() {
                    let at = lane.first + i * ROWS;
                    let logits = model.shifted_logits(fixed, shifted);
                    let rows = at..at + logits.nrows();
                    narrow_into(z.slice(s![rows, ..]), logits);
                    model.shift_backward(tables, fixed, shifted, &mut lane.sums);
                }
            });
        } else {
            self.lanes.par_iter_mut().for_each(|lane| {
                lane.sums.values.fill(F::zero());
                let mut z = Array2::<f64>::zeros((ROWS, objective.classes()));
                for (i, (fixed, shifted)) in lane.blocks.iter_mut().enumerate() {
                    model.shift_forward(tables, fixed, shifted);
                    let at = lane.first + i * ROWS;
                    let rows = model.shifted_logits(fixed, shifted).nrows();
                    let mut z = z.slice_mut(s![..rows, ..]);
                    widen_into(model.shifted_logits(fixed, shifted), z.view_mut());
                    objective.bend(at, inner.slice(s![at..at + rows, ..]), z.view_mut());
                    narrow_into(z.view(), model.shifted_logits(fixed, shifted));
                    model.shift_backward(tables, fixed, shifted, &mut lane.sums);
                }
            });
        }
        let (first, others) = self.lanes.split_first_mut().expect("an objective has inputs");
        for lane in others {
            add(&lane.sums.values, &mut first.sums.values);
        }
        let mut product = Params::zeros(model.layout());
        model.shift_gradient(
            (&self.params, &v),
            (&self.tables, &mut self.moving),
            (&self.sums, &first.sums),
            &mut product,
            &Threads,
        );
        product.values.iter().map(|x| x.widen()).collect()
    }
}

/// A matrix in parts of so many rows.
fn parts(x: &mut Array2<f64>, rows: usize) -> Vec<ArrayViewMut2<'_, f64>> {
    x.axis_chunks_iter_mut(Axis(0), rows).collect()
}

/// Entries that one task adds up.
const REDUCE: usize = 1 << 14;

/// `y ← y + x`, on several threads.
fn add<F: Scalar>(x: &[F], y: &mut [F]) {
    let parts = x.par_chunks(REDUCE).zip(y.par_chunks_mut(REDUCE));
    parts.for_each(|(x, y)| kernels::add(x, y));
}

/// The real classes of some logits, in f64.
fn widen_into<F: Scalar>(logits: ArrayViewMut2<'_, F>, mut z: ArrayViewMut2<'_, f64>) {
    let real = logits.slice(s![.., ..z.ncols()]);
    z.zip_mut_with(&real, |to, from| *to = from.widen());
}

/// The same back; 0 for classes that are none.
fn narrow_into<F: Scalar>(z: ndarray::ArrayView2<'_, f64>, mut logits: ArrayViewMut2<'_, F>) {
    let (mut real, mut rest) = logits.view_mut().split_at(Axis(1), z.ncols());
    real.zip_mut_with(&z, |to, from| *to = kernels::gradient(*from));
    rest.fill(F::zero());
}

/// A loss of a run.
pub(super) fn objective(loss: Loss, context: &RunContext) -> Option<Objective> {
    let labels = context.labels();
    Objective::new(loss, &task(context, &labels))
}

/// Hand the products with a Hessian to `work`, with the number of weights; `None` for a network without
/// them.
pub(super) fn of_network<F: Scalar, T>(
    context: &RunContext,
    objective: &Objective,
    params: &Params<F>,
    work: impl FnOnce(&mut dyn FnMut(&[f64]) -> Vec<f64>, usize) -> Result<T>,
) -> Result<Option<T>> {
    let p = context.p();
    let pairs: Vec<_> = objective.inputs.iter().map(|input| [input / p, input % p]).collect();
    match &context.net {
        Network::Transformer(net) => {
            let model = Folded::new(net.clone());
            let mut hessian = Hessian::new(&model, objective, params, &pairs);
            let len = hessian.len();
            work(&mut |v| hessian.product(v), len).map(Some)
        }
        Network::Mlp(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, Settings};
    use crate::landscape::objective::Task;
    use crate::model::init::{self, Scheme};
    use crate::model::{InTurn, Model, Transformer};

    /// The gradient of a loss, from the oracle of the projections and one backward pass.
    fn gradient(
        model: &Folded,
        objective: &Objective,
        params: &Params<f64>,
        pairs: &[[usize; 2]],
    ) -> (f64, Params<f64>) {
        let p = objective.classes();
        let (mut tables, mut block) =
            (Model::<f64>::new_tables(model), Model::<f64>::new_block(model, pairs.len()));
        model.prepare(params, &mut tables, &InTurn);
        model.forward(&tables, pairs, &mut block);
        let mut d = model.logits(&mut block).slice(s![.., ..p]).to_owned();
        objective.project(&mut d);
        let loss = objective.gradient(0, d.view_mut());
        objective.project(&mut d);
        narrow_into(d.view(), model.logits(&mut block));
        let mut sums = Params::zeros(Model::<f64>::sums_layout(model));
        model.backward(&tables, pairs, &mut block, &mut sums);
        let mut gradient = Params::zeros(Model::<f64>::layout(model));
        model.gradient(params, &mut tables, &sums, &mut gradient, &InTurn);
        (loss, gradient)
    }

    /// Every loss: gradient and Hessian-vector product, on 1 and 3 threads, over more than one block
    /// and lane (p = 37: 1369 inputs, six blocks).
    #[test]
    fn products_of_every_loss_are_differences_of_its_gradients() {
        let settings = Settings {
            modulus: Some(37),
            d_model: Some(8),
            heads: Some(2),
            d_mlp: Some(12),
            activation: Some(Activation::Gelu),
            ..Settings::default()
        };
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let net = Transformer::new(&config);
        let p = 37;
        let labels: Vec<usize> = (0..p * p).map(|input| (input / p + input % p) % p).collect();
        let (train, test): (Vec<usize>, Vec<usize>) = (0..p * p).partition(|input| input % 4 == 0);
        let all: Vec<usize> = (0..p * p).collect();
        let circuit = Some((&labels[..], &[3usize, 11][..]));
        let task = Task { p, labels: &labels, train: &train, test: &test, all: &all, circuit };
        let params = init::random::<f64>(&net, Scheme::Paper, 3);
        let v = init::random::<f64>(&net, Scheme::Paper, 4);
        let model = Folded::new(net);
        for loss in Loss::ALL {
            let objective = Objective::new(*loss, &task).unwrap();
            let pairs: Vec<_> = objective.inputs.iter().map(|i| [i / p, i % p]).collect();
            let products: Vec<Vec<f64>> = [1, 3]
                .into_iter()
                .map(|threads| {
                    let pool =
                        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| {
                        let mut hessian = Hessian::new(&model, &objective, &params, &pairs);
                        let (value, expected) = gradient(&model, &objective, &params, &pairs);
                        assert!((hessian.loss - value).abs() < 1e-13, "{loss}");
                        for (found, expected) in
                            hessian.gradient.values.iter().zip(expected.values.iter())
                        {
                            assert!((found - expected).abs() < 1e-12, "{loss}");
                        }
                        hessian.product(&v.values)
                    })
                })
                .collect();
            assert_eq!(products[0], products[1], "{loss}: other bits on other threads");
            let step = 1e-4;
            let at = |sign: f64| {
                let moved: Vec<f64> = params
                    .values
                    .iter()
                    .zip(v.values.iter())
                    .map(|(t, v)| t + sign * step * v)
                    .collect();
                gradient(&model, &objective, &Params::from_values(params.layout(), &moved), &pairs)
                    .1
            };
            let (up, down) = (at(1.0), at(-1.0));
            let (mut error, mut norm) = (0.0, 0.0);
            for (found, (up, down)) in
                products[0].iter().zip(up.values.iter().zip(down.values.iter()))
            {
                let expected = (up - down) / (2.0 * step);
                error += (found - expected).powi(2);
                norm += expected.powi(2);
            }
            assert!((error / norm).sqrt() < 1e-6, "{loss}: {:e}", (error / norm).sqrt());
        }
    }
}
