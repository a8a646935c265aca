//! The command line: parse, call the engines, report. The only place that prints.
//!
//! Results go to stdout; progress, logs and errors to stderr. There are no bars and no colours
//! where stderr is no terminal; a plain line every ten seconds takes their place.

pub mod analyze;
pub mod arrow;
pub mod audit;
pub mod claims;
pub mod doctor;
pub mod kernel;
pub mod landscape;
pub mod onset;
pub mod report;
pub mod rules;
pub mod shares;
pub mod signals;
pub mod source;
pub mod sweep;
pub mod tables;
pub mod toy;
pub mod train;
pub mod work;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::{CommandFactory, Parser, Subcommand};

use crate::pipeline::Summary;
use crate::tables::schema;
use report::{CommonArgs, Progress};

/// When, and how, did a network start to implement the algorithm it ended up with?
///
/// Reads archives of training runs, and writes tables: one Parquet file each, for polars, pandas,
/// DuckDB and anything else.
#[derive(Debug, Parser)]
#[command(name = "groundswell", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::AuditArgs),
    Analyze(analyze::AnalyzeArgs),
    Landscape(Box<landscape::LandscapeArgs>),
    Arrow(arrow::ArrowArgs),
    Onset(onset::OnsetArgs),
    Claims(claims::ClaimsArgs),
    Shares(shares::SharesArgs),
    Merge(tables::MergeArgs),
    Status(tables::StatusArgs),
    Verify(tables::VerifyArgs),
    Toy(toy::ToyArgs),
    Schema(SchemaArgs),
    Doctor(doctor::DoctorArgs),
    #[command(hide = true)]
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Man,
}

/// Show the columns of a table: type, unit, definition.
///
/// Example: groundswell schema progress
#[derive(Debug, clap::Args)]
struct SchemaArgs {
    /// Name of a table [default: one line about each]
    #[arg(value_name = "TABLE")]
    table: Option<String>,
}

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
struct CompletionsArgs {
    shell: clap_complete::Shell,
}

/// Parse the command line of `groundswell` and run it.
#[must_use]
pub fn main() -> ExitCode {
    kernel::choose();
    let cli = Cli::parse();
    cli.common.start_logging();
    report::run(&cli.common, || execute(&cli.command))
}

fn execute(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Audit(args) => audit::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Landscape(args) => landscape::run(args),
        Command::Arrow(args) => arrow::run(args),
        Command::Onset(args) => onset::run(args),
        Command::Claims(args) => claims::run(args),
        Command::Shares(args) => shares::run(args),
        Command::Merge(args) => tables::merge(args),
        Command::Status(args) => tables::status(args),
        Command::Verify(args) => tables::verify(args),
        Command::Toy(args) => toy::run(args),
        Command::Schema(args) => show_schema(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "groundswell", &mut script);
            print(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(anyhow::Error::from).and_then(|()| print(&page))
        }
    }
}

fn show_schema(args: &SchemaArgs) -> anyhow::Result<u8> {
    match &args.table {
        Some(name) => print(schema::find(name)?.text().as_bytes()),
        None => print(schema::overview().as_bytes()),
    }
}

/// Write a result to stdout. A reader that has closed the pipe has read enough.
fn print(text: &[u8]) -> anyhow::Result<u8> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

/// Say what was written and what was left out; returns the exit code.
fn summarise(out: &std::path::Path, what: &str, summary: &Summary) -> anyhow::Result<u8> {
    let (tables, parts) = (&summary.tables, &summary.parts);
    let tables = tables.iter().map(|(table, rows)| (format!("{table}.parquet"), *rows));
    let files: Vec<(String, u64)> = tables.chain(parts.iter().cloned()).collect();
    let mut text = format!("{}: ", out.display());
    if files.is_empty() {
        text += "nothing to do, 0 to compute\n";
    } else {
        text += &format!("{} {what}", summary.computed);
        if summary.reused > 0 {
            text += &format!(", {} taken from before", summary.reused);
        }
        text.push('\n');
    }
    for (file, rows) in files {
        text += &format!("  {file:<24} {rows:>9} rows\n");
    }
    print(text.as_bytes())?;
    for warning in &summary.warnings {
        tracing::warn!("{warning}");
    }
    if summary.skipped > 0 {
        let failures = out.join("failures.parquet");
        let where_to = if summary.parts.is_empty() {
            format!("see {}", failures.display())
        } else {
            "failures.parquet will list them once the shards are merged".into()
        };
        tracing::warn!("{} inputs were skipped; {where_to}", summary.skipped);
    }
    Ok(summary.exit_code())
}

/// A progress display that several threads may tell.
fn shared_progress(what: &'static str) -> impl Fn(usize, usize) + Sync {
    let progress: Mutex<Option<Progress>> = Mutex::new(None);
    move |done, total| {
        let Ok(mut shown) = progress.lock() else { return };
        let (done, total) = (done as u64, total as u64);
        let bar = shown.get_or_insert_with(|| Progress::new(what, total));
        bar.update(done, String::new);
        if done == total {
            // The next run's work is counted anew.
            bar.finish();
            *shown = None;
        }
    }
}
