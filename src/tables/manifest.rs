//! `manifest.json`: the digests of a folder of tables.
//!
//! It is written last, so its presence means that the folder is complete; whoever reads a table
//! can check the bytes against it. The same tables give the same manifest, byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::join::{Joinable, Joined};
use super::row::Row;
use crate::error::{Error, Result};

/// Name of the manifest in a folder of tables.
pub const FILE: &str = "manifest.json";

/// What a folder of tables holds. Fields are in the order of the file: sorted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Parameters of each measure, by its name.
    pub parameters: BTreeMap<String, Value>,
    /// The tables by name; the file of `progress` is `progress.parquet`.
    pub tables: BTreeMap<String, Entry>,
    /// Version of the program that wrote the tables.
    pub version: String,
}

/// One table of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// BLAKE3 of the file, in hexadecimal.
    pub blake3: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Number of rows of the table.
    pub rows: u64,
    /// Version of the table's schema.
    pub schema_version: u32,
}

/// A file of the folder that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Name of the file in the folder.
    pub file: String,
    pub problem: Problem,
}

/// In what a file differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The manifest lists it, the folder lacks it.
    Missing,
    /// The folder holds it, the manifest does not list it.
    Unlisted,
    /// It could not be read, for this reason.
    Unreadable(String),
    /// Its size in bytes.
    Size { expected: u64, found: u64 },
    /// Its BLAKE3.
    Digest { expected: String, found: String },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match &self.problem {
            Problem::Missing => f.write_str("is missing"),
            Problem::Unlisted => write!(f, "is not in {FILE}"),
            Problem::Unreadable(reason) => f.write_str(reason),
            Problem::Size { expected, found } => {
                write!(f, "has {found} bytes, expected {expected}")
            }
            Problem::Digest { expected, found } => {
                write!(f, "BLAKE3 mismatch: expected {expected}, found {found}")
            }
        }
    }
}

impl Manifest {
    /// A manifest without tables, of this version of the program.
    #[must_use]
    pub fn new(parameters: BTreeMap<String, Value>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { parameters, tables: BTreeMap::new(), version }
    }

    /// Lists a table by the bytes of its file and its number of rows.
    pub fn insert<R: Row>(&mut self, bytes: &[u8], rows: u64) {
        let entry = Entry {
            blake3: blake3::hash(bytes).to_hex().to_string(),
            bytes: bytes.len() as u64,
            rows,
            schema_version: R::VERSION,
        };
        self.tables.insert(R::TABLE.to_owned(), entry);
    }

    /// Lists a table that was joined from blocks.
    pub fn insert_joined(&mut self, table: &Joinable, joined: Joined) {
        let Joined { rows, bytes, blake3 } = joined;
        let entry = Entry { blake3, bytes, rows, schema_version: table.version };
        self.tables.insert(table.table.to_owned(), entry);
    }

    /// The bytes of the file: indented JSON with sorted keys and a newline at the end.
    ///
    /// # Errors
    /// [`Error::Internal`] if the parameters cannot be written as JSON; none are known.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut sorted = self.clone();
        sorted.parameters.values_mut().for_each(Value::sort_all_objects);
        let mut json = serde_json::to_vec_pretty(&sorted)
            .map_err(|error| Error::Internal(format!("{FILE}: {error}")))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads the bytes of a manifest; `origin` is the path that messages name.
    ///
    /// # Errors
    /// [`Error::TableFile`] if they are none, or name a table that would lie elsewhere.
    pub fn parse(origin: &Path, json: &[u8]) -> Result<Self> {
        let bad = |problem: String| Error::TableFile { path: origin.to_owned(), problem };
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| bad(format!("not a manifest of tables: {error}")))?;
        // The names become paths, so `../x` must not get further than this.
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match manifest.tables.keys().find(|name| !plain(name)) {
            Some(name) => Err(bad(format!("{name:?} is no name of a table"))),
            None => Ok(manifest),
        }
    }

    /// Compares every table of `folder` with the manifest, and returns what differs, by file.
    /// An empty list means that all listed bytes are intact and no other table lies there.
    ///
    /// # Errors
    /// [`Error::Read`] if the folder itself cannot be listed.
    pub fn verify(&self, folder: &Path) -> Result<Vec<Mismatch>> {
        let mut mismatches = Vec::new();
        for (table, entry) in &self.tables {
            let file = format!("{table}.parquet");
            let problem = match entry.check(&folder.join(&file)) {
                Ok(problem) => problem,
                Err(error) if error.kind() == ErrorKind::NotFound => Some(Problem::Missing),
                Err(error) => Some(Problem::Unreadable(error.to_string())),
            };
            mismatches.extend(problem.map(|problem| Mismatch { file, problem }));
        }
        for found in folder.read_dir().map_err(Error::read(folder))? {
            let file = found.map_err(Error::read(folder))?.file_name().display().to_string();
            let listed = |table: &str| self.tables.contains_key(table) || table.starts_with('.');
            if file.strip_suffix(".parquet").is_some_and(|table| !listed(table)) {
                mismatches.push(Mismatch { file, problem: Problem::Unlisted });
            }
        }
        mismatches.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(mismatches)
    }
}

impl Entry {
    /// How the file differs from this entry; `None` if it does not.
    fn check(&self, path: &Path) -> io::Result<Option<Problem>> {
        let file = File::open(path)?;
        let found = file.metadata()?.len();
        if found != self.bytes {
            return Ok(Some(Problem::Size { expected: self.bytes, found }));
        }
        let found = blake3::Hasher::new().update_reader(file)?.finalize().to_hex().to_string();
        let expected = self.blake3.clone();
        Ok((found != expected).then_some(Problem::Digest { expected, found }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::tables::{BarrierRow, NeuronRow};

    fn example() -> Manifest {
        let parameters = json!({ "rule": "w_l", "grid": { "to": 1, "from": 0 } });
        let mut manifest = Manifest::new(BTreeMap::from([("progress".to_owned(), parameters)]));
        manifest.insert::<NeuronRow>(b"neurons", 2);
        manifest.insert::<BarrierRow>(b"barriers", 0);
        manifest
    }

    #[test]
    fn json_is_sorted_and_survives_the_round_trip() {
        let json = String::from_utf8(example().to_json().unwrap()).unwrap();
        let expected = r#"{
  "parameters": {
    "progress": {
      "grid": {
        "from": 0,
        "to": 1
      },
      "rule": "w_l"
    }
  },
  "tables": {
    "barriers": {
      "blake3": "DIGEST_B",
      "bytes": 8,
      "rows": 0,
      "schema_version": 1
    },
    "neurons": {
      "blake3": "DIGEST_N",
      "bytes": 7,
      "rows": 2,
      "schema_version": 1
    }
  },
  "version": "VERSION"
}
"#
        .replace("DIGEST_B", &blake3::hash(b"barriers").to_hex())
        .replace("DIGEST_N", &blake3::hash(b"neurons").to_hex())
        .replace("VERSION", env!("CARGO_PKG_VERSION"));
        assert_eq!(json, expected);
        assert_eq!(Manifest::parse(Path::new(FILE), json.as_bytes()).unwrap(), example());
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        let path = Path::new("tables/manifest.json");
        let error = Manifest::parse(path, b"{\n  \"tables\": 3").unwrap_err().to_string();
        assert!(
            error.starts_with("tables/manifest.json: not a manifest of tables: ")
                && error.contains("line 2 column 13"),
            "{error}"
        );
        let json = br#"{"parameters": {}, "version": "1", "tables": {"../x":
            {"blake3": "", "bytes": 0, "rows": 0, "schema_version": 1}}}"#;
        let error = Manifest::parse(path, json).unwrap_err();
        assert_eq!(error.to_string(), "tables/manifest.json: \"../x\" is no name of a table");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn verify_lists_every_file_that_differs() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        let verify = || {
            let mismatches = example().verify(folder.path()).unwrap();
            mismatches.iter().map(Mismatch::to_string).collect::<Vec<_>>()
        };
        write("barriers.parquet", b"barriers");
        write("neurons.parquet", b"neurons");
        write("manifest.json", b"{}");
        assert_eq!(verify(), [""; 0]);

        write("barriers.parquet", b"barrierz");
        write("neurons.parquet", b"neur");
        write("toy.parquet", b"");
        let [expected, found] =
            [b"barriers", b"barrierz"].map(|bytes| blake3::hash(bytes).to_hex());
        assert_eq!(
            verify(),
            [
                format!("barriers.parquet: BLAKE3 mismatch: expected {expected}, found {found}"),
                "neurons.parquet: has 4 bytes, expected 7".to_owned(),
                "toy.parquet: is not in manifest.json".to_owned(),
            ]
        );
        fs::remove_file(folder.path().join("neurons.parquet")).unwrap();
        assert_eq!(verify()[1], "neurons.parquet: is missing");
    }
}
