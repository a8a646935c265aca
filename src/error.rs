//! The one error type of the library.
//!
//! Every variant says what is wrong and where; [`Error::help`] says what to do about it. The
//! programs print `error[CODE]: what` and `help: …`, and leave with [`Error::exit_code`].
//! Messages are lower case, without a full stop.

mod fault;

use std::path::{Path, PathBuf};

pub use fault::{Fault, Misplaced, Name};

/// Short form used throughout the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can fail outside pure arithmetic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside its range, or contradicts another one.
    #[error("{setting}: {problem}")]
    Setting { setting: String, problem: String, help: String },

    /// A name that is none of the known ones.
    #[error("unknown {kind} `{found}`{}", did_you_mean(found, known))]
    UnknownName { kind: &'static str, found: String, known: Vec<String> },

    /// A configuration file that cannot be understood, with the place of the fault.
    #[error("{path}:{line}:{column}: {problem}")]
    ConfigFile { path: PathBuf, line: usize, column: usize, problem: String, help: String },

    /// The real Fourier basis is defined here for odd moduli only.
    #[error("modulus p = {p} is not an odd number of at least 3")]
    Modulus { p: usize },

    /// A path that was named does not exist.
    #[error("{path}: no such {kind}")]
    NotFound { path: PathBuf, kind: &'static str },

    /// A folder without a single checkpoint that can be read.
    #[error("{path}: {found}")]
    NothingUsable { path: PathBuf, found: String },

    /// A step that the run did not save.
    #[error("{path}: step {step} is not saved; nearest saved steps: {nearest}")]
    StepNotSaved { path: PathBuf, step: String, nearest: String },

    /// A run that did not get as far as a named step.
    #[error("{path}: never {what}; it reached {best}")]
    NeverReached { path: PathBuf, what: String, best: String },

    /// An operating-system error while reading.
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },

    /// An operating-system error while writing; what was committed before stays valid.
    #[error("could not write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },

    /// A checkpoint file that breaks the safetensors format or its own digest.
    #[error("{path}: {fault}")]
    Checkpoint { path: PathBuf, fault: Fault },

    /// A file that cannot take a place among the checkpoints of an archive.
    #[error("{path}: {why}")]
    Misplaced { path: PathBuf, why: Misplaced },

    /// A file that only Python can open, and that runs code when it does.
    #[error("{path}: pickle checkpoints are not opened")]
    Pickle { path: PathBuf },

    /// A read that did not come back, as from a network drive that is gone.
    #[error("{path}: read took over {seconds} s")]
    TooSlow { path: PathBuf, seconds: u64 },

    /// A checkpoint that needs more memory than may be used.
    #[error("{path}: needs about {needed} MB of memory, and {limit} MB may be used")]
    TooLarge { path: PathBuf, needed: u64, limit: u64 },

    /// Parts of a joint work that are not there yet.
    #[error("{path}: {missing}")]
    Incomplete { path: PathBuf, missing: String, help: String },

    /// A tensor that the network needs is not in the file.
    #[error("{path}: tensor {tensor:?} is missing")]
    MissingTensor { path: PathBuf, tensor: String },

    /// A tensor has another shape than the configuration of its run implies.
    #[error("{path}: tensor {tensor:?} has shape {found:?}, expected {expected:?}")]
    Shape { path: PathBuf, tensor: String, expected: Vec<usize>, found: Vec<usize> },

    /// A file of initial weights that are not those of the network.
    #[error("{path}: not the weights of this network ({layout} layout): {misfits}")]
    OtherWeights { path: PathBuf, layout: String, misfits: String },

    /// A file of the archive other than a checkpoint that cannot be understood.
    #[error("{path}: line {line}: {problem}")]
    ArchiveFile { path: PathBuf, line: usize, problem: String },

    /// The folder belongs to a run with other settings or another version of the program.
    #[error("{path}: written with different parameters: {differences}")]
    OtherRun { path: PathBuf, differences: String },

    /// The folder holds an unfinished run, and continuing was not asked for.
    #[error("{path}: holds an unfinished run (last complete checkpoint: step {step} of {steps})")]
    Unfinished { path: PathBuf, step: u64, steps: u64 },

    /// The folder holds something that is no run, and nothing in it was touched.
    #[error("{path}: not a run, and not empty: {found}")]
    NotARun { path: PathBuf, found: String },

    /// Another process is writing to the same folder.
    #[error("{path}: in use by {holder}")]
    Locked { path: PathBuf, holder: String },

    /// Training left the finite numbers.
    #[error("train loss is {loss} at step {step}; training stopped")]
    NonFiniteLoss { step: u64, loss: f64, last_good: Option<u64> },

    /// The linear-algebra library cannot be trusted on this machine.
    #[error("BLAS: {problem}")]
    Blas { problem: String, help: String },

    /// Stopped by a signal; the state on disk is complete and can be resumed.
    #[error("stopped: {done}")]
    Interrupted { signal: i32, done: String, help: String },

    /// A table could not be assembled or encoded.
    #[error("table `{table}`: {source}")]
    Table { table: &'static str, source: polars::error::PolarsError },

    /// A file of a tables folder that is damaged, or that this program did not write.
    #[error("{path}: {problem}")]
    TableFile { path: PathBuf, problem: String },

    /// A broken promise inside the program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A setting that cannot be used, with the cure.
    pub fn setting(
        setting: impl Into<String>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Setting { setting: setting.into(), problem: problem.into(), help: help.into() }
    }

    /// A caught panic, with its message.
    #[must_use]
    pub fn from_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Self::Internal(text.unwrap_or("a panic without a message").to_owned())
    }

    /// For `map_err` on reading operations.
    pub fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| {
            let denied = source.kind() == std::io::ErrorKind::PermissionDenied;
            let told = || std::io::Error::new(source.kind(), "permission denied");
            Self::Read { path: path.to_owned(), source: if denied { told() } else { source } }
        }
    }

    /// For `map_err` on writing operations.
    pub fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// Stable identifier, shown between brackets and stored in table `failures`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Setting { .. }
            | Self::UnknownName { .. }
            | Self::ConfigFile { .. }
            | Self::Modulus { .. } => "CL03",
            Self::NotFound { .. } => "AR01",
            Self::NothingUsable { .. } => "AR02",
            Self::StepNotSaved { .. } | Self::NeverReached { .. } => "AR20",
            Self::Read { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => "AR03",
                std::io::ErrorKind::PermissionDenied => "AR16",
                _ => "AR17",
            },
            Self::Write { .. } => "CR05",
            Self::Checkpoint { fault, .. } => fault.code(),
            Self::Misplaced { why, .. } => why.code(),
            Self::Pickle { .. } => "ST026",
            Self::TooSlow { .. } => "AR19",
            Self::TooLarge { .. } => "CR20",
            Self::Incomplete { .. } => "CR26",
            Self::MissingTensor { .. } | Self::Shape { .. } | Self::OtherWeights { .. } => "AR13",
            Self::ArchiveFile { .. } => "AR21",
            Self::OtherRun { .. } | Self::Unfinished { .. } | Self::NotARun { .. } => "CR16",
            Self::Locked { .. } => "CR12",
            Self::NonFiniteLoss { .. } => "NU18",
            Self::Blas { .. } => "NU08",
            Self::Interrupted { .. } => "CR03",
            Self::Table { .. } => "PQ01",
            Self::TableFile { .. } => "PQ04",
            Self::Internal(_) => "CR21",
        }
    }

    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting { .. }
            | Self::UnknownName { .. }
            | Self::ConfigFile { .. }
            | Self::Modulus { .. }
            | Self::Unfinished { .. }
            | Self::NotARun { .. }
            | Self::Pickle { .. }
            | Self::StepNotSaved { .. }
            | Self::NeverReached { .. } => 2,
            Self::Read { .. }
            | Self::Checkpoint { .. }
            | Self::Misplaced { .. }
            | Self::TooSlow { .. }
            | Self::TooLarge { .. }
            | Self::MissingTensor { .. }
            | Self::Shape { .. }
            | Self::OtherWeights { .. }
            | Self::ArchiveFile { .. }
            | Self::TableFile { .. }
            | Self::NothingUsable { .. } => 4,
            Self::Write { .. } => 5,
            Self::NotFound { .. } | Self::Incomplete { .. } => 10,
            Self::Locked { .. } => 11,
            Self::OtherRun { .. } => 12,
            Self::Interrupted { signal, .. } => 128 + u8::try_from(*signal).unwrap_or(2),
            Self::NonFiniteLoss { .. }
            | Self::Blas { .. }
            | Self::Table { .. }
            | Self::Internal(_) => 1,
        }
    }

    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Setting { help, .. }
            | Self::ConfigFile { help, .. }
            | Self::Blas { help, .. }
            | Self::Incomplete { help, .. }
            | Self::Interrupted { help, .. } => help.clone(),
            Self::UnknownName { known, .. } => format!("known: {}", known.join(", ")),
            Self::Modulus { .. } => "pick another `--modulus`, such as 59 or 113".into(),
            Self::NotFound { .. } => "check the path".into(),
            Self::NothingUsable { found, .. } if mentions_pickles(found) => {
                "pickles are not opened; python examples/from_torch.py FOLDER OUT_FOLDER \
                 converts those that you trust"
                    .into()
            }
            Self::NothingUsable { .. } => {
                "an archive is a run folder with run.json and checkpoints/step_*.safetensors, \
                 safetensors files of other programs whose names tell their steps, \
                 or a folder of such folders"
                    .into()
            }
            Self::Misplaced { why, .. } => return why.help().map(str::to_owned),
            Self::Pickle { path } => format!(
                "convert it once, where you trust it: python examples/from_torch.py {} OUT.safetensors",
                path.display()
            ),
            Self::TooLarge { .. } => "give more with --memory-limit, if the machine has it".into(),
            Self::TooSlow { .. } => "is the drive still there? --io-timeout sets the limit".into(),
            Self::Write { .. } => "free some space or choose another folder; \
                 what was committed stays valid, run the same command again"
                .into(),
            Self::Checkpoint { fault, .. } => return fault.help().map(str::to_owned),
            Self::TableFile { .. } => "delete it and run the command that wrote it again; \
                 what is intact is not computed again"
                .into(),
            Self::Shape { .. } | Self::MissingTensor { .. } => {
                "was the file copied from another run?".into()
            }
            Self::OtherWeights { .. } => {
                "choose another file, or the settings that it belongs to: \
                 --architecture, --modulus, --d-model, --heads, --d-mlp, --outputs"
                    .into()
            }
            Self::OtherRun { .. } => "choose another folder, or the settings of that run".into(),
            Self::Unfinished { path, .. } => format!(
                "continue it: groundswell-train --resume --out {}; or choose another folder",
                path.display()
            ),
            Self::NotARun { .. } => "choose a new or an empty folder".into(),
            Self::Locked { .. } => "wait for it to end, or choose another folder".into(),
            Self::NonFiniteLoss { last_good: Some(step), .. } => {
                format!("the checkpoints up to step {step} are good; a smaller --lr usually helps")
            }
            Self::NonFiniteLoss { .. } => "a smaller --lr usually helps".into(),
            _ => return None,
        };
        Some(help)
    }
}

/// Whether a list of the kinds of files has some that torch or pickle wrote.
fn mentions_pickles(found: &str) -> bool {
    let kinds = found.split([' ', ',']);
    kinds.into_iter().any(|kind| [".pt", ".pth", ".bin", ".ckpt", ".pkl"].contains(&kind))
}

/// `; did you mean …?` where a known name is close to the one found.
fn did_you_mean(found: &str, known: &[String]) -> String {
    nearest(found, known.iter().map(String::as_str))
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The known name most like `found`, if any is likely meant (Jaro–Winkler similarity above 0.7).
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_come_with_the_nearest_known_one() {
        let error = Error::UnknownName {
            kind: "preset",
            found: "nanda2032".into(),
            known: vec!["demo".into(), "nanda2023".into()],
        };
        assert_eq!(error.to_string(), "unknown preset `nanda2032`; did you mean `nanda2023`?");
        assert_eq!(error.help().unwrap(), "known: demo, nanda2023");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(nearest("zzz", ["demo", "nanda2023"]), None);
    }
}
