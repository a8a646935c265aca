//! `groundswell verify`: whether every byte is still what it was when it was written, or read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use super::patience::{self, patiently};
use super::store::journal::{Journal, Line};
use super::store::{self, Progress, block_file};
use super::{Observe, in_parallel, output};
use crate::archive::{self, Archive, CheckpointRef, read};
use crate::error::{Error, Result};
use crate::pipeline::checkpoints::relative;
use crate::tables::manifest;

/// What was compared, and what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub tables: usize,
    pub blocks: usize,
    /// Files of the archive
    pub inputs: usize,
    /// `FILE: what is wrong with it`
    pub damage: Vec<String>,
}

/// Compare the tables with the manifest, the blocks with the journal and, with an archive, its files
/// with the digests they had when they were measured.
///
/// # Errors
/// [`Error::NotFound`] for a folder that is none of tables; [`Error::TableFile`] for a damaged
/// manifest; what [`Archive::open_with`] says; [`Error::Interrupted`].
pub fn verify(
    tables: &Path,
    archive: Option<(&Path, &archive::Options)>,
    threads: usize,
    stop: &AtomicUsize,
    observe: Observe<'_>,
) -> Result<Verified> {
    let private = tables.join(store::PRIVATE);
    if !private.is_dir() && !tables.join(manifest::FILE).exists() {
        return Err(Error::NotFound { path: tables.to_owned(), kind: "folder of tables" });
    }
    let manifest = output::read_manifest(tables)?;
    let mut verified = Verified { tables: manifest.tables.len(), ..Verified::default() };
    let wrong = manifest.verify(tables)?.into_iter();
    verified.damage.extend(wrong.map(|mismatch| mismatch.to_string()));
    let journal = Journal::read(&private)?;
    verified.damage.extend(journal.damaged.clone());
    let lines: Vec<&Line> = match store::read_plan(tables) {
        // What earlier plans left behind is nobody's.
        Ok(Some(plan)) => {
            let units = plan.units();
            let of_plan = Progress::of(&plan, &units, &journal, |_| true);
            of_plan.lines.into_values().flatten().flatten().collect()
        }
        Ok(None) => Vec::new(),
        Err(error) => {
            verified.damage.push(error.to_string());
            Vec::new()
        }
    };
    let files: Vec<(&Line, &String)> =
        lines.iter().flat_map(|line| line.tables.keys().map(move |table| (*line, table))).collect();
    verified.blocks = lines.len();
    let found = in_parallel(&files, threads, stop, observe, |(line, table)| {
        let path = block_file(tables, line, table);
        let found = std::fs::read(&path).map(|bytes| blake3::hash(&bytes).to_hex().to_string());
        let shown = path.strip_prefix(tables).unwrap_or(&path).display().to_string();
        Ok(differs(&shown, &line.tables[*table].blake3, found.map_err(|error| error.to_string())))
    })?;
    verified.damage.extend(found.into_iter().flatten());
    if let Some((path, options)) = archive {
        let archive = patience::open(path, options)?;
        inputs(&mut verified, &archive, &lines, threads, stop, observe)?;
    }
    Ok(verified)
}

/// Compare the files of the archive with what the journal tells of them.
fn inputs(
    verified: &mut Verified,
    archive: &Archive,
    lines: &[&Line],
    threads: usize,
    stop: &AtomicUsize,
    observe: Observe<'_>,
) -> Result<()> {
    let here: BTreeMap<String, &CheckpointRef> =
        archive.checkpoints().map(|file| (relative(&file.path, &archive.path), file)).collect();
    let read = lines.iter().flat_map(|line| line.files.iter());
    let known: BTreeMap<&str, &str> =
        read.filter_map(|read| Some((read.file.as_str(), read.blake3.as_deref()?))).collect();
    let known: Vec<(&str, &str)> = known.into_iter().collect();
    verified.inputs = known.len();
    let io_timeout = archive.runs.first().and_then(|run| run.io_timeout);
    let found = in_parallel(&known, threads, stop, observe, |(name, expected)| {
        let path = archive.path.join(name);
        let file = here.get(*name).map(|file| CheckpointRef::clone(file));
        let digest = patiently(&path.clone(), io_timeout, move || match file {
            Some(file) => file.digest(),
            None => read::digest(&path),
        });
        let digest = digest.map(|(_, digest)| digest).map_err(|error| error.to_string());
        Ok(differs(name, expected, digest))
    })?;
    verified.damage.extend(found.into_iter().flatten());
    Ok(())
}

fn differs(name: &str, expected: &str, found: Result<String, String>) -> Option<String> {
    match found {
        Ok(found) if found == expected => None,
        Ok(found) => Some(format!("{name}: BLAKE3 mismatch: expected {expected}, found {found}")),
        Err(problem) => Some(format!("{name}: {problem}")),
    }
}
