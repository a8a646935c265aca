//! One unit of an analysis: from checkpoints to committed blocks.

mod runs;
mod shares;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rayon::prelude::*;

use super::Observe;
use super::admission::{Admission, Permit};
use super::checkpoints::{Failed, Item, is_passing};
use super::dynamics::arrow::Arrows;
use super::dynamics::comparison::{Block, Comparison};
use super::measures::{self, MeasureKind, Rows, Scope};
use super::run::Subject;
use super::stop::Stop;
use super::store::Store;
use super::store::journal::{Line, ReadFile};
use super::store::plan::{Failure, Part, Plan, Unit};
use crate::archive::{Archive, CheckpointRef};
use crate::blas;
use crate::dynamics::trajectory::Weighting;
use crate::error::{Error, Result};
use crate::tables::{CheckpointRow, Status};

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
    /// One for each run
    pub arrows: Vec<Arrows<'a>>,
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
pub(super) struct Found {
    pub files: Vec<ReadFile>,
    pub failures: Vec<Failure>,
    pub internal_errors: usize,
    pub unsupported: usize,
    pub svd_fallbacks: usize,
    pub is_passing: bool,
    /// Some input could not be used in full, or is not finite
    pub is_flawed: bool,
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
        // The own measures of the same checkpoints have told of them already.
        let mut tells = own.is_empty() && !self.strict;
        for kind in compared {
            let compared = match kind {
                MeasureKind::Shares => {
                    let observe: fn(&Self) = if tells { Self::observe } else { |_| {} };
                    self.shares(unit, &mut rows, || observe(self))?
                }
                _ => self.compare(kind, unit, tells, &mut rows),
            };
            let Some(compared) = compared else { return Ok(None) };
            self.know(&compared.files);
            found.push((kind, compared));
            tells = false;
        }
        self.commit(unit, found, rows).map(Some)
    }

    /// The rows of a measure that looks at neighbours; `None` if the work was stopped.
    fn compare(
        &self,
        kind: MeasureKind,
        unit: &Unit,
        tells: bool,
        rows: &mut Rows,
    ) -> Option<Found> {
        let stopped = || self.stop.is_here();
        let observe: fn(&Self) = if tells { Self::observe } else { |_| {} };
        let range = unit.checkpoints.clone();
        let permit = self.admit_neighbours(unit, kind);
        if kind == MeasureKind::Arrow {
            let arrows = &self.arrows[unit.run];
            let block = match permit {
                Ok(_permit) => arrows.block(range, stopped, || observe(self))?,
                Err(error) => arrows.refused(range, &error),
            };
            let (own, found) = self.compared(block);
            rows.arrow = own;
            return Some(found);
        }
        let comparison = &self.comparisons[unit.run];
        let block = match permit {
            Ok(_permit) => comparison.block(range, stopped, || observe(self))?,
            Err(error) => comparison.refused(range, &error),
        };
        let (own, mut found) = self.compared(block);
        found.is_passing |= own.iter().any(|row| row.status == Status::SvdTimeout);
        rows.movement = own;
        Some(found)
    }

    /// What is found in a block, beside its rows.
    fn compared<R>(&self, block: Block<R>) -> (Vec<R>, Found) {
        let found = Found {
            is_flawed: !self.strict || !block.failures.is_empty(),
            files: block.files,
            internal_errors: block.failures.iter().filter(|failure| failure.internal).count(),
            failures: block.failures.into_iter().map(|failure| failure.row.into()).collect(),
            is_passing: block.is_passing,
            ..Found::default()
        };
        (block.rows, found)
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

    /// Memory for a checkpoint and those next to it, and for the network on all pairs where that is
    /// evaluated. (The ends of its run are there already, or are read now: one more each.)
    fn admit_neighbours(&self, unit: &Unit, kind: MeasureKind) -> Result<Permit<'_>> {
        let subject = &self.subjects[unit.run];
        let own = &self.archive.runs[unit.run].checkpoints[unit.checkpoints.clone()];
        let (path, bytes) = own
            .iter()
            .map(|source| {
                let (tensors, all) =
                    (memory(source, subject, &[]), memory(source, subject, &[kind]));
                (&source.path, 3 * tensors + all)
            })
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

    pub(super) fn know(&self, files: &[ReadFile]) {
        let Some(known) = &self.known else { return };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(files.iter().map(|read| (read.file.clone(), read.clone())));
    }

    pub(super) fn commit(
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
    let of_shares = network.filter(|_| kinds.contains(&MeasureKind::Shares)).map_or(0, |run| {
        // The logits of the checkpoint before; of a probe of the tangent kernels, and its parts; gradients.
        let logits = 8 * run.p() * run.p() * run.p();
        let gradients = 16 * measures::shares::PROBES * run.net.layout().len();
        if run.has_kernel(source.step) { 5 * logits + gradients } else { logits }
    });
    tensors + (grid + of_shares) as u64
}
