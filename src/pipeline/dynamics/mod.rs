//! Measures of a whole run: tables `movement` and `trajectory`.
//!
//! They compare checkpoints with each other, so they come after all have been measured one by one,
//! and leave out those that could not be read then. What is compared is named by the archive, not by
//! what is readable: the checkpoint before one whose neighbour is damaged is missing, not another.
//!
//! Memory does not grow with the number T of checkpoints but for the T×T inner products of the
//! trajectory; reads of each checkpoint: `movement` 1 + 2/16, `trajectory` its header and, in parts,
//! its parameters once.

mod movement;
mod trajectory;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;

use super::Observe;
use super::checkpoints::{checkpoint_failure, relative};
use crate::archive::{Archive, CheckpointRef};
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::tables::{FailureRow, MovementRow, TrajectoryRow};

/// What to measure, and with what.
pub(super) struct Request<'a> {
    pub archive: &'a Archive,
    /// Run and step of the checkpoints that could be measured on their own
    pub usable: &'a BTreeSet<(&'a str, u64)>,
    pub movement: bool,
    pub trajectory: Option<Weighting>,
    pub threads: usize,
    pub stop: &'a AtomicUsize,
    pub observe: Observe<'a>,
}

/// Rows, and what went wrong since the checkpoints were measured one by one.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub movement: Vec<MovementRow>,
    pub trajectory: Vec<TrajectoryRow>,
    pub failures: Vec<FailureRow>,
    /// How many of the failures are mistakes of the program
    pub internal_errors: usize,
}

impl Request<'_> {
    /// Measure every run.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn measure(&self) -> Result<Measured> {
        let mut measured = Measured::default();
        for run in &self.archive.runs {
            if !run.checkpoints.iter().any(|checkpoint| self.is_usable(checkpoint)) {
                continue;
            }
            if self.movement {
                movement::rows(self, run, &mut measured)?;
            }
            if let Some(weighting) = self.trajectory {
                trajectory::rows(self, run, weighting, &mut measured)?;
            }
        }
        Ok(measured)
    }

    fn is_usable(&self, checkpoint: &CheckpointRef) -> bool {
        self.usable.contains(&(checkpoint.run.as_str(), checkpoint.step))
    }

    /// Do `work` for a checkpoint; its failure, or a mistake of the program, is a row of `failures`.
    fn attempt<T>(
        &self,
        checkpoint: &CheckpointRef,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T, Failure> {
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())));
        result.map_err(|error| Failure {
            internal: matches!(error, Error::Internal(_)),
            row: checkpoint_failure(
                &error,
                checkpoint,
                relative(&checkpoint.path, &self.archive.path),
                &self.archive.path,
            ),
        })
    }
}

/// What went wrong with one checkpoint.
#[derive(Debug)]
struct Failure {
    row: FailureRow,
    internal: bool,
}

impl Measured {
    fn fail(&mut self, failure: Failure) {
        self.internal_errors += usize::from(failure.internal);
        self.failures.push(failure.row);
    }
}

/// Whether a tensor is a parameter: some trainers save constant buffers beside them.
fn is_parameter(name: &str) -> bool {
    !["mask", "IGNORE"].contains(&name.rsplit('.').next().unwrap_or(name))
}
