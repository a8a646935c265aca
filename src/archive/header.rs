//! The header of a safetensors file, from bytes that nobody vouches for.
//!
//! ```text
//! N: u64 LE | N bytes of JSON: {"name": {"dtype", "shape", "data_offsets"}, …} | data
//! ```
//!
//! What is accepted here is a subset of what the reference crate accepts: a duplicate key and an
//! unknown field, of which it takes the last and nothing, are faults. The checks run in a fixed
//! order, so that one file always gives one message, and before any allocation whose size the file
//! could choose freely:
//! 1. [`json_length`]: the length fields against the length of the file;
//! 2. [`Header::parse`]: UTF-8, JSON, keys, types, dtypes, ranks;
//! 3. offsets: by offset, each tensor begins where the one before it ended;
//! 4. shapes: the elements fill exactly the bytes;
//! 5. the end of the last tensor is the end of the file.
//!
//! Offsets count from the first byte behind the header, [`Header::data_start`].

mod json;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use safetensors::Dtype;

use crate::error::{Fault, Name};

/// The longest header that the reference implementations read, in bytes.
pub const MAX_HEADER: u64 = 100_000_000;
/// The most tensors that one file may hold.
pub const MAX_TENSORS: usize = 1_000_000;
/// The highest rank of a tensor.
pub const MAX_RANK: usize = 64;
/// As many bytes as [`look_alike`] needs of the beginning of a file.
pub const LOOK_ALIKE_BYTES: usize = 64;

/// What a file says about its tensors, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The strings under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// All tensors, in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Where the data begin, in bytes from the beginning of the file; 0 for several files.
    pub data_start: u64,
    /// Whether white space stands before the JSON, which some readers refuse.
    pub padded: bool,
}

/// One tensor of a header. The data are little-endian and row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Exactly as in the file: data, never a path, shown only escaped.
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// First byte, from [`Header::data_start`] of the file that holds the tensor.
    pub begin: u64,
    /// One behind the last byte.
    pub end: u64,
}

impl Header {
    /// Read the JSON of a file of `file_length` bytes.
    ///
    /// # Errors
    /// The first [`Fault`] in the order of the module's list, from item 2 on.
    pub fn parse(json: &[u8], file_length: u64) -> Result<Self, Fault> {
        let (metadata, mut tensors) = json::parse(json)?;
        tensors.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
        check_offsets(&tensors)?;
        tensors.iter().try_for_each(check_shape)?;

        let data_start = 8 + json.len() as u64;
        let last_end = tensors.last().map_or(0, |tensor| tensor.end);
        let expected = data_start.saturating_add(last_end);
        match file_length {
            found if found < expected => Err(Fault::Truncated { expected, found }),
            found if found > expected => Err(Fault::Trailing { extra: found - expected }),
            _ => {
                let padded = json.first() != Some(&b'{');
                Ok(Self { metadata, tensors, data_start, padded })
            }
        }
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// The length N of the JSON in bytes, from the first eight bytes of a file of `file_length` bytes.
///
/// # Errors
/// [`Fault::HeaderTooLong`] or [`Fault::HeaderCut`]; ask [`look_alike`] before reporting either.
pub fn json_length(first: [u8; 8], file_length: u64) -> Result<u64, Fault> {
    let length = u64::from_le_bytes(first);
    let available = file_length.saturating_sub(8);
    if length > MAX_HEADER {
        Err(Fault::HeaderTooLong { length })
    } else if length > available {
        Err(Fault::HeaderCut { length, available })
    } else {
        Ok(length)
    }
}

/// What a file whose length field is impossible begins like, if that is known. (A file whose
/// length field is possible is never taken for something else.)
#[must_use]
pub fn look_alike(start: &[u8]) -> Option<Fault> {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    if start.starts_with(b"version https://git-lfs") {
        Some(Fault::LfsPointer)
    } else if [&b"<!doctype"[..], b"<html"].iter().any(|tag| text.starts_with(tag)) {
        Some(Fault::LookAlike { kind: "HTML" })
    } else if start.starts_with(b"PK\x03\x04") {
        Some(Fault::LookAlike { kind: "zip" })
    } else if matches!(start, [0x80, 2..=5, ..]) {
        Some(Fault::LookAlike { kind: "pickle" }) // Opcode PROTO, then the protocol.
    } else {
        None
    }
}

/// No hole, no overlap; `tensors` are sorted by offset.
fn check_offsets(tensors: &[TensorInfo]) -> Result<(), Fault> {
    let mut end = 0;
    let mut before: Option<&TensorInfo> = None;
    for tensor in tensors {
        if tensor.begin > end {
            return Err(Fault::Hole { begin: end, end: tensor.begin });
        }
        if let Some(before) = before.filter(|_| tensor.begin < end) {
            return Err(Fault::Overlap {
                first: Name(before.name.clone()),
                second: Name(tensor.name.clone()),
                begin: tensor.begin,
                end: tensor.end,
            });
        }
        end = tensor.end;
        before = Some(tensor);
    }
    Ok(())
}

/// The elements fill exactly the bytes between the offsets.
fn check_shape(tensor: &TensorInfo) -> Result<(), Fault> {
    let name = || Name(tensor.name.clone());
    let bits = tensor
        .shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .and_then(|elements| elements.checked_mul(tensor.dtype.bitsize()))
        .ok_or_else(|| Fault::ShapeOverflow { tensor: name() })?;
    if bits % 8 != 0 {
        return Err(Fault::NotByteAligned { tensor: name() });
    }
    let (needed, found) = (bits as u64 / 8, tensor.end - tensor.begin);
    if needed == found {
        return Ok(());
    }
    let sizes: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
    Err(Fault::ShapeBytes {
        tensor: name(),
        shape: format!("[{}]", sizes.join(",")),
        dtype: tensor.dtype.to_string(),
        needed,
        found,
    })
}
