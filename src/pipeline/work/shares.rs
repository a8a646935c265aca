//! Blocks of table `shares`: each checkpoint against the one before it.
//!
//! In memory: for each thread one checkpoint with its network on all inputs, and the logits of the one
//! before.

use super::{Found, Work, memory};
use crate::error::Result;
use crate::pipeline::checkpoints::{Item, is_passing};
use crate::pipeline::measures::shares::{Before, row};
use crate::pipeline::measures::{MeasureKind, Rows};
use crate::pipeline::store::plan::Unit;
use crate::tables::Status;

impl Work<'_> {
    /// The rows of these checkpoints, each of them read once; `None` once a signal came.
    pub(super) fn shares(
        &self,
        unit: &Unit,
        rows: &mut Rows,
        observe: impl Fn(),
    ) -> Result<Option<Found>> {
        let range = unit.checkpoints.clone();
        let mut found = Found::default();
        let mut before: Option<Before> = None;
        for at in range.start.saturating_sub(1)..range.end {
            if self.stop.is_here() {
                return Ok(None);
            }
            let is_own = range.contains(&at);
            let source = &self.archive.runs[unit.run].checkpoints[at];
            let subject = &self.subjects[unit.run];
            let file = self.plan.runs[unit.run].checkpoints[at].file.clone();
            let item = Item { run: subject, source, file, io_timeout: self.io_timeout };
            let needed = memory(source, subject, &[MeasureKind::Shares]);
            let (read, result) = match self.admission.admit(&source.path, needed) {
                Err(error) => item.refused(self.archive, error),
                Ok(_permit) => item.consume(self.archive, |view| {
                    if is_own && self.strict {
                        view.require_flawless()?;
                    }
                    let of_one = is_own.then(|| {
                        let row = row(&view, before.as_ref());
                        let unsupported = view.unsupported() + view.changed();
                        let is_flawed = view.changed() > 0 || view.require_flawless().is_err();
                        (row, unsupported, is_flawed)
                    });
                    let reason = view.evaluation().map_or_else(|| view.unusable(), |_| Status::Ok);
                    let logits = view.into_evaluation().map(|evaluated| evaluated.logits);
                    Ok((of_one, logits.ok_or(reason)))
                }),
            };
            found.files.push(read);
            before = Some(match result {
                Ok((of_one, logits)) => {
                    if let Some((row, unsupported, is_flawed)) = of_one {
                        rows.shares.push(row);
                        found.unsupported += unsupported;
                        found.is_flawed |= is_flawed;
                    }
                    logits
                }
                Err(failed) => {
                    found.is_passing |= is_passing(&failed.error);
                    if is_own && self.strict {
                        return Err(failed.error);
                    }
                    // Of the one before, the block that it belongs to tells.
                    if is_own {
                        found.is_flawed = true;
                        found.internal_errors += usize::from(failed.internal);
                        found.failures.push(failed.row.into());
                    }
                    Err(Status::Missing)
                }
            });
            if is_own {
                observe();
            }
        }
        Ok(Some(found))
    }
}
