//! `groundswell landscape --plane …`: losses on a grid, and where the checkpoints of the run lie.
//! Tables `surface`, `plane_points`, `basins` and `resemblance`.
//!
//! The rows of the grid, then checkpoints in small groups, are the parts of the work: shared among
//! threads, each kept on the disk as soon as it is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::evaluate::{Evaluator, Heights};
use super::kind::{Basis, Extent, PlaneKind};
use super::shapes::{basin_rows, resemblance_rows};
use super::shelf::Shelf;
use super::{is_there, load, step_of};
use crate::archive::{self, Archive, CheckpointRef, Dtype, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::filters::Vectors;
use crate::landscape::plane::{Axis, Projection};
use crate::pipeline::measures::losses::landscape_status;
use crate::pipeline::output::{self, Output};
use crate::pipeline::run::{RunContext, Subject, list};
use crate::pipeline::{Observe, Summary, in_parallel, patience};
use crate::tables::{BasinRow, PlanePointRow, ResemblanceRow, Row, Status, SurfaceRow};

/// Name under which the manifest keeps what the planes were computed from.
const MEASURE: &str = "surface";

/// A finer grid than any figure can show is a slip of the keyboard.
const MOST_POINTS: usize = 2_000;

/// Checkpoints that are one part of the work.
const GROUP: usize = 8;

/// Which plane to evaluate.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    pub plane: PlaneKind,
    /// What random directions are on biases
    pub vectors: Vectors,
    /// Points on each side of the grid
    pub grid: usize,
    pub extent: Extent,
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Evaluate the plane in every run of the archive; add it to `surface` and `plane_points`, and what its
/// surfaces look like to `basins` and `resemblance`.
///
/// Interrupted, it keeps the rows that are finished; the same call continues, and ends with the same
/// bytes. A plane that is there already, with the same grid and of the same checkpoints, stays as it is.
///
/// # Errors
/// [`Error::Setting`] for a grid without points or directions that span no plane, and
/// [`Error::StepNotSaved`], before anything is created; what is wrong with a checkpoint that the
/// plane goes through; [`Error::Interrupted`]; otherwise as [`crate::pipeline::analyze::analyze`].
pub fn plane(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    crate::linalg::require_sound()?;
    if !(2..=MOST_POINTS).contains(&request.grid) {
        let problem = format!("{} is not in 2..={MOST_POINTS}", request.grid);
        return Err(Error::setting("grid", problem, "51 is usual"));
    }
    request.extent.check()?;
    let archive = patience::open(request.archive, request.options)?;
    let mut summary = Summary::default();
    let (mut surveys, mut errors) = (Vec::new(), Vec::new());
    for run in &archive.runs {
        match Survey::new(request, &archive, run) {
            Ok(survey) => surveys.push(survey),
            Err(error) => errors.push(error),
        }
    }
    if surveys.is_empty() {
        let none = || Error::Internal("an archive without runs was opened".into());
        return Err(errors.into_iter().next().unwrap_or_else(none));
    }
    summary.skipped = errors.len() + archive.unreadable.len();
    summary.warnings.extend(errors.iter().chain(&archive.unreadable).map(Error::to_string));

    let mut output = Output::open(request.out, request.archive)?;
    let mut heights = output.rows::<SurfaceRow>()?;
    let mut places = output.rows::<PlanePointRow>()?;
    let mut basins = output.rows::<BasinRow>()?;
    let mut resemblance = output.rows::<ResemblanceRow>()?;
    let before = output.parameters(MEASURE).and_then(Value::as_object).cloned();
    let mut planes = before.unwrap_or_default();
    // Planes of checkpoints that are no longer those of the archive, and those computed anew now.
    let mut gone: Vec<(String, String)> = Vec::new();
    for (key, plane) in planes.clone() {
        let (name, kind) = (plane["run"].as_str(), plane["plane"].as_str().unwrap_or_default());
        let run = archive.runs.iter().find(|run| Some(run.name.as_str()) == name);
        if let Some(run) = run.filter(|run| plane["inputs"] != inputs(run).as_str()) {
            summary.warnings.push(format!("{key}: dropped, its checkpoints were replaced"));
            gone.push((run.name.clone(), kind.to_owned()));
            planes.remove(&key);
        }
    }
    let tables = [SurfaceRow::TABLE, PlanePointRow::TABLE, BasinRow::TABLE, ResemblanceRow::TABLE];
    let is_intact = output.is_intact(&tables)?;
    let (there, surveys): (Vec<Survey<'_>>, Vec<_>) = surveys.into_iter().partition(|survey| {
        let of_plane = places.iter().filter(|row| survey.is_of(&row.run, &row.plane));
        let mut before = of_plane.map(|row| row.status);
        let is_whole =
            survey.unreadable() == 0 && before.all(|status| status != Status::Unreadable);
        is_intact && is_whole && is_there(planes.get(&survey.key()), &survey.describe())
    });
    summary.reused = there.iter().map(Survey::size).sum();
    summary.warnings.extend(there.iter().filter_map(|survey| survey.context.key_warning()));
    if surveys.is_empty() && gone.is_empty() {
        return Ok(summary);
    }
    let anew = surveys.iter().map(|survey| (survey.run.name.clone(), survey.basis.name.clone()));
    gone.extend(anew);
    let is_gone = |run: &str, plane: &str| gone.iter().any(|(r, p)| r == run && p == plane);
    heights.retain(|row| !is_gone(&row.run, &row.plane));
    places.retain(|row| !is_gone(&row.run, &row.plane));
    basins.retain(|row| !is_gone(&row.run, &row.plane));
    resemblance.retain(|row| !is_gone(&row.run, &row.plane));
    let mut shelves = Vec::new();
    for survey in &surveys {
        let shelf = Shelf::open(request.out, &survey.decides())?;
        let (new_heights, new_places) = survey.evaluate(request, &shelf, observe)?;
        summary.computed += new_heights.len() + new_places.len();
        let unusable = survey.unreadable();
        if unusable > 0 {
            summary.skipped += unusable;
            summary.warnings.push(format!("{}: {unusable} files unreadable", survey.run.name));
        }
        summary.warnings.extend(survey.context.key_warning());
        let plane = &survey.basis.plane;
        basins.extend(basin_rows(plane, (survey.x, survey.y), &new_heights));
        resemblance.extend(resemblance_rows(plane, &new_heights));
        heights.extend(new_heights);
        places.extend(new_places);
        planes.insert(survey.key(), survey.describe());
        shelves.push(shelf);
    }
    let contexts: Vec<&RunContext> =
        there.iter().chain(&surveys).map(|survey| &survey.context).collect();
    let mut metadata = output::metadata(&archive, &contexts)?;
    metadata.insert("planes".into(), Value::Object(planes.clone()).to_string());
    let mut replacement = output.replace();
    replacement.table(heights, &metadata)?;
    replacement.table(places, &metadata)?;
    replacement.table(basins, &metadata)?;
    replacement.table(resemblance, &metadata)?;
    let provenance = [(MEASURE.to_owned(), Value::Object(planes))];
    summary.tables = replacement.commit(provenance.into())?;
    shelves.into_iter().try_for_each(Shelf::clear)?;
    Ok(summary)
}

/// Digest of the settings and checkpoints of a run: what its planes are computed from.
fn inputs(run: &Run) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    add(format!("{:?}", run.facts).as_bytes());
    add(&std::fs::read(run.dir.join("run.json")).unwrap_or_default());
    for checkpoint in &run.checkpoints {
        let digest = checkpoint.blake3.clone();
        let digest = digest.or_else(|| checkpoint.digest().ok().map(|(_, digest)| digest));
        add(&checkpoint.step.to_le_bytes());
        add(digest.unwrap_or_default().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// A plane of one run, and everything that is looked at on it.
struct Survey<'a> {
    run: &'a Run,
    context: RunContext,
    basis: Basis,
    inputs: String,
    /// Every checkpoint of the run, with its place, or why it has none
    places: Vec<(&'a CheckpointRef, Result<Projection, Status>)>,
    x: Axis,
    y: Axis,
    /// Whether the weights are f64: then so is everything
    wide: bool,
}

impl<'a> Survey<'a> {
    fn new(request: &Request<'_>, archive: &'a Archive, run: &'a Run) -> Result<Self> {
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

    fn key(&self) -> String {
        format!("{} {}", self.run.name, self.basis.name)
    }

    /// Whether rows of this run and plane are its rows.
    fn is_of(&self, run: &str, plane: &str) -> bool {
        (run, plane) == (self.run.name.as_str(), self.basis.name.as_str())
    }

    /// Files of the run that cannot be read.
    fn unreadable(&self) -> usize {
        self.places.iter().filter(|(_, place)| *place == Err(Status::Unreadable)).count()
    }

    /// Number of points: of the grid, and checkpoints.
    fn size(&self) -> usize {
        self.x.points * self.y.points + self.places.len()
    }

    /// For the manifest, and for the metadata of the tables.
    fn describe(&self) -> Value {
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
    fn decides(&self) -> Value {
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
    fn group(&self, group: usize) -> Result<Vec<Heights>> {
        let places = self.places.iter().skip(group * GROUP).take(GROUP);
        let mut own = Vec::new();
        for (checkpoint, place) in places.clone() {
            let known = place.is_ok();
            own.push(known.then(|| load(checkpoint, &self.context)).transpose()?);
        }
        let known = own.iter().flatten().map(|theta| theta.values.to_vec());
        let mut at_own = Evaluator::new(&self.context).heights::<f64>(known).into_iter();
        let projected = places.filter_map(|(_, place)| place.as_ref().ok());
        let mut at_plane = self.at(projected.map(|place| [place.x, place.y])).into_iter();
        let none = Heights::default();
        let pairs = own.iter().flat_map(|own| match own {
            Some(_) => [at_own.next().unwrap_or(none), at_plane.next().unwrap_or(none)],
            None => [none; 2],
        });
        Ok(pairs.collect())
    }

    /// All parts, those that are on the shelf from there.
    fn evaluate(
        &self,
        request: &Request<'_>,
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
            let heights = if *part < rows { self.row(*part) } else { self.group(*part - rows)? };
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
