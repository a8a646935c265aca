//! `model.safetensors.index.json`: one checkpoint in several files.
//!
//! ```text
//! {"metadata": {…}, "weight_map": {"tensor": "model-00001-of-00002.safetensors", …}}
//! ```
//!
//! Names of files are plain names beside the index, never paths. Each tensor is in exactly the file
//! that the index says, and no file holds another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::header::{Header, MAX_HEADER, MAX_TENSORS};
use super::read::{self, Contents};
use crate::error::{Error, Fault, Name, Result};

/// How the name of an index ends.
pub(super) const INDEX: &str = ".safetensors.index.json";

/// Which file holds which tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    path: PathBuf,
    /// Tensor → name of the file.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Read an index, and check it as far as it can be without opening another file.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Checkpoint`] with [`Fault::Index`].
    pub(super) fn read(path: &Path) -> Result<Self> {
        let fault = |problem: String| index_fault(path, problem);
        let file = fs::metadata(path).map_err(Error::read(path))?;
        if !file.is_file() || file.len() > MAX_HEADER {
            return Err(fault(format!("no index, or one of more than {MAX_HEADER} bytes")));
        }
        Self::parse(path, &fs::read(path).map_err(Error::read(path))?)
    }

    /// The same from the bytes of the file.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let fault = |problem: String| index_fault(path, problem);
        let parsed: Parsed = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match error.classify() {
                serde_json::error::Category::Data => {
                    fault(format!("the index has no weight_map of strings: line {line}"))
                }
                _ => fault(format!("the index is not valid JSON: line {line} column {column}")),
            }
        })?;
        let mut weight_map = BTreeMap::new();
        for (tensor, shard) in parsed.weight_map.0 {
            if !is_plain(&shard) {
                return Err(fault(format!("shard {} is no plain file name", Name(shard))));
            }
            if weight_map.len() == MAX_TENSORS {
                return Err(fault(format!("too many tensors: more than {MAX_TENSORS}")));
            }
            if weight_map.insert(tensor.clone(), shard).is_some() {
                return Err(fault(format!("tensor {} stands twice in the index", Name(tensor))));
            }
        }
        if weight_map.is_empty() {
            return Err(fault("no tensors in the index".into()));
        }
        Ok(Self { path: path.to_owned(), weight_map })
    }

    /// The files, in the order of their names.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let names: BTreeSet<&String> = self.weight_map.values().collect();
        names.into_iter().map(|name| folder.join(name)).collect()
    }

    /// The file of this tensor.
    pub(super) fn file_of(&self, tensor: &str) -> Option<&str> {
        self.weight_map.get(tensor).map(String::as_str)
    }

    /// Take what `read` finds in each file for one checkpoint.
    ///
    /// # Errors
    /// What `read` says; [`Fault::Index`] for a file that is not there, and for a tensor that is
    /// not where the index says.
    pub(super) fn join(&self, mut read: impl FnMut(&Path) -> Result<Contents>) -> Result<Contents> {
        let fault = |problem| Err(index_fault(&self.path, problem));
        let mut header =
            Header { metadata: BTreeMap::new(), tensors: Vec::new(), data_start: 0, padded: false };
        let (mut tensors, mut bytes, mut digests) = (Vec::new(), 0, Some(Vec::new()));
        for path in self.files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let found = match read(&path) {
                Err(Error::Read { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    return fault(format!("shard {} is missing", Name(name)));
                }
                result => result?,
            };
            for tensor in &found.header.tensors {
                if self.file_of(&tensor.name) != Some(&name) {
                    let tensor = Name(tensor.name.clone());
                    return fault(format!(
                        "shard {} holds tensor {tensor}, which the index places elsewhere",
                        Name(name)
                    ));
                }
            }
            let listed = self.weight_map.iter().filter(|(_, shard)| **shard == name);
            for (tensor, _) in listed {
                if found.header.tensor(tensor).is_none() {
                    let tensor = Name(tensor.clone());
                    return fault(format!("tensor {tensor} is not in shard {}", Name(name)));
                }
            }
            bytes += found.bytes;
            digests = digests.zip(found.blake3).map(|(mut all, one)| {
                all.push(one);
                all
            });
            header.padded |= found.header.padded;
            header.metadata.extend(found.header.metadata);
            header.tensors.extend(found.header.tensors);
            tensors.extend(found.tensors);
        }
        let blake3 = digests.map(|digests| digest_of(&digests));
        Ok(Contents { header, tensors, bytes, blake3, sha256: None })
    }

    /// Length and digest of all files together.
    ///
    /// # Errors
    /// As [`read::digest`].
    pub(super) fn digest(&self) -> Result<(u64, String)> {
        let (mut bytes, mut digests) = (0, Vec::new());
        for path in self.files() {
            let (length, digest) = read::digest(&path)?;
            bytes += length;
            digests.push(digest);
        }
        Ok((bytes, digest_of(&digests)))
    }
}

/// BLAKE3 of the files' digests (their 32 bytes each) in the order of the files' names.
fn digest_of(digests: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for digest in digests {
        if let Ok(digest) = blake3::Hash::from_hex(digest) {
            hasher.update(digest.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn index_fault(path: &Path, problem: String) -> Error {
    Error::Checkpoint { path: path.to_owned(), fault: Fault::Index { problem } }
}

/// A name that stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// The one field that is read; what else stands in an index is not ours.
#[derive(serde::Deserialize)]
struct Parsed {
    weight_map: Pairs,
}

/// An object of strings, in which a key may stand twice.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// `global_step` of a `trainer_state.json`, if there is such a file and it says so.
pub(super) fn global_step(path: &Path) -> Option<u64> {
    /// The rest, such as a log of some megabytes, is thrown away.
    #[derive(serde::Deserialize)]
    struct State {
        global_step: i64,
    }
    fs::metadata(path).ok().filter(|file| file.is_file() && file.len() <= MAX_HEADER)?;
    let state: State = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    u64::try_from(state.global_step).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::sample::file;

    /// Two shards, `a` in the first and `b` in the second, and this index.
    fn planted(dir: &Path, index: &str) -> PathBuf {
        for (shard, tensor) in [("m-1.safetensors", "a"), ("m-2.safetensors", "b")] {
            let header =
                format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
            fs::write(dir.join(shard), file(&header, 4)).unwrap();
        }
        let path = dir.join("model.safetensors.index.json");
        fs::write(&path, index).unwrap();
        path
    }

    fn load(path: &Path) -> Result<Contents> {
        Index::read(path)?.join(|file| read::load(file, None, true))
    }

    #[test]
    fn shards_are_read_as_one_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let index = r#"{"metadata":{"total_size":8},
            "weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors"}}"#;
        let path = planted(dir.path(), index);
        let found = load(&path).unwrap();
        let names: Vec<_> = found.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let digests = ["m-1.safetensors", "m-2.safetensors"]
            .map(|name| *blake3::hash(&fs::read(dir.path().join(name)).unwrap()).as_bytes());
        let expected = blake3::hash(&digests.concat()).to_hex().to_string();
        assert_eq!(found.blake3.as_ref(), Some(&expected));
        assert_eq!(Index::read(&path).unwrap().digest().unwrap(), (found.bytes, expected));
    }

    #[test]
    fn an_index_that_does_not_fit_names_shard_and_tensor() {
        for (index, problem) in [
            (r#"{"a":"m-1.safetensors""#, "the index is not valid JSON: line 1 column 22"),
            (r#"{"weight_map":{"a":1}}"#, "the index has no weight_map of strings: line 1"),
            (r#"{"metadata":{}}"#, "the index has no weight_map of strings: line 1"),
            (r#"{"weight_map":{}}"#, "no tensors in the index"),
            (
                r#"{"weight_map":{"a":"../m-1.safetensors"}}"#,
                r#"shard "../m-1.safetensors" is no plain file name"#,
            ),
            (
                r#"{"weight_map":{"a":"/etc/passwd"}}"#,
                r#"shard "/etc/passwd" is no plain file name"#,
            ),
            (
                r#"{"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}}"#,
                r#"tensor "a" stands twice in the index"#,
            ),
            (
                r#"{"weight_map":{"a":"m-1.safetensors","b":"m-3.safetensors"}}"#,
                r#"shard "m-3.safetensors" is missing"#,
            ),
            (
                r#"{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors"}}"#,
                r#"tensor "c" is not in shard "m-2.safetensors""#,
            ),
            (
                r#"{"weight_map":{"a":"m-1.safetensors","c":"m-2.safetensors"}}"#,
                r#"shard "m-2.safetensors" holds tensor "b", which the index places elsewhere"#,
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = planted(dir.path(), index);
            let error = load(&path).unwrap_err();
            assert_eq!(error.to_string(), format!("{}: {problem}", path.display()));
            assert_eq!((error.code(), error.exit_code()), ("AR10", 4));
        }
    }

    #[test]
    fn global_steps_are_found_among_other_things() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trainer_state.json");
        for (text, expected) in [
            (r#"{"epoch": 1.5, "log_history": [{"loss": 2.0}], "global_step": 500}"#, Some(500)),
            (r#"{"global_step": -1}"#, None),
            (r#"{"epoch": 1.5}"#, None),
            ("[", None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(global_step(&path), expected, "{text}");
        }
        assert_eq!(global_step(&dir.path().join("nothing")), None);
    }
}
