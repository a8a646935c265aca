//! `groundswell merge`, `status` and `verify`: a folder of tables as a whole.

use std::path::PathBuf;

use super::source::SourceArgs;
use super::{print, shared_progress, signals, summarise};
use crate::durable::Locking;
use crate::pipeline::status::Count;
use crate::pipeline::{merge as joining, status as standing, verify as checking};

/// Join what the shards of an analysis computed into tables.
///
/// Writes the same bytes as one analysis without --shard. If a shard is not complete, it is named, and
/// nothing is written.
///
/// Example: groundswell merge tables/
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Folder for the tables, as the shards were told
    #[arg(value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub tables: PathBuf,

    /// Take no lock, on a file system that has none: then nobody else may write there
    #[arg(long)]
    pub no_lock: bool,
}

/// Say how far an analysis is.
///
/// Example: groundswell status tables/
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Folder for the tables
    #[arg(value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub tables: PathBuf,
}

/// Check every byte of a folder of tables against its digest.
///
/// With --archive also the files that the tables were computed from. Exit code 4 if one differs.
///
/// Example: groundswell verify tables/ --archive runs/
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Folder of tables
    #[arg(value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub tables: PathBuf,

    /// The archive that was analysed
    #[arg(long, value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: Option<PathBuf>,

    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run `merge`; returns the exit code.
///
/// # Errors
/// See [`joining::merge`].
pub fn merge(args: &MergeArgs) -> anyhow::Result<u8> {
    let locking = if args.no_lock { Locking::Off } else { Locking::On };
    let summary = joining::merge(&args.tables, locking)?;
    summarise(&args.tables, "checkpoints in the tables", &summary)
}

/// Run `status`; returns the exit code.
///
/// # Errors
/// See [`standing::status`].
pub fn status(args: &StatusArgs) -> anyhow::Result<u8> {
    let found = standing::status(&args.tables)?;
    let mut text = format!(
        "{}: {} checkpoints of {} runs\n",
        args.tables.display(),
        found.checkpoints,
        found.runs
    );
    let line = |name: &str, Count { done, of }: Count| {
        format!("  {name:<14} {done:>7} of {of:>7} units\n")
    };
    for (kind, part) in &found.measures {
        text += &line(kind.name(), *part);
    }
    if found.shards.len() > 1 {
        for (k, part) in (1..).zip(&found.shards) {
            text += &line(&format!("shard {k}/{}", found.shards.len()), *part);
        }
    }
    text += &format!("  failures       {:>7}\n", found.failures);
    text += if found.is_joined {
        "  the tables are written\n"
    } else {
        "  the tables are not written yet\n"
    };
    for damaged in &found.damaged {
        tracing::warn!("{damaged}");
    }
    print(text.as_bytes())
}

/// Run `verify`; returns the exit code.
///
/// # Errors
/// See [`checking::verify`].
pub fn verify(args: &VerifyArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    signals::insist(&stop)?;
    let progress = shared_progress("files");
    let options = args.source.options();
    let archive = args.archive.as_deref().map(|path| (path, &options));
    let threads = signals::threads(args.threads);
    let found = checking::verify(&args.tables, archive, threads, &stop, &progress)?;
    let mut text = String::new();
    for damage in &found.damage {
        text += &format!("{damage}\n");
    }
    text += &format!("{}: {} tables, {} blocks", args.tables.display(), found.tables, found.blocks);
    if archive.is_some() {
        text += &format!(", {} files of the archive", found.inputs);
    }
    text += &match found.damage.len() {
        0 => " as they were written\n".to_owned(),
        n => format!("; {n} damaged\n"),
    };
    print(text.as_bytes())?;
    Ok(if found.damage.is_empty() { 0 } else { 4 })
}
