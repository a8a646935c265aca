//! Reading one safetensors file that nobody vouches for.
//!
//! - Only regular files are opened, and read once, front to back, with positioned reads. Never
//!   mapped into memory: a mapped file that shrinks, or a failing network, kills the process.
//! - Device, inode, size and modification time must be the same before and after; otherwise the
//!   file is read once more, and then given up as changing.
//! - Memory follows the tensors that are asked for, whose sizes [`Header`] has checked against the
//!   length of the file.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ndarray::{ArrayD, IxDyn};

use super::float::{float_bytes, widen};
use super::header::{Dtype, Header, LOOK_ALIKE_BYTES, TensorInfo, json_length, look_alike};
use super::sha256::Sha256;
use crate::error::{Error, Fault, Name, Result};

/// Bytes per read: a multiple of every element size.
const BLOCK: usize = 1 << 20;
/// Longer headers, in bytes, are parsed one at a time: their keys take several times the memory.
const LONG_HEADER: u64 = 8 << 20;
static ONE_LONG_HEADER: Mutex<()> = Mutex::new(());
/// How often, and how far apart, a file is tried to be opened while there are no descriptors.
const ATTEMPTS: usize = 600;
const PAUSE: Duration = Duration::from_millis(50);

/// A tensor in memory, widened exactly to f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    /// What it was in the file.
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Row-major, of shape `shape`. May hold NaN and infinities.
    pub values: ArrayD<f64>,
}

/// What [`load`] found in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    /// Also lists the tensors that were not loaded.
    pub header: Header,
    /// The tensors asked for, in the order of their data.
    pub tensors: Vec<Tensor>,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the whole file in hexadecimal, if it was asked for.
    pub blake3: Option<String>,
    /// SHA-256 of the whole file in hexadecimal, if it was asked for.
    pub sha256: Option<String>,
}

/// Read the header alone.
///
/// # Errors
/// [`Error::Read`], or [`Error::Checkpoint`] with the first fault of the header.
pub fn header(path: &Path) -> Result<Header> {
    stable(path, |source| Stream::new(source, Hash::None).header())
}

/// Read the tensors named in `wanted`, or all that hold floating-point numbers: F64, F32, F16, BF16.
///
/// With `hash`, every byte of the file is read, and the digest is of exactly the bytes that were
/// decoded. Without, data that are not wanted are skipped.
///
/// # Errors
/// [`Error::Read`]; [`Error::Checkpoint`] with the first fault of the file, or with
/// [`Fault::UnsupportedDtype`] for a tensor in `wanted` of another dtype; [`Error::MissingTensor`].
pub fn load(path: &Path, wanted: Option<&[&str]>, hash: bool) -> Result<Contents> {
    keep_memory();
    stable(path, |source| {
        let mut stream = Stream::new(source, if hash { Hash::Blake3 } else { Hash::None });
        let header = stream.header()?;
        for name in wanted.unwrap_or_default() {
            let info = header.tensor(name).ok_or_else(|| Error::MissingTensor {
                path: path.to_owned(),
                tensor: (*name).to_owned(),
            })?;
            if float_bytes(info.dtype).is_none() {
                let tensor = Name(info.name.clone());
                let dtype = info.dtype.to_string();
                return Err(source.fault(Fault::UnsupportedDtype { tensor, dtype }));
            }
        }
        let is_wanted = |info: &TensorInfo| match wanted {
            Some(names) => names.contains(&info.name.as_str()),
            None => float_bytes(info.dtype).is_some(),
        };
        let mut tensors = Vec::new();
        for info in &header.tensors {
            if is_wanted(info) {
                tensors.push(stream.tensor(info)?);
            } else {
                stream.skip(info.end - info.begin)?;
            }
        }
        Ok(stream.contents(header, tensors))
    })
}

/// Let the memory of tensors up to 8 MiB be used again, checkpoint after checkpoint.
///
/// glibc gives a block above a limit of 128 KiB back to the system as soon as it is free, and takes the
/// next one from there, page by page, which costs more than reading the file. The limit is that of
/// the largest block that was ever freed. Other allocators do not mind.
fn keep_memory() {
    const KEPT: usize = 8 << 20;
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT))));
}

/// Read every byte once and keep none: `visit` is handed the data of each tensor in turn, whole
/// elements at a time, and keeps what it wants of them in the `S` that `new` makes.
///
/// With `sha256` that digest is computed, too.
///
/// # Errors
/// [`Error::Read`]; [`Error::Checkpoint`] with the first fault of the file.
pub fn scan<S>(
    path: &Path,
    sha256: bool,
    new: impl Fn() -> S,
    visit: impl Fn(&mut S, &TensorInfo, &[u8]),
) -> Result<(S, Contents)> {
    stable(path, |source| {
        // Anew at each attempt: of a file that changed, nothing may stay.
        let mut seen = new();
        let mut stream = Stream::new(source, if sha256 { Hash::Both } else { Hash::Blake3 });
        let header = stream.header()?;
        for info in &header.tensors {
            stream.blocks(info.end - info.begin, |block| visit(&mut seen, info, block))?;
        }
        Ok((seen, stream.contents(header, Vec::new())))
    })
}

/// Length and BLAKE3, in hexadecimal, of any regular file.
///
/// # Errors
/// [`Error::Read`], or [`Fault::Changed`].
pub fn digest(path: &Path) -> Result<(u64, String)> {
    stable(path, |source| {
        let mut stream = Stream::new(source, Hash::Blake3);
        stream.skip(source.stamp.length)?;
        Ok((source.stamp.length, stream.blake3().unwrap_or_default()))
    })
}

/// Run `read` on a file that does not change meanwhile; a second time, if it did.
fn stable<T>(path: &Path, read: impl Fn(&Source) -> Result<T>) -> Result<T> {
    for _ in 0..2 {
        let source = Source::open(path)?;
        // Whatever a changing file looked like in between says nothing, so neither result counts.
        let result = read(&source);
        if source.is_unchanged()? {
            return result;
        }
    }
    Err(Error::Checkpoint { path: path.to_owned(), fault: Fault::Changed })
}

/// What tells a file from another one, or from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }
}

/// What tells the file at this path from others, and from itself after a change.
///
/// # Errors
/// [`Error::Read`].
pub(super) fn stamp_of(path: &Path) -> Result<Stamp> {
    Ok(Source::open(path)?.stamp)
}

/// What tells files from others, and from themselves after a change: device, inode, length, and the
/// times of the last change of content and of inode, of each. `None` if one of them is not there.
#[must_use]
pub fn identity(paths: &[PathBuf]) -> Option<String> {
    let one = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        let (content, inode) =
            ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        Some(format!(
            "{}:{}:{}:{}.{:09}:{}.{:09}",
            file.dev(),
            file.ino(),
            file.len(),
            content.0,
            content.1,
            inode.0,
            inode.1,
        ))
    };
    paths.iter().map(one).collect::<Option<Vec<_>>>().map(|all| all.join(" "))
}

/// An open regular file.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    pub(super) stamp: Stamp,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Asked before opening, which on a pipe would wait for a writer.
        let regular = |file: &Metadata| {
            let problem = || io::Error::new(ErrorKind::InvalidInput, "not a regular file");
            if file.is_file() { Ok(()) } else { Err(problem()) }
        };
        let open = || {
            regular(&fs::metadata(path)?)?;
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            regular(&metadata)?;
            Ok((file, Stamp::from(&metadata)))
        };
        let (file, stamp) = patiently(open).map_err(Error::read(path))?;
        Ok(Self { path: path.to_owned(), file, stamp })
    }

    pub(super) fn is_unchanged(&self) -> Result<bool> {
        let now = fs::metadata(&self.path).map_err(|error| {
            let gone = error.kind() == ErrorKind::NotFound;
            let problem = if gone { "disappeared while running".into() } else { error.to_string() };
            let source = io::Error::new(error.kind(), problem);
            Error::Read { path: self.path.clone(), source }
        })?;
        Ok(Stamp::from(&now) == self.stamp)
    }

    /// Fill `buffer` from `offset`; one more try if the device fails.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let once = |buffer: &mut [u8]| self.file.read_exact_at(buffer, offset);
        once(buffer).or_else(|_| once(buffer)).map_err(|error| {
            let problem = format!("I/O error at offset {offset}: {error}");
            let source = io::Error::new(error.kind(), problem);
            Error::Read { path: self.path.clone(), source }
        })
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Checkpoint { path: self.path.clone(), fault }
    }
}

/// Open once more while there are no descriptors left: the other threads will close theirs.
fn patiently<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    const NO_DESCRIPTORS: [i32; 2] = [23, 24]; // ENFILE and EMFILE
    let full =
        |error: &io::Error| error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code));
    for _ in 0..ATTEMPTS {
        match open() {
            Err(error) if full(&error) => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    open()
}

/// Which digests are computed of what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    None,
    Blake3,
    Both,
}

/// Reads a file front to back, and hashes what it reads.
struct Stream<'a> {
    source: &'a Source,
    blake3: Option<blake3::Hasher>,
    sha256: Option<Sha256>,
    position: u64,
    block: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(source: &'a Source, hash: Hash) -> Self {
        Self {
            source,
            blake3: (hash != Hash::None).then(blake3::Hasher::new),
            sha256: (hash == Hash::Both).then(Sha256::new),
            position: 0,
            block: Vec::new(),
        }
    }

    fn blake3(&self) -> Option<String> {
        self.blake3.as_ref().map(|hasher| hasher.finalize().to_hex().to_string())
    }

    /// What was found, when all is read.
    fn contents(self, header: Header, tensors: Vec<Tensor>) -> Contents {
        let (bytes, blake3) = (self.source.stamp.length, self.blake3());
        Contents { header, tensors, bytes, blake3, sha256: self.sha256.map(Sha256::finalize) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.source.read_at(buffer, self.position)?;
        self.position += buffer.len() as u64;
        if let Some(hasher) = &mut self.blake3 {
            hasher.update(buffer);
        }
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(buffer);
        }
        Ok(())
    }

    /// Hand the next `length` bytes to `sink`, in blocks.
    fn blocks(&mut self, length: u64, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let mut left = length;
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            block.resize(size, 0);
            self.fill(&mut block)?;
            sink(&block);
            left -= size as u64;
        }
        self.block = block;
        Ok(())
    }

    /// Go on by `length` bytes, which are read only if they are hashed.
    fn skip(&mut self, length: u64) -> Result<()> {
        if self.blake3.is_some() {
            return self.blocks(length, |_| {});
        }
        self.position += length;
        Ok(())
    }

    fn header(&mut self) -> Result<Header> {
        let file_length = self.source.stamp.length;
        if file_length < 8 {
            return Err(self.source.fault(Fault::TooShort { found: file_length }));
        }
        let mut first = [0; 8];
        self.fill(&mut first)?;
        let length = match json_length(first, file_length) {
            Ok(length) => length,
            Err(fault) => {
                let mut start = vec![0; LOOK_ALIKE_BYTES.min(file_length as usize)];
                self.source.read_at(&mut start, 0)?;
                return Err(self.source.fault(look_alike(&start).unwrap_or(fault)));
            }
        };
        let _one_at_a_time = (length > LONG_HEADER)
            .then(|| ONE_LONG_HEADER.lock().unwrap_or_else(PoisonError::into_inner));
        let mut json = vec![0; length as usize];
        self.fill(&mut json)?;
        Header::parse(&json, file_length).map_err(|fault| self.source.fault(fault))
    }

    fn tensor(&mut self, info: &TensorInfo) -> Result<Tensor> {
        let bytes = info.end - info.begin;
        let elements = bytes as usize / float_bytes(info.dtype).unwrap_or(1);
        let mut values = Vec::with_capacity(elements);
        self.blocks(bytes, |block| widen(info.dtype, block, &mut values))?;
        // Fails only for an empty tensor whose other sizes multiply to more than memory can have.
        let values = ArrayD::from_shape_vec(IxDyn(&info.shape), values).map_err(|_| {
            self.source.fault(Fault::ShapeOverflow { tensor: Name(info.name.clone()) })
        })?;
        Ok(Tensor { name: info.name.clone(), dtype: info.dtype, shape: info.shape.clone(), values })
    }
}

#[cfg(test)]
mod tests;
