//! All measures of single checkpoints of a run, as one JSON line: our side of `make bench-peers`.
//!
//! `cargo bench --bench measures -- RUN_DIR [--threads N] [--limit N] [--step S] [--repeats N] [--parts]`
//! reads checkpoints of the run, evenly spaced (or the one of step S again and again), digests
//! included, and computes the rows of tables checkpoints, progress, frequencies, fourier, neurons,
//! spectra and singular_values, checkpoints side by side on the threads. `--parts` adds how the time
//! of one thread divides.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use groundswell::archive::{Archive, CheckpointRef};
use groundswell::blas;
use groundswell::pipeline::measures::{MeasureKind, Rows};
use groundswell::pipeline::run::Subject;
use groundswell::pipeline::view::View;
use rayon::prelude::*;

const KINDS: [MeasureKind; 6] = [
    MeasureKind::Checkpoints,
    MeasureKind::Progress,
    MeasureKind::Frequencies,
    MeasureKind::Fourier,
    MeasureKind::Neurons,
    MeasureKind::Spectra,
];

fn option(name: &str) -> Option<usize> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).and_then(|value| value.parse().ok())
}

fn main() {
    groundswell::cli::kernel::choose(); // as the programs do
    let folder = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    let Some(folder) = folder else { return }; // `cargo bench` without arguments
    let threads = option("--threads").unwrap_or(2);
    let blas = blas::require_one_thread().expect("one thread");
    let archive = Archive::open(&PathBuf::from(folder)).expect("an archive");
    let run = &archive.runs[0];
    let subject = Subject::new(run).expect("a run");
    let limit = option("--limit").unwrap_or(40).min(run.checkpoints.len()).max(1);
    let chosen: Vec<&CheckpointRef> = match option("--step") {
        Some(step) => vec![run.checkpoint(step as u64).expect("a saved step"); limit],
        None => (0..limit).map(|i| &run.checkpoints[i * run.checkpoints.len() / limit]).collect(),
    };
    if std::env::args().any(|arg| arg == "--parts") {
        return parts(&subject, &chosen);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let rows = |source: &&CheckpointRef| {
        let view = View::load(&subject, source, "").expect("a checkpoint");
        Rows::of(&view, &KINDS).expect("rows")
    };
    let mut seconds: Vec<f64> = (0..option("--repeats").unwrap_or(1))
        .map(|_| {
            let started = Instant::now();
            let found: Vec<Rows> =
                pool.install(|| chosen.par_iter().with_max_len(1).map(rows).collect());
            assert_eq!(found.len(), limit);
            started.elapsed().as_secs_f64() / limit as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!(
        "{{\"name\":\"groundswell measures\",\"seconds_per_checkpoint\":{:.6},\
         \"checkpoints\":{limit},\"threads\":{threads},\"library\":\"{} {}\",\"kernel\":\"{}\"}}",
        seconds[seconds.len() / 2],
        blas.library,
        blas.version,
        blas.kernel,
    );
}

/// Milliseconds of each part, the median over the checkpoints, on one thread.
fn parts(subject: &Subject, chosen: &[&CheckpointRef]) {
    let mut times: Vec<(&str, Vec<f64>)> = Vec::new();
    for source in chosen {
        let mut clock = Instant::now();
        let mut part = |name: &'static str| {
            let spent = clock.elapsed().as_secs_f64() * 1e3;
            match times.iter_mut().find(|(known, _)| *known == name) {
                Some((_, times)) => times.push(spent),
                None => times.push((name, vec![spent])),
            }
            clock = Instant::now();
        };
        let view = View::load(subject, source, "").expect("a checkpoint");
        part("load");
        view.params().expect("weights");
        part("weights");
        view.evaluation().expect("a network");
        part("evaluation");
        view.logit_table().expect("a table");
        part("logit table");
        view.losses().expect("losses");
        part("losses");
        view.object_norms().expect("norms");
        part("object norms");
        view.neurons().expect("neurons");
        part("neuron shares");
        for kind in KINDS {
            Rows::of(&view, &[kind]).expect("rows");
            part(kind.name());
        }
    }
    let medians = times.iter_mut().map(|(name, times)| {
        times.sort_by(f64::total_cmp);
        (*name, times[times.len() / 2])
    });
    let medians: Vec<(&str, f64)> = medians.collect();
    for (name, ms) in &medians {
        println!("{name:16} {ms:7.2} ms");
    }
    println!("{:16} {:7.2} ms", "all", medians.iter().map(|(_, ms)| ms).sum::<f64>());
}
