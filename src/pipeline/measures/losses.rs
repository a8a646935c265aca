//! The losses of one weight vector: shared by `progress` and `interpolation`.

use ndarray::{ArrayView2, Axis};

use crate::params::Params;
use crate::pipeline::evaluation::Evaluation;
use crate::pipeline::run::{Circuit, RunContext};
use crate::progress::{CircuitLosses, LogitTable, RowLosses};
use crate::tables::Status;

/// Losses of one weight vector, by split; the common part of `progress` and `interpolation`.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    pub train_loss: Option<f64>,
    pub test_loss: Option<f64>,
    pub train_accuracy: Option<f64>,
    pub test_accuracy: Option<f64>,
}

impl Losses {
    /// Over the p real classes. `circuit` are the losses of the circuit, where they are known.
    #[must_use]
    pub fn new(
        run: &RunContext,
        logits: ArrayView2<'_, f64>,
        circuit: Option<&CircuitLosses>,
    ) -> Self {
        // The circuit of a product leaves out the pairs with a 0, which have a loss all the same.
        let whole = !run.permuted && run.circuit.as_ref().is_some_and(|circuit| circuit.whole);
        if let Some(CircuitLosses { train, test, .. }) = circuit.filter(|_| whole) {
            return Self {
                train_loss: train.loss,
                test_loss: test.loss,
                train_accuracy: train.accuracy,
                test_accuracy: test.accuracy,
            };
        }
        let rows = RowLosses::new(logits, &run.labels());
        Self {
            train_loss: rows.mean_loss(&run.data.train),
            test_loss: rows.mean_loss(&run.data.test),
            train_accuracy: rows.accuracy(&run.data.train),
            test_accuracy: rows.accuracy(&run.data.test),
        }
    }
}

/// Losses over the p real classes of these inputs alone; `logits` and `labels` are of all inputs.
#[must_use]
pub fn losses_of(logits: ArrayView2<'_, f64>, labels: &[usize], inputs: &[usize]) -> RowLosses {
    /// Rows that stay in the cache.
    const BLOCK: usize = 64;
    let mut found = RowLosses { loss: Vec::new(), correct: Vec::new() };
    for inputs in inputs.chunks(BLOCK) {
        let labels: Vec<usize> = inputs.iter().map(|input| labels[*input]).collect();
        let block = RowLosses::new(logits.select(Axis(0), inputs).view(), &labels);
        found.loss.extend(block.loss);
        found.correct.extend(block.correct);
    }
    found
}

/// Why the circuit's columns of this run are null, if they are.
#[must_use]
pub fn circuit_status(run: &RunContext) -> Status {
    match (&run.circuit, &run.keys) {
        (None, _) => Status::NotPeriodic,
        (Some(_), None) => Status::Missing,
        (Some(_), Some(_)) => Status::Ok,
    }
}

/// The same for landscapes, which know the circuits of sums alone.
#[must_use]
pub fn landscape_status(run: &RunContext) -> Status {
    if run.sums.is_none() { Status::NotPeriodic } else { circuit_status(run) }
}

/// The mean over the inputs of both splits, from the means over each.
#[must_use]
pub fn over_both(circuit: &Circuit, train: Option<f64>, test: Option<f64>) -> f64 {
    let (n, m) = (circuit.train.len() as f64, circuit.test.len() as f64);
    (train.unwrap_or(0.0) * n + test.unwrap_or(0.0) * m) / (n + m)
}

/// What is evaluated at one point of a line: losses, and those of each algorithm alone.
#[derive(Debug, Clone, Default)]
pub struct PointLosses {
    pub plain: Losses,
    pub excluded_loss_train: Option<f64>,
    pub restricted_loss_all: Option<f64>,
}

/// All losses of one weight vector: those of table `progress` in f64, to the last bit. None where
/// activations leave the range of f64.
#[must_use]
pub fn point_losses(run: &RunContext, params: &Params<f64>) -> PointLosses {
    let Some(Evaluation { logits, .. }) = Evaluation::new(run, params) else {
        return PointLosses::default();
    };
    let logits = logits.view();
    let circuit = run.circuit.as_ref().map(|circuit| {
        let table = LogitTable::new(logits, &run.group, run.choices.protocol);
        let keys = run.keys().unwrap_or_default();
        CircuitLosses::new(logits, &table, keys, &circuit.train, &circuit.test)
    });
    let plain = Losses::new(run, logits, circuit.as_ref());
    match (circuit, &run.circuit, run.keys(), run.permuted) {
        (Some(CircuitLosses { train, test, .. }), Some(inputs), Some(_), false) => PointLosses {
            plain,
            excluded_loss_train: train.excluded_loss,
            restricted_loss_all: Some(over_both(
                inputs,
                train.restricted_loss,
                test.restricted_loss,
            )),
        },
        _ => PointLosses { plain, ..Default::default() },
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// More inputs than a block, in any order, some twice.
    #[test]
    fn losses_of_some_inputs_are_those_of_their_rows() {
        let (inputs, classes) = (150, 7);
        let logits =
            Array2::from_shape_fn((inputs, classes), |(i, c)| ((i * 13 + c * 5) % 11) as f64);
        let labels: Vec<usize> = (0..inputs).map(|i| i % classes).collect();
        let all = RowLosses::new(logits.view(), &labels);
        let wanted: Vec<usize> = (0..100).map(|i| (i * 67) % inputs).collect();
        let found = losses_of(logits.view(), &labels, &wanted);
        assert_eq!(found.mean(), all.mean_loss(&wanted));
        assert_eq!(found.mean_accuracy(), all.accuracy(&wanted));
        assert_eq!(losses_of(logits.view(), &labels, &[]).mean(), None);
    }
}
