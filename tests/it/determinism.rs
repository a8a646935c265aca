//! A run is decided by its settings: the same bytes for any number of threads, and whether or not
//! it was interrupted or killed, however often.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use groundswell::archive::{Archive, RunInfo, read};
use groundswell::durable::is_temporary;

use super::support::*;

/// A run of a few seconds with four shares of pairs for the threads, more weights than one thread
/// updates at a time, and 41 saves.
fn options(out: &Path, threads: &str) -> Vec<OsString> {
    args![
        "--out",
        out,
        "--modulus",
        "41",
        "--train-fraction",
        "0.8",
        "--d-model",
        "32",
        "--heads",
        "4",
        "--d-mlp",
        "512",
        "--steps",
        "200",
        "--save-at",
        "0..:5",
        "--threads",
        threads
    ]
}

/// The archive of the uninterrupted run.
static WHOLE: LazyLock<Tree> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    train(options(&dir.path().join("run"), "2")).exits(0);
    tree(&dir.path().join("run"))
});

/// Start the run; with `resume` if it has begun.
fn start(run: &Path) -> Child {
    let resume = if run.join("run.json").exists() { args!["--resume"] } else { args![] };
    let mut command = command(TRAIN, [options(run, "1"), resume].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Wait until there are `count` checkpoints: moments are chosen by what the run has done, because a
/// busy machine makes a second mean anything.
fn wait_for_saves(run: &Path, count: usize) {
    let started = Instant::now();
    while saves(run) < count {
        assert!(started.elapsed() < Duration::from_secs(60), "{} saves, not {count}", saves(run));
        sleep(Duration::from_millis(1));
    }
}

fn saves(run: &Path) -> usize {
    let names = fs::read_dir(run.join("checkpoints")).into_iter().flatten();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("step_")).count()
}

/// Every file that bears a final name is whole, and every commit can be read.
fn assert_whole(run: &Path) {
    let files = tree(run);
    for (name, bytes) in &files {
        let base = name.rsplit('/').next().unwrap();
        if name.ends_with('/') || is_temporary(base) {
            continue;
        }
        let path = run.join(name);
        if base.ends_with(".safetensors") {
            read::load(&path, None, false).unwrap_or_else(|error| panic!("{name}: {error}"));
        } else if base == "run.json" {
            RunInfo::read(&path).unwrap();
        } else {
            assert!(["metrics.jsonl", "manifest.jsonl"].contains(&base), "{name}: {bytes:?}");
        }
    }
    if files.get("manifest.jsonl").is_some_and(|text| text.contains(&b'\n')) {
        let archive = Archive::open(run).unwrap();
        assert!(archive.unreadable.is_empty());
        for checkpoint in archive.checkpoints() {
            checkpoint.load(None).unwrap(); // against its digest
        }
        let logged = archive.runs[0].metrics().unwrap();
        let saved = archive.checkpoints().map(|checkpoint| checkpoint.step);
        assert!(saved.zip(&logged).all(|(step, row)| step == row.step), "the log lacks a save");
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(options(&run, "1")).exits(0);
    assert_same(&tree(&run), &WHOLE);
    let saved = WHOLE.keys().filter(|name| name.starts_with("checkpoints/step_"));
    assert_eq!(saved.count(), 41);
}

/// Otherwise equal bytes would prove nothing.
#[test]
fn settings_change_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train([options(&run, "2"), args!["--seed", "1"]].concat()).exits(0);
    let last = "checkpoints/step_00000200.safetensors";
    assert_ne!(tree(&run)[last], WHOLE[last]);
}

/// SIGKILL at 20 moments, over runs that are then continued to their end. Some moments are right
/// after the start, the others within or after a random save.
#[test]
fn killed_runs_end_with_the_same_bytes() {
    let mut random = Random(230_105_217);
    let mut kills = 0;
    while kills < 20 {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        for kill in 0..7 {
            let mut child = start(&run);
            let more = 1 + (4.0 * random.uniform()) as usize;
            if kill % 3 > 0 && saves(&run) + more < 36 {
                wait_for_saves(&run, saves(&run) + more);
            }
            random.pause(25_000.0);
            let ended = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            if run.exists() {
                assert_whole(&run);
            }
            if ended {
                assert!(kill > 0, "the run ended before its first kill");
                break;
            }
            kills += 1;
        }
        train([options(&run, "2"), args!["--resume"]].concat()).exits(0);
        assert_same(&tree(&run), &WHOLE);
    }
}

/// Signals at several moments, each continued from. Nothing is computed twice: the step at which
/// the run stops grows from one signal to the next.
#[test]
fn interrupted_runs_end_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut random = Random(1);
    let mut stops: Vec<u64> = Vec::new();
    for (name, code, after) in
        [("INT", 130, 1), ("TERM", 143, 4), ("USR1", 143, 9), ("INT", 130, 10), ("INT", 130, 25)]
    {
        let child = start(&run);
        wait_for_saves(&run, after.max(saves(&run) + 1));
        random.pause(25_000.0);
        let sent = Instant::now();
        signal(&child, name);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert!(sent.elapsed() < Duration::from_secs(5), "SIG{name} took {:?}", sent.elapsed());
        assert_whole(&run);
        let ran = ran.exits(code).says("help: run the same command again with --resume");
        assert_eq!(ran.stdout, "");
        let message = ran.stderr.lines().find(|line| line.contains("stopped: ")).unwrap();
        let step = message
            .strip_prefix("stopped: step ")
            .and_then(|rest| rest.strip_suffix(" of 200 is saved"))
            .unwrap_or_else(|| panic!("{message}"));
        stops.push(step.parse().unwrap());
    }
    assert!(stops.is_sorted_by(|a, b| a < b), "{stops:?}");
    assert!(stops.iter().any(|step| step % 5 != 0), "all at saved steps: {stops:?}");
    train([options(&run, "2"), args!["--resume"]].concat()).exits(0);
    assert_same(&tree(&run), &WHOLE);
}

/// What an interruption parks is no checkpoint, and a killed run's remains are none either.
#[test]
fn an_interrupted_run_can_be_analysed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let child = start(&run);
    wait_for_saves(&run, 6);
    signal(&child, "INT");
    Ran::from(child.wait_with_output().unwrap()).exits(130);
    let archive = Archive::open(&run).unwrap();
    let steps: Vec<u64> = archive.checkpoints().map(|checkpoint| checkpoint.step).collect();
    assert!(steps.len() >= 6 && steps.iter().all(|step| step % 5 == 0), "{steps:?}");

    fs::write(checkpoint(&run, 111), "no line in the manifest, so no checkpoint yet").unwrap();
    let before = tree(&run);
    let ran = analyze(&run, &dir.path().join("out")).exits(0);
    let summary =
        format!("{}: {} checkpoints measured\n", dir.path().join("out").display(), steps.len());
    assert!(ran.stdout.starts_with(&summary), "{}", ran.stdout);
    assert_same(&tree(&run), &before);
}

/// A second process is refused at once, whatever it wants to do, and told who holds the run.
#[test]
fn one_process_trains_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut child = start(&run);
    wait_for_saves(&run, 1);
    for resume in [args![], args!["--resume"]] {
        let ran = train([options(&run, "1"), resume].concat()).exits(11);
        let holder = format!(": in use by pid {} on host ", child.id());
        ran.mentions("error[CR12]: ").mentions(&holder);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// An analysis that is interrupted changes no table, and the same command goes on.
#[test]
fn an_interrupted_analysis_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out, clean) =
        (dir.path().join("run"), dir.path().join("out"), dir.path().join("clean"));
    plant(&run, &WHOLE);
    analyze(&run, &clean).exits(0);
    let only = args!["analyze", &run, "--out", &out, "--measures", "spectra", "--threads", "1"];
    groundswell(only).exits(0);
    let before = tables_of(&out);
    for (name, code) in [("INT", 130), ("TERM", 143), ("USR1", 143)] {
        let all = args!["analyze", &run, "--out", &out, "--threads", "1"];
        let mut command = command(GROUNDSWELL, all);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It holds the lock before it measures.
        let holder = format!("pid {} ", child.id());
        let held = || fs::read_to_string(out.join(".groundswell/lock")).unwrap().contains(&holder);
        let started = Instant::now();
        while !held() {
            assert!(started.elapsed() < Duration::from_secs(60), "the analysis does not begin");
            sleep(Duration::from_micros(100));
        }
        signal(&child, name);
        let ran = Ran::from(child.wait_with_output().unwrap()).exits(code);
        ran.mentions("stopped: ")
            .mentions(" of 41 checkpoints done; run again to resume\n")
            .says("help: what is done is kept, and no table was changed");
        assert_same(&tables_of(&out), &before);
    }
    analyze(&run, &out).exits(0);
    assert_same(&tree(&out), &tree(&clean));
}
