//! Which files of a folder may be checkpoints, and of which kind.
//!
//! Reads names only. Hidden entries are left alone; what a save in progress leaves (`.tmp`,
//! `.incomplete`, `tmp-…`) is counted. Links are followed to the blobs of a Hugging Face cache and
//! inside the archive; out of it only if that was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::run::escaped;
use super::shards::{INDEX, Index};
use super::steps::without_shard;
use super::{Refused, is_run};
use crate::durable;
use crate::error::{Error, Misplaced, Result};

/// How deep folders are searched: no program nests its checkpoints like that.
const MAX_DEPTH: usize = 32;
/// Extensions of files that torch or pickle wrote.
pub(super) const PICKLES: [&str; 5] = ["pt", "pth", "bin", "ckpt", "pkl"];

/// A file that may be a checkpoint.
#[derive(Debug)]
pub(super) struct Candidate {
    pub path: PathBuf,
    /// The path below the archive, part by part, as text; the file without its extension.
    pub parts: Vec<String>,
    /// Which [`Cache`], if any.
    pub cache: Option<usize>,
    /// Device and inode: what tells two names of one file.
    pub inode: (u64, u64),
    /// Length of the file, or of all that the index names.
    pub bytes: u64,
    pub is_index: bool,
}

/// A repository in a Hugging Face cache.
#[derive(Debug)]
pub(super) struct Cache {
    /// Number of parts of its path below the archive.
    pub depth: usize,
    /// The name of each ref, and the commit that it names.
    pub refs: Vec<(String, String)>,
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Folders with a `run.json`, each with its path below the archive.
    pub runs: Vec<(PathBuf, Vec<String>)>,
    pub candidates: Vec<Candidate>,
    pub caches: Vec<Cache>,
    pub refused: Vec<Refused>,
    /// What a save in progress, or one that was interrupted, has left, by folder.
    pub unfinished: usize,
    /// Files that torch or pickle wrote.
    pub pickles: usize,
}

/// Search a folder and all below it.
///
/// # Errors
/// [`Error::Read`] if the folder itself cannot be listed; what is wrong below is in
/// [`Found::refused`].
pub(super) fn walk(root: &Path, follow_links: bool) -> Result<Found> {
    let canonical = fs::canonicalize(root).map_err(Error::read(root))?;
    let visited = BTreeSet::from([canonical.clone()]);
    let mut walk = Walk { root: canonical, follow_links, visited, found: Found::default() };
    walk.folder(root, &[], None)?;
    Ok(walk.found)
}

struct Walk {
    root: PathBuf,
    follow_links: bool,
    /// Folders that were searched through links, in their true names.
    visited: BTreeSet<PathBuf>,
    found: Found,
}

/// What an entry of a folder leads to.
enum Target {
    Folder,
    File,
    Nothing,
}

impl Walk {
    fn refuse(&mut self, path: PathBuf, why: Misplaced) {
        self.found.refused.push(Refused::new(Error::Misplaced { path: path.clone(), why }, path));
    }

    fn folder(&mut self, dir: &Path, parts: &[String], cache: Option<usize>) -> Result<()> {
        if is_run(dir) {
            self.found.runs.push((dir.to_owned(), parts.to_vec()));
            return Ok(());
        }
        let has = |name: &str| dir.join(name).is_dir();
        if cache.is_none() && has("snapshots") && (has("refs") || has("blobs")) {
            return self.cache(dir, parts);
        }
        let mut names: Vec<OsString> = Vec::new();
        // Listed to its end before the next is opened: one descriptor, however deep.
        for entry in fs::read_dir(dir).map_err(Error::read(dir))? {
            names.push(entry.map_err(Error::read(dir))?.file_name());
        }
        names.sort();
        let mut files = Vec::new();
        for name in names {
            let (path, text) = (dir.join(&name), escaped(&name));
            if durable::is_temporary(&text) {
                self.found.unfinished += 1;
                continue;
            }
            if text.starts_with('.') {
                continue;
            }
            match self.target(&path, &text, cache.is_some()) {
                Target::Nothing => {}
                Target::File => files.push((path, text)),
                Target::Folder if is_unfinished(&text) => self.found.unfinished += 1,
                Target::Folder if is_state(&text) || parts.len() >= MAX_DEPTH => {}
                Target::Folder => {
                    let below = [parts, &[text]].concat();
                    if let Err(error) = self.folder(&path, &below, cache) {
                        self.found.refused.push(Refused::new(error, path));
                    }
                }
            }
        }
        self.files(files, parts, cache);
        Ok(())
    }

    /// What to do with an entry: links may lead anywhere.
    fn target(&mut self, path: &Path, name: &str, in_cache: bool) -> Target {
        let Ok(entry) = fs::symlink_metadata(path) else { return Target::Nothing };
        if !entry.is_symlink() {
            return if entry.is_dir() { Target::Folder } else { Target::File };
        }
        let to = match fs::canonicalize(path) {
            Ok(to) => to,
            Err(error) => {
                let nowhere = if in_cache { Misplaced::BlobMissing } else { Misplaced::LinkBroken };
                let is_loop = error.kind() != ErrorKind::NotFound;
                // Other broken links are none of our business.
                if is_loop || is_checkpoint(name) {
                    let why = if is_loop { Misplaced::LinkLoop } else { nowhere };
                    self.refuse(path.to_owned(), why);
                }
                return Target::Nothing;
            }
        };
        let inside = to.starts_with(&self.root);
        if !to.is_dir() {
            let allowed = inside || self.follow_links || is_blob(&to, path);
            if !allowed && is_checkpoint(name) {
                self.refuse(path.to_owned(), Misplaced::LinkOutside);
                return Target::Nothing;
            }
            return Target::File;
        }
        let here = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
        if here.is_some_and(|here| here.starts_with(&to)) {
            self.refuse(path.to_owned(), Misplaced::LinkLoop);
            return Target::Nothing;
        }
        if inside {
            return Target::Nothing; // It is searched under its own name.
        }
        if !self.follow_links {
            self.refuse(path.to_owned(), Misplaced::LinkOutside);
            return Target::Nothing;
        }
        if self.visited.insert(to) { Target::Folder } else { Target::Nothing }
    }

    /// A repository as the Hugging Face libraries keep it: `refs/NAME` holds a commit, and
    /// `snapshots/COMMIT/` holds links into `blobs/`.
    fn cache(&mut self, dir: &Path, parts: &[String]) -> Result<()> {
        let mut refs = Vec::new();
        let mut folders = vec![(dir.join("refs"), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = format!("{prefix}{}", escaped(&entry.file_name()));
                let path = entry.path();
                let length = fs::metadata(&path).map_or(0, |file| file.len());
                if path.is_dir() {
                    folders.push((path, name + "/"));
                } else if (1..=1000).contains(&length)
                    && let Ok(commit) = fs::read_to_string(&path)
                {
                    refs.push((name, commit.trim().to_owned()));
                }
            }
        }
        refs.sort();
        self.found.caches.push(Cache { depth: parts.len(), refs });
        let cache = self.found.caches.len() - 1;
        let below = [parts, &["snapshots".to_owned()]].concat();
        self.folder(&dir.join("snapshots"), &below, Some(cache))
    }

    /// The files of one folder: single checkpoints, and indices with their shards.
    fn files(&mut self, files: Vec<(PathBuf, String)>, parts: &[String], cache: Option<usize>) {
        let mut named = BTreeSet::new();
        let mut has_broken_index = false;
        for (path, name) in files.iter().filter(|(_, name)| name.ends_with(INDEX)) {
            let index = Index::read(path).map(|index| index.files());
            has_broken_index |= index.is_err();
            let shards = index.unwrap_or_default();
            let length = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
            let bytes = shards.iter().map(length).sum();
            named.extend(shards);
            self.candidate(path, name, INDEX, bytes, parts, cache);
        }
        for (path, name) in files {
            if is_unfinished(&name) {
                self.found.unfinished += 1;
            } else if is_pickle(&path) {
                self.found.pickles += 1;
            } else if is_checkpoint(&name) && !name.ends_with(INDEX) && !named.contains(&path) {
                let stem = name.trim_end_matches(".safetensors");
                match without_shard(stem) {
                    Some(_) if has_broken_index => {} // It fails as a whole, and says why.
                    Some(_) => self.refuse(path, Misplaced::LoneShard),
                    None => {
                        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
                        self.candidate(&path, &name, ".safetensors", bytes, parts, cache);
                    }
                }
            }
        }
    }

    fn candidate(
        &mut self,
        path: &Path,
        name: &str,
        extension: &str,
        bytes: u64,
        parts: &[String],
        cache: Option<usize>,
    ) {
        let stem = name.strip_suffix(extension).unwrap_or(name).to_owned();
        self.found.candidates.push(Candidate {
            path: path.to_owned(),
            parts: [parts, &[stem]].concat(),
            cache,
            inode: fs::metadata(path).map_or((0, 0), |file| (file.dev(), file.ino())),
            bytes,
            is_index: extension == INDEX,
        });
    }
}

/// A safetensors file of weights, or the index of several.
fn is_checkpoint(name: &str) -> bool {
    (name.ends_with(".safetensors") || name.ends_with(INDEX)) && !is_state(name)
}

/// State of an optimiser, a schedule or a generator: saved beside the weights.
fn is_state(name: &str) -> bool {
    ["optim", "scheduler", "rng_state", "training_args"].iter().any(|word| name.starts_with(word))
}

/// Not there yet: the marks of the programs that save or download.
fn is_unfinished(name: &str) -> bool {
    name.starts_with("tmp-") || [".tmp", ".incomplete", ".part"].iter().any(|e| name.ends_with(e))
}

/// By its extension, what torch or pickle wrote.
pub(super) fn is_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| PICKLES.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Whether a link leads from `snapshots/` to `blobs/` of one repository.
fn is_blob(to: &Path, link: &Path) -> bool {
    let Some(blobs) = to.parent().filter(|folder| folder.ends_with("blobs")) else { return false };
    let repository = blobs.parent().unwrap_or(blobs);
    let here = link.parent().and_then(|folder| fs::canonicalize(folder).ok());
    here.is_some_and(|here| here.starts_with(repository.join("snapshots")))
}

/// What lies in a folder and the two levels below, by kind: `3 other files: 2 .pt, 1 .txt`. Hidden
/// files do not count.
pub(super) fn contents(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return Ok("this is a file, not a folder".into());
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::read(&folder))? {
            let entry = entry.map_err(Error::read(&folder))?;
            let (path, is_folder) =
                (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if is_folder && depth < 2 {
                folders.push((path, depth + 1));
            } else if !is_folder {
                let kind = path.extension().map_or_else(
                    || "without extension".to_owned(),
                    |extension| format!(".{}", extension.to_string_lossy().escape_debug()),
                );
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let total: usize = kinds.values().sum();
    if total == 0 {
        return Ok("no other files".into());
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count)); // Stable: then by name.
    let shown: Vec<String> =
        kinds.iter().take(5).map(|(kind, count)| format!("{count} {kind}")).collect();
    let more = if kinds.len() > 5 { ", …" } else { "" };
    let files = if total == 1 { "file" } else { "files" };
    Ok(format!("{total} other {files}: {}{more}", shown.join(", ")))
}
