//! `run.json`: everything that decides the bits of a run. Written first, and never changed.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::jsonl::problem;
use crate::blas::BlasInfo;
use crate::config::RunConfig;
use crate::error::{Error, Result};

/// The layout that this version writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// The content of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Version of the layout, [`FORMAT`].
    pub format: u32,
    pub config: RunConfig,
    pub versions: Versions,
    /// The linear-algebra library that trained the run. Kernels differ in the last bits.
    pub blas: BlasInfo,
    /// The training pairs `a·p + b`, where they came from a file that may be gone by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_pairs: Option<Vec<usize>>,
    /// BLAKE3 of the file that the initial weights came from, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_blake3: Option<String>,
}

/// What trained the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    pub groundswell: String,
}

impl RunInfo {
    /// For a run of this program.
    #[must_use]
    pub fn new(config: RunConfig, blas: BlasInfo, train_pairs: Option<Vec<usize>>) -> Self {
        let versions = Versions { groundswell: env!("CARGO_PKG_VERSION").into() };
        Self { format: FORMAT, config, versions, blas, train_pairs, init_blake3: None }
    }

    /// Read `run.json`.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::ArchiveFile`] with the line of the fault; [`Error::OtherRun`] if a
    /// later version wrote it.
    pub fn read(path: &Path) -> Result<Self> {
        /// The one field that every version of the layout has.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let text = fs::read(path).map_err(Error::read(path))?;
        let broken = |error: serde_json::Error| Error::ArchiveFile {
            path: path.to_owned(),
            line: error.line(),
            problem: problem(&error),
        };
        let Format { format } = serde_json::from_slice(&text).map_err(broken)?;
        if format != FORMAT {
            let differences = format!("format is {format} there, {FORMAT} here");
            return Err(Error::OtherRun { path: path.to_owned(), differences });
        }
        let info: Self = serde_json::from_slice(&text).map_err(broken)?;
        info.config.check().map_err(|error| Error::ArchiveFile {
            path: path.to_owned(),
            line: 1,
            problem: error.to_string(),
        })?;
        Ok(info)
    }

    /// The content of `run.json`, with a line per field.
    ///
    /// # Errors
    /// [`Error::Internal`]: a `RunInfo` can always be written.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec_pretty(self);
        let mut json = json.map_err(|error| Error::Internal(error.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }

    /// What makes this another run than `theirs`: `key is … there, … here`.
    #[must_use]
    pub fn differences(&self, theirs: &Self) -> Vec<String> {
        let mut found = self.config.differences(&theirs.config);
        if self.train_pairs != theirs.train_pairs {
            found.push("the pairs in the split file are not those of the run".into());
        }
        // Runs from before it was written down have none.
        if theirs.init_blake3.is_some() && self.init_blake3 != theirs.init_blake3 {
            found.push("the weights in the init file are not those of the run".into());
        }
        found
    }

    /// What would give other bits than the program that began the run, with the way out.
    #[must_use]
    pub fn program_differences(&self, theirs: &Self) -> Vec<String> {
        let fields = [
            ("groundswell", &theirs.versions.groundswell, &self.versions.groundswell),
            ("BLAS library", &theirs.blas.library, &self.blas.library),
            ("BLAS version", &theirs.blas.version, &self.blas.version),
        ];
        let differing = fields.iter().filter(|(_, there, here)| there != here);
        let mut found: Vec<String> = differing
            .map(|(name, there, here)| format!("{name} is {there} there, {here} here"))
            .collect();
        let (there, here) = (&theirs.blas.kernel, &self.blas.kernel);
        if there != here {
            let cure = match (theirs.blas.library.as_str(), self.blas.library.as_str()) {
                ("OpenBLAS", "OpenBLAS") => format!("set OPENBLAS_CORETYPE={there}"),
                (theirs, ours) if theirs == ours => "go on where it began".to_owned(),
                (theirs, _) => format!("use a build with {theirs}"),
            };
            found.push(format!(
                "BLAS kernel is {there} there, {here} here ({cure}, or begin a new run with --init)"
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::sample;

    #[test]
    fn run_json_round_trips_and_ends_in_a_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        for train_pairs in [None, Some(vec![3, 1, 2])] {
            let info = RunInfo { train_pairs, ..sample::info() };
            fs::write(&path, info.to_json().unwrap()).unwrap();
            assert_eq!(RunInfo::read(&path).unwrap(), info);
        }
    }

    #[test]
    fn faults_are_placed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let text = String::from_utf8(sample::info().to_json().unwrap()).unwrap();
        let message = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = RunInfo::read(&path).unwrap_err();
            (error.to_string().replace(&path.display().to_string(), "F"), error.exit_code())
        };
        let (text, code) = message("\"modulus\": 5,", "\"modulus\": 5,\n\"moduls\": 5,");
        assert!(text.starts_with("F: line 6: unknown field `moduls`, expected one of"), "{text}");
        assert_eq!(code, 4);
        let (text, _) = message("\"task\": \"add\"", "\"task\": \"ad\"");
        assert_eq!(text, "F: line 4: unknown task `ad`; did you mean `add`? (column 16)");
        let (text, code) = message("\"format\": 1", "\"format\": 2");
        assert_eq!(text, "F: written with different parameters: format is 2 there, 1 here");
        assert_eq!(code, 12);
        let (text, _) = message("{", "");
        assert!(text.starts_with("F: line 2: "), "{text}");
    }

    #[test]
    fn another_program_is_told_from_another_run() {
        let mine = sample::info();
        let mut theirs = mine.clone();
        theirs.blas.kernel = "Haswell".into();
        theirs.versions.groundswell = "9.0.0".into();
        assert!(mine.differences(&theirs).is_empty());
        let found = mine.program_differences(&theirs);
        assert_eq!(
            found[0],
            format!("groundswell is 9.0.0 there, {} here", env!("CARGO_PKG_VERSION"))
        );
        assert!(found[1].contains("set OPENBLAS_CORETYPE=Haswell"), "{}", found[1]);
        theirs.config.lr = 0.5;
        assert_eq!(mine.differences(&theirs), ["lr is 0.5 there, 0.001 here"]);
    }
}
