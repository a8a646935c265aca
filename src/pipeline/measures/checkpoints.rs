//! Table `checkpoints`: what a file holds.

use super::Measure;
use crate::archive::float_bytes;
use crate::error::Result;
use crate::pipeline::view::View;
use crate::tables::{CheckpointRow, Status};

/// Table `checkpoints`. Duplicates are found later, when all are read.
#[derive(Debug)]
pub struct Checkpoints;

impl Measure for Checkpoints {
    type Row = CheckpointRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<CheckpointRow>> {
        let header = &view.checkpoint.header;
        let floats = || header.tensors.iter().filter(|tensor| float_bytes(tensor.dtype).is_some());
        let mut dtypes: Vec<String> = floats().map(|tensor| tensor.dtype.to_string()).collect();
        dtypes.sort();
        dtypes.dedup();
        let finite = view.checkpoint.tensors.iter().all(|t| t.values.iter().all(|x| x.is_finite()));
        let count = |n: usize| i64::try_from(n).ok();
        Ok(vec![CheckpointRow {
            run: view.run.name.clone(),
            step: view.step(),
            file: view.file.to_owned(),
            bytes: i64::try_from(view.checkpoint.bytes).unwrap_or(i64::MAX),
            blake3: Some(view.checkpoint.blake3.clone()),
            dtype: Some(dtypes.join(",")),
            n_tensors: count(header.tensors.len()),
            n_params: count(floats().map(|tensor| tensor.shape.iter().product::<usize>()).sum()),
            duplicate_of: None,
            status: if !finite {
                Status::NonFinite
            } else if view.unsupported() > 0 {
                Status::UnsupportedDtype
            } else {
                Status::Ok
            },
        }])
    }
}
