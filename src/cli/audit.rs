//! `groundswell audit`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::source::SourceArgs;
use super::{print, shared_progress, signals};
use crate::pipeline::audit::{Finding, Kind, Report, Request, RunReport, Severity, audit};
use crate::tables::{Cell, CheckpointRow, Row};

/// List the runs and checkpoints of an archive, and what is wrong with them.
///
/// Every byte is read once; nothing is written. Damage (files that cannot be read or placed, names
/// or shapes that change between steps) gives exit code 4. Missing steps, duplicates, values that are
/// not finite, and tensors that jump and come back give 0, with --strict 4.
///
/// Example: groundswell audit runs/ --strict
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Print one JSON object: every checkpoint and every finding
    #[arg(long)]
    pub json: bool,

    /// Exit with 4 also for what is merely irregular, and list what is merely odd
    #[arg(long)]
    pub strict: bool,

    /// Number of threads [default: one per core]; the report does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// See [`audit`].
pub fn run(args: &AuditArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    let progress = shared_progress("checkpoints");
    let request = Request {
        archive: &args.archive,
        options: &args.source.options(),
        threads: signals::threads(args.threads),
        stop: &stop,
    };
    let mut report = audit(&request, &progress)?;
    if !args.strict {
        report.findings.retain(|finding| finding.kind != Kind::Padded);
    }
    let code = report.exit_code(args.strict);
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&as_json(&report, code))?;
        text.push('\n');
        text
    } else {
        as_text(&report, &args.archive)
    };
    print(text.as_bytes())?;
    Ok(code)
}

/// As many findings of one kind in one run are shown one by one.
const SHOWN: usize = 10;

fn as_text(report: &Report, archive: &Path) -> String {
    let mut text = String::new();
    let checkpoints: usize = report.runs.iter().map(|run| run.checkpoints.len()).sum();
    let bytes: i64 = report.runs.iter().flat_map(|run| &run.checkpoints).map(|row| row.bytes).sum();
    let (archive, runs) = (archive.display(), plural(report.runs.len(), "run"));
    let _ =
        writeln!(text, "{archive}: {runs}, {}, {}", plural(checkpoints, "checkpoint"), size(bytes));
    for run in &report.runs {
        let _ = writeln!(text, "  {}", about(run));
    }
    for severity in Severity::ALL {
        let findings =
            report.findings.iter().filter(|finding| finding.kind.severity() == *severity);
        let findings: Vec<&Finding> = findings.collect();
        if findings.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{severity}");
        for group in findings.chunk_by(|a, b| a.kind == b.kind && a.run == b.run) {
            for finding in group.iter().take(SHOWN) {
                let _ = writeln!(text, "  {}", line(finding));
            }
            if group.len() > SHOWN {
                let more = group.len() - SHOWN;
                let _ = writeln!(text, "  … and {more} more of the kind {}", group[0].kind);
            }
            // The same advice once for all of a group.
            let mut advice: Vec<&String> =
                group.iter().filter_map(|finding| finding.action.as_ref()).collect();
            advice.sort();
            advice.dedup();
            for advice in advice {
                let _ = writeln!(text, "    help: {advice}");
            }
        }
    }
    let count = |severity| {
        report.findings.iter().filter(|finding| finding.kind.severity() == severity).count()
    };
    let _ = writeln!(
        text,
        "\n{} damage, {} irregular, {}",
        count(Severity::Damage),
        count(Severity::Irregular),
        plural(count(Severity::Note), "note")
    );
    text
}

/// One line about a run.
fn about(run: &RunReport) -> String {
    let good = || run.checkpoints.iter().filter(|row| row.blake3.is_some());
    let mut text = format!("{}: ", run.name.escape_debug());
    text += if run.own { "" } else { "of another program, " };
    text += &plural(run.checkpoints.len(), "checkpoint");
    if let (Some(first), Some(last)) = (run.first_step, run.last_step) {
        text += &format!(", steps {first} to {last}");
    }
    if let Some(row) = good().next() {
        let tensors = usize::try_from(row.n_tensors.unwrap_or(0)).unwrap_or(0);
        text += &format!(", {}", plural(tensors, "tensor"));
        text += &format!(", {} parameters", row.n_params.unwrap_or(0));
        let dtype = row.dtype.as_deref().unwrap_or("");
        text += &if dtype.is_empty() { String::new() } else { format!(" in {dtype}") };
    }
    text + &format!(", {} verified", run.verified)
}

/// One line about a finding; names are escaped, whatever they hold.
fn line(finding: &Finding) -> String {
    let place = match (&finding.path, &finding.run) {
        (Some(path), _) => path.escape_debug().to_string(),
        (None, Some(run)) => run.escape_debug().to_string(),
        (None, None) => "archive".into(),
    };
    let code = finding.code.map_or_else(String::new, |code| format!(" [{code}]"));
    format!("{place}: {}{code}", finding.message)
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut units = ["bytes", "kB", "MB", "GB", "TB"].into_iter().peekable();
    while let Some(unit) = units.next() {
        if value < 1000.0 || units.peek().is_none() {
            return if unit == "bytes" {
                format!("{bytes} bytes")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    String::new()
}

fn as_json(report: &Report, code: u8) -> Value {
    let runs = report.runs.iter().map(|run| {
        json!({
            "run": run.name,
            "own": run.own,
            "first_step": run.first_step,
            "last_step": run.last_step,
            "verified": run.verified,
            "checkpoints": run.checkpoints.iter().map(row).collect::<Vec<_>>(),
        })
    });
    let findings = report.findings.iter().map(|finding| {
        json!({
            "severity": finding.kind.severity(),
            "kind": finding.kind,
            "code": finding.code,
            "run": finding.run,
            "step": finding.step,
            "path": finding.path,
            "tensor": finding.tensor,
            "message": finding.message,
            "action": finding.action,
        })
    });
    json!({
        "runs": runs.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "exit_code": code,
    })
}

/// A row as an object, by the names of its columns.
fn row(row: &CheckpointRow) -> Value {
    let cells = CheckpointRow::FIELDS.iter().map(|field| {
        let value = match (field.get)(row) {
            Cell::Null => Value::Null,
            Cell::Int64(value) => value.into(),
            Cell::Float64(value) => value.into(),
            Cell::String(value) => value.into(),
            Cell::Bool(value) => value.into(),
        };
        (field.column.name.to_owned(), value)
    });
    Value::Object(cells.collect())
}
