//! What the user sees while work goes on, and when it fails.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::error::Error;

/// How log messages are written to stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonArgs {
    /// How to write log messages
    #[arg(long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

impl CommonArgs {
    /// Send the engines' log messages to stderr.
    pub fn start_logging(&self) {
        let builder = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_target(false)
            .without_time()
            .with_ansi(colours())
            // Otherwise a message that cannot be written is itself told on stderr, with a panic.
            .log_internal_errors(false);
        // A second subscriber is refused; in tests several commands run in one process.
        let _ = match self.log_format {
            LogFormat::Text => builder.try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
    }
}

fn colours() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !plain
}

/// Run a command, say how it ended, and choose the exit code.
///
/// A panic is a mistake of the program: it is told as one, with exit code 1.
pub fn run(common: &CommonArgs, command: impl FnOnce() -> anyhow::Result<u8>) -> ExitCode {
    let result = catch_unwind(AssertUnwindSafe(command));
    match result.unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref()).into())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let known = error.downcast_ref::<Error>();
            match common.log_format {
                LogFormat::Text => print_text(&error, known),
                LogFormat::Json => print_json(&error, known),
            }
            ExitCode::from(known.map_or(1, Error::exit_code))
        }
    }
}

/// Write a line to stderr. Whoever closed it has read enough, and the work goes on: `eprintln!`
/// would panic.
pub(super) fn tell(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn print_text(error: &anyhow::Error, known: Option<&Error>) {
    match known {
        // A stop that was asked for is no error.
        Some(Error::Interrupted { .. }) => tell(format_args!("{error:#}")),
        Some(known) => tell(format_args!("error[{}]: {error:#}", known.code())),
        None => tell(format_args!("error: {error:#}")),
    }
    if let Some(help) = known.and_then(Error::help).filter(|help| !help.is_empty()) {
        tell(format_args!("help: {help}"));
    }
}

fn print_json(error: &anyhow::Error, known: Option<&Error>) {
    let object = serde_json::json!({
        "level": "ERROR",
        "code": known.map(Error::code),
        "message": format!("{error:#}"),
        "action": known.and_then(Error::help),
    });
    tell(format_args!("{object}"));
}

/// Progress: a bar on a terminal, otherwise a line every ten seconds.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    total: u64,
    first: Option<u64>,
    started: Instant,
    spoken: Instant,
}

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Of `total` things; `what` stands before the message.
    #[must_use]
    pub fn new(what: impl Into<String>, total: u64) -> Self {
        Self::with_bar(what.into(), total, |bar| bar)
    }

    /// One of several that are shown below each other.
    #[must_use]
    pub fn among(all: &MultiProgress, what: impl Into<String>, total: u64) -> Self {
        Self::with_bar(what.into(), total, |bar| all.add(bar))
    }

    fn with_bar(what: String, total: u64, place: impl Fn(ProgressBar) -> ProgressBar) -> Self {
        let bar = colours().then(|| {
            let bar = place(ProgressBar::new(total));
            let template = "{bar:24} {pos}/{len} {wide_msg} {eta_precise} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar
        });
        let now = Instant::now();
        Self { bar, what, total, first: None, started: now, spoken: now }
    }

    /// `done` of them are done; `message` says more.
    pub fn update(&mut self, done: u64, message: impl FnOnce() -> String) {
        let first = *self.first.get_or_insert(done);
        let now = Instant::now();
        let since = now - self.spoken;
        let wait = if self.bar.is_some() { Duration::from_millis(100) } else { LINE_EVERY };
        if since < wait && done != self.total {
            return;
        }
        self.spoken = now;
        let elapsed = (now - self.started).as_secs_f64();
        let rate = done.saturating_sub(first) as f64 / elapsed.max(1e-9);
        let message = format!("{} {} ({rate:.1}/s)", self.what, message());
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message);
            }
            None => {
                let left = self.total.saturating_sub(done) as f64 / rate.max(1e-9);
                let left = Duration::from_secs_f64(left.min(1e9));
                let left = HumanDuration(Duration::from_secs(left.as_secs()));
                tracing::info!("{done}/{} {message}, {left:#} left", self.total);
            }
        }
    }

    /// Remove the bar; a summary comes after it.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
