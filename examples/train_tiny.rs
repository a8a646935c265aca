//! Train a tiny network from Rust, with settings given in code, and watch it.
//!
//! ```text
//! cargo run --release --example train_tiny [RUN_DIR]
//! ```
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use groundswell::Result;
use groundswell::config::Settings;
use groundswell::train::{self, Outcome, Request};

fn main() -> Result<()> {
    let out = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("groundswell-tiny-{}", std::process::id())),
        PathBuf::from,
    );
    let settings = Settings {
        modulus: Some(13),
        d_model: Some(16),
        heads: Some(2),
        d_mlp: Some(32),
        train_fraction: Some(0.7),
        steps: Some(400),
        save_at: Some("0..400:50".parse()?),
        ..Settings::default()
    };
    let config = settings.or(Settings::preset("nanda2023")?).resolve()?;

    let never = AtomicUsize::new(0); // becomes a signal's number when the run should stop
    let request = Request { config: &config, out: &out, resume: false, threads: 2, stop: &never };
    let outcome = train::run(&request, &mut |report| {
        if report.step % 100 == 0 {
            println!("step {:>4}: train loss {:.4} nats", report.step, report.train.loss);
        }
    })?;
    match outcome {
        Outcome::Complete(report) => {
            println!("saved {} checkpoints in {}", report.saved, out.display());
        }
        Outcome::AlreadyComplete => println!("{} is complete already", out.display()),
    }
    Ok(())
}
