//! `groundswell audit`: what it finds in an archive, and how it says so.

use std::fs;
use std::path::Path;

use groundswell::archive::write::to_bytes;
use groundswell::archive::{Data, TensorRef};
use serde_json::Value;

use super::support::*;

fn report(root: &Path, options: &[&str]) -> (i32, Value) {
    let mut args = args!["audit", root, "--json"];
    args.extend(options.iter().map(Into::into));
    let ran = groundswell(args);
    (ran.code.unwrap(), serde_json::from_str(&ran.stdout).unwrap())
}

/// Kind, step and message of all findings but those about digests.
fn findings(report: &Value) -> Vec<(String, Option<u64>, String)> {
    let found = report["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found
        .map(|f| (text(&f["kind"]), f["step"].as_u64(), text(&f["message"])))
        .filter(|(kind, ..)| kind != "unverified")
        .collect()
}

/// A run of another program: `w` is a function of the step, `b` a constant.
fn run(dir: &Path, steps: impl IntoIterator<Item = u64>, w: impl Fn(u64) -> Vec<f32>) {
    fs::create_dir_all(dir).unwrap();
    for step in steps {
        let (w, b) = (w(step), [0.0f32; 3]);
        let tensors = [
            TensorRef { name: "w", shape: &[w.len()], data: Data::F32(&w) },
            TensorRef { name: "b", shape: &[3], data: Data::F32(&b) },
        ];
        let bytes = to_bytes(&tensors, &Default::default()).unwrap();
        fs::write(dir.join(format!("step{step}.safetensors")), bytes).unwrap();
    }
}

/// Weights that drift: neighbours are near each other.
fn drift(step: u64) -> Vec<f32> {
    (0..50).map(|i| (i as f32).sin() + step as f32 * 1e-4 * (i as f32 * 1.7).cos()).collect()
}

#[test]
fn a_sound_archive_has_no_findings() {
    let ran = groundswell(args!["audit", fixture("tiny"), "--strict"]).exits(0);
    let expected = format!(
        "{}: 1 run, 7 checkpoints, 25.9 kB\n  tiny: 7 checkpoints, steps 0 to 1200, 11 tensors, \
         688 parameters in F32, 7 verified\n\n0 damage, 0 irregular, 0 notes\n",
        fixture("tiny").display()
    );
    assert_eq!(ran.stdout, expected);
    let (code, report) = report(&fixture("tiny"), &[]);
    assert_eq!((code, &report["exit_code"]), (0, &0.into()));
    let row = &report["runs"][0]["checkpoints"][6];
    assert_eq!(
        (&row["step"], &row["status"], &row["n_params"]),
        (&1200.into(), &"ok".into(), &688.into())
    );
    assert_eq!(row["duplicate_of"], Value::Null);
}

#[test]
fn what_is_irregular_costs_only_the_strict() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let steps = (0..=2000).step_by(100).filter(|step| ![700, 1300].contains(step));
    run(&root, steps, |step| match step {
        400 => drift(300),                                     // saved twice
        1000 => drift(step).iter().map(|x| x * 3.0).collect(), // the wrong weights
        1600 => drift(step).iter().map(|x| x / 0.0).collect(),
        _ => drift(step),
    });
    let (code, found) = report(&root, &[]);
    let expected = [
        ("missing_steps", None, "2 steps are missing: 700, 1300"),
        ("duplicate", Some(400), "steps 300, 400 hold the same weights"),
        ("jump", Some(1000), "tensor \"w\" jumps and comes back: it is "),
        ("non_finite", Some(1600), "tensor \"w\" holds NaN or infinities (50 values in all)"),
    ];
    let found = findings(&found);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((kind, step, message), (k, s, m)) in found.iter().zip(expected) {
        assert_eq!((kind.as_str(), *step), (k, s));
        assert!(message.starts_with(m), "{message}");
    }
    assert_eq!((code, report(&root, &["--strict"]).0), (0, 4));
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    run(&dir.path().join("a"), 0..40, drift);
    run(&dir.path().join("b"), (0..40).step_by(2), drift);
    fs::write(dir.path().join("a/step7.safetensors"), b"<html>").unwrap();
    let one = report(dir.path(), &["--threads", "1"]);
    assert_eq!(report(dir.path(), &["--threads", "7"]), one);
    let shared = findings(&one.1);
    let shared: Vec<_> = shared.iter().filter(|(kind, ..)| kind == "shared").collect();
    assert!(shared[0].2.starts_with("20 checkpoints hold weights of run \"a\": steps 0, 2, 4"));
}

#[test]
fn our_own_runs_know_what_they_saved() {
    let dir = tempfile::tempdir().unwrap();
    let root = tiny(dir.path());
    // Neither copied, nor in the manifest.
    let manifest = fs::read_to_string(root.join("manifest.jsonl")).unwrap();
    let kept = manifest.lines().filter(|line| !line.contains("step_00000050"));
    fs::write(root.join("manifest.jsonl"), kept.map(|l| format!("{l}\n")).collect::<String>())
        .unwrap();
    let (code, found) = report(&root, &[]);
    let expected = [
        ("missing_steps".to_owned(), None, "1 steps are missing: 50".to_owned()),
        ("unfinished".to_owned(), None, "1 uncommitted files left out".to_owned()),
    ];
    assert_eq!((code, findings(&found)), (0, expected.to_vec()));

    // A state of the optimiser is checked as the weights are.
    let root = tiny(&dir.path().join("again"));
    let state = root.join("optimizer/step_00001200.safetensors");
    let mut bytes = fs::read(&state).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&state, bytes).unwrap();
    let (code, found) = report(&root, &[]);
    assert_eq!((code, findings(&found)[0].0.as_str()), (4, "unreadable"));
    assert_eq!(found["findings"][0]["path"], "optimizer/step_00001200.safetensors");
    assert_eq!(found["findings"][0]["code"], "ST027");
}

#[test]
fn what_is_no_archive() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    groundswell(args!["audit", &missing])
        .exits(10)
        .says(&format!("error[AR01]: {}: no such archive", missing.display()));
    groundswell(args!["audit", dir.path()])
        .exits(4)
        .says(&format!("error[AR02]: {}: 0 checkpoints; no other files", dir.path().display()));
}

#[test]
fn nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = tiny(dir.path());
    let (before, times) = (tree(&root), modified(&root));
    groundswell(args!["audit", &root]).exits(0);
    assert_same(&tree(&root), &before);
    assert_eq!(modified(&root), times);
}

/// Every flipped bit of every file that has a digest is found: 500 of them, in the long tests
/// 10,000.
#[test]
fn flipped_bits_are_found() {
    use groundswell::archive::Run;
    use rand::{RngExt, SeedableRng};
    let dir = tempfile::tempdir().unwrap();
    let root = tiny(dir.path());
    let run = Run::open(&root).unwrap();
    let files: Vec<_> = run.checkpoints.iter().chain(&run.optimizer).collect();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(27);
    for _ in 0..if soak() { 10_000 } else { 500 } {
        let file = files[rng.random_range(0..files.len())];
        let good = fs::read(&file.path).unwrap();
        let bit = rng.random_range(0..good.len() * 8);
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file.path, bytes).unwrap();
        let error = file.load(None).unwrap_err();
        assert_eq!(error.code(), "ST027", "{}: bit {bit}: {error}", file.path.display());
        fs::write(&file.path, good).unwrap();
    }
}

/// ST020, in the long tests: a header of 80 MB with a million tensors takes at most 15 times its
/// length of memory.
#[test]
fn long_headers_take_little_memory() {
    if !soak() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let entry = |i: usize| {
        format!(
            r#""layer.{i:07}.some_long_name":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#
        )
    };
    let header = format!("{{{}}}", (0..1_000_000).map(entry).collect::<Vec<_>>().join(","));
    let length = header.len();
    let bytes = [&(length as u64).to_le_bytes(), header.as_bytes()].concat();
    fs::write(dir.path().join("step1.safetensors"), bytes).unwrap();
    let mut child = command(GROUNDSWELL, args!["audit", dir.path()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        peak = line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert_eq!(code, Some(0));
    assert!(peak > 0 && peak * 1024 <= 15 * length, "{peak} kB for {length} bytes of header");
}
