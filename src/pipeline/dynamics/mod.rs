//! Measures that compare checkpoints of a run: tables `movement`, `trajectory` and `arrow`.
//!
//! What is compared is named by the archive, not by what is readable: the checkpoint before one whose
//! neighbour is damaged is missing, not another.
//!
//! Memory does not grow with the number T of checkpoints but for the T×T inner products of the
//! trajectory; reads of each checkpoint: `movement` and `arrow` 1 + 2/16, `trajectory` its header and, in parts,
//! its parameters once.

pub(super) mod arrow;
pub(super) mod comparison;
mod movement;
pub(super) mod trajectory;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checkpoints::{checkpoint_failure, is_passing, relative};
use crate::archive::{Archive, CheckpointRef};
use crate::error::{Error, Result};
use crate::tables::FailureRow;

/// What went wrong with one checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub row: FailureRow,
    /// A mistake of the program
    pub internal: bool,
    /// Another attempt may go well
    pub is_passing: bool,
}

/// Do `work` for a checkpoint; its failure, or a mistake of the program, is a row of `failures`.
fn attempt<T>(
    archive: &Archive,
    checkpoint: &CheckpointRef,
    work: impl FnOnce() -> Result<T>,
) -> Result<T, Failure> {
    let result = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())));
    result.map_err(|error| Failure {
        internal: matches!(error, Error::Internal(_)),
        is_passing: is_passing(&error),
        row: checkpoint_failure(
            &error,
            checkpoint,
            relative(&checkpoint.path, &archive.path),
            &archive.path,
        ),
    })
}

/// Whether a tensor is a parameter: some trainers save constant buffers beside them.
fn is_parameter(name: &str) -> bool {
    !["mask", "IGNORE"].contains(&name.rsplit('.').next().unwrap_or(name))
}
