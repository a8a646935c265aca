//! One pass over a batch on several threads, with the same bits on any number of them.
//!
//! A batch is divided into at most `SHARES` fixed lanes, each into blocks that fit in the cache.
//! A lane goes through its blocks in order and adds to its own sums; the sums of the lanes are then
//! added up in order. The division depends on the batch and the network alone.

use rayon::prelude::*;

use crate::linalg::{Scalar, kernels};
use crate::model::{Fork, Model};
use crate::params::Params;
use crate::tasks::Batch;

/// Most lanes of a batch, hence most threads that can share it.
const SHARES: usize = 8;

/// Most pairs that a lane works on at once.
const BLOCK_ROWS: usize = 256;

/// Entries of the sums that one task adds up.
const REDUCE: usize = 1 << 14;

/// What a pass over a batch says about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pass {
    /// Mean cross-entropy over all classes of the network, in nats
    pub loss: f64,
    /// Share of pairs whose largest logit is the label's
    pub accuracy: f64,
}

/// Workspace for passes over batches; after its construction it allocates nothing itself.
#[allow(missing_debug_implementations)] // workspace: nothing in it is worth printing
pub struct Engine<F: Scalar, M: Model<F>> {
    model: M,
    tables: M::Tables,
    lanes: Vec<Lane<F, M::Block>>,
    total: Params<F>,
}

#[derive(Debug)]
struct Lane<F: Scalar, B> {
    block: B,
    sums: Params<F>,
    rows: kernels::RowSums,
    /// Scratch for the loss of one row
    terms: Vec<f64>,
}

/// Two pieces of work on the threads of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Threads;

impl Fork for Threads {
    fn both(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        rayon::join(first, second);
    }
}

/// About how many values an engine holds: sums, and activations of a comparable size, of every lane.
pub fn values<F: Scalar, M: Model<F>>(model: &M) -> usize {
    2 * (SHARES + 1) * model.sums_layout().len()
}

impl<F: Scalar, M: Model<F>> Engine<F, M> {
    /// Workspace for this network.
    pub fn new(model: M) -> Self {
        let lane = || Lane {
            block: model.new_block(BLOCK_ROWS),
            sums: Params::zeros(model.sums_layout()),
            rows: kernels::RowSums::default(),
            terms: vec![0.0; model.classes()],
        };
        Self {
            tables: model.new_tables(),
            lanes: (0..SHARES).map(|_| lane()).collect(),
            total: Params::zeros(model.sums_layout()),
            model,
        }
    }

    /// Mean loss and accuracy over a batch at these weights.
    pub fn evaluate(&mut self, params: &Params<F>, batch: &Batch) -> Pass {
        self.model.prepare(params, &mut self.tables, &Threads);
        let (model, tables) = (&self.model, &self.tables);
        let batches = lanes(batch, model.least_rows());
        self.lanes.par_iter_mut().zip(batches).for_each(|(lane, (pairs, labels))| {
            lane.rows = kernels::RowSums::default();
            for (pairs, labels) in pairs.chunks(BLOCK_ROWS).zip(labels.chunks(BLOCK_ROWS)) {
                model.forward(tables, pairs, &mut lane.block);
                let logits = model.logits(&mut lane.block);
                lane.rows += kernels::cross_entropy(logits.view(), labels, &mut lane.terms);
            }
        });
        self.pass(batch)
    }

    /// The same, and the gradient of the mean loss.
    pub fn loss_and_gradient(
        &mut self,
        params: &Params<F>,
        batch: &Batch,
        gradient: &mut Params<F>,
    ) -> Pass {
        self.model.prepare(params, &mut self.tables, &Threads);
        let (model, tables) = (&self.model, &self.tables);
        let scale = 1.0 / batch.labels.len() as f64;
        let batches = lanes(batch, model.least_rows());
        self.lanes.par_iter_mut().zip(batches).for_each(|(lane, (pairs, labels))| {
            lane.rows = kernels::RowSums::default();
            lane.sums.values.fill(F::zero());
            for (pairs, labels) in pairs.chunks(BLOCK_ROWS).zip(labels.chunks(BLOCK_ROWS)) {
                model.forward(tables, pairs, &mut lane.block);
                let (logits, terms) = (model.logits(&mut lane.block), &mut lane.terms);
                lane.rows += kernels::cross_entropy_backward(logits, labels, scale, terms);
                model.backward(tables, pairs, &mut lane.block, &mut lane.sums);
            }
        });
        let sources = &self.lanes[..lanes(batch, model.least_rows()).len()];
        self.total.values.par_chunks_mut(REDUCE).enumerate().for_each(|(i, total)| {
            let range = i * REDUCE..i * REDUCE + total.len();
            total.copy_from_slice(&sources[0].sums.values[range.clone()]);
            for lane in &sources[1..] {
                kernels::add(&lane.sums.values[range.clone()], total);
            }
        });
        self.model.gradient(params, &mut self.tables, &self.total, gradient, &Threads);
        self.pass(batch)
    }

    fn pass(&self, batch: &Batch) -> Pass {
        let n = batch.labels.len();
        let mut rows = kernels::RowSums::default();
        let used = lanes(batch, self.model.least_rows()).len();
        self.lanes[..used].iter().for_each(|lane| rows += lane.rows);
        Pass { loss: rows.loss / n as f64, accuracy: rows.correct as f64 / n as f64 }
    }
}

/// The fixed division of a batch: into so many lanes, halved until each has `least_rows` pairs. A
/// power of two, so that two or four threads share them evenly.
fn lanes(
    batch: &Batch,
    least_rows: usize,
) -> impl IndexedParallelIterator<Item = (&[[usize; 2]], &[usize])> {
    let mut count = SHARES;
    while count > 1 && batch.pairs.len() < count * least_rows {
        count /= 2;
    }
    let rows = batch.pairs.len().div_ceil(count).max(1);
    batch.pairs.par_chunks(rows).zip(batch.labels.par_chunks(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::model::Transformer;
    use crate::model::folded::Folded;
    use crate::model::init::{self, Scheme};
    use crate::model::plain::Plain;
    use crate::tasks::Dataset;

    /// Value and gradient are those of the oracle in one block, and do not depend on the threads.
    #[test]
    fn lanes_and_threads_change_nothing() {
        let settings = Settings { modulus: Some(31), ..Settings::default() };
        let config = settings.or(Settings::preset("demo").unwrap()).resolve().unwrap();
        let net = Transformer::new(&config);
        let data = Dataset::new(&config, None).unwrap();
        // Every pair twice: enough for four lanes.
        let all = [data.train.clone(), data.test.clone()].concat();
        let batch = data.batch(&all.repeat(2));
        assert_eq!(lanes(&batch, Model::<f64>::least_rows(&Folded::new(net.clone()))).len(), 4);
        let params = init::random::<f64>(&net, Scheme::Paper, 0);
        let (loss, expected) = Plain(net.clone()).loss_and_gradient(&params, &batch);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut engine = Engine::new(Folded::new(net.clone()));
            let mut gradient = Params::zeros(net.layout());
            let pass = pool.install(|| engine.loss_and_gradient(&params, &batch, &mut gradient));
            assert_eq!(pool.install(|| engine.evaluate(&params, &batch)), pass);
            (pass, gradient)
        };
        let (pass, gradient) = run(1);
        assert!((pass.loss / loss - 1.0).abs() < 1e-12);
        let scale = expected.values.iter().fold(0.0f64, |max, g| max.max(g.abs()));
        for (found, expected) in gradient.values.iter().zip(expected.values.iter()) {
            assert!((found - expected).abs() < 1e-12 * scale);
        }
        for threads in [2, 3, 5] {
            assert_eq!(run(threads), (pass, gradient.clone()), "{threads} threads");
        }
    }
}
