//! Table `movement`: each checkpoint against the first, the last, and its two neighbours.
//!
//! In memory: the first and the last checkpoint with the singular vectors of the last, and three
//! checkpoints for each thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Axis;

use super::{Measured, Request, is_parameter};
use crate::archive::{CheckpointRef, Run, Tensor};
use crate::dynamics::movement::{Others, Sums};
use crate::dynamics::subspace::{self, Leading};
use crate::error::Result;
use crate::linalg::svd::{Decomposition, NoSpectrum, Prepared};
use crate::pipeline::measures::spectra::{no_spectrum, storage_eps, storage_path};
use crate::pipeline::{in_parallel, watchdog};
use crate::spectra;
use crate::tables::{MovementRow, Status};

/// Consecutive checkpoints that one thread goes through: two more are read than measured.
const BLOCK: usize = 16;

/// Name of the rows about all parameters together.
const ALL: &str = "all";

/// The parameters of a checkpoint; none if it cannot be used.
type Weights = Option<Vec<Tensor>>;

/// What every checkpoint of a run is compared with.
struct Ends {
    init: Weights,
    last: Weights,
    /// Of each tensor of the last checkpoint, in its order
    leading: Vec<Subspaces>,
}

/// The leading subspaces of each slice of a tensor; none where they are not defined.
type Subspaces = Result<Option<Vec<Leading>>, Status>;

pub(super) fn rows(request: &Request<'_>, run: &Run, measured: &mut Measured) -> Result<()> {
    let checkpoints = &run.checkpoints;
    let mut load = |checkpoint: Option<&CheckpointRef>| {
        let weights = checkpoint.and_then(|checkpoint| load(request, checkpoint).transpose());
        weights.and_then(|weights| weights.map_err(|failure| measured.fail(failure)).ok())
    };
    let (init, last) = (load(checkpoints.first()), load(checkpoints.last()));
    let tensors: &[Tensor] = last.as_ref().map_or(&[], |last| last);
    let quiet = |_, _| {};
    let leading = in_parallel(tensors, request.threads, request.stop, &quiet, |tensor| {
        Ok(final_subspaces(tensor))
    })?;
    let leading = leading.into_iter().collect::<Result<Vec<_>>>();
    let ends = Ends {
        init,
        leading: match leading {
            Ok(leading) => leading,
            Err(error) => {
                // LAPACK hangs: the distances are still worth having.
                let Some(checkpoint) = checkpoints.last() else { return Ok(()) };
                let failure = request.attempt::<()>(checkpoint, || Err(error));
                failure.unwrap_or_else(|failure| measured.fail(failure));
                tensors.iter().map(|_| Err(Status::SvdTimeout)).collect()
            }
        },
        last,
    };
    let blocks: Vec<usize> = (0..checkpoints.len()).step_by(BLOCK).collect();
    let count = AtomicUsize::new(0);
    let done = in_parallel(&blocks, request.threads, request.stop, &quiet, |first| {
        Ok(block(request, checkpoints, *first, &ends, &count))
    })?;
    for block in done {
        measured.movement.extend(block.movement);
        measured.failures.extend(block.failures);
        measured.internal_errors += block.internal_errors;
    }
    Ok(())
}

/// The parameters of a checkpoint, read against its digest; none if it could not be used before.
fn load(request: &Request<'_>, checkpoint: &CheckpointRef) -> Result<Weights, super::Failure> {
    if !request.is_usable(checkpoint) {
        return Ok(None);
    }
    request.attempt(checkpoint, || {
        let tensors = checkpoint.load(None)?.tensors;
        Ok(Some(tensors.into_iter().filter(|t| is_parameter(&t.name)).collect()))
    })
}

/// The rows of the checkpoints from `first` on, each of them read once.
fn block(
    request: &Request<'_>,
    checkpoints: &[CheckpointRef],
    first: usize,
    ends: &Ends,
    count: &AtomicUsize,
) -> Measured {
    let mut measured = Measured::default();
    let end = (first + BLOCK).min(checkpoints.len());
    let mut read = |t: usize, own: bool| {
        let loaded = checkpoints.get(t).map(|checkpoint| load(request, checkpoint));
        match loaded {
            Some(Ok(weights)) => weights,
            // Of a neighbour, the block that it belongs to tells.
            Some(Err(failure)) if own => {
                measured.fail(failure);
                None
            }
            _ => None,
        }
    };
    let mut before = first.checked_sub(1).and_then(|t| read(t, false));
    let mut now = read(first, true);
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for t in first..end {
        let next = read(t + 1, t + 1 < end);
        if let Some(weights) = &now {
            let around = Around {
                before: (t > 0).then_some(before.as_deref()),
                next: (t + 1 < checkpoints.len()).then_some(next.as_deref()),
                ends,
            };
            let found = request.attempt(&checkpoints[t], || around.rows(&checkpoints[t], weights));
            match found {
                Ok(found) => rows.extend(found),
                Err(failure) => failed.push(failure),
            }
        }
        (request.observe)(count.fetch_add(1, Ordering::Relaxed) + 1, checkpoints.len());
        before = std::mem::replace(&mut now, next);
    }
    failed.into_iter().for_each(|failure| measured.fail(failure));
    measured.movement = rows;
    measured
}

/// What a checkpoint is compared with. The outer option: whether there is such a checkpoint at all.
struct Around<'a> {
    before: Option<Option<&'a [Tensor]>>,
    next: Option<Option<&'a [Tensor]>>,
    ends: &'a Ends,
}

impl Around<'_> {
    fn rows(&self, checkpoint: &CheckpointRef, now: &[Tensor]) -> Result<Vec<MovementRow>> {
        let step = i64::try_from(checkpoint.step).unwrap_or(i64::MAX);
        let row = |tensor: &str| MovementRow {
            run: checkpoint.run.clone(),
            step,
            tensor: tensor.to_owned(),
            ..MovementRow::default()
        };
        let mut rows = Vec::new();
        let (mut total, mut statuses) = (Sums::ZERO, Vec::new());
        for tensor in now {
            let (sums, mut status) = self.sums(tensor);
            total = total + sums;
            statuses.push(status);
            let overlap = match self.overlap(tensor)? {
                Ok(overlap) => overlap,
                Err(reason) => {
                    status = worse(status, reason);
                    None
                }
            };
            if tensor.name != ALL {
                let row = MovementRow { subspace_overlap_final: overlap, ..row(&tensor.name) };
                rows.push(moved(sums, status, row));
            }
        }
        let (total, status) = self.whole(total, now);
        let status = statuses.into_iter().fold(status, worse);
        rows.push(moved(total, if now.is_empty() { Status::Empty } else { status }, row(ALL)));
        Ok(rows)
    }

    /// Sums over one tensor against all that it can be compared with, and why not with others.
    fn sums(&self, now: &Tensor) -> (Sums, Status) {
        let Ends { init, last, .. } = self.ends;
        let others = [Some(init.as_deref()), Some(last.as_deref()), self.before, self.next];
        let others = others.map(|weights| Some(counterpart(weights?, now)));
        let mut status = if is_finite(now) { Status::Ok } else { Status::NonFinite };
        for other in others.iter().flatten() {
            status = match other {
                Ok(other) if is_finite(other) => status,
                Ok(_) => worse(status, Status::NonFinite),
                Err(reason) => worse(status, *reason),
            };
        }
        let [init, last, previous, next] =
            others.map(|other| other?.ok().and_then(|tensor| tensor.values.as_slice()));
        let others = Others { init, previous, next, last };
        (Sums::new(now.values.as_slice().unwrap_or_default(), others), status)
    }

    /// Sums over all tensors, but none against weights that have more of them.
    fn whole(&self, total: Sums, now: &[Tensor]) -> (Sums, Status) {
        let Ends { init, last, .. } = self.ends;
        let others = [Some(init.as_deref()), Some(last.as_deref()), self.before, self.next];
        let [init, last, before, next] = others
            .map(|weights| weights.flatten().is_some_and(|weights| weights.len() != now.len()));
        let total = Sums {
            from_init: total.from_init.filter(|_| !init),
            to_final: total.to_final.filter(|_| !last),
            from_previous: total.from_previous.filter(|_| !before),
            turn: total.turn.filter(|_| !before && !next),
        };
        (total, if init || last || before || next { Status::Missing } else { Status::Ok })
    }

    /// Overlap of the leading subspaces with the final ones, averaged over the slices.
    fn overlap(&self, now: &Tensor) -> Result<Result<Option<f64>, Status>> {
        if now.shape.len() < 2 {
            return Ok(Ok(None));
        }
        let last = self.ends.last.as_deref();
        let Some(at) = last.and_then(|last| last.iter().position(|t| t.name == now.name)) else {
            return Ok(Err(Status::Missing));
        };
        let leading = match &self.ends.leading[at] {
            Ok(Some(leading)) => leading,
            Ok(None) => return Ok(Ok(None)),
            Err(reason) => return Ok(Err(*reason)),
        };
        if last.is_none_or(|last| last[at].shape != now.shape) {
            return Ok(Err(Status::ShapeChanged));
        }
        let slices = match decompositions(now)? {
            Ok(slices) => slices,
            Err(reason) => return Ok(Err(reason)),
        };
        let overlaps: Option<Vec<f64>> = leading
            .iter()
            .zip(&slices)
            .map(|(last, now_slice)| {
                Some(last.overlap(&Leading::new(now_slice, last.r(), tolerance(now, now_slice))?))
            })
            .collect();
        Ok(Ok(overlaps.map(|all| all.iter().sum::<f64>() / all.len() as f64)))
    }
}

/// The row of these sums.
fn moved(sums: Sums, status: Status, row: MovementRow) -> MovementRow {
    let found = sums.movement();
    let mut status = status;
    let mut known = |value: Option<f64>| {
        // Without a reason so far, the squares left the range.
        if value.is_some_and(|value| !value.is_finite()) {
            status = worse(status, Status::Overflow);
        }
        value.filter(|value| value.is_finite())
    };
    let distance_from_init = known(found.distance_from_init);
    let distance_from_previous = known(found.distance_from_previous);
    let distance_to_final = known(found.distance_to_final);
    let cosine_of_steps = known(found.cosine_of_steps);
    MovementRow {
        distance_from_init,
        distance_from_previous,
        distance_to_final,
        cosine_of_steps,
        status,
        ..row
    }
}

/// The tensor of the same name and shape in other weights.
fn counterpart<'a>(weights: Option<&'a [Tensor]>, now: &Tensor) -> Result<&'a Tensor, Status> {
    let found = weights.and_then(|weights| weights.iter().find(|t| t.name == now.name));
    match found {
        None => Err(Status::Missing),
        Some(tensor) if tensor.shape != now.shape => Err(Status::ShapeChanged),
        Some(tensor) => Ok(tensor),
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    tensor.values.iter().all(|value| value.is_finite())
}

/// The reason that says more: what is wrong with the values before what is missing.
fn worse(a: Status, b: Status) -> Status {
    const ORDER: [Status; 4] =
        [Status::NonFinite, Status::ShapeChanged, Status::Missing, Status::Overflow];
    if a == Status::Ok {
        return b;
    }
    let rank = |status| ORDER.iter().position(|known| *known == status).unwrap_or(ORDER.len());
    if b != Status::Ok && rank(b) < rank(a) { b } else { a }
}

/// Leading subspaces of the last checkpoint's tensor.
fn final_subspaces(tensor: &Tensor) -> Result<Subspaces> {
    if tensor.shape.len() < 2 {
        return Ok(Ok(None));
    }
    let subspaces = |slices: Vec<Decomposition>| {
        let leading = |slice: &Decomposition| {
            let r = subspace::dimension(&slice.sigma)?;
            Leading::new(slice, r, tolerance(tensor, slice))
        };
        slices.iter().map(leading).collect()
    };
    Ok(decompositions(tensor)?.map(subspaces))
}

/// The `tol` of table `spectra`.
fn tolerance(tensor: &Tensor, slice: &Decomposition) -> f64 {
    let (rows, cols) = (slice.u.nrows(), slice.vt.ncols());
    let (eps, path) = (storage_eps(tensor.dtype), storage_path(tensor.dtype));
    spectra::tolerance(&slice.sigma, rows, cols, eps, path)
}

/// Singular vectors of every slice, or why one of them has none.
fn decompositions(tensor: &Tensor) -> Result<Result<Vec<Decomposition>, Status>> {
    let [leading @ .., rows, cols] = tensor.shape.as_slice() else { return Ok(Ok(Vec::new())) };
    let (rows, cols) = (*rows, *cols);
    if tensor.values.is_empty() {
        return Ok(Err(Status::Empty));
    }
    let batch = leading.iter().product::<usize>();
    let values = tensor.values.to_shape((batch, rows, cols)).expect("the sizes multiply");
    let prepared: Result<Vec<Prepared>, NoSpectrum> =
        values.axis_iter(Axis(0)).map(Prepared::new).collect();
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return Ok(Err(no_spectrum(reason))),
    };
    let limit = |_: &Prepared| watchdog::time_limit((rows, cols));
    let found = watchdog::each_in_time(prepared, limit, Prepared::singular_vectors)?;
    let found: Result<Vec<_>, NoSpectrum> =
        found.into_iter().map(|slice| slice.unwrap_or(Err(NoSpectrum::Timeout))).collect();
    Ok(found.map_err(no_spectrum))
}

#[cfg(test)]
mod tests;
