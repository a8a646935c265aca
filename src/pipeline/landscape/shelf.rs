//! Finished parts of a long computation, kept until the whole is done: what is interrupted goes on
//! where it was.
//!
//! A shelf is a folder below the tables, named by a digest of everything that decides the numbers.
//! A part is a file with a digest of its own; one that is damaged is computed again.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::durable;
use crate::error::{Error, Result};

/// A place for the parts of one computation.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// A part in its file.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    /// BLAKE3 of `values`
    digest: String,
    /// The part as JSON text; numbers come back exactly
    values: String,
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

impl Shelf {
    /// The shelf of the computation that `decides` describes, in this folder of tables.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn open(tables: &Path, decides: &Value) -> Result<Self> {
        let name = digest(&decides.to_string());
        let folder = tables.join(".groundswell/landscape").join(&name[..32]);
        durable::create_dir(&folder)?;
        durable::sweep_temporaries(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, part: usize) -> PathBuf {
        self.folder.join(format!("{part:06}.json"))
    }

    /// Keep a part, durably.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn put<T: Serialize>(&self, part: usize, values: &T) -> Result<()> {
        let text = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::Internal(format!("a part as JSON: {error}")))
        };
        let values = text(serde_json::to_string(values))?;
        let part_file = Part { digest: digest(&values), values };
        durable::write(&self.path(part), text(serde_json::to_string(&part_file))?.as_bytes())
    }

    /// A part that was kept, if it is there and whole.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, part: usize) -> Option<T> {
        let bytes = std::fs::read(self.path(part)).ok()?;
        let found: Option<Part> = serde_json::from_slice(&bytes).ok();
        let whole = found.filter(|part| part.digest == digest(&part.values));
        if whole.is_none() {
            tracing::warn!("{}: damaged, computed again", self.path(part).display());
        }
        serde_json::from_str(&whole?.values).ok()
    }

    /// Remove the shelf: everything is in the tables now.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn clear(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).map_err(Error::write(&self.folder))?;
        // Not if another computation still has its shelf there.
        if let Some(parent) = self.folder.parent() {
            let _ = std::fs::remove_dir(parent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_come_back_exactly_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path(), &json!({ "a": 1 })).unwrap();
        let values = [Some(0.1f64 + 0.2), None, Some(5e-324), Some(-0.0)];
        shelf.put(3, &values).unwrap();
        let bits = |values: &[Option<f64>]| -> Vec<_> {
            values.iter().map(|value| value.map(f64::to_bits)).collect()
        };
        let found: Vec<Option<f64>> = shelf.get(3).unwrap();
        assert_eq!(bits(&found), bits(&values));
        assert_eq!(shelf.get::<Vec<f64>>(4), None);
        let other = Shelf::open(dir.path(), &json!({ "a": 2 })).unwrap();
        assert_eq!(other.get::<Vec<Option<f64>>>(3), None);

        let path = shelf.path(3);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("0.3000", "0.4000")).unwrap();
        assert_eq!(shelf.get::<Vec<Option<f64>>>(3), None);
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(shelf.get::<Vec<Option<f64>>>(3), None);

        shelf.clear().unwrap();
        assert!(dir.path().join(".groundswell/landscape").exists(), "the other shelf stays");
        other.clear().unwrap();
        assert!(!dir.path().join(".groundswell/landscape").exists());
    }
}
