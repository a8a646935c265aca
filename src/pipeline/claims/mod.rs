//! The essay's claims, from tables that are there.
//!
//! What is compared with what stands in [`crate::claims`]; here tables become arrays, and numbers rows.

mod aside;
mod blind;
mod families;
mod one;
pub mod onset;
mod planes;
pub mod series;
mod tables;
pub mod verdicts;
mod weights;

use std::path::Path;

use super::output::{self, Output};
use super::patience;
use crate::archive::{Archive, Options};
use crate::error::{Error, Result};
use crate::tables::{ProgressRow, Row, manifest};

/// An archive, and the folder of its tables; and the error for what is missing from them.
///
/// # Errors
/// [`Error::Incomplete`] if there is no table `progress`; otherwise as
/// [`super::analyze::analyze`].
fn open(
    archive: &Path,
    options: &Options,
    out: &Path,
) -> Result<(Archive, Output, impl Fn(&str) -> Error)> {
    let found = patience::open(archive, options)?;
    output::refuse_inside(out, archive)?;
    let help =
        format!("first run `groundswell analyze {} --out {}`", archive.display(), out.display());
    let path = out.to_owned();
    let missing = move |missing: &str| Error::Incomplete {
        path: path.clone(),
        missing: missing.to_owned(),
        help: help.clone(),
    };
    if !out.join(manifest::FILE).is_file() {
        return Err(missing("no tables"));
    }
    let output = Output::open(out, archive)?;
    if !output.has(ProgressRow::TABLE) {
        return Err(missing("no table `progress`"));
    }
    Ok((found, output, missing))
}
