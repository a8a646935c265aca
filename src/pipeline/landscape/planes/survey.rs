//! One plane of one run: its grid, and the checkpoints that are looked at on it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::{Request, inputs, key};
use crate::archive::{Archive, CheckpointRef, Dtype, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::plane::{Axis, Projection};
use crate::pipeline::landscape::evaluate::{Evaluator, Heights};
use crate::pipeline::landscape::kind::{Basis, Extent};
use crate::pipeline::landscape::shelf::Shelf;
use crate::pipeline::landscape::{load, step_of};
use crate::pipeline::measures::losses::landscape_status;
use crate::pipeline::run::{RunContext, Subject, list};
use crate::pipeline::{Observe, in_parallel};
use crate::tables::{PlanePointRow, Status, SurfaceRow};

/// Checkpoints that are one part of the work.
const GROUP: usize = 8;

/// Losses of checkpoints, by run and step.
pub(super) type Known = BTreeMap<(String, i64), Heights>;

/// A plane of one run, and everything that is looked at on it.
pub(super) struct Survey<'a> {
    pub run: &'a Run,
    pub context: RunContext,
    pub basis: Basis,
    inputs: String,
    /// Every checkpoint of the run, with its place, or why it has none
    places: Vec<(&'a CheckpointRef, Result<Projection, Status>)>,
    pub x: Axis,
    pub y: Axis,
    /// Whether the weights are f64: then so is everything
    wide: bool,
}

impl<'a> Survey<'a> {
    pub fn new(request: &Request<'_>, archive: &'a Archive, run: &'a Run) -> Result<Self> {
        let context = Subject::new(run)?.into_network()?;
        let mut basis =
            request.plane.basis(archive, run, &context, request.vectors, request.threads)?;
        // Grids about the same plane, near and far, can stand beside each other.
        if let Extent::Radius(radius) = request.extent {
            basis.name += &format!(" radius {radius}");
        }
        let all: Vec<&CheckpointRef> = run.checkpoints.iter().collect();
        let never = AtomicUsize::new(0);
        let projected = in_parallel(&all, request.threads, &never, &|_, _| {}, |checkpoint| {
            Ok(match load(checkpoint, &context) {
                Ok(theta) if theta.values.iter().all(|value| value.is_finite()) => {
                    Ok(basis.plane.project(&theta.values))
                }
                Ok(_) => Err(Status::NonFinite),
                Err(Error::MissingTensor { .. }) => Err(Status::Missing),
                Err(Error::Shape { .. } | Error::OtherWeights { .. }) => Err(Status::ShapeChanged),
                Err(_) => Err(Status::Unreadable),
            })
        })?;
        let places: Vec<_> = all.into_iter().zip(projected).collect();
        let known: Vec<Projection> =
            places.iter().filter_map(|(_, place)| place.as_ref().ok()).copied().collect();
        let (x, y) = request.extent.axes(&basis, &known, request.grid);
        let last = run.checkpoints.last().map(CheckpointRef::header).transpose()?;
        let tensors = last.iter().flat_map(|header| &header.tensors);
        let wide = tensors.into_iter().any(|tensor| tensor.dtype == Dtype::F64);
        Ok(Self { run, inputs: inputs(run), context, basis, places, x, y, wide })
    }

    pub fn key(&self) -> String {
        key(&self.run.name, &self.basis.name)
    }

    /// Whether rows of this run and plane are its rows.
    pub fn is_of(&self, run: &str, plane: &str) -> bool {
        (run, plane) == (self.run.name.as_str(), self.basis.name.as_str())
    }

    /// Files of the run that cannot be read.
    pub fn unreadable(&self) -> usize {
        self.places.iter().filter(|(_, place)| *place == Err(Status::Unreadable)).count()
    }

    /// Number of points: of the grid, and checkpoints.
    pub fn size(&self) -> usize {
        self.x.points * self.y.points + self.places.len()
    }

    /// For the manifest, and for the metadata of the tables.
    pub fn describe(&self) -> Value {
        let axis = |axis: &Axis| json!({ "from": axis.from, "to": axis.to, "points": axis.points });
        let mut about = json!({
            "run": self.run.name,
            "plane": self.basis.name,
            "inputs": self.inputs,
            "norms": self.basis.plane.norms(),
            "cosine": self.basis.plane.cosine(),
            "x": axis(&self.x),
            "y": axis(&self.y),
            "blas": blas::info().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        for (key, value) in &self.basis.about {
            about[key] = value.clone();
        }
        about
    }

    /// Everything that decides the numbers.
    pub fn decides(&self) -> Value {
        let mut decides = self.describe();
        decides["keys"] = self.context.keys.as_ref().map(|keys| list(&keys.keys)).into();
        let points = self.basis.plane.directions.iter().chain([&self.basis.plane.origin]);
        let digests = points.map(|values| {
            let mut hasher = blake3::Hasher::new();
            for value in values {
                hasher.update(&value.to_le_bytes());
            }
            hasher.finalize().to_hex().to_string()
        });
        decides["vectors"] = digests.collect::<Vec<_>>().into();
        decides
    }

    /// Losses at points of the plane, in the numbers of the checkpoints.
    fn at(&self, places: impl Iterator<Item = [f64; 2]>) -> Vec<Heights> {
        let points = places.map(|[x, y]| self.basis.plane.point(x, y));
        let evaluator = Evaluator::new(&self.context);
        if self.wide { evaluator.heights::<f64>(points) } else { evaluator.heights::<f32>(points) }
    }

    /// A row of the grid: all y at one x.
    fn row(&self, i: usize) -> Vec<Heights> {
        self.at((0..self.y.points).map(|j| [self.x.at(i), self.y.at(j)]))
    }

    /// Some checkpoints: each as it is, always in f64, then where it is projected.
    fn group(&self, group: usize, known: &Known) -> Result<Vec<Heights>> {
        let places = self.places.iter().skip(group * GROUP).take(GROUP);
        let places = places.map(|(checkpoint, place)| (checkpoint, place.as_ref().ok()));
        let evaluator = Evaluator::new(&self.context);
        let own = |checkpoint: &CheckpointRef| -> Result<Heights> {
            if let Some(own) = known.get(&(self.run.name.clone(), step_of(checkpoint))) {
                return Ok(*own);
            }
            let theta = load(checkpoint, &self.context)?.values.to_vec();
            let found = evaluator.heights::<f64>([theta].into_iter());
            Ok(found.into_iter().next().unwrap_or_default())
        };
        let projected = places.clone().filter_map(|(_, place)| place);
        let mut at_plane = self.at(projected.map(|place| [place.x, place.y])).into_iter();
        let mut heights = Vec::new();
        for (checkpoint, place) in places {
            heights.extend(match place {
                Some(_) => [own(checkpoint)?, at_plane.next().unwrap_or_default()],
                None => [Heights::default(); 2],
            });
        }
        Ok(heights)
    }

    /// All parts, those that are on the shelf from there.
    pub fn evaluate(
        &self,
        request: &Request<'_>,
        known: &Known,
        shelf: &Shelf,
        observe: Observe<'_>,
    ) -> Result<(Vec<SurfaceRow>, Vec<PlanePointRow>)> {
        let rows = self.x.points;
        let parts = rows + self.places.len().div_ceil(GROUP);
        let mut found: BTreeMap<usize, Vec<Heights>> =
            (0..parts).filter_map(|part| Some((part, shelf.get(part)?))).collect();
        let kept = found.len();
        if kept > 0 {
            tracing::info!("{}: resuming: {kept} of {parts} done", self.key());
        }
        let left: Vec<usize> = (0..parts).filter(|part| !found.contains_key(part)).collect();
        let tell = |done: usize, _: usize| observe(kept + done, parts);
        let new = in_parallel(&left, request.threads, request.stop, &tell, |part| {
            let heights =
                if *part < rows { self.row(*part) } else { self.group(*part - rows, known)? };
            shelf.put(*part, &heights)?;
            Ok(heights)
        });
        let new = new.map_err(|error| match error {
            Error::Interrupted { signal, done, .. } => Error::Interrupted {
                signal,
                done,
                help: "finished rows are kept; the same command continues".into(),
            },
            error => error,
        })?;
        found.extend(left.into_iter().zip(new));
        let mut found = found.into_values();
        let grid: Vec<Vec<Heights>> = found.by_ref().take(rows).collect();
        let points: Vec<Heights> = found.flatten().collect();
        Ok((self.surface(&grid), self.points(&points)))
    }

    fn surface(&self, grid: &[Vec<Heights>]) -> Vec<SurfaceRow> {
        let of_row = |(i, row): (usize, &Vec<Heights>)| {
            let rows = row.iter().enumerate().map(|(j, heights)| SurfaceRow {
                run: self.run.name.clone(),
                plane: self.basis.name.clone(),
                i: i as i64,
                j: j as i64,
                x: self.x.at(i),
                y: self.y.at(j),
                train_loss: heights.train,
                test_loss: heights.test,
                excluded_loss_train: heights.excluded,
                restricted_loss_all: heights.restricted,
                status: match heights.train {
                    Some(_) => landscape_status(&self.context),
                    None => Status::Overflow,
                },
            });
            rows.collect::<Vec<_>>()
        };
        grid.iter().enumerate().flat_map(of_row).collect()
    }

    fn points(&self, heights: &[Heights]) -> Vec<PlanePointRow> {
        let pairs = self.places.iter().zip(heights.as_chunks::<2>().0);
        let rows = pairs.map(|((checkpoint, place), [own, projected])| {
            let known = place.as_ref().ok();
            PlanePointRow {
                run: self.run.name.clone(),
                plane: self.basis.name.clone(),
                step: step_of(checkpoint),
                x: known.map(|place| place.x),
                y: known.map(|place| place.y),
                residual_norm: known.map(|place| place.residual_norm),
                residual_fraction: known.and_then(|place| place.residual_fraction),
                train_loss: own.train,
                train_loss_at_projection: projected.train,
                test_loss: own.test,
                excluded_loss_train: own.excluded,
                restricted_loss_all: own.restricted,
                status: match (place, own.train) {
                    (Err(status), _) => *status,
                    (Ok(_), None) => Status::Overflow,
                    (Ok(_), Some(_)) => landscape_status(&self.context),
                },
            }
        });
        rows.collect()
    }
}
