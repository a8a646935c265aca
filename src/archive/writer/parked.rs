//! The state of an interrupted run at a step that the schedule does not save.
//!
//! `RUN_DIR/.parked-<step>-<BLAKE3>.safetensors` holds weights and optimiser state, so that nothing
//! is computed twice. It is no part of the archive: its name is hidden, no manifest lists it, and
//! the next save removes it, so an interrupted run ends with the bytes of one that was not. The
//! digest in the name takes the place of a manifest line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Checkpoint, TensorRef, to_bytes};
use crate::archive::read;
use crate::durable;
use crate::error::{Error, Result};

/// Metadata key: the last step that was saved when this one was parked, or nothing.
const AFTER: &str = "after";

/// Write the state of `step`, `after` the last saved one. Returns its path.
pub(super) fn write(
    dir: &Path,
    step: u64,
    after: Option<u64>,
    tensors: &[TensorRef<'_>],
) -> Result<PathBuf> {
    let after = after.map_or_else(String::new, |step| step.to_string());
    let metadata: BTreeMap<String, String> =
        [("step".to_owned(), step.to_string()), (AFTER.to_owned(), after)].into();
    let bytes = to_bytes(tensors, &metadata)?;
    let digest = blake3::hash(&bytes).to_hex();
    let path = dir.join(format!(".parked-{step}-{digest}.safetensors"));
    durable::write(&path, &bytes)?;
    Ok(path)
}

/// The parked states in a run's folder, newest step first.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::read(dir))? {
        let path = entry.map_err(Error::read(dir))?.path();
        if let Some((step, _)) = parse(&path) {
            found.push((step, path));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A parked state that follows the save of `after`; `None` if it does not, or is damaged.
pub(super) fn load(path: &Path, after: Option<u64>) -> Option<Checkpoint> {
    let (step, digest) = parse(path)?;
    let contents = read::load(path, None, true).ok()?;
    let metadata = &contents.header.metadata;
    let follows = metadata.get(AFTER).is_some_and(|text| text.parse().ok() == after);
    if contents.blake3.as_deref() != Some(digest) || !follows {
        tracing::warn!(path = %path.display(), "not resumed from here: damaged, or out of place");
        return None;
    }
    Some(Checkpoint {
        step,
        header: contents.header,
        tensors: contents.tensors,
        bytes: contents.bytes,
        blake3: digest.to_owned(),
        path: path.to_owned(),
    })
}

/// Step and digest in the name.
fn parse(path: &Path) -> Option<(u64, &str)> {
    let name = path.file_name()?.to_str()?;
    let (step, digest) =
        name.strip_prefix(".parked-")?.strip_suffix(".safetensors")?.split_once('-')?;
    let hex = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((step.parse().ok()?, digest)).filter(|_| hex)
}
