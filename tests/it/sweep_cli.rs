//! `groundswell-train sweep`: many runs from one file.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use groundswell::archive::Archive;

use super::support::*;

const SWEEP: &str = "\
[settings]
modulus = 13
d_model = 16
heads = 2
d_mlp = 32
train_fraction = 0.6
steps = 400
save_at = '0..:10'

[grid]
seed = [0, 1, 2, 3]
weight_decay = [0.0, 1.0]
";

/// The steps of the runs in a folder that are saved, by run.
fn saved(out: &Path) -> Vec<(String, usize)> {
    let mut found: Vec<_> = fs::read_dir(out)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .map(|run| {
            let manifest = fs::read_to_string(run.join("manifest.jsonl")).unwrap_or_default();
            let commits = manifest.lines().filter(|line| line.contains("checkpoints/step_"));
            (run.file_name().unwrap().to_str().unwrap().to_owned(), commits.count())
        })
        .collect();
    found.sort();
    found
}

fn sweep(file: &Path, out: &Path) -> Ran {
    train(args!["sweep", file, "--out", out, "--threads", "2"])
}

/// Eight runs, interrupted when half of the steps are saved, then resumed: the archive is, byte for
/// byte, that of a sweep that was left alone, and what was complete is not touched again.
#[test]
fn an_interrupted_sweep_ends_with_the_same_bytes_and_trains_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sweep.toml");
    fs::write(&file, SWEEP).unwrap();
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    let ran = sweep(&file, &whole).exits(0).mentions("8 runs, 2 side by side, 1 thread each");
    assert!(ran.stdout.contains(": 8 runs in "), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("  trained  ").count(), 8, "{}", ran.stdout);

    let mut command = command(TRAIN, args!["sweep", &file, "--out", &out, "--threads", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while saved(&out).iter().map(|(_, saves)| saves).sum::<usize>() < 4 * 41 {
        assert!(started.elapsed() < Duration::from_secs(120), "{:?}", saved(&out));
        sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    assert!(super::support::command("kill", args!["-INT", pid]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap()).exits(130);
    assert!(ran.stderr.contains("stopped: the runs under way are saved"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: run the same command again to continue"), "{}", ran.stderr);

    let complete: Vec<String> =
        saved(&out).into_iter().filter_map(|(run, saves)| (saves == 41).then_some(run)).collect();
    assert!(!complete.is_empty() && complete.len() < 8, "{complete:?}");
    let before: Vec<_> = complete.iter().map(|run| modified(&out.join(run))).collect();
    let ran = sweep(&file, &out).exits(0);
    assert_eq!(ran.stdout.matches("  complete already  ").count(), complete.len());
    assert_eq!(ran.stdout.matches("  trained  ").count(), 8 - complete.len());
    let after: Vec<_> = complete.iter().map(|run| modified(&out.join(run))).collect();
    assert_eq!(after, before);
    assert_same(&tree(&out), &tree(&whole));
    assert_eq!(Archive::open(&out).unwrap().runs.len(), 8);
}

/// One run's failure is told and costs the others nothing.
#[test]
fn a_run_that_fails_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sweep.toml");
    fs::write(&file, SWEEP.replace("weight_decay = [0.0, 1.0]", "lr = [1e-3, 1e30]")).unwrap();
    let ran = sweep(&file, &dir.path().join("out")).exits(1);
    assert_eq!(ran.stdout.matches("  trained  ").count(), 4, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("  failed  ").count(), 4, "{}", ran.stdout);
    let told = ran.stderr.lines().filter(|line| line.contains("training stopped"));
    assert!(told.count() >= 4, "{}", ran.stderr);
}

#[test]
fn mistakes_in_the_file_are_placed_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("sweep.toml"), dir.path().join("out"));
    fs::write(&file, "[settings]\nsteps = 10\n[grid]\nsede = [1]\n").unwrap();
    sweep(&file, &out).exits(2).mentions("unknown key `sede`; did you mean `seed`?");
    sweep(&dir.path().join("missing.toml"), &out).exits(10);
    assert!(!out.exists());
}
