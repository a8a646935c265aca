//! Table `trajectory`: the principal components of a run.
//!
//! In memory: the T×T inner products (a triangle, 4 T² bytes; twice as much and more while they are
//! decomposed) and one block of parameters of all checkpoints, 32 MB.

use std::ops::Range;

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::{Failure, attempt, is_parameter};
use crate::archive::{Archive, CheckpointRef, Run, Slices, float_bytes};
use crate::dynamics::gram::Gram;
use crate::dynamics::trajectory::{Weighting, trajectory};
use crate::error::{Error, Result};
use crate::pipeline::measures::spectra::no_spectrum;
use crate::pipeline::patience::{self, patiently};
use crate::tables::{Status, TrajectoryRow};

/// Memory for a block of parameters of all checkpoints, in f64.
const BLOCK_BYTES: usize = 32 << 20;

/// More checkpoints have no trajectory: their inner products would not fit into the memory of a
/// small machine.
const MOST_POINTS: usize = 8_192;

/// A checkpoint that is to be a point.
struct Point {
    /// Among the checkpoints of the run
    at: usize,
    slices: Slices,
    status: Status,
}

/// A run whose checkpoints are points.
pub(in crate::pipeline) struct Points<'a> {
    pub archive: &'a Archive,
    pub run: &'a Run,
    /// Those whose bytes are good
    pub usable: &'a [usize],
    pub weighting: Weighting,
    /// Whether to give up
    pub stopped: &'a dyn Fn() -> bool,
    /// Told the share that is done, in points
    pub observe: &'a (dyn Fn(usize, usize) + Sync),
}

/// Rows, and what went wrong since the checkpoints were found good.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Measured {
    pub rows: Vec<TrajectoryRow>,
    pub failures: Vec<Failure>,
}

/// The rows of a run; `None` once `stopped` says so. Uses the threads of the pool it is called in.
pub(in crate::pipeline) fn rows(request: &Points<'_>) -> Option<Measured> {
    let mut measured = Measured::default();
    let run = request.run;
    let step = |at: usize| i64::try_from(run.checkpoints[at].step).unwrap_or(i64::MAX);
    let usable = request.usable;
    let row = |at: usize, status| TrajectoryRow {
        run: run.name.clone(),
        step: step(at),
        status,
        ..TrajectoryRow::default()
    };
    let Some(found) = gram(request, &mut measured)? else {
        measured.rows.extend(usable.iter().map(|at| row(*at, Status::Missing)));
        return Some(measured);
    };
    let Found { gram, points, mut others } = found;
    let good: Vec<usize> = (0..points.len()).filter(|i| points[*i].status == Status::Ok).collect();
    let last = points.len() - 1;
    // Without its origin no other point has a place.
    if points[last].status == Status::Ok {
        let steps: Vec<i64> = good.iter().map(|i| step(points[*i].at)).collect();
        let inner = |s: usize, t: usize| gram.get(good[s], good[t]);
        match trajectory(inner, &request.weighting.weights(&steps)) {
            Ok(found) => {
                let explained = found.explained.map(|shares| shares.map(Some)).unwrap_or_default();
                for (i, point) in good.iter().zip(&found.points) {
                    let [pc1, pc2, pc3] = point.pc.map(Some);
                    measured.rows.push(TrajectoryRow {
                        pc1,
                        pc2,
                        pc3,
                        explained_1: explained[0],
                        explained_2: explained[1],
                        explained_3: explained[2],
                        residual_norm: Some(point.residual_norm),
                        residual_fraction: point.residual_fraction,
                        ..row(points[*i].at, Status::Ok)
                    });
                }
            }
            Err(reason) => others.extend(good.iter().map(|i| (points[*i].at, no_spectrum(reason)))),
        }
    } else {
        let status = points[last].status;
        others.extend(good.iter().map(|i| (points[*i].at, status)));
    }
    let bad = points.iter().filter(|point| point.status != Status::Ok);
    others.extend(bad.map(|point| (point.at, point.status)));
    // A file that failed since the checkpoints were measured is in `failures`, like all such.
    others.retain(|(_, status)| *status != Status::Unreadable);
    measured.rows.extend(others.into_iter().map(|(at, status)| row(at, status)));
    Some(measured)
}

/// The inner products of the points, relative to the last.
struct Found {
    gram: Gram,
    points: Vec<Point>,
    /// Checkpoints that are no points, and why
    others: Vec<(usize, Status)>,
}

/// Read all points, block of parameters by block: nothing once `stopped` says so, `Some(None)` if the
/// last checkpoint cannot be used.
#[expect(clippy::option_option, reason = "stopped, or without an origin")]
fn gram(request: &Points<'_>, measured: &mut Measured) -> Option<Option<Found>> {
    let Points { archive, run, usable, .. } = *request;
    let Some(last) = usable.last().copied().filter(|at| at + 1 == run.checkpoints.len()) else {
        return Some(None);
    };
    let header = match attempt(archive, &run.checkpoints[last], || {
        patience::header(run, &run.checkpoints[last])
    }) {
        Ok(header) => header,
        Err(failure) => {
            measured.failures.push(failure);
            return Some(None);
        }
    };
    let parameters: Vec<_> = header
        .tensors
        .iter()
        .filter(|tensor| float_bytes(tensor.dtype).is_some() && is_parameter(&tensor.name))
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
        .collect();
    let total: usize = parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();

    let (mut points, mut others) = (Vec::new(), Vec::new());
    for at in usable.iter().copied() {
        let checkpoint = &run.checkpoints[at];
        let mut reason = None;
        let opened = attempt(archive, checkpoint, || {
            match open(run, checkpoint, &parameters) {
                Err(Error::MissingTensor { .. }) => reason = Some(Status::Missing),
                Err(Error::Shape { .. }) => reason = Some(Status::ShapeChanged),
                result => return result.map(Some),
            }
            Ok(None)
        });
        match opened {
            Ok(Some(slices)) => points.push(Point { at, slices, status: Status::Ok }),
            Ok(None) => others.push((at, reason.unwrap_or(Status::Missing))),
            Err(failure) => measured.failures.push(failure),
        }
    }
    if points.last().is_none_or(|point| point.at != last) {
        return Some(None);
    }
    if points.len() > MOST_POINTS {
        points.iter_mut().for_each(|point| point.status = Status::TooLarge);
        return Some(Some(Found { gram: Gram::new(0), points, others }));
    }

    let mut gram = Gram::new(points.len());
    let width = (BLOCK_BYTES / 8 / points.len()).next_multiple_of(64);
    let blocks: Vec<Range<usize>> =
        (0..total).step_by(width).map(|start| start..(start + width).min(total)).collect();
    for (done, block) in blocks.iter().enumerate() {
        if (request.stopped)() {
            return None;
        }
        add(request, block.clone(), &mut points, &mut gram, measured);
        // In parts of all checkpoints, so that what is told are checkpoints.
        (request.observe)(points.len() * (done + 1) / blocks.len(), points.len());
    }
    Some(Some(Found { gram, points, others }))
}

/// Where these tensors lie in a checkpoint.
fn open(run: &Run, checkpoint: &CheckpointRef, tensors: &[(&str, &[usize])]) -> Result<Slices> {
    let source = checkpoint.clone();
    let tensors: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
    patiently(&checkpoint.path, run.io_timeout, move || {
        Slices::open(&source, tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))
    })
}

/// A range of the parameters of a checkpoint. Such reads are short and many: only with a limit does each
/// have a thread of its own.
fn read_slices(
    run: &Run,
    checkpoint: &CheckpointRef,
    slices: &Slices,
    range: Range<usize>,
) -> Result<Vec<f64>> {
    let read = |slices: &Slices, range: Range<usize>| {
        let mut values = Vec::with_capacity(range.len());
        slices.read(range, &mut values).map(|()| values)
    };
    if run.io_timeout.is_none() {
        return read(slices, range);
    }
    let slices = slices.clone();
    patiently(&checkpoint.path, run.io_timeout, move || read(&slices, range))
}

/// Add the products over one block of parameters.
fn add(
    request: &Points<'_>,
    block: Range<usize>,
    points: &mut [Point],
    gram: &mut Gram,
    measured: &mut Measured,
) {
    let width = block.len();
    // Points that are out stay in as zeros: nobody asks for their products.
    let read = |point: &Point| {
        let mut values = Vec::new();
        if point.status == Status::Ok {
            let checkpoint = &request.run.checkpoints[point.at];
            values = attempt(request.archive, checkpoint, || {
                read_slices(request.run, checkpoint, &point.slices, block.clone())
            })?;
        }
        values.resize(width, 0.0);
        Ok(values)
    };
    let rows: Vec<Result<Vec<f64>, Failure>> =
        points.par_iter().with_max_len(1).map(read).collect();
    let mut x = Array2::zeros((points.len(), width)); // [points, parameters of the block]
    for ((point, row), mut target) in points.iter_mut().zip(rows).zip(x.axis_iter_mut(Axis(0))) {
        match row {
            Ok(row) if row.iter().all(|value| value.is_finite()) => {
                target.iter_mut().zip(row).for_each(|(target, value)| *target = value);
            }
            Ok(_) => point.status = Status::NonFinite,
            Err(failure) => {
                point.status = Status::Unreadable;
                measured.failures.push(failure);
            }
        }
    }
    let origin = x.row(points.len() - 1).to_owned();
    for (point, mut row) in points.iter().zip(x.axis_iter_mut(Axis(0))) {
        if point.status == Status::Ok {
            row -= &origin;
        }
    }
    gram.panels_mut().par_iter_mut().with_max_len(1).for_each(|panel| panel.add(x.view()));
}
