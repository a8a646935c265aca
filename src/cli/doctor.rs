//! `groundswell doctor`.

use std::time::Instant;

use super::{print, signals};
use crate::blas;
use crate::doctor;
use crate::linalg;

/// Show what computes here, test it, and say what to change.
///
/// The BLAS library with its version, kernel and thread count in force; cores and memory; the rate
/// of matrix products; and whether concurrent calls give the bits of serial ones.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

/// Run the command; returns the exit code: 1 if results cannot be trusted here.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(_args: &DoctorArgs) -> anyhow::Result<u8> {
    let info = blas::info();
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<16} {value}\n");
    line("groundswell", env!("CARGO_PKG_VERSION").into());
    line("BLAS", format!("{} {}", info.library, info.version));
    line("kernel", info.kernel.clone());
    line("BLAS threads", format!("{} ({})", blas::threads(), blas::threading()));
    line("cores", signals::cores().to_string());
    if let Some(bytes) = doctor::memory() {
        line("memory", format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
    }
    let features = blas::vector_features();
    line("vectors", features.join(" "));
    let rate = doctor::product_rate();
    line("f32 products", format!("{rate:.0} GFLOP/s on one thread"));
    let started = Instant::now();
    let differing = doctor::concurrency_test(signals::cores().max(4));
    let seconds = started.elapsed().as_secs_f64();
    let verdict = match differing {
        0 => "concurrent calls give the bits of serial ones".to_owned(),
        n => format!("{n} of {} concurrent calls differ from serial ones", doctor::CALLS),
    };
    line("self-test", format!("{verdict} ({seconds:.1} s)"));
    let mut advice = doctor::advice(&info, &features, differing);
    // What training and analysis ask for before any work.
    let sound = linalg::require_sound();
    if let Err(error) = &sound {
        advice.push(format!("{error}: {}", error.help().unwrap_or_default()));
    }
    for (i, advice) in advice.iter().enumerate() {
        line(if i == 0 { "to change" } else { "" }, advice.clone());
    }
    if advice.is_empty() {
        line("to change", "nothing".into());
    }
    print(text.as_bytes())?;
    Ok(u8::from(differing > 0 || sound.is_err()))
}
