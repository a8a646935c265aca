//! Four losses at many points: the network on all inputs, block by block, without keeping more of it
//! than the losses need.
//!
//! The same losses as [`crate::pipeline::measures::losses::point_losses`], which is the oracle. In f32
//! they agree to about 1e-5 of their value; sums and losses are f64.

use ndarray::{Array2, ArrayView2, s};
use serde::{Deserialize, Serialize};

use crate::landscape::objective::{Loss, Objective, Task};
use crate::linalg::{Scalar, kernels, matmul};
use crate::model::folded::Folded;
use crate::model::mlp::columns::Columns;
use crate::model::{InTurn, Model, Network};
use crate::params::Params;
use crate::pipeline::run::RunContext;

/// Pairs of a block.
const ROWS: usize = 256;

/// Losses at one point; none where the network leaves the range of its numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Heights {
    pub train: Option<f64>,
    pub test: Option<f64>,
    pub excluded: Option<f64>,
    pub restricted: Option<f64>,
}

/// What is the same at every point of a run's landscape.
#[derive(Debug)]
pub struct Evaluator<'a> {
    context: &'a RunContext,
    /// Training pairs first, then held-out ones, then those without a label, if a circuit counts them
    parts: [Part; 3],
    circuit: Option<Circuit>,
}

/// Some inputs.
#[derive(Debug)]
struct Part {
    pairs: Vec<[usize; 2]>,
    labels: Vec<usize>,
    sums: Vec<usize>,
}

/// The projection on the key frequencies, over inputs of equal sum index.
#[derive(Debug)]
struct Circuit {
    /// `−Q` of the excluded loss: (P_K L)[i,c] = Σ_t kernel[s_i,t] M[t,c]
    kernel: Array2<f64>,
    /// Number of labelled inputs of each sum index
    counts: Vec<f64>,
}

/// The task of a run, for the objectives of its landscape.
pub(super) fn task<'a>(context: &'a RunContext, labels: &'a [usize]) -> Task<'a> {
    Task {
        p: context.p(),
        labels,
        train: &context.data.train,
        test: &context.data.test,
        all: &context.all,
        circuit: context.sum_circuit(),
    }
}

impl<'a> Evaluator<'a> {
    /// Prepare for a run.
    #[must_use]
    pub fn new(context: &'a RunContext) -> Self {
        let labels = context.labels();
        let task = task(context, &labels);
        let circuit = task.circuit.and_then(|(sums, _)| {
            let objective = Objective::new(Loss::Excluded, &task)?;
            let mut counts = vec![0.0; context.p()];
            task.all.iter().for_each(|input| counts[sums[*input]] += 1.0);
            Some(Circuit { kernel: objective.kernel()?.mapv(|q| -q), counts })
        });
        let part = |inputs: Vec<usize>| {
            let mut inputs = inputs;
            inputs.sort_unstable(); // neighbours share rows of the network's tables
            let sum = |input: &usize| task.circuit.map_or(0, |(sums, _)| sums[*input]);
            Part {
                pairs: inputs.iter().map(|input| [input / task.p, input % task.p]).collect(),
                labels: inputs.iter().map(|input| labels[*input]).collect(),
                sums: inputs.iter().map(sum).collect(),
            }
        };
        let mut known = vec![circuit.is_none(); labels.len()];
        task.train.iter().chain(task.test).for_each(|input| known[*input] = true);
        let others = (0..labels.len()).filter(|input| !known[*input]).collect();
        let parts = [part(task.train.to_vec()), part(task.test.to_vec()), part(others)];
        Self { context, parts, circuit }
    }

    /// Losses at some points, in numbers of type `F`.
    #[must_use]
    pub fn heights<F: Scalar>(&self, points: impl Iterator<Item = Vec<f64>>) -> Vec<Heights> {
        match self.context.net.clone() {
            Network::Transformer(net) => self.of::<F, _>(&Folded::new(net), points),
            Network::Mlp(net) => self.of::<F, _>(&Columns::new(net), points),
        }
    }

    fn of<F: Scalar, M: Model<F>>(
        &self,
        model: &M,
        points: impl Iterator<Item = Vec<f64>>,
    ) -> Vec<Heights> {
        let p = self.context.p();
        let mut work = Work {
            tables: model.new_tables(),
            block: model.new_block(ROWS),
            train: Array2::zeros((self.parts[0].pairs.len(), p)),
            table: Array2::zeros((p, p)),
            terms: vec![0.0; p],
        };
        let mut params = Params::zeros(model.layout());
        points
            .map(|theta| {
                params.values.iter_mut().zip(&theta).for_each(|(to, from)| *to = F::narrow(*from));
                model.prepare(&params, &mut work.tables, &InTurn);
                self.at(model, &mut work).unwrap_or_default()
            })
            .collect()
    }

    /// `None` if a loss is not finite.
    fn at<F: Scalar, M: Model<F>>(&self, model: &M, work: &mut Work<F, M>) -> Option<Heights> {
        let p = self.context.p();
        work.table.fill(0.0);
        let mut found = [None; 2];
        for (which, part) in self.parts.iter().enumerate() {
            let mut total = 0.0;
            for (i, pairs) in part.pairs.chunks(ROWS).enumerate() {
                let rows = i * ROWS..i * ROWS + pairs.len();
                model.forward(&work.tables, pairs, &mut work.block);
                let logits = model.logits(&mut work.block);
                let logits = logits.slice(s![.., ..p]); // without the class of `=`
                if which < 2 {
                    let labels = &part.labels[rows.clone()];
                    total += kernels::cross_entropy(logits, labels, &mut work.terms).loss;
                }
                if self.circuit.is_some() {
                    add_by_sum(logits, &part.sums[rows.clone()], &mut work.table);
                }
                if which == 0 {
                    work.train.slice_mut(s![rows, ..]).assign(&logits);
                }
            }
            if which < 2 && !part.pairs.is_empty() {
                found[which] = Some(finite(total / part.pairs.len() as f64)?);
            }
        }
        let [train, test] = found;
        let Some(Circuit { kernel, counts }) = &self.circuit else {
            return Some(Heights { train, test, ..Heights::default() });
        };
        let component = matmul(kernel.view(), work.table.view()); // [s, c]
        let part = &self.parts[0];
        let mut total = 0.0;
        let mut reduced = Array2::<f64>::zeros((ROWS.min(part.sums.len()), p));
        for (i, sums) in part.sums.chunks(ROWS).enumerate() {
            for (k, (mut row, sum)) in reduced.rows_mut().into_iter().zip(sums).enumerate() {
                let (full, part) = (work.train.row(i * ROWS + k), component.row(*sum));
                for ((row, full), part) in row.iter_mut().zip(full).zip(part) {
                    *row = full.widen() - part;
                }
            }
            let labels = &part.labels[i * ROWS..i * ROWS + sums.len()];
            let rows = reduced.slice(s![..sums.len(), ..]);
            total += kernels::cross_entropy(rows, labels, &mut work.terms).loss;
        }
        let excluded = finite(total / part.sums.len() as f64)?;

        let mean = work.table.sum_axis(ndarray::Axis(0)) / (p * p) as f64;
        let alone = component + &mean;
        let total: f64 = (0..p)
            .map(|sum| {
                let row = alone.slice(s![sum..=sum, ..]);
                counts[sum] * kernels::cross_entropy(row, &[sum], &mut work.terms).loss
            })
            .sum();
        let restricted = finite(total / counts.iter().sum::<f64>())?;
        Some(Heights { train, test, excluded: Some(excluded), restricted: Some(restricted) })
    }
}

/// Memory for one point after the other.
struct Work<F: Scalar, M: Model<F>> {
    tables: M::Tables,
    block: M::Block,
    /// Logits of the training pairs
    train: Array2<F>,
    /// M, the logits summed over inputs of equal sum index
    table: Array2<f64>,
    terms: Vec<f64>,
}

fn finite(loss: f64) -> Option<f64> {
    loss.is_finite().then_some(loss)
}

/// `M[s_i] += L[i]`.
fn add_by_sum<F: Scalar>(logits: ArrayView2<'_, F>, sums: &[usize], table: &mut Array2<f64>) {
    for (row, sum) in logits.rows().into_iter().zip(sums) {
        let mut target = table.row_mut(*sum);
        let target = target.as_slice_mut().expect("row-major");
        let row = row.to_slice().expect("columns are neighbours");
        target.iter_mut().zip(row).for_each(|(to, from)| *to += from.widen());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::archive::Archive;
    use crate::pipeline::landscape::load;
    use crate::pipeline::measures::losses::point_losses;
    use crate::pipeline::run::Subject;

    /// In f64 the oracle's losses, in f32 close to them; a point out of range is none, and the next is
    /// as if it had not been.
    #[test]
    fn heights_are_the_losses_of_the_oracle() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny");
        let archive = Archive::open(&path).unwrap();
        let run = &archive.runs[0];
        let context = Subject::new(run).unwrap().into_network().unwrap();
        let evaluator = Evaluator::new(&context);
        let mut points = Vec::new();
        for checkpoint in &run.checkpoints {
            points.push(load(checkpoint, &context).unwrap().values.to_vec());
            points.push(vec![1e60; points[0].len()]);
        }
        let wide = evaluator.heights::<f64>(points.iter().cloned());
        let narrow = evaluator.heights::<f32>(points.iter().cloned());
        for (i, theta) in points.iter().enumerate() {
            if i % 2 == 1 {
                assert_eq!((wide[i], narrow[i]), (Heights::default(), Heights::default()));
                continue;
            }
            let expected =
                point_losses(&context, &Params::from_values(context.net.layout(), theta));
            let pairs = |found: &Heights| {
                [
                    (found.train, expected.plain.train_loss),
                    (found.test, expected.plain.test_loss),
                    (found.excluded, expected.excluded_loss_train),
                    (found.restricted, expected.restricted_loss_all),
                ]
            };
            for (found, within) in [(&wide[i], 1e-12), (&narrow[i], 1e-4)] {
                for (found, expected) in pairs(found) {
                    let (found, expected) = (found.unwrap(), expected.unwrap());
                    assert!((found / expected - 1.0).abs() < within, "{found} {expected}");
                }
            }
        }
    }
}
