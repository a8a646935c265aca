//! Table `movement`: each checkpoint against the first, the last, and its two neighbours.

use ndarray::Axis;

use super::comparison::Ends;
use crate::archive::{CheckpointRef, Tensor};
use crate::dynamics::movement::{Others, Sums};
use crate::dynamics::subspace::{self, Leading};
use crate::error::Result;
use crate::linalg::svd::{Decomposition, NoSpectrum, Prepared};
use crate::pipeline::measures::spectra::{no_spectrum, storage_eps, storage_path};
use crate::pipeline::watchdog;
use crate::spectra::{self, Path};
use crate::tables::{MovementRow, Status};

/// Name of the rows about all parameters together.
const ALL: &str = "all";

/// The leading subspaces of each slice of a tensor; none where they are not defined.
pub(super) type Subspaces = Result<Option<Vec<Leading>>, Status>;

/// What a checkpoint is compared with. The outer option: whether there is such a checkpoint at all.
pub(super) struct Around<'a> {
    pub before: Option<Option<&'a [Tensor]>>,
    pub next: Option<Option<&'a [Tensor]>>,
    pub ends: &'a Ends,
}

impl Around<'_> {
    pub(super) fn rows(
        &self,
        checkpoint: &CheckpointRef,
        now: &[Tensor],
    ) -> Result<Vec<MovementRow>> {
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
        let others = [Some(self.ends.init()), Some(self.ends.last()), self.before, self.next];
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
        let others = [Some(self.ends.init()), Some(self.ends.last()), self.before, self.next];
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
        let last = self.ends.last();
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
        let slices = match decompositions(now, leading.iter().map(|last| Some(last.r())))? {
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
pub(super) fn final_subspaces(tensor: &Tensor) -> Result<Subspaces> {
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
    Ok(decompositions(tensor, std::iter::repeat(None))?.map(subspaces))
}

/// The `tol` of table `spectra`.
fn tolerance(tensor: &Tensor, slice: &Decomposition) -> f64 {
    let (rows, cols) = (slice.u.nrows(), slice.vt.ncols());
    let (eps, path) = (storage_eps(tensor.dtype), storage_path(tensor.dtype));
    spectra::tolerance(&slice.sigma, rows, cols, eps, path)
}

/// Leading singular vectors of every slice, as many as given or as its [`subspace::dimension`] says; or
/// why one of them has none.
fn decompositions(
    tensor: &Tensor,
    counts: impl Iterator<Item = Option<usize>>,
) -> Result<Result<Vec<Decomposition>, Status>> {
    let [leading @ .., rows, cols] = tensor.shape.as_slice() else { return Ok(Ok(Vec::new())) };
    let (rows, cols) = (*rows, *cols);
    if tensor.values.is_empty() {
        return Ok(Err(Status::Empty));
    }
    let batch = leading.iter().product::<usize>();
    let values = tensor.values.to_shape((batch, rows, cols)).expect("the sizes multiply");
    let path = storage_path(tensor.dtype);
    let prepared: Result<Vec<_>, NoSpectrum> = (values.axis_iter(Axis(0)).zip(counts))
        .map(|(slice, count)| Ok((Prepared::new(slice)?, count, path)))
        .collect();
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return Ok(Err(no_spectrum(reason))),
    };
    let limit = |_: &_| watchdog::time_limit((rows, cols));
    let found = watchdog::each_in_time(prepared, limit, |(matrix, count, path)| match path {
        Path::Svd => matrix.singular_vectors(),
        Path::Gram => {
            let dimension = |sigma: &[f64]| subspace::dimension(sigma).unwrap_or(0);
            matrix.leading_vectors(|sigma| count.unwrap_or_else(|| dimension(sigma)))
        }
    })?;
    let found: Result<Vec<_>, NoSpectrum> =
        found.into_iter().map(|slice| slice.unwrap_or(Err(NoSpectrum::Timeout))).collect();
    Ok(found.map_err(no_spectrum))
}

#[cfg(test)]
mod tests;
