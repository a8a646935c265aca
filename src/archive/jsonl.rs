//! Files of one JSON object per line, as the logs of a run are.
//!
//! A last line without a newline was torn by a kill, and counts as absent. Any other line that
//! cannot be read is an error: nothing but damage can have put it there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A line, parsed and as it stands.
#[derive(Debug, Clone)]
pub(super) struct Line<T> {
    pub value: T,
    /// With its newline.
    pub raw: String,
}

/// All complete lines of a file; `None` if there is no such file.
///
/// # Errors
/// [`Error::Read`]; [`Error::ArchiveFile`] for the first line that cannot be read.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<Line<T>>>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.map_err(Error::read(path))?,
    };
    parse(path, &bytes).map(Some)
}

/// The same from the bytes of the file; `path` serves the messages only.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<Vec<Line<T>>> {
    let mut lines = Vec::new();
    for (index, raw) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if !raw.ends_with(b"\n") {
            break;
        }
        let broken =
            |problem| Error::ArchiveFile { path: path.to_owned(), line: index + 1, problem };
        let raw = str::from_utf8(raw).map_err(|error| broken(error.to_string()))?;
        let value = serde_json::from_str(raw).map_err(|error| broken(problem(&error)))?;
        lines.push(Line { value, raw: raw.to_owned() });
    }
    Ok(lines)
}

/// What serde_json has to say, without its own `at line 1 column 2`.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let problem = text.strip_suffix(&place).unwrap_or(&text);
    format!("{problem} (column {})", error.column())
}

/// One line for `value`.
///
/// # Errors
/// [`Error::Internal`]: our own types can always be written.
pub(super) fn line<T: serde::Serialize>(value: &T) -> Result<String> {
    let json = serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(json + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_absent_and_a_broken_one_is_placed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        assert!(read::<u64>(&path).unwrap().is_none());
        let values = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            let lines = read::<u64>(&path)?.unwrap();
            Ok::<_, Error>(lines.iter().map(|line| line.value).collect::<Vec<_>>())
        };
        assert!(values(b"").unwrap().is_empty());
        assert_eq!(values(b"1\n2\n").unwrap(), [1, 2]);
        assert_eq!(values(b"1\n2").unwrap(), [1]);
        assert_eq!(values(b"1\n\xc3").unwrap(), [1], "half a character");
        let error = values(b"1\n{\n3\n").unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("AR21", 4));
        let expected = format!("{}: line 2: invalid type: map", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(values(b"1\n\n3\n").is_err(), "an empty line is not torn");
    }
}
