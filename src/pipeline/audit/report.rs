//! What an audit has to say.

use std::path::Path;

use crate::archive::Run;
use crate::config::names::named_enum;
use crate::error::Error;
use crate::pipeline::checkpoints::relative;
use crate::tables::CheckpointRow;

named_enum! {
    /// How bad a finding is.
    Severity, "severity":
    /// Something cannot be used as it is
    Damage = "damage",
    /// Usable, but not what an archive ought to be
    Irregular = "irregular",
    /// Worth knowing
    Note = "note",
}

named_enum! {
    /// What was found.
    Kind, "kind of finding":
    /// A file that cannot be read, or has no place
    Unreadable = "unreadable",
    /// Names or shapes of tensors that differ from those of the other steps
    Changed = "changed",
    /// NaN or infinities
    NonFinite = "non_finite",
    /// The same weights at several steps
    Duplicate = "duplicate",
    /// Steps that the regular ones imply
    MissingSteps = "missing_steps",
    /// A tensor that jumps and comes back
    Jump = "jump",
    /// Stored in another type than in the other steps
    DtypeChanged = "dtype_changed",
    /// Stored in a type that is not read
    UnsupportedDtype = "unsupported_dtype",
    /// Tensors of one checkpoint that hold the same values
    Tied = "tied",
    /// Checkpoints of several runs that hold the same weights
    Shared = "shared",
    /// No digest to check against
    Unverified = "unverified",
    /// White space before a header
    Padded = "padded",
    /// What saves in progress have left, or a run that did not reach its last step
    Unfinished = "unfinished",
    /// Files that torch or pickle wrote
    Pickles = "pickles",
    /// Anything else that costs nothing
    Other = "other",
}

impl Kind {
    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Unreadable | Self::Changed => Severity::Damage,
            Self::NonFinite
            | Self::Duplicate
            | Self::MissingSteps
            | Self::Jump
            | Self::DtypeChanged
            | Self::UnsupportedDtype => Severity::Irregular,
            Self::Tied
            | Self::Shared
            | Self::Unverified
            | Self::Padded
            | Self::Unfinished
            | Self::Pickles
            | Self::Other => Severity::Note,
        }
    }
}

/// One thing worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// Identifier of the case, if it has one
    pub code: Option<&'static str>,
    pub run: Option<String>,
    pub step: Option<u64>,
    /// Relative to the archive
    pub path: Option<String>,
    /// The first, if it is about several
    pub tensor: Option<String>,
    /// In words, without the path
    pub message: String,
    /// What to do about it
    pub action: Option<String>,
}

impl Finding {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        let (code, run, step, path, tensor, action) = Default::default();
        Self { kind, code, run, step, path, tensor, message, action }
    }

    /// With the identifier of its case.
    pub(super) fn case(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// About a tensor, or the first of several.
    pub(super) fn tensor(self, name: &str) -> Self {
        Self { tensor: Some(name.to_owned()), ..self }
    }

    pub(super) fn of(self, run: &Run) -> Self {
        Self { run: Some(run.name.clone()), ..self }
    }

    pub(super) fn unreadable(error: &Error, path: &Path, archive: &Path) -> Self {
        let (text, prefix) = (error.to_string(), format!("{}: ", path.display()));
        Self {
            code: Some(error.code()),
            path: Some(relative(path, archive)),
            action: error.help(),
            ..Self::new(Kind::Unreadable, text.strip_prefix(&prefix).unwrap_or(&text))
        }
    }
}

/// One run in a report.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    pub name: String,
    /// With a `run.json`
    pub own: bool,
    pub first_step: Option<u64>,
    pub last_step: Option<u64>,
    /// As table `checkpoints` has them; also those that cannot be read
    pub checkpoints: Vec<CheckpointRow>,
    /// Number of those that were checked against a digest
    pub verified: usize,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub runs: Vec<RunReport>,
    /// The worst first, then by run, step and path
    pub findings: Vec<Finding>,
}

impl Report {
    /// 4 for damage and, if `strict`, for what is irregular; otherwise 0.
    #[must_use]
    pub fn exit_code(&self, strict: bool) -> u8 {
        let least = if strict { Severity::Irregular } else { Severity::Damage };
        let bad = self.findings.iter().any(|finding| finding.kind.severity() <= least);
        if bad { 4 } else { 0 }
    }
}
