//! Units that are whole runs: what the trainer logged, and the trajectory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use rayon::prelude::*;

use super::{Found, Work, memory};
use crate::archive::{identity, read};
use crate::error::{Error, Result};
use crate::pipeline::checkpoints::{Failed, Item, is_passing, relative, run_file_failure};
use crate::pipeline::dynamics::trajectory::{self, Points};
use crate::pipeline::measures::{MeasureKind, Rows};
use crate::pipeline::output::training;
use crate::pipeline::store::journal::{Line, ReadFile};
use crate::pipeline::store::plan::Unit;
use crate::tables::{Status, TrajectoryRow};

impl Work<'_> {
    pub(super) fn run(&self, unit: &Unit, kinds: &[MeasureKind]) -> Result<Option<Vec<Line>>> {
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
        let before = identity(std::slice::from_ref(&path));
        let mut found = Found::default();
        let mut digest = None;
        match training(run) {
            Ok(logged) => {
                rows.training = logged;
                digest = before.as_ref().and_then(|_| read::digest(&path).ok()).map(|(_, d)| d);
                // The trainer may have gone on between the two reads.
                if identity(std::slice::from_ref(&path)) != before {
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
        found.files.push(ReadFile { file, identity: before, blake3: digest });
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
}
