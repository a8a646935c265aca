//! Memory and descriptors do not grow with the number of checkpoints.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::support::*;

/// A run of this many checkpoints.
fn run(dir: &Path, checkpoints: usize) -> std::path::PathBuf {
    let run = dir.join(format!("run{checkpoints}"));
    let steps = (checkpoints - 1).to_string();
    // 200 KB each, so that keeping them would show.
    let small = args!["--modulus", "7", "--d-model", "64", "--heads", "2", "--d-mlp", "256"];
    let short = args!["--train-fraction", "0.6", "--steps", steps, "--save-at", "0..:1"];
    train([args!["--out", &run, "--save-optimizer", "never"], small, short].concat()).exits(0);
    run
}

/// The largest resident memory, in KiB, of an analysis that may open 64 files.
fn peak(archive: &Path, out: &Path) -> u64 {
    let limited =
        args!["--nofile=64", GROUNDSWELL, "analyze", archive, "--out", out, "--threads", "2"];
    let mut command = command("prlimit", limited);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The limits are set in the same process, before the program takes its place.
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak = peak.max(now.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            return peak;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn many_checkpoints_take_no_more_memory_than_some() {
    let dir = tempfile::tempdir().unwrap();
    let (some, many) = if soak() { (1_000, 10_000) } else { (250, 500) };
    let [(_, less), (out, more)] = [some, many].map(|count| {
        let out = dir.path().join(format!("tables{count}"));
        let peak = peak(&run(dir.path(), count), &out);
        (out, peak)
    });
    assert!(more < 512 * 1024, "{more} KiB");
    // What is kept of a checkpoint is its place and its digests; of a table, one row group, which the
    // smaller archive does not fill.
    let (per_checkpoint, row_groups) = (6 * (many - some) as u64, 48 * 1024);
    assert!(more <= less + per_checkpoint + row_groups, "{less} KiB, then {more} KiB");
    let again = analyze(&dir.path().join(format!("run{many}")), &out).exits(0);
    assert!(again.stdout.ends_with(": nothing to do, 0 to compute\n"), "{again:#?}");
}
