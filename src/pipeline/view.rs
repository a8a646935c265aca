//! One checkpoint while it is measured: what several measures need is computed once.

use std::cell::OnceCell;

use ndarray::{Array2, s};

use super::run::RunContext;
use crate::archive::{Checkpoint, CheckpointRef};
use crate::error::Result;
use crate::model::Model;
use crate::model::folded::Folded;
use crate::params::Params;
use crate::progress::LogitTable;
use crate::weights;

/// A loaded checkpoint of a run.
pub struct View<'a> {
    pub run: &'a RunContext,
    pub source: &'a CheckpointRef,
    /// Path relative to the archive.
    pub file: &'a str,
    pub checkpoint: Checkpoint,
    params: OnceCell<Option<Params<f64>>>,
    grid: OnceCell<Option<Grid>>,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The network on all p² inputs, in f64.
#[derive(Debug)]
pub struct Grid {
    /// `[p², p]`, the real classes
    pub logits: Array2<f64>,
    /// `[p², d_mlp]`, after the nonlinearity
    pub neurons: Array2<f64>,
}

impl<'a> View<'a> {
    /// Read a checkpoint, every byte of it against its digest.
    ///
    /// # Errors
    /// What is wrong with the file, or with the shapes of the network's tensors.
    pub fn load(run: &'a RunContext, source: &'a CheckpointRef, file: &'a str) -> Result<Self> {
        let checkpoint = source.load(None)?;
        // Tensors of other shapes must fail here, not as a measure that means something else.
        weights::check(&checkpoint, run.net.layout())?;
        let (params, grid) = (OnceCell::new(), OnceCell::new());
        Ok(Self { run, source, file, checkpoint, params, grid })
    }

    /// Step as in the tables.
    #[must_use]
    pub fn step(&self) -> i64 {
        i64::try_from(self.source.step).unwrap_or(i64::MAX)
    }

    /// The weights; `None` if one of them is not finite.
    pub fn params(&self) -> Option<&Params<f64>> {
        let read = || {
            let params: Params<f64> =
                weights::from_checkpoint(&self.checkpoint, self.run.net.layout(), "").ok()?;
            params.values.iter().all(|value| value.is_finite()).then_some(params)
        };
        self.params.get_or_init(read).as_ref()
    }

    /// The network on all inputs; `None` if weights or logits are not finite.
    pub fn grid(&self) -> Option<&Grid> {
        let evaluate = || {
            let grid = Grid::new(self.run, self.params()?);
            grid.logits.iter().all(|logit| logit.is_finite()).then_some(grid)
        };
        self.grid.get_or_init(evaluate).as_ref()
    }

    /// The circuit's table of the logits, with the keys; `None` without a circuit or a grid.
    pub fn logit_table(&self) -> Result<Option<LogitTable>> {
        let (Some(sums), Some(grid)) = (&self.run.sums, self.grid()) else { return Ok(None) };
        LogitTable::new(grid.logits.view(), sums).map(Some)
    }
}

impl Grid {
    /// Evaluate the network on all p² inputs, in blocks.
    #[must_use]
    pub fn new(run: &RunContext, params: &Params<f64>) -> Self {
        const ROWS: usize = 512;
        let (p, d_mlp) = (run.p(), run.net.d_mlp);
        let model = Folded::new(run.net.clone());
        let mut tables = Model::<f64>::new_tables(&model);
        model.prepare(params, &mut tables);
        let mut block = Model::<f64>::new_block(&model, ROWS);
        let mut logits = Array2::zeros((p * p, p));
        let mut neurons = Array2::zeros((p * p, d_mlp));
        let pairs: Vec<_> = (0..p * p).map(|input| [input / p, input % p]).collect();
        for (i, pairs) in pairs.chunks(ROWS).enumerate() {
            model.forward(&tables, pairs, &mut block);
            let rows = s![i * ROWS..i * ROWS + pairs.len(), ..];
            // Without the class of `=`.
            logits.slice_mut(rows).assign(&model.logits(&mut block).slice(s![.., ..p]));
            neurons.slice_mut(rows).assign(&Model::<f64>::neurons(&model, &block));
        }
        Self { logits, neurons }
    }
}
