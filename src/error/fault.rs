//! The ways in which a file of an archive can be no checkpoint.

use std::fmt;

/// How a safetensors file can be broken. The identifiers are those of the test files in
/// `fixtures/bad/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    #[error("file is {found} bytes; a safetensors file needs at least 8")]
    TooShort { found: u64 },
    #[error("header length {length} exceeds 100000000")]
    HeaderTooLong { length: u64 },
    #[error("header says {length} bytes, only {available} available")]
    HeaderCut { length: u64, available: u64 },
    #[error("header is not UTF-8 at byte {offset}")]
    NotUtf8 { offset: usize },
    #[error("header is not valid JSON: {problem}")]
    NotJson { problem: String },
    #[error("no tensors")]
    NoTensors,
    #[error("tensor {second} [{begin},{end}) overlaps {first}")]
    Overlap { first: Name, second: Name, begin: u64, end: u64 },
    #[error("bytes [{begin},{end}) belong to no tensor")]
    Hole { begin: u64, end: u64 },
    #[error("{extra} bytes after the last tensor")]
    Trailing { extra: u64 },
    #[error("expected {expected} bytes, file has {found} (truncated)")]
    Truncated { expected: u64, found: u64 },
    #[error("invalid data_offsets for {tensor}")]
    Offsets { tensor: Name },
    #[error("invalid entry for {tensor}: {problem}")]
    Entry { tensor: Name, problem: String },
    #[error("tensor {tensor} is not byte aligned")]
    NotByteAligned { tensor: Name },
    #[error("shape of {tensor} overflows")]
    ShapeOverflow { tensor: Name },
    #[error("tensor {tensor}: shape {shape} {dtype} needs {needed} bytes, has {found}")]
    ShapeBytes { tensor: Name, shape: String, dtype: String, needed: u64, found: u64 },
    #[error("duplicate tensor name {tensor}")]
    Duplicate { tensor: Name },
    #[error("__metadata__ must map strings to strings")]
    Metadata,
    #[error("unknown dtype {dtype} (tensor {tensor})")]
    UnknownDtype { tensor: Name, dtype: Name },
    #[error("tensor {tensor} has dtype {dtype}, which is not supported")]
    UnsupportedDtype { tensor: Name, dtype: String },
    #[error("rank {rank} exceeds 64 (tensor {tensor})")]
    Rank { tensor: Name, rank: usize },
    #[error("too many tensors: more than 1000000")]
    TooManyTensors,
    #[error("this is a Git LFS pointer")]
    LfsPointer,
    #[error("looks like {kind}")]
    LookAlike { kind: &'static str },
    #[error("changed while being read")]
    Changed,
    #[error("BLAKE3 mismatch: expected {expected}, found {found}")]
    Digest { expected: String, found: String },
    /// Of a file in a Hugging Face cache, whose name is its digest.
    #[error("SHA-256 mismatch: the blob is named {expected}, its bytes give {found}")]
    BlobDigest { expected: String, found: String },
    #[error("tensor {tensor} holds NaN or Inf")]
    NonFinite { tensor: Name },
    /// Of `model.safetensors.index.json`.
    #[error("{problem}")]
    Index { problem: String },
}

/// A tensor name from an untrusted file: shown escaped, between quotes, cut at 200 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(200).collect();
        let cut = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "\"{}{cut}\"", shown.escape_debug())
    }
}

impl Fault {
    /// The identifier of this way to be broken, as in `fixtures/bad/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "ST001",
            Self::HeaderTooLong { .. } => "ST002",
            Self::HeaderCut { .. } => "ST003",
            Self::NotUtf8 { .. } => "ST004",
            Self::NotJson { .. } | Self::NoTensors => "ST005",
            Self::Overlap { .. } => "ST006",
            Self::Hole { .. } => "ST007",
            Self::Trailing { .. } => "ST008",
            Self::Truncated { .. } => "ST009",
            Self::Offsets { .. } | Self::Entry { .. } => "ST010",
            Self::ShapeOverflow { .. } => "ST011",
            Self::ShapeBytes { .. } => "ST012",
            Self::Duplicate { .. } => "ST013",
            Self::Metadata => "ST014",
            Self::UnknownDtype { .. } => "ST015",
            Self::UnsupportedDtype { .. } => "ST016",
            Self::NotByteAligned { .. } => "ST017",
            Self::Rank { .. } => "ST019",
            Self::TooManyTensors => "ST020",
            Self::LfsPointer => "ST024",
            Self::LookAlike { .. } => "ST025",
            Self::Changed => "AR04",
            Self::Digest { .. } | Self::BlobDigest { .. } => "ST027",
            Self::NonFinite { .. } => "ST030",
            Self::Index { .. } => "AR10",
        }
    }

    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::LfsPointer => "fetch the file itself: git lfs pull",
            Self::LookAlike { kind: "pickle" | "zip" } => {
                "if torch.save wrote it: python examples/from_torch.py FILE OUT.safetensors"
            }
            Self::LookAlike { .. } => "a download saved an error page: download the file again",
            Self::Truncated { .. } | Self::HeaderCut { .. } | Self::TooShort { .. } => {
                "the copy or the save was cut short: copy or download the file again"
            }
            Self::Digest { .. } | Self::BlobDigest { .. } => {
                "the file changed after it was written: restore it from a copy"
            }
            Self::Index { .. } => "copy or download all files that the index names",
            Self::Changed => "run the command again when nothing writes to the archive",
            _ => return None,
        })
    }
}

/// Why a file has no place among the checkpoints of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misplaced {
    #[error("cannot find a step in {file}")]
    NoStep { file: Name },
    #[error("the name says step {name}, the metadata say step {metadata}")]
    NameAgainstMetadata { name: u64, metadata: u64 },
    #[error("step {step} is also that of {other}, with other bytes")]
    StepTwice { step: u64, other: Name },
    #[error("blob missing (incomplete download)")]
    BlobMissing,
    #[error("the link leads back to a folder above it")]
    LinkLoop,
    #[error("the link leads out of the archive")]
    LinkOutside,
    #[error("the link leads nowhere")]
    LinkBroken,
    #[error("a shard that no model.safetensors.index.json names")]
    LoneShard,
}

impl Misplaced {
    /// The identifier of the case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoStep { .. } | Self::NameAgainstMetadata { .. } | Self::StepTwice { .. } => {
                "AR11"
            }
            Self::BlobMissing => "AR07",
            Self::LinkLoop | Self::LinkOutside => "AR09",
            Self::LinkBroken => "AR03",
            Self::LoneShard => "AR10",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoStep { .. } => "tell where it stands: --step-regex '(?P<step>\\d+)'",
            Self::NameAgainstMetadata { .. } => {
                "if the name is right: --step-regex '(?P<step>\\d+)'"
            }
            Self::StepTwice { .. } => {
                "remove one of them, or tell where the step stands: --step-regex '(?P<step>\\d+)'"
            }
            Self::BlobMissing => "download it again",
            Self::LinkOutside => "--follow-links follows it",
            Self::LinkLoop | Self::LinkBroken => "remove the link",
            Self::LoneShard => "copy the index file, too",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_are_escaped_and_cut() {
        assert_eq!(Name("a\u{1b}[31m\nb".into()).to_string(), r#""a\u{1b}[31m\nb""#);
        let long = Name("é".repeat(300)).to_string();
        assert_eq!(long, format!("\"{}…\"", "é".repeat(200)));
    }
}
