//! `groundswell landscape --plane …`: losses on a grid, and where the checkpoints of the run lie.
//! Tables `surface`, `plane_points`, `basins` and `resemblance`.
//!
//! The rows of the grid, then checkpoints in small groups, are the parts of the work: shared among
//! threads, each kept on the disk as soon as it is done.

mod survey;

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use serde_json::Value;

use self::survey::{Known, Survey};
use super::evaluate::Heights;
use super::is_there;
use super::kind::{Extent, PlaneKind};
use super::shapes::{basin_rows, resemblance_rows};
use super::shelf::Shelf;
use crate::archive::{self, Archive, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::filters::Vectors;
use crate::pipeline::output::{self, Output};
use crate::pipeline::run::RunContext;
use crate::pipeline::{Observe, Summary, patience};
use crate::tables::{BasinRow, PlanePointRow, ResemblanceRow, Row, Status, SurfaceRow};

/// Name under which the manifest keeps what the planes were computed from.
pub(super) const MEASURE: &str = "surface";

/// A finer grid than any figure can show is a slip of the keyboard.
const MOST_POINTS: usize = 2_000;

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
        if is_outdated(&plane, &archive) {
            summary.warnings.push(format!("{key}: dropped, its checkpoints were replaced"));
            let [run, kind] = ["run", "plane"].map(|name| plane[name].as_str().unwrap_or_default());
            gone.push((run.to_owned(), kind.to_owned()));
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
    // What checkpoints are themselves does not depend on the plane: one that is there knows it.
    let is_known = |row: &&PlanePointRow| {
        let of_plane = planes.get(&key(&row.run, &row.plane));
        let is_ours = |plane: &Value| {
            plane["blas"] == blas::info().to_string().as_str()
                && plane["version"] == env!("CARGO_PKG_VERSION")
        };
        is_intact && row.train_loss.is_some() && of_plane.is_some_and(is_ours)
    };
    let of_row = |row: &PlanePointRow| {
        let heights = Heights {
            train: row.train_loss,
            test: row.test_loss,
            excluded: row.excluded_loss_train,
            restricted: row.restricted_loss_all,
        };
        ((row.run.clone(), row.step), heights)
    };
    let known: Known = places.iter().filter(is_known).map(of_row).collect();
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
        let (new_heights, new_places) = survey.evaluate(request, &known, &shelf, observe)?;
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

/// Whether a plane was computed from checkpoints that the archive has others of now. Of a run that it does not
/// have nobody knows.
pub(super) fn is_outdated(plane: &Value, archive: &Archive) -> bool {
    let run = archive.runs.iter().find(|run| plane["run"] == run.name.as_str());
    run.is_some_and(|run| plane["inputs"] != inputs(run).as_str())
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

/// Under which the manifest keeps a plane of a run.
fn key(run: &str, plane: &str) -> String {
    format!("{run} {plane}")
}
