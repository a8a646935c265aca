//! Read an archive: its runs, its checkpoints, and one tensor of each, checked against its digest.
//!
//! ```text
//! cargo run --release --example read_archive [ARCHIVE]
//! ```
#![allow(clippy::print_stdout)]

use groundswell::Result;
use groundswell::archive::Archive;

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "fixtures/tiny".into());
    let archive = Archive::open(path.as_ref())?; // reads no tensor
    for run in &archive.runs {
        let what = match &run.info {
            Some(info) => format!("task {} modulo {}", info.config.task, info.config.modulus),
            None => "of another program".into(),
        };
        println!("{}: {} checkpoints, {what}", run.name, run.checkpoints.len());
        for checkpoint in &run.checkpoints {
            let loaded = checkpoint.load(Some(&["embed.W_E"]))?; // this tensor, and no other
            let w_e = &loaded.tensor("embed.W_E")?.values;
            let norm = w_e.iter().map(|w| w * w).sum::<f64>().sqrt();
            println!("  step {:>5}  ‖W_E‖ = {norm:.4}", checkpoint.step);
        }
    }
    Ok(())
}
