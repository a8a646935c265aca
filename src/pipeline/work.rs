//! One unit of an analysis: from checkpoints to committed blocks.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rayon::prelude::*;

use super::Observe;
use super::admission::{Admission, Permit};
use super::checkpoints::{Failed, Item, is_passing, relative, run_file_failure};
use super::dynamics::comparison::Comparison;
use super::dynamics::trajectory::{self, Points};
use super::measures::{MeasureKind, Rows, Scope};
use super::output::training;
use super::run::Subject;
use super::stop::Stop;
use super::store::Store;
use super::store::journal::{Line, ReadFile};
use super::store::plan::{Failure, Part, Plan, Unit};
use crate::archive::{Archive, CheckpointRef, identity, read};
use crate::blas;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::tables::{CheckpointRow, Status, TrajectoryRow};

/// All that units need.
pub(super) struct Work<'a> {
    /// Its runs and checkpoints are those of the plan.
    pub archive: &'a Archive,
    /// One for each run
    pub subjects: &'a [Subject],
    pub plan: &'a Plan,
    pub store: &'a Store,
    /// One for each run
    pub comparisons: Vec<Comparison<'a>>,
    pub weighting: Weighting,
    pub admission: Admission,
    pub io_timeout: Option<Duration>,
    /// A file that cannot be used, or is not finite, ends everything.
    pub strict: bool,
    pub stop: Stop<'a>,
    /// Checkpoints whose blocks are in place
    pub committed: AtomicUsize,
    /// Checkpoints measured, and to be measured
    pub done: AtomicUsize,
    pub total: usize,
    pub observe: Observe<'a>,
    /// Checkpoints as they were read, by path in the archive; where a measure of runs will ask
    pub known: Option<Mutex<BTreeMap<String, ReadFile>>>,
}

/// What a measure of a unit came to.
#[derive(Debug, Default)]
struct Found {
    files: Vec<ReadFile>,
    failures: Vec<Failure>,
    internal_errors: usize,
    unsupported: usize,
    svd_fallbacks: usize,
    is_passing: bool,
    /// Some input could not be used in full, or is not finite
    is_flawed: bool,
}

/// What is found in one checkpoint.
struct OfOne {
    rows: Rows,
    unsupported: usize,
    svd_fallbacks: usize,
    is_flawed: bool,
}

/// A checkpoint, measured.
type Measured = (ReadFile, Result<OfOne, Box<Failed>>);

impl Work<'_> {
    /// Compute these measures of a unit and commit them. `None` if a signal came too early.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::Internal`] for rows that make no table; with `strict` what is wrong
    /// with the first file.
    pub(super) fn unit(&self, unit: &Unit, kinds: &[MeasureKind]) -> Result<Option<Vec<Line>>> {
        if self.stop.is_near() {
            return Ok(None);
        }
        let result = match unit.scope {
            Part::Block => self.block(unit, kinds),
            Part::Run => self.run(unit, kinds),
        };
        if result.is_err() {
            self.stop.give_up();
        }
        result
    }

    fn block(&self, unit: &Unit, kinds: &[MeasureKind]) -> Result<Option<Vec<Line>>> {
        let (own, compared): (Vec<_>, Vec<_>) =
            kinds.iter().copied().partition(|kind| kind.scope() == Scope::Checkpoint);
        let mut rows = Rows::default();
        let mut found = Vec::new();
        // With `strict` also who only compares checkpoints looks at each of them.
        if !own.is_empty() || self.strict {
            let range = unit.checkpoints.clone().into_par_iter().with_max_len(1);
            let measured = range.map(|at| {
                let measured =
                    (!self.stop.is_here()).then(|| self.checkpoint(unit.run, at, &own))?;
                self.observe();
                Some(measured)
            });
            let Some(measured) = measured.collect::<Vec<_>>().into_iter().collect() else {
                return Ok(None);
            };
            let together = self.together(unit, measured, &own, &mut rows)?;
            found.extend(own.iter().map(|kind| (*kind, together.of(*kind))));
        }
        if !compared.is_empty() {
            let stopped = || self.stop.is_here();
            // The own measures of the same checkpoints have told of them already.
            let alone = own.is_empty() && !self.strict;
            let observe: fn(&Self) = if alone { Self::observe } else { |_| {} };
            let (range, comparison) = (unit.checkpoints.clone(), &self.comparisons[unit.run]);
            let block = match self.admit_neighbours(unit) {
                Ok(_permit) => comparison.block(range, stopped, || observe(self)),
                Err(error) => Some(comparison.refused(range, &error)),
            };
            let Some(block) = block else { return Ok(None) };
            rows.movement = block.rows;
            let is_flawed = !self.strict || !block.failures.is_empty();
            let late = rows.movement.iter().any(|row| row.status == Status::SvdTimeout);
            let compared = Found {
                is_flawed,
                files: block.files,
                internal_errors: block.failures.iter().filter(|failure| failure.internal).count(),
                failures: block.failures.into_iter().map(|failure| failure.row.into()).collect(),
                is_passing: block.is_passing || late,
                ..Found::default()
            };
            self.know(&compared.files);
            found.push((MeasureKind::Movement, compared));
        }
        self.commit(unit, found, rows).map(Some)
    }

    /// Load and measure one checkpoint.
    fn checkpoint(&self, run: usize, at: usize, kinds: &[MeasureKind]) -> Measured {
        let source = &self.archive.runs[run].checkpoints[at];
        let subject = &self.subjects[run];
        let item = Item {
            run: subject,
            source,
            file: self.plan.runs[run].checkpoints[at].file.clone(),
            io_timeout: self.io_timeout,
        };
        let permit = self.admission.admit(&source.path, memory(source, subject, kinds));
        let _permit = match permit {
            Ok(permit) => permit,
            Err(error) => return item.refused(self.archive, error),
        };
        item.measure(self.archive, |view| {
            if self.strict {
                view.require_flawless()?;
            }
            let rows = Rows::of(view, kinds)?;
            Ok(OfOne {
                unsupported: view.unsupported() + view.changed(),
                svd_fallbacks: view.svd_fallbacks.get(),
                is_flawed: view.changed() > 0 || view.require_flawless().is_err(),
                rows,
            })
        })
    }

    /// Memory for a checkpoint and those next to it. (The ends of its run are there already, or are read
    /// now: one more each.)
    fn admit_neighbours(&self, unit: &Unit) -> Result<Permit<'_>> {
        let subject = &self.subjects[unit.run];
        let own = &self.archive.runs[unit.run].checkpoints[unit.checkpoints.clone()];
        let (path, bytes) = own
            .iter()
            .map(|source| (&source.path, 4 * memory(source, subject, &[])))
            .max_by_key(|(_, bytes)| *bytes)
            .ok_or_else(|| Error::Internal("a block without checkpoints".into()))?;
        self.admission.admit(path, bytes)
    }

    /// The rows of a block's checkpoints, in their order.
    fn together(
        &self,
        unit: &Unit,
        measured: Vec<Measured>,
        kinds: &[MeasureKind],
        rows: &mut Rows,
    ) -> Result<Found> {
        let mut together = Found::default();
        for (at, (read, result)) in unit.checkpoints.clone().zip(measured) {
            match result {
                Ok(found) => {
                    together.is_passing |=
                        found.rows.spectra.iter().any(|row| row.status == Status::SvdTimeout);
                    rows.append(found.rows);
                    together.unsupported += found.unsupported;
                    together.svd_fallbacks += found.svd_fallbacks;
                    together.is_flawed |= found.is_flawed;
                }
                Err(failed) if self.strict => return Err(failed.error),
                Err(failed) => {
                    together.is_flawed = true;
                    together.internal_errors += usize::from(failed.internal);
                    together.is_passing |= is_passing(&failed.error);
                    if kinds.contains(&MeasureKind::Checkpoints) {
                        let source = &self.archive.runs[unit.run].checkpoints[at];
                        rows.checkpoints.push(unread(source, &read.file, &failed));
                    }
                    together.failures.push(failed.row.into());
                }
            }
            together.files.push(read);
        }
        self.know(&together.files);
        Ok(together)
    }

    fn run(&self, unit: &Unit, kinds: &[MeasureKind]) -> Result<Option<Vec<Line>>> {
        let mut rows = Rows::default();
        let mut found = Vec::new();
        for kind in kinds {
            let of_run = match kind {
                MeasureKind::Training => Some(self.training(unit.run, &mut rows)?),
                _ => self.trajectory(unit, &mut rows)?,
            };
            let Some(of_run) = of_run else { return Ok(None) };
            found.push((*kind, of_run));
        }
        self.commit(unit, found, rows).map(Some)
    }

    fn training(&self, run: usize, rows: &mut Rows) -> Result<Found> {
        let run = &self.archive.runs[run];
        let path = run.dir.join("metrics.jsonl");
        let identity = identity(std::slice::from_ref(&path));
        let mut found = Found::default();
        let mut digest = None;
        match training(run) {
            Ok(logged) => {
                rows.training = logged;
                digest = identity.as_ref().and_then(|_| read::digest(&path).ok()).map(|(_, d)| d);
                // The trainer may have gone on between the two reads.
                if self::identity(std::slice::from_ref(&path)) != identity {
                    (digest, found.is_passing) = (None, true);
                }
            }
            Err(error) if self.strict => return Err(error),
            Err(error) => {
                (found.is_passing, found.is_flawed) = (is_passing(&error), true);
                found.failures.push(run_file_failure(&error, run, self.archive).into());
            }
        }
        let file = relative(&path, &self.archive.path);
        found.files.push(ReadFile { file, identity, blake3: digest });
        Ok(found)
    }

    fn trajectory(&self, unit: &Unit, rows: &mut Rows) -> Result<Option<Found>> {
        let mut found = Found::default();
        let verified = unit.checkpoints.clone().into_par_iter().with_max_len(1);
        let verified =
            verified.map(|at| (!self.stop.is_here()).then(|| self.verified(unit.run, at)));
        let Some(verified) = verified.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        let mut usable = Vec::new();
        for (at, (read, failed)) in verified.into_iter().enumerate() {
            if read.blake3.is_some() {
                usable.push(at);
            }
            found.files.push(read);
            match failed {
                Some(failed) if self.strict => return Err(failed.error),
                Some(failed) => {
                    found.is_flawed = true;
                    found.is_passing |= is_passing(&failed.error);
                    found.internal_errors += usize::from(failed.internal);
                    found.failures.push(failed.row.into());
                }
                None => {}
            }
        }
        let work = || {
            trajectory::rows(&Points {
                archive: self.archive,
                run: &self.archive.runs[unit.run],
                usable: &usable,
                weighting: self.weighting,
                stopped: &|| self.stop.is_here(),
                observe: self.observe,
            })
        };
        let measured = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(measured) => measured,
            Err(panic) => {
                let error = Error::from_panic(panic.as_ref());
                let run = &self.archive.runs[unit.run];
                (found.internal_errors, found.is_passing) = (1, true);
                found.failures.push(run_file_failure(&error, run, self.archive).into());
                Some(trajectory::Measured::default())
            }
        };
        let Some(measured) = measured else { return Ok(None) };
        rows.trajectory = measured.rows;
        let late = |row: &TrajectoryRow| row.status == Status::SvdTimeout;
        found.is_passing |= rows.trajectory.iter().any(late);
        found.is_flawed |= rows.trajectory.iter().any(|row| row.status != Status::Ok);
        for failure in measured.failures {
            found.is_passing |= failure.is_passing;
            found.internal_errors += usize::from(failure.internal);
            found.failures.push(failure.row.into());
        }
        Ok(Some(found))
    }

    /// Whether the bytes of a checkpoint are good: as another measure found, or else by reading it.
    fn verified(&self, run: usize, at: usize) -> (ReadFile, Option<Box<Failed>>) {
        let source = &self.archive.runs[run].checkpoints[at];
        let file = self.plan.runs[run].checkpoints[at].file.clone();
        let known = self.known.as_ref().and_then(|known| {
            known.lock().unwrap_or_else(PoisonError::into_inner).get(&file).cloned()
        });
        if let Some(known) = known.filter(|known| known.blake3.is_some()) {
            return (known, None);
        }
        let item = Item { run: &self.subjects[run], source, file, io_timeout: self.io_timeout };
        let permit = self.admission.admit(&source.path, memory(source, item.run, &[]));
        let _permit = match permit {
            Ok(permit) => permit,
            Err(error) => {
                let (read, result) = item.refused::<()>(self.archive, error);
                return (read, result.err());
            }
        };
        // A checkpoint that is not of the network is a point, or has a status there.
        let (read, result) = item.read(self.archive, self.strict);
        (read, result.err())
    }

    fn know(&self, files: &[ReadFile]) {
        let Some(known) = &self.known else { return };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(files.iter().map(|read| (read.file.clone(), read.clone())));
    }

    fn commit(
        &self,
        unit: &Unit,
        found: Vec<(MeasureKind, Found)>,
        mut rows: Rows,
    ) -> Result<Vec<Line>> {
        let blas = blas::info();
        let blocks = found.into_iter().map(|(kind, found)| {
            let line = Line {
                basis: self.plan.basis(kind, unit),
                measure: kind,
                run: self.plan.runs[unit.run].name.clone(),
                files: found.files.into(),
                is_flawless: !found.is_flawed && found.failures.is_empty(),
                failures: found.failures,
                internal_errors: found.internal_errors,
                unsupported: found.unsupported,
                svd_fallbacks: found.svd_fallbacks,
                blas: format!("{} {}", blas.library, blas.version),
                kernel: blas.kernel.clone(),
                is_final: !found.is_passing,
                sequence: 0,
                tables: BTreeMap::new(),
            };
            Ok((line, rows.encode(kind)?))
        });
        let lines = self.store.commit(blocks.collect::<Result<_>>()?)?;
        if unit.scope == Part::Block {
            self.committed.fetch_add(unit.checkpoints.len(), Ordering::Relaxed);
        }
        Ok(lines)
    }

    fn observe(&self) {
        (self.observe)(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.total);
    }
}

impl Found {
    /// What of this is said of one measure.
    fn of(&self, kind: MeasureKind) -> Self {
        Self {
            files: self.files.clone(),
            failures: self.failures.clone(),
            internal_errors: self.internal_errors,
            unsupported: self.unsupported,
            svd_fallbacks: if kind == MeasureKind::Spectra { self.svd_fallbacks } else { 0 },
            is_passing: self.is_passing,
            is_flawed: self.is_flawed,
        }
    }
}

/// The row of a checkpoint that could not be read.
fn unread(source: &CheckpointRef, file: &str, failed: &Failed) -> CheckpointRow {
    CheckpointRow {
        run: source.run.clone(),
        step: i64::try_from(source.step).unwrap_or(i64::MAX),
        file: file.to_owned(),
        bytes: i64::try_from(source.bytes).unwrap_or(i64::MAX),
        status: failed.status,
        ..CheckpointRow::default()
    }
}

/// Memory that measuring a checkpoint takes at most, roughly: its tensors in f64, copies of those in
/// work, and the network on all pairs.
pub(super) fn memory(source: &CheckpointRef, subject: &Subject, kinds: &[MeasureKind]) -> u64 {
    /// From 16 bits to 64, and once more for what is computed from them.
    const WIDENED: u64 = 8;
    let length = std::fs::metadata(&source.path).map_or(source.bytes, |file| file.len());
    let tensors = WIDENED * length.max(source.bytes);
    let network =
        subject.network.as_ref().filter(|_| kinds.iter().any(|kind| kind.is_of_network()));
    let grid = network.map_or(0, |run| 16 * run.p() * run.p() * (run.p() + run.net.d_mlp()));
    tensors + grid as u64
}
