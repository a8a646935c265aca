//! `groundswell landscape --curvature …`: eigenvalues, trace and spectral density of Hessians at
//! checkpoints. Tables `curvature` and `spectral_density`.
//!
//! Products are in the number type of the checkpoint: from f32 weights, f32 products. Their rounding, about 1e-6
//! of the largest eigenvalue, is below any residual that is asked for; vectors of the recurrence are f64.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hessian::{objective, of_network};
use super::place::StepName;
use super::shelf::Shelf;
use super::{contexts, is_there, load, step_of};
use crate::archive::{self, Archive, CheckpointRef, Dtype, Run};
use crate::blas;
use crate::error::{Error, Result};
use crate::landscape::lanczos::{self, Eigenpair, Node, Probe, Stopped};
use crate::landscape::objective::Loss;
use crate::pipeline::measures::losses::landscape_status;
use crate::pipeline::measures::spectra::no_spectrum;
use crate::pipeline::output::{self, Output};
use crate::pipeline::run::{RunContext, list};
use crate::pipeline::{Observe, Summary, patience, pool};
use crate::tables::{CurvatureRow, Row, SpectralDensityRow, Status};
use crate::train::step::Threads;

/// Name under which the manifest keeps what the Hessians were computed from.
pub(super) const MEASURE: &str = "curvature";

/// How the spectrum of a Hessian is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Method {
    /// Number of eigenvalues
    pub top: usize,
    /// Largest residual that is accepted, as a share of the largest eigenvalue
    pub tolerance: f64,
    /// Number of random vectors
    pub probes: usize,
    /// Lanczos steps from each
    pub lanczos: usize,
    /// Of the vectors
    pub seed: u64,
}

/// Lanczos steps after which eigenvalues are taken as they are, for each eigenvalue asked for.
const MOST_STEPS: usize = 10;

impl Default for Method {
    fn default() -> Self {
        Self { top: 20, tolerance: 1e-3, probes: 8, lanczos: 40, seed: 0 }
    }
}

impl Method {
    /// # Errors
    /// [`Error::Setting`] for numbers that make no measurement.
    fn check(&self) -> Result<()> {
        for (name, value, most) in
            [("top", self.top, 200), ("probes", self.probes, 1000), ("lanczos", self.lanczos, 500)]
        {
            if !(1..=most).contains(&value) {
                let problem = format!("{value} is not in 1..={most}");
                return Err(Error::setting(name, problem, "leave it out for the usual number"));
            }
        }
        Ok(())
    }
}

/// Which Hessians.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    pub steps: &'a [StepName],
    pub losses: &'a [Loss],
    pub method: Method,
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// Measure the Hessians, in every run of the archive; add them to `curvature` and `spectral_density`.
///
/// Interrupted, it keeps the Hessians that are finished, and the same call continues. One that is there already,
/// measured in the same way at the same checkpoint, stays as it is.
///
/// # Errors
/// [`Error::Setting`], [`Error::StepNotSaved`], before anything is created; what is wrong with a
/// checkpoint; [`Error::Interrupted`]; otherwise as [`crate::pipeline::analyze::analyze`].
pub fn curvature(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    crate::linalg::require_sound()?;
    request.method.check()?;
    let archive = patience::open(request.archive, request.options)?;
    let mut summary = Summary::default();
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for run in &archive.runs {
        for step in request.steps {
            match step.checkpoint(run) {
                Ok(checkpoint) => {
                    items.extend(request.losses.iter().map(|loss| (run, checkpoint, *loss)));
                }
                Err(error) => errors.push(error),
            }
        }
    }
    items.dedup_by_key(|(run, checkpoint, loss)| (run.name.clone(), checkpoint.step, *loss));
    if items.is_empty() {
        let none = || Error::setting("curvature", "no checkpoint is asked for", "name a step");
        return Err(errors.into_iter().next().unwrap_or_else(none));
    }
    let contexts = contexts(items.iter().map(|(run, ..)| *run))?;
    summary.skipped = errors.len() + archive.unreadable.len();
    summary.warnings.extend(errors.iter().chain(&archive.unreadable).map(Error::to_string));
    summary.warnings.extend(contexts.values().filter_map(RunContext::key_warning));

    let mut output = Output::open(request.out, request.archive)?;
    let mut rows = output.rows::<CurvatureRow>()?;
    let mut density = output.rows::<SpectralDensityRow>()?;
    let before = output.parameters(MEASURE).and_then(Value::as_object).cloned();
    let mut provenance = before.unwrap_or_default();
    let items: Vec<Item<'_>> = items
        .into_iter()
        .map(|(run, checkpoint, loss)| Item { run, checkpoint, loss, method: request.method })
        .collect();
    let mut gone: Vec<String> = Vec::new();
    for (key, about) in provenance.clone() {
        if is_outdated(&about, &archive) {
            summary.warnings.push(format!("{key}: dropped, its checkpoints were replaced"));
            provenance.remove(&key);
            gone.push(key);
        }
    }
    let is_intact = output.is_intact(&[CurvatureRow::TABLE, SpectralDensityRow::TABLE])?;
    let (there, items): (Vec<Item<'_>>, Vec<_>) = items
        .into_iter()
        .partition(|item| is_intact && is_there(provenance.get(&item.key()), &item.provenance()));
    summary.reused = there.len();
    if items.is_empty() && gone.is_empty() {
        return Ok(summary);
    }
    gone.extend(items.iter().map(Item::key));
    rows.retain(|row| !gone.contains(&key(&row.run, row.step, &row.loss)));
    density.retain(|row| !gone.contains(&key(&row.run, row.step, &row.loss)));
    let pool = pool(request.threads)?;
    let mut shelves = Vec::new();
    for (done, item) in items.iter().enumerate() {
        let shelf = Shelf::open(request.out, &item.decides(&contexts[&item.run.name]))?;
        let found = match shelf.get::<Found>(0) {
            Some(found) => found,
            None => {
                let context = &contexts[&item.run.name];
                let found =
                    pool.install(|| item.measure(context, request.stop)).map_err(|error| {
                        match error {
                            Error::Interrupted { signal, .. } => Error::Interrupted {
                                signal,
                                done: format!("{done} of {} Hessians done", items.len()),
                                help: "finished ones are kept; the same command continues".into(),
                            },
                            error => error,
                        }
                    })?;
                shelf.put(0, &found)?;
                found
            }
        };
        observe(done + 1, items.len());
        summary.computed += 1;
        let (new_rows, new_density) = item.rows(found);
        rows.extend(new_rows);
        density.extend(new_density);
        provenance.insert(item.key(), item.provenance());
        shelves.push(shelf);
    }
    let contexts: Vec<&RunContext> = contexts.values().collect();
    let mut metadata = output::metadata(&archive, &contexts)?;
    metadata.insert("hessians".into(), Value::Object(provenance.clone()).to_string());
    let mut replacement = output.replace();
    replacement.table(rows, &metadata)?;
    replacement.table(density, &metadata)?;
    let provenance = [(MEASURE.to_owned(), Value::Object(provenance))];
    summary.tables = replacement.commit(provenance.into())?;
    shelves.into_iter().try_for_each(Shelf::clear)?;
    Ok(summary)
}

fn key(run: &str, step: i64, loss: &str) -> String {
    format!("{run} {step} {loss}")
}

/// Whether a Hessian is of checkpoints that the archive has others of now; of another archive's nobody knows.
pub(super) fn is_outdated(about: &Value, archive: &Archive) -> bool {
    let run = archive.runs.iter().find(|run| about["run"] == run.name.as_str());
    let Some(run) = run else { return false };
    let known = |name: &str| {
        let step = about[name]["step"].as_u64()?;
        Some(about[name]["blake3"].as_str() == run.checkpoint(step).ok()?.blake3.as_deref())
    };
    let last = run.checkpoints.last().map(|last| last.step) == about["final"]["step"].as_u64();
    !last || ["at", "final"].iter().any(|name| known(name) != Some(true))
}

/// The Hessian of one loss at one checkpoint.
struct Item<'a> {
    run: &'a Run,
    checkpoint: &'a CheckpointRef,
    loss: Loss,
    method: Method,
}

/// What is measured of a Hessian, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    status: String,
    /// Value and residual
    eigenvalues: Vec<(f64, f64)>,
    trace: Option<(f64, Option<f64>)>,
    /// Nodes and weights, probe by probe
    density: Vec<Vec<(f64, f64)>>,
}

impl Found {
    fn none(status: Status) -> Self {
        let status = status.to_string();
        Self { status, eigenvalues: Vec::new(), trace: None, density: Vec::new() }
    }
}

impl Item<'_> {
    fn key(&self) -> String {
        key(&self.run.name, step_of(self.checkpoint), self.loss.name())
    }

    fn provenance(&self) -> Value {
        let describe = |checkpoint: &CheckpointRef| json!({ "step": checkpoint.step, "blake3": checkpoint.blake3 });
        let Method { top, tolerance, probes, lanczos, seed } = self.method;
        json!({
            "run": self.run.name,
            "at": describe(self.checkpoint),
            "final": self.run.checkpoints.last().map(describe),
            "loss": self.loss.name(),
            "top": top,
            "tolerance": tolerance,
            "probes": probes,
            "lanczos": lanczos,
            "seed": seed,
            "generator": "ChaCha8",
            "blas": blas::info().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    /// Everything that decides the numbers.
    fn decides(&self, context: &RunContext) -> Value {
        let mut decides = self.provenance();
        decides["keys"] = context.keys.as_ref().map(|keys| list(&keys.keys)).into();
        if self.checkpoint.blake3.is_none() {
            decides["digest"] = self.checkpoint.digest().ok().map(|(_, digest)| digest).into();
        }
        decides
    }

    fn measure(&self, context: &RunContext, stop: &AtomicUsize) -> Result<Found> {
        let checkpoint = patience::load_within(context.io_timeout, self.checkpoint)?;
        let wide = checkpoint.tensors.iter().any(|tensor| tensor.dtype == Dtype::F64);
        let params = load(self.checkpoint, context)?;
        if !params.values.iter().all(|value| value.is_finite()) {
            return Ok(Found::none(Status::NonFinite));
        }
        let Some(objective) = objective(self.loss, context) else {
            return Ok(Found::none(match landscape_status(context) {
                Status::Ok => Status::Empty,
                status => status,
            }));
        };
        let spectrum = if wide {
            of_network::<f64, _>(context, &objective, &params, |h, len| {
                self.spectrum(h, len, stop)
            })?
        } else {
            let params = params.cast::<f32>();
            of_network::<f32, _>(context, &objective, &params, |h, len| {
                self.spectrum(h, len, stop)
            })?
        };
        Ok(spectrum.unwrap_or_else(|| Found::none(Status::UnknownNetwork)))
    }

    /// Eigenvalues, then probes, from products.
    fn spectrum(
        &self,
        product: &mut dyn FnMut(&[f64]) -> Vec<f64>,
        len: usize,
        stop: &AtomicUsize,
    ) -> Result<Found> {
        let Method { top, tolerance, probes, lanczos: steps, seed } = self.method;
        let mut product = |v: &[f64]| match stop.load(Ordering::Relaxed) {
            0 => Ok(product(v)),
            signal => Err(super::super::interrupted(signal, 0, 1)),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let start = lanczos::rademacher(len, &mut rng);
        let limits = (tolerance, MOST_STEPS * top + 40);
        let found = lanczos::top(&start, top, limits, &mut product, &Threads);
        let eigenpairs: Vec<Eigenpair> = match found {
            Ok(found) => found,
            Err(Stopped::Spectrum(reason)) => return Ok(Found::none(no_spectrum(reason))),
            Err(Stopped::Product(error)) => return Err(error),
        };
        let mut seen: Vec<Probe> = Vec::new();
        for _ in 0..probes {
            let start = lanczos::rademacher(len, &mut rng);
            match lanczos::quadrature(&start, steps, &mut product, &Threads) {
                Ok(probe) => seen.push(probe),
                Err(Stopped::Spectrum(reason)) => return Ok(Found::none(no_spectrum(reason))),
                Err(Stopped::Product(error)) => return Err(error),
            }
        }
        let nodes = |probe: &Probe| {
            probe.nodes.iter().map(|Node { node, weight }| (*node, *weight)).collect()
        };
        Ok(Found {
            status: Status::Ok.to_string(),
            eigenvalues: eigenpairs.iter().map(|pair| (pair.value, pair.residual)).collect(),
            trace: Some(lanczos::trace(&seen)),
            density: seen.iter().map(nodes).collect(),
        })
    }

    fn rows(&self, found: Found) -> (Vec<CurvatureRow>, Vec<SpectralDensityRow>) {
        let row = |index: usize| CurvatureRow {
            run: self.run.name.clone(),
            step: step_of(self.checkpoint),
            loss: self.loss.name().to_owned(),
            index: index as i64,
            eigenvalue: None,
            residual: None,
            trace: found.trace.map(|(trace, _)| trace),
            trace_standard_error: found.trace.and_then(|(_, error)| error),
            status: found.status.parse().unwrap_or(Status::InternalError),
        };
        let pairs = found.eigenvalues.iter().enumerate();
        let mut rows: Vec<CurvatureRow> = pairs
            .map(|(i, (value, residual))| CurvatureRow {
                eigenvalue: Some(*value),
                residual: Some(*residual),
                ..row(i)
            })
            .collect();
        if rows.is_empty() {
            rows.push(row(0));
        }
        let density = found.density.iter().enumerate().flat_map(|(probe, nodes)| {
            nodes.iter().enumerate().map(move |(index, (node, weight))| SpectralDensityRow {
                run: self.run.name.clone(),
                step: step_of(self.checkpoint),
                loss: self.loss.name().to_owned(),
                probe: probe as i64,
                index: index as i64,
                node: *node,
                weight: *weight,
            })
        });
        (rows, density.collect())
    }
}

/// The two largest eigenvalues of the Hessian of the train loss at a checkpoint, with their vectors.
pub(super) fn two_largest(
    checkpoint: &CheckpointRef,
    context: &RunContext,
) -> Result<[Eigenpair; 2]> {
    /// Steps after which the vectors are taken as they are.
    const MOST: usize = 200;
    let refused = |problem: String| {
        Error::setting("plane", format!("{}: {problem}", context.name), "choose another plane")
    };
    let params = load(checkpoint, context)?;
    let objective = objective(Loss::Train, context).ok_or_else(|| refused("no pairs".into()))?;
    let found = of_network::<f64, _>(context, &objective, &params, |product, len| {
        let start = lanczos::rademacher(len, &mut ChaCha8Rng::seed_from_u64(0));
        let mut product = |v: &[f64]| Ok::<_, Error>(product(v));
        let limits = (Method::default().tolerance, MOST);
        lanczos::top(&start, 2, limits, &mut product, &Threads).map_err(|why| match why {
            Stopped::Product(error) => error,
            Stopped::Spectrum(why) => refused(format!("its Hessian has no eigenvalues: {why:?}")),
        })
    })?;
    let pairs = found.ok_or_else(|| refused("there are no Hessians of this network".into()))?;
    pairs.try_into().map_err(|_| refused("its Hessian has a single eigenvalue".into()))
}
