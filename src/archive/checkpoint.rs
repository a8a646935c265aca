//! One checkpoint of a run: where it is, and what is in it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::header::{Header, TensorInfo};
use super::read::{self, Contents, Tensor};
use super::shards::Index;
use crate::error::{Error, Fault, Result};

/// Where a checkpoint is. Holds no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRef {
    /// [`super::Run::name`]
    pub run: String,
    /// Optimiser updates taken; 0 is the initialisation.
    pub step: u64,
    pub path: PathBuf,
    /// Length of the file, as in the manifest if there is one; of all files that an index names.
    pub bytes: u64,
    /// BLAKE3 of the file in hexadecimal, as in the manifest.
    pub blake3: Option<String>,
    /// `path` is a `model.safetensors.index.json`, and the tensors are in the files that it names.
    pub is_index: bool,
}

/// A checkpoint in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub step: u64,
    /// Also holds the metadata, and lists the tensors that were not loaded.
    pub header: Header,
    /// The tensors asked for, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file in hexadecimal: of exactly the bytes that were decoded.
    pub blake3: String,
    /// For messages.
    pub path: PathBuf,
}

impl CheckpointRef {
    /// Read the header alone; of a checkpoint in several files, those of all. The digest is not
    /// checked: that takes the whole file.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Checkpoint`] with the first fault of the header.
    pub fn header(&self) -> Result<Header> {
        let read = |path: &Path| {
            let header = read::header(path)?;
            Ok(Contents { header, tensors: Vec::new(), bytes: 0, blake3: None, sha256: None })
        };
        Ok(self.contents(read)?.header)
    }

    /// Read the tensors in `wanted`, or all that hold floating-point numbers, and check the whole
    /// file against the digest in the manifest.
    ///
    /// # Errors
    /// As [`read::load`], and [`Fault::Digest`]. A file of the right length that is broken is
    /// reported by its digest, because the header's own complaint is then only a consequence; one
    /// of another length by the complaint, which tells more.
    pub fn load(&self, wanted: Option<&[&str]>) -> Result<Checkpoint> {
        let contents = self.checked(|file| {
            let Some((names, index)) = wanted.zip(file.index) else {
                return read::load(file.path, wanted, true);
            };
            let name = file.path.file_name().and_then(OsStr::to_str);
            let here: Vec<&str> =
                names.iter().copied().filter(|tensor| index.file_of(tensor) == name).collect();
            read::load(file.path, Some(&here), true)
        })?;
        for tensor in wanted.unwrap_or_default() {
            if contents.header.tensor(tensor).is_none() {
                let (path, tensor) = (self.path.clone(), (*tensor).to_owned());
                return Err(Error::MissingTensor { path, tensor });
            }
        }
        Ok(Checkpoint {
            step: self.step,
            header: contents.header,
            tensors: contents.tensors,
            bytes: contents.bytes,
            blake3: contents.blake3.unwrap_or_default(),
            path: self.path.clone(),
        })
    }

    /// Hand every byte of every tensor to `visit` and keep none, as [`read::scan`], checking the
    /// digest as [`CheckpointRef::load`]. With several files, one `S` for each, in their order.
    ///
    /// A file of a Hugging Face cache is checked against the SHA-256 that is its name.
    ///
    /// # Errors
    /// As [`CheckpointRef::load`].
    pub fn scan<S>(
        &self,
        new: impl Fn() -> S,
        visit: impl Fn(&mut S, &TensorInfo, &[u8]),
    ) -> Result<(Vec<S>, Contents)> {
        let mut seen = Vec::new();
        let contents = self.checked(|file| {
            let blob = blob_digest(file.path);
            let (state, contents) = read::scan(file.path, blob.is_some(), &new, &visit)?;
            if let (Some(expected), Some(found)) = (blob, &contents.sha256)
                && expected != *found
            {
                let fault = Fault::BlobDigest { expected, found: found.clone() };
                return Err(Error::Checkpoint { path: file.path.to_owned(), fault });
            }
            seen.push(state);
            Ok(contents)
        })?;
        Ok((seen, contents))
    }

    /// Length and BLAKE3 of the file, or of all files that the index names.
    ///
    /// # Errors
    /// As [`read::digest`].
    pub fn digest(&self) -> Result<(u64, String)> {
        if self.is_index { Index::read(&self.path)?.digest() } else { read::digest(&self.path) }
    }

    /// The file, or all files that the index names.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Checkpoint`] for an index that cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        if self.is_index {
            Ok(Index::read(&self.path)?.files())
        } else {
            Ok(vec![self.path.clone()])
        }
    }

    /// [`read::identity`] of all its files, the index among them.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        let mut files = self.files().ok()?;
        if self.is_index {
            files.push(self.path.clone());
        }
        read::identity(&files)
    }

    /// Whether something says what the bytes ought to be: a manifest, or the name of a blob.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        let named = |files: Vec<PathBuf>| files.iter().all(|path| blob_digest(path).is_some());
        self.blake3.is_some() || self.files().is_ok_and(named)
    }

    /// Read one file, or all that the index names.
    fn contents(&self, mut read: impl FnMut(&Path) -> Result<Contents>) -> Result<Contents> {
        let found = if self.is_index {
            Index::read(&self.path).and_then(|index| index.join(read))
        } else {
            read(&self.path)
        };
        found.map_err(|error| self.missing(error))
    }

    /// The same, against the digest in the manifest.
    fn checked(&self, mut read: impl FnMut(File<'_>) -> Result<Contents>) -> Result<Contents> {
        let index = if self.is_index { Some(Index::read(&self.path)?) } else { None };
        let loaded = self.contents(|path| read(File { path, index: index.as_ref() }));
        let found = match &loaded {
            Ok(contents) => contents.blake3.clone(),
            Err(Error::Checkpoint { .. } | Error::MissingTensor { .. })
                if self.blake3.is_some() =>
            {
                let (bytes, found) = self.digest()?;
                (bytes == self.bytes).then_some(found)
            }
            Err(_) => None,
        };
        if let (Some(expected), Some(found)) = (&self.blake3, found)
            && *expected != found
        {
            let fault = Fault::Digest { expected: expected.clone(), found };
            return Err(Error::Checkpoint { path: self.path.clone(), fault });
        }
        loaded
    }

    /// Say of a file that is not there that it ought to be.
    fn missing(&self, error: Error) -> Error {
        match error {
            Error::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                let problem = "disappeared while running, or was never copied here";
                Error::Read { path, source: io::Error::new(ErrorKind::NotFound, problem) }
            }
            other => other,
        }
    }
}

impl Checkpoint {
    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }
}

/// One file of a checkpoint.
struct File<'a> {
    path: &'a Path,
    /// If it is one of several.
    index: Option<&'a Index>,
}

/// The SHA-256 that is the name of a blob in a Hugging Face cache. (Small files have names of
/// another kind.)
fn blob_digest(path: &Path) -> Option<String> {
    if !fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink()) {
        return None;
    }
    let blob = fs::canonicalize(path)
        .ok()
        .filter(|blob| blob.parent().is_some_and(|folder| folder.ends_with("blobs")))?;
    let name = blob.file_name()?.to_str()?;
    let is_hex = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| name.to_ascii_lowercase())
}
