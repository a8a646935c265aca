//! The journal: a line for every unit of a measure that is done.
//!
//! A line says what the rows were computed from and where they are. It is appended, and synced, after
//! the block has its final name; so a line without its block means that somebody removed it. A line
//! that is torn or changed counts as absent: what it told of is computed again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::canonical_digest;
use super::plan::Failure;
use crate::durable::{self, Log};
use crate::error::{Error, Result};
use crate::pipeline::measures::MeasureKind;

/// What is known of a finished unit of a measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// [`super::plan::Plan::basis`]
    pub basis: String,
    /// Above those of all lines that were there when its process began: of several about one basis
    /// the largest counts
    pub sequence: u64,
    pub measure: MeasureKind,
    pub run: String,
    /// All files that were read for it; measures of one unit share them
    #[serde(serialize_with = "files_out", deserialize_with = "files_in")]
    pub files: Arc<[ReadFile]>,
    /// Those of its own that could not be used
    pub failures: Vec<Failure>,
    /// How many of the failures are mistakes of the program
    pub internal_errors: usize,
    /// Tensors stored in types that are not read
    pub unsupported: usize,
    /// Matrices whose singular values did not come from the first driver
    pub svd_fallbacks: usize,
    /// The library and the kernel that computed
    pub blas: String,
    pub kernel: String,
    /// Whether the same files would give the same rows: not after an error of the device
    pub is_final: bool,
    /// Whether everything could be read and is finite, as `--strict` wants it
    pub is_flawless: bool,
    /// Files of the block, by table
    pub tables: BTreeMap<String, BlockFile>,
}

fn files_out<S: Serializer>(files: &Arc<[ReadFile]>, serializer: S) -> Result<S::Ok, S::Error> {
    files.as_ref().serialize(serializer)
}

fn files_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[ReadFile]>, D::Error> {
    Vec::deserialize(deserializer).map(Arc::from)
}

/// A file of the archive, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadFile {
    /// Path in the archive
    pub file: String,
    /// [`crate::archive::identity`] before it was read; none if it was not there
    pub identity: Option<String>,
    /// BLAKE3 of its bytes; none if they could not be used
    pub blake3: Option<String>,
}

/// A file of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockFile {
    pub blake3: String,
    pub bytes: u64,
    pub rows: u64,
}

impl Line {
    /// Digest of everything that decided the rows: the name of the block.
    #[must_use]
    pub fn key(&self) -> String {
        let digests: Vec<(&str, Option<&str>)> =
            self.files.iter().map(|read| (read.file.as_str(), read.blake3.as_deref())).collect();
        canonical_digest(&json!({
            "basis": self.basis,
            "files": digests,
            "failures": self.failures,
            "is_final": self.is_final,
        }))
    }

    /// The line, with a checksum and a newline.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON; none is known.
    pub fn to_text(&self) -> Result<String> {
        let internal = |error| Error::Internal(format!("journal: {error}"));
        let line = serde_json::to_value(self).map_err(internal)?;
        let sealed = json!({ "blake3": canonical_digest(&line), "line": line });
        Ok(format!("{sealed}\n"))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut sealed: Value = serde_json::from_slice(text).ok()?;
        let line = sealed["line"].take();
        (sealed["blake3"] == canonical_digest(&line).as_str()).then_some(())?;
        serde_json::from_value(line).ok()
    }
}

/// What all journals of a folder say, by basis.
#[derive(Debug, Default)]
pub struct Journal {
    lines: HashMap<String, Line>,
    /// One copy of each list of files
    files: HashSet<Arc<[ReadFile]>>,
    /// Lines that could not be read
    pub damaged: Vec<String>,
}

impl Journal {
    /// Read the journals in `folder`.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read(folder: &Path) -> Result<Self> {
        let mut journal = Self::default();
        for path in files(folder)? {
            let bytes = std::fs::read(&path).map_err(Error::read(&path))?;
            for (i, text) in whole_lines(&bytes).enumerate() {
                match Line::parse(text) {
                    Some(line) => journal.insert(line),
                    None => journal.damaged.push(format!(
                        "{}: journal line {} damaged: what it told of is computed again",
                        path.display(),
                        i + 1
                    )),
                }
            }
        }
        Ok(journal)
    }

    /// The line about this basis.
    #[must_use]
    pub fn get(&self, basis: &str) -> Option<&Line> {
        self.lines.get(basis)
    }

    /// Take in a line.
    pub fn insert(&mut self, mut line: Line) {
        if !self.files.insert(Arc::clone(&line.files))
            && let Some(known) = self.files.get(&line.files)
        {
            line.files = Arc::clone(known);
        }
        let newer = self.lines.get(&line.basis).is_some_and(|old| old.sequence > line.sequence);
        if newer {
            return;
        }
        self.lines.insert(line.basis.clone(), line);
    }

    /// The sequence number of lines to come.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.lines.values().map(|line| line.sequence + 1).max().unwrap_or(0)
    }

    /// All lines, in no order.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.values()
    }
}

/// The journals in a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(Error::read(folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::read(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("journal-") && name.ends_with(".jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The lines that end. A process that was killed, or is just appending, leaves one that does not.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n"))
}

/// Open the journal of a shard for appending, without the lines that nobody can read.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`].
pub fn open(path: &Path) -> Result<Log> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let good = whole_lines(&bytes).filter(|line| Line::parse(line).is_some());
            let good: Vec<u8> = good.flatten().copied().collect();
            if good.len() < bytes.len() {
                durable::write(path, &good)?;
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::read(path)(error)),
    }
    Log::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(basis: &str, blake3: &str) -> Line {
        Line {
            basis: basis.into(),
            sequence: 0,
            is_flawless: true,
            measure: MeasureKind::Spectra,
            run: "r\n\u{202e}".into(),
            files: Arc::from([ReadFile {
                file: "a".into(),
                identity: Some("1:2".into()),
                blake3: Some(blake3.into()),
            }]),
            failures: Vec::new(),
            internal_errors: 0,
            unsupported: 0,
            svd_fallbacks: 0,
            blas: "x".into(),
            kernel: "Zen".into(),
            is_final: true,
            tables: BTreeMap::new(),
        }
    }

    #[test]
    fn damaged_and_torn_lines_are_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal-00001-of-00001.jsonl");
        let mut log = open(&path).unwrap();
        for line in [line("1", "a"), line("2", "b"), line("3", "c"), line("1", "d")] {
            log.append(&line.to_text().unwrap()).unwrap();
        }
        drop(log);
        let journal = Journal::read(dir.path()).unwrap();
        assert_eq!(journal.damaged, [""; 0]);
        assert_eq!(journal.get("2"), Some(&line("2", "b")));
        assert_eq!(journal.get("1"), Some(&line("1", "d")), "the last counts");

        let good = std::fs::read(&path).unwrap();
        let second = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in second..second + line("2", "b").to_text().unwrap().len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let journal = Journal::read(dir.path()).unwrap();
            assert_eq!(journal.get("2"), None, "byte {at}");
            assert_eq!(journal.get("1"), Some(&line("1", "d")));
            assert!(journal.damaged[0].contains("journal line 2 damaged"), "{:?}", journal.damaged);
        }

        std::fs::write(&path, &good[..good.len() - 5]).unwrap();
        let mut log = open(&path).unwrap();
        log.append(&line("4", "e").to_text().unwrap()).unwrap();
        let journal = Journal::read(dir.path()).unwrap();
        assert_eq!(journal.damaged, [""; 0], "a torn end is cut off");
        assert_eq!(journal.get("4"), Some(&line("4", "e")));
        assert_eq!(journal.get("1"), Some(&line("1", "a")));

        // A damaged line is told of until the journal is written to again.
        let mut bytes = good.clone();
        bytes[second + 5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Journal::read(dir.path()).unwrap().damaged.len(), 1);
        drop(open(&path).unwrap());
        let journal = Journal::read(dir.path()).unwrap();
        assert_eq!((journal.damaged.len(), journal.get("3")), (0, Some(&line("3", "c"))));
    }

    /// Whatever the names of the journals: an older line of another process never comes back.
    #[test]
    fn the_newest_line_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, sequence: u64, blake3: &str| {
            let line = Line { sequence, ..line("1", blake3) };
            let mut log = open(&dir.path().join(format!("journal-{name}.jsonl"))).unwrap();
            log.append(&line.to_text().unwrap()).unwrap();
        };
        write("00002-of-00002", 3, "old");
        write("00001-of-00001", 4, "new");
        write("00001-of-00002", 1, "oldest");
        let journal = Journal::read(dir.path()).unwrap();
        assert_eq!(journal.get("1").unwrap().files[0].blake3.as_deref(), Some("new"));
        assert_eq!(journal.next(), 5);
    }

    #[test]
    fn a_key_is_of_the_bytes_that_were_read() {
        let (one, mut other) = (line("1", "a"), line("1", "a"));
        let unknown = ReadFile { identity: None, ..other.files[0].clone() };
        other.files = Arc::from([unknown]);
        other.kernel = "Haswell".into();
        assert_eq!(one.key(), other.key());
        let mut journal = Journal::default();
        journal.insert(one.clone());
        journal.insert(line("2", "a"));
        assert!(Arc::ptr_eq(&journal.lines["1"].files, &journal.lines["2"].files));
        assert!(one.key() != line("1", "b").key() && one.key() != line("2", "a").key());
        other.is_final = false;
        assert!(one.key() != other.key());
    }
}
