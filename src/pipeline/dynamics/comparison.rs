//! The checkpoints that table `movement` compares, block by block.
//!
//! In memory: for each run in work the first and the last checkpoint with the singular vectors of the
//! last, and three checkpoints for each thread.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::movement::{Around, Subspaces, final_subspaces};
use super::{Failure, attempt, is_parameter};
use crate::archive::{Archive, CheckpointRef, Run, Tensor};
use crate::error::{Error, Result};
use crate::pipeline::checkpoints::{checkpoint_failure, relative};
use crate::pipeline::patience::patiently;
use crate::pipeline::store::journal::ReadFile;
use crate::tables::{MovementRow, Status};

/// A checkpoint, read against its digest.
#[derive(Debug)]
pub(super) struct Loaded {
    pub read: ReadFile,
    /// Its parameters, or why there are none
    pub weights: Result<Vec<Tensor>, Failure>,
}

/// What every checkpoint of a run is compared with.
pub(super) struct Ends {
    pub init: Loaded,
    pub last: Loaded,
    /// Of each tensor of the last checkpoint, in its order
    pub leading: Vec<Subspaces>,
    /// LAPACK hung: the distances are still worth having.
    pub failure: Option<Failure>,
}

/// A run whose checkpoints are compared, block by block.
pub(in crate::pipeline) struct Comparison<'a> {
    archive: &'a Archive,
    run: &'a Run,
    io_timeout: Option<Duration>,
    /// Read by the first block, given up by the last
    ends: Mutex<Option<Arc<Ends>>>,
    blocks_left: AtomicUsize,
}

/// Rows of consecutive checkpoints, and what they were made from.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Block<R> {
    pub rows: Vec<R>,
    pub files: Vec<ReadFile>,
    pub failures: Vec<Failure>,
    /// Something read for them may be there at the next attempt
    pub is_passing: bool,
}

impl<'a> Comparison<'a> {
    /// A run of which so many blocks are to be compared.
    pub(in crate::pipeline) fn new(
        archive: &'a Archive,
        run: &'a Run,
        io_timeout: Option<Duration>,
        blocks: usize,
    ) -> Self {
        let blocks_left = AtomicUsize::new(blocks);
        Self { archive, run, io_timeout, ends: Mutex::new(None), blocks_left }
    }

    /// As if reading each of these checkpoints had failed with this error.
    pub(in crate::pipeline) fn refused(
        &self,
        range: Range<usize>,
        error: &Error,
    ) -> Block<MovementRow> {
        let archive = &self.archive.path;
        let failures = self.run.checkpoints[range].iter().map(|checkpoint| Failure {
            row: checkpoint_failure(
                error,
                checkpoint,
                relative(&checkpoint.path, archive),
                archive,
            ),
            internal: false,
            is_passing: true,
        });
        Block { failures: failures.collect(), is_passing: true, ..Block::default() }
    }

    /// The rows of these checkpoints, each of them read once; `None` once `stopped` says so.
    pub(in crate::pipeline) fn block(
        &self,
        range: Range<usize>,
        stopped: impl Fn() -> bool,
        observe: impl Fn(),
    ) -> Option<Block<MovementRow>> {
        let block = self.compare(range, stopped, observe);
        if self.blocks_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        block
    }

    fn compare(
        &self,
        range: Range<usize>,
        stopped: impl Fn() -> bool,
        observe: impl Fn(),
    ) -> Option<Block<MovementRow>> {
        let checkpoints = &self.run.checkpoints;
        let ends = self.ends()?;
        let mut block = Block::default();
        block.failures.extend(ends.failure.clone());
        let mut read = |t: usize| {
            let loaded = self.load(checkpoints.get(t)?);
            block.files.push(loaded.read);
            if let Err(failure) = &loaded.weights {
                block.is_passing |= failure.is_passing;
                // Of a neighbour, the block that it belongs to tells.
                if range.contains(&t) {
                    block.failures.push(failure.clone());
                }
            }
            loaded.weights.ok()
        };
        let mut before = range.start.checked_sub(1).and_then(&mut read);
        let mut now = read(range.start);
        let mut rows = Vec::new();
        let mut failed = Vec::new();
        for t in range.clone() {
            if stopped() {
                return None;
            }
            let next = read(t + 1);
            if let Some(weights) = &now {
                let around = Around {
                    before: (t > 0).then_some(before.as_deref()),
                    next: (t + 1 < checkpoints.len()).then_some(next.as_deref()),
                    ends: &ends,
                };
                let compare = || around.rows(&checkpoints[t], weights);
                match attempt(self.archive, &checkpoints[t], compare) {
                    Ok(found) => rows.extend(found),
                    Err(failure) => failed.push(failure),
                }
            }
            observe();
            before = std::mem::replace(&mut now, next);
        }
        for end in [&ends.init, &ends.last] {
            block.files.push(end.read.clone());
            block.is_passing |= end.weights.as_ref().is_err_and(|failure| failure.is_passing);
        }
        block.rows = rows;
        block.failures.extend(failed);
        block.is_passing |= block.failures.iter().any(|failure| failure.is_passing);
        Some(block)
    }

    /// What every checkpoint is compared with. (Nothing here may wait for other work of the pool: a
    /// thread that waits takes up other blocks, and would come here again.)
    fn ends(&self) -> Option<Arc<Ends>> {
        let mut known = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let first = self.run.checkpoints.first()?;
            let last = self.run.checkpoints.last()?;
            let (init, final_weights) = (self.load(first), self.load(last));
            let tensors: &[Tensor] = final_weights.weights.as_deref().unwrap_or_default();
            let leading =
                attempt(self.archive, last, || tensors.iter().map(final_subspaces).collect());
            let (leading, failure) = match leading {
                Ok(leading) => (leading, None),
                Err(failure) => {
                    (tensors.iter().map(|_| Err(Status::SvdTimeout)).collect(), Some(failure))
                }
            };
            *known = Some(Arc::new(Ends { init, last: final_weights, leading, failure }));
        }
        known.clone()
    }

    fn load(&self, checkpoint: &CheckpointRef) -> Loaded {
        let mut read = ReadFile {
            file: relative(&checkpoint.path, &self.archive.path),
            identity: checkpoint.identity(),
            blake3: None,
        };
        let weights = attempt(self.archive, checkpoint, || {
            let source = checkpoint.clone();
            let loaded = patiently(&checkpoint.path, self.io_timeout, move || source.load(None))?;
            read.blake3 = Some(loaded.blake3);
            let tensors = loaded.tensors.into_iter();
            Ok(tensors.filter(|tensor| is_parameter(&tensor.name)).collect())
        });
        Loaded { read, weights }
    }
}

impl Ends {
    pub(super) fn init(&self) -> Option<&[Tensor]> {
        self.init.weights.as_deref().ok()
    }

    pub(super) fn last(&self) -> Option<&[Tensor]> {
        self.last.weights.as_deref().ok()
    }
}
