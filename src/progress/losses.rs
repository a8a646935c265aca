//! Losses of the network, of its key frequencies alone, and of what is left without them.

use ndarray::{Array2, ArrayView2, s};

use super::table::{Component, LogitTable};
use crate::linalg::kernels;

/// Cross-entropy and hit of every input of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLosses {
    /// In nats
    pub loss: Vec<f64>,
    /// Whether the largest logit is the label's; ties go to the lowest class
    pub correct: Vec<bool>,
}

impl RowLosses {
    /// Of logits `[n, classes]`, row by row.
    #[must_use]
    pub fn new(logits: ArrayView2<'_, f64>, labels: &[usize]) -> Self {
        let classes = logits.ncols();
        let logits = logits.as_standard_layout();
        let mut found = Self::zeros(labels.len());
        let rows = logits.as_slice().expect("standard layout");
        kernels::row_losses(rows, classes, labels, &mut found.loss, &mut found.correct);
        found
    }

    fn zeros(rows: usize) -> Self {
        Self { loss: vec![0.0; rows], correct: vec![false; rows] }
    }

    /// Mean loss over these rows; `None` if there are none.
    #[must_use]
    pub fn mean_loss(&self, rows: &[usize]) -> Option<f64> {
        mean(rows.iter().map(|row| self.loss[*row]))
    }

    /// Mean loss over all rows; `None` if there are none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        mean(self.loss.iter().copied())
    }

    /// Share of correct rows; `None` if there are none.
    #[must_use]
    pub fn accuracy(&self, rows: &[usize]) -> Option<f64> {
        mean(rows.iter().map(|row| f64::from(u8::from(self.correct[*row]))))
    }

    /// Share of all rows that are correct; `None` if there are none.
    #[must_use]
    pub fn mean_accuracy(&self) -> Option<f64> {
        mean(self.correct.iter().map(|correct| f64::from(u8::from(*correct))))
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let n = values.len();
    (n > 0).then(|| values.sum::<f64>() / n as f64)
}

/// Losses of the network with everything but a component taken out: `CE(mean + P_K L)`, for these
/// inputs.
///
/// # Panics
/// If an input is not one of the group's.
#[must_use]
pub fn restricted(table: &LogitTable<'_>, component: &Component, inputs: &[usize]) -> RowLosses {
    let (group, mean) = (table.group(), table.mean());
    if let Some(by_sum) = component.by_sum() {
        // The logits depend on the sum alone: the losses are those of n rows.
        let of_sums = RowLosses::new((by_sum + mean).view(), group.residues());
        let sums = inputs.iter().map(|input| {
            group.index(super::Along::Sum, group.pair(*input).expect("an input of the group"))
        });
        let (loss, correct) = sums.map(|sum| (of_sums.loss[sum], of_sums.correct[sum])).unzip();
        return RowLosses { loss, correct };
    }
    by_blocks(table, inputs, |_, pair, row| {
        row.copy_from_slice(mean.as_slice().expect("one row"));
        component.add_to(1.0, group, pair, row);
    })
}

/// Losses of the network with a component taken out: `CE(L − P_K L)` for these inputs.
///
/// With [`LogitTable::cosines`] as the component, this is the three-dimensional exclusion
/// `CE(L − Σ c_k e_k)`.
///
/// # Panics
/// If an input is not one of the group's.
#[must_use]
pub fn excluded(
    logits: ArrayView2<'_, f64>,
    table: &LogitTable<'_>,
    component: &Component,
    inputs: &[usize],
) -> RowLosses {
    let group = table.group();
    by_blocks(table, inputs, |input, pair, row| {
        match logits.row(input).as_slice() {
            Some(full) => row.copy_from_slice(full),
            None => row.iter_mut().zip(logits.row(input)).for_each(|(to, from)| *to = *from),
        }
        component.add_to(-1.0, group, pair, row);
    })
}

/// Losses of logits that are made row by row, in blocks that stay in the cache.
fn by_blocks(
    table: &LogitTable<'_>,
    inputs: &[usize],
    make: impl Fn(usize, [usize; 2], &mut [f64]),
) -> RowLosses {
    const BLOCK: usize = 64;
    let (group, p) = (table.group(), table.mean().len());
    let mut found = RowLosses::zeros(inputs.len());
    let mut rows = Array2::<f64>::zeros((BLOCK, p));
    for (i, block) in inputs.chunks(BLOCK).enumerate() {
        let mut labels = [0; BLOCK];
        for ((mut row, &input), label) in rows.rows_mut().into_iter().zip(block).zip(&mut labels) {
            let pair = group.pair(input).expect("an input of the group");
            *label = group.label(pair);
            make(input, pair, row.as_slice_mut().expect("row-major"));
        }
        let range = i * BLOCK..i * BLOCK + block.len();
        kernels::row_losses(
            rows.slice(s![..block.len(), ..]).as_slice().expect("row-major"),
            p,
            &labels[..block.len()],
            &mut found.loss[range.clone()],
            &mut found.correct[range],
        );
    }
    found
}
