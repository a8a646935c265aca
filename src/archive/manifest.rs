//! `manifest.jsonl`: which files of a run exist, one line per file, in the order of their saving.
//!
//! The line is the commit: a file without one does not exist yet. `"removed": true` takes a file
//! back. Names are checked against the two that a run can have and never used as paths.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::jsonl::{self, Line};
use crate::error::{Error, Result};

/// The two kinds of files that a run saves per step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Weights,
    Optimizer,
}

impl Part {
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Weights => "checkpoints",
            Self::Optimizer => "optimizer",
        }
    }

    /// `checkpoints/step_00000100.safetensors`
    pub(super) fn name(self, step: u64) -> String {
        format!("{}/{}", self.folder(), file_name(step))
    }
}

/// `step_00000100.safetensors`: at least eight digits, so that names sort as their steps do.
pub(super) fn file_name(step: u64) -> String {
    format!("step_{step:08}.safetensors")
}

/// The step of a file name; `None` if it is not exactly what [`file_name`] gives.
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step_")?.strip_suffix(".safetensors")?.parse().ok()?;
    (file_name(step) == name).then_some(step)
}

/// What the manifest knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub bytes: u64,
    /// BLAKE3 of the whole file in hexadecimal.
    pub blake3: String,
}

/// One line: a file that was saved, or, with `removed`, one that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

/// The line that commits a file.
pub(super) fn saved_line(part: Part, step: u64, bytes: &[u8]) -> Result<String> {
    jsonl::line(&Record {
        name: part.name(step),
        bytes: Some(bytes.len() as u64),
        blake3: Some(blake3::hash(bytes).to_hex().to_string()),
        removed: false,
    })
}

/// The line that takes a file back.
pub(super) fn removed_line(part: Part, step: u64) -> Result<String> {
    jsonl::line(&Record::removed(part, step))
}

impl Record {
    fn removed(part: Part, step: u64) -> Self {
        Self { name: part.name(step), bytes: None, blake3: None, removed: true }
    }

    /// The file that the line is about.
    fn file(&self) -> Option<(Part, u64)> {
        [Part::Weights, Part::Optimizer].into_iter().find_map(|part| {
            let file = self.name.strip_prefix(part.folder())?.strip_prefix('/')?;
            Some((part, step_of(file)?))
        })
    }
}

/// The files of a run, by step.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub weights: BTreeMap<u64, Entry>,
    pub optimizer: BTreeMap<u64, Entry>,
    /// Files that a line has taken back and none brought again.
    pub removed: Vec<(Part, u64)>,
    /// The lines that the above stands in.
    lines: Vec<Line<Record>>,
}

impl Manifest {
    /// Read `manifest.jsonl`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::ArchiveFile`] for a line that cannot be read, or names a file that
    /// a run does not have.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(lines) = jsonl::read::<Record>(path)? else { return Ok(None) };
        Self::of(lines, path).map(Some)
    }

    /// The same from the bytes of the file.
    #[cfg(test)]
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::of(jsonl::parse(path, bytes)?, path)
    }

    fn of(lines: Vec<Line<Record>>, path: &Path) -> Result<Self> {
        let mut manifest = Self::default();
        for (index, line) in lines.into_iter().enumerate() {
            manifest.apply(line).map_err(|problem| Error::ArchiveFile {
                path: path.to_owned(),
                line: index + 1,
                problem,
            })?;
        }
        Ok(manifest)
    }

    fn apply(&mut self, line: Line<Record>) -> Result<(), String> {
        let record = &line.value;
        let foreign = || format!("{:?} is not the name of a file of a run", record.name);
        let (part, step) = record.file().ok_or_else(foreign)?;
        let files = match part {
            Part::Weights => &mut self.weights,
            Part::Optimizer => &mut self.optimizer,
        };
        match (record.bytes, &record.blake3, record.removed) {
            (Some(bytes), Some(blake3), false) => {
                files.insert(step, Entry { bytes, blake3: blake3.clone() });
                self.removed.retain(|file| *file != (part, step));
            }
            (None, None, true) => {
                files.remove(&step);
                self.removed.push((part, step));
            }
            _ => return Err("needs bytes and blake3, or removed".into()),
        }
        self.lines.push(line);
        Ok(())
    }

    /// Cut after the commit of the weights of `step`, or to nothing.
    pub(super) fn cut_after(&mut self, step: Option<u64>) -> Result<()> {
        let commit = step.map(|step| Part::Weights.name(step));
        let last = self
            .lines
            .iter()
            .rposition(|line| !line.value.removed && Some(&line.value.name) == commit.as_ref());
        let mut lines = std::mem::take(self).lines;
        lines.truncate(last.map_or(0, |last| last + 1));
        lines.into_iter().try_for_each(|line| self.apply(line)).map_err(Error::Internal)
    }

    /// Take a file back.
    pub(super) fn remove(&mut self, part: Part, step: u64) -> Result<()> {
        let line = Line { value: Record::removed(part, step), raw: removed_line(part, step)? };
        self.apply(line).map_err(Error::Internal)
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| line.raw.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_those_of_a_run_or_none() {
        assert_eq!(Part::Weights.name(100), "checkpoints/step_00000100.safetensors");
        assert_eq!(step_of("step_123456789.safetensors"), Some(123_456_789));
        for bad in ["step_100.safetensors", "step_+0000100.safetensors", "step_.safetensors"] {
            assert_eq!(step_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn later_lines_count_and_torn_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.jsonl");
        let text = [
            saved_line(Part::Optimizer, 1, b"o").unwrap(),
            saved_line(Part::Weights, 1, b"w").unwrap(),
            saved_line(Part::Optimizer, 2, b"o").unwrap(),
            saved_line(Part::Weights, 2, b"w").unwrap(),
            removed_line(Part::Optimizer, 1).unwrap(),
        ]
        .concat();
        for length in 0..=text.len() {
            fs::write(&path, &text[..length]).unwrap();
            let manifest = Manifest::read(&path).unwrap().unwrap();
            let complete = text[..length].matches('\n').count();
            assert_eq!(manifest.weights.len(), complete / 2);
            assert_eq!(manifest.optimizer.len(), [0, 1, 1, 2, 2, 1][complete]);
        }
        assert!(text.contains(r#"{"name":"optimizer/step_00000001.safetensors","removed":true}"#));
    }

    #[test]
    fn foreign_names_and_broken_lines_are_placed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.jsonl");
        let good = saved_line(Part::Weights, 0, b"w").unwrap();
        for (bad, problem) in [
            (good.replace("checkpoints/", "../"), "is not the name of a file of a run"),
            (good.replace("00000000", "0"), "is not the name of a file of a run"),
            (good.replace("bytes", "byte"), "unknown field `byte`"),
            ("\n".into(), "EOF while parsing"),
            (good.replace('}', ",\"removed\":true}"), "needs bytes and blake3, or removed"),
        ] {
            fs::write(&path, format!("{good}{bad}{good}")).unwrap();
            let message = Manifest::read(&path).unwrap_err().to_string();
            assert!(message.contains(": line 2: ") && message.contains(problem), "{message}");
        }
    }
}
