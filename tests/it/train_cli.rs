//! `groundswell-train`: what is refused, before anything is touched; what is kept when it fails.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use groundswell::archive::Archive;
use serde_json::Value;

use super::support::*;

/// A run that takes milliseconds.
fn small(out: &Path) -> Vec<OsString> {
    args![
        "--out",
        out,
        "--modulus",
        "5",
        "--train-fraction",
        "0.6",
        "--d-model",
        "4",
        "--heads",
        "2",
        "--d-mlp",
        "4",
        "--steps",
        "6",
        "--save-at",
        "0..:2",
        "--threads",
        "1"
    ]
}

/// The small run, with these options in force instead.
fn with(out: &Path, options: &[&str]) -> Ran {
    let mut args = small(out);
    for pair in options.chunks(2) {
        match args.iter().position(|arg| arg == pair[0]) {
            Some(at) if pair.len() == 2 => args[at + 1] = pair[1].into(),
            _ => args.extend(pair.iter().map(OsString::from)),
        }
    }
    train(args)
}

/// Refused with exit 2 before anything is created.
#[track_caller]
fn refused(options: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let ran = with(&dir.path().join("run"), options).exits(2);
    assert_eq!(tree(dir.path()), Tree::new(), "something was created");
    assert_eq!(ran.stdout, "");
    ran
}

#[test]
fn unknown_names_come_with_the_nearest_one() {
    refused(&["--weight-deccay", "1"])
        .says("error: unexpected argument '--weight-deccay' found")
        .says("  tip: a similar argument exists: '--weight-decay'");
    refused(&["--preset", "nanda2032"])
        .says("error[CL03]: unknown preset `nanda2032`; did you mean `nanda2023`?")
        .says("help: known: nanda2023, transformer-lens, demo");
    for (option, value, message) in [
        ("--task", "ad", "unknown task `ad`; did you mean `add`?"),
        ("--task", "x2+xy", "unknown task `x2+xy`; did you mean `x2+xy+y2`?"),
        ("--activation", "rellu", "unknown activation `rellu`; did you mean `relu`?"),
        ("--optimizer", "adam", "unknown optimizer `adam`; did you mean `adamw`?"),
        ("--init", "papr", "unknown init `papr`; did you mean `paper`?"),
    ] {
        let mentioned = format!("error: invalid value '{value}' for '{option} <");
        refused(&[option, value]).mentions(&mentioned).mentions(message);
    }
}

#[test]
fn values_of_the_wrong_form_are_told_with_the_right_one() {
    refused(&["--split", "python"]).mentions("split: `python` has no `:`");
    refused(&["--save-at", "5..3:1"]).mentions("`5..3:1` is not of the form first..last:every");
    refused(&["--threads", "0"]).mentions("invalid value '0' for '--threads <N>'");
    refused(&["--steps", "many"]).mentions("invalid value 'many' for '--steps <N>'");
    let ran = train(args!["--preset", "demo"]).exits(2);
    ran.mentions("--out <RUN_DIR>");
}

#[test]
fn impossible_settings_are_told_with_the_reason() {
    let says = |options: &[&str], problem: &str, help: &str| {
        refused(options).says(&format!("error[CL03]: {problem}")).says(&format!("help: {help}"));
    };
    says(
        &["--task", "div", "--modulus", "9"],
        "modulus: task div needs a prime modulus, and 9 is not prime",
        "pick a prime, such as 59 or 113",
    );
    for even in ["4", "112", "2", "0", "1"] {
        let problem = format!("modulus p = {even} is not an odd number of at least 3");
        says(&["--modulus", even], &problem, "pick another `--modulus`, such as 59 or 113");
    }
    for fraction in ["0", "1.5", "-0.5", "NaN", "inf"] {
        let options = [&format!("--train-fraction={fraction}")[..]];
        let dir = tempfile::tempdir().unwrap();
        let mut args = small(&dir.path().join("run"));
        let at = args.iter().position(|arg| arg == "--train-fraction").unwrap();
        args.splice(at..at + 2, options.map(OsString::from));
        let problem = format!("train-fraction: {fraction} is not in (0, 1]");
        train(args).exits(2).says(&format!("error[CL03]: {problem}"));
        assert_eq!(tree(dir.path()), Tree::new());
    }
    says(
        &["--heads", "3"],
        "heads: 3 heads do not divide d-model 4",
        "d-model must be a multiple of heads",
    );
    refused(&["--heads", "0"]).mentions("heads: 0 is not in 1..=65536");
    refused(&["--lr", "nan"]).mentions("lr: NaN is not a finite number of at least 0");
    refused(&["--steps", "0"]).mentions("steps: a run needs at least one step");
}

/// A fraction so small that no pair is left cannot be trained with either.
#[test]
fn a_fraction_that_leaves_no_pair_is_refused() {
    refused(&["--train-fraction", "0.001"]).mentions("train-fraction");
}

#[test]
fn faults_of_a_config_file_are_placed() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("run.toml");
    let path = config.to_str().unwrap();
    let refused_with = |text: &str, code: i32| {
        fs::write(&config, text).unwrap();
        let before = tree(dir.path());
        let ran = with(&dir.path().join("run"), &["--config", path]).exits(code);
        assert_same(&tree(dir.path()), &before);
        ran
    };
    refused_with("modulus = 5\nweight_decy = 1.0\n", 2).says(&format!(
        "error[CL03]: {path}:2:1: unknown key `weight_decy`; \
         did you mean `weight_decay`?"
    ));
    refused_with("task = \"adds\"", 2)
        .says(&format!("error[CL03]: {path}:1:8: unknown task `adds`; did you mean `add`?"));
    refused_with("lr = \"fast\"", 2).mentions(&format!("{path}:1:6: invalid type"));
    refused_with("lr = \n", 2).mentions(&format!("{path}:1:6: "));
    let ran = with(&dir.path().join("run"), &["--config", "no/such.toml"]).exits(10);
    ran.says("error[AR01]: no/such.toml: no such configuration file");
    assert!(!dir.path().join("run").exists());
}

/// The configuration that a run wrote down.
fn config_of(run: &Path) -> Value {
    let info: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    info["config"].clone()
}

#[test]
fn options_override_the_file_and_the_file_the_preset() {
    let dir = tempfile::tempdir().unwrap();
    let (config, run) = (dir.path().join("run.toml"), dir.path().join("run"));
    fs::write(&config, "lr = 0.25\nbeta1 = 0.5\nmodulus = 5\nd_model = 4\nd_mlp = 4\n").unwrap();
    let options = args!["--lr", "0.125", "--steps", "1", "--save-at", "0"];
    train([args!["--preset", "demo", "--config", &config, "--out", &run], options].concat())
        .exits(0);
    let found = config_of(&run);
    assert_eq!(found["lr"], 0.125, "the option wins over the file");
    assert_eq!(found["beta1"], 0.5, "the file wins over the preset");
    assert_eq!(found["train_fraction"], 0.45, "the preset demo speaks where both are silent");
    assert_eq!(found["heads"], 4);
    let written = found.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    // Not said, and nothing to say: a run on its own labels.
    let mut keys: Vec<&str> = groundswell::config::KEYS.to_vec();
    keys.retain(|key| *key != "permute_labels");
    keys.sort_unstable();
    assert_eq!(written.len(), keys.len());
    assert!(keys.iter().all(|key| written.iter().any(|found| found == key)), "{written:?}");

    let run = dir.path().join("default");
    let tiny = args!["--modulus", "5", "--d-model", "4", "--d-mlp", "4", "--steps", "1"];
    train([args!["--out", &run], tiny].concat()).exits(0);
    assert_eq!(config_of(&run)["train_fraction"], 0.3, "nanda2023 is the default preset");
}

/// The environment sets no result.
#[test]
fn the_environment_is_not_asked() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(small(&run)).exits(0);
    let mut second = command(TRAIN, small(&dir.path().join("other/run")));
    second
        .env_clear()
        .env("TZ", "Asia/Kathmandu")
        .env("LANG", "C")
        .env("OPENBLAS_NUM_THREADS", "7");
    Ran::from(second.output().unwrap()).exits(0);
    assert_same(&tree(&dir.path().join("other/run")), &tree(&run));
}

#[test]
fn another_run_in_the_folder_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(small(&run)).exits(0);
    let before = tree(dir.path());
    for resume in [&["--resume"][..], &[]] {
        let options = [&["--lr", "0.5", "--seed", "7"], resume].concat();
        with(&run, &options)
            .exits(12)
            .says(&format!(
                "error[CR16]: {}: written with different parameters: \
                 seed is 0 there, 7 here; lr is 0.001 there, 0.5 here",
                run.display()
            ))
            .says("help: choose another folder, or the settings of that run");
        assert_same(&tree(dir.path()), &before);
    }
}

#[test]
fn a_folder_that_is_no_run_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("thesis");
    plant(&folder, &[("a.txt", "1"), ("b.txt", "2"), ("c.pt", "3")].map(own).into());
    let before = tree(dir.path());
    for resume in [&[][..], &["--resume"]] {
        with(&folder, resume)
            .exits(2)
            .says(&format!(
                "error[CR16]: {}: not a run, and not empty: \
                 3 other files: 2 .txt, 1 .pt",
                folder.display()
            ))
            .says("help: choose a new or an empty folder");
        assert_same(&tree(dir.path()), &before);
    }
    let file = folder.join("a.txt");
    with(&file, &[]).exits(2).mentions("this is a file, not a folder");
    with(&file.join("run"), &[]).exits(5).mentions("error[CR05]: could not write");
    assert_same(&tree(dir.path()), &before);
}

fn own((name, text): (&str, &str)) -> (String, Vec<u8>) {
    (name.to_owned(), text.as_bytes().to_vec())
}

/// Take the last checkpoint back, as if the run had been killed before it.
fn unfinish(run: &Path) {
    let path = run.join("manifest.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let (kept, _) = text.split_once("{\"name\":\"optimizer/step_00000006").unwrap();
    fs::write(&path, kept).unwrap();
    fs::remove_file(checkpoint(run, 6)).unwrap();
}

#[test]
fn an_unfinished_run_is_continued_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(small(&run)).exits(0);
    unfinish(&run);
    let before = tree(&run);
    with(&run, &[])
        .exits(2)
        .says(&format!(
            "error[CR16]: {}: holds an unfinished run \
             (last complete checkpoint: step 4 of 6)",
            run.display()
        ))
        .says(&format!(
            "help: continue it: groundswell-train --resume --out {}; or choose another folder",
            run.display()
        ));
    assert_same(&tree(&run), &before);
}

/// The state of step 4 is gone (only the last is kept), so the run begins again.
#[test]
fn a_run_without_its_state_begins_again_and_ends_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(small(&run)).exits(0);
    let complete = tree(&run);
    unfinish(&run);
    with(&run, &["--resume"]).exits(0);
    assert_same(&tree(&run), &complete);
}

#[test]
fn a_complete_run_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let first = train(small(&run)).exits(0);
    let summary = format!("{}: 6 steps, 4 checkpoints saved in ", run.display());
    assert!(first.stdout.starts_with(&summary), "{}", first.stdout);
    let before = (tree(&run), modified(&run));
    for resume in [&[][..], &["--resume"]] {
        let ran = with(&run, resume).exits(0);
        assert_eq!(ran.stdout, format!("{}: complete already, nothing to do\n", run.display()));
        assert_same(&tree(&run), &before.0);
        assert_eq!(modified(&run), before.1);
    }
}

#[test]
fn another_kernel_cannot_continue_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(small(&run)).exits(0);
    unfinish(&run);
    let path = run.join("run.json");
    let kernel = kernel();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&format!("\"{kernel}\""), "\"Nehalem\"")).unwrap();
    let before = tree(&run);
    let openblas = cfg!(feature = "openblas");
    let cure = if openblas { "set OPENBLAS_CORETYPE=Nehalem" } else { "go on where it began" };
    with(&run, &["--resume"]).exits(12).says(&format!(
        "error[CR16]: {}: written with different parameters: BLAS kernel is \
         Nehalem there, {kernel} here ({cure}, or begin a new run with --init)",
        run.display()
    ));
    assert_same(&tree(&run), &before);
}

/// A learning rate beyond reason: the loss leaves the finite numbers within a few steps.
#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    for optimizer in ["sgd", "adamw"] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let options =
            ["--optimizer", optimizer, "--lr", "1e30", "--steps", "500", "--save-at", "0..:1"];
        let ran = with(&run, &options).exits(1);
        let message = ran.stderr.lines().find(|line| line.starts_with("error[NU18]: ")).unwrap();
        let (loss, step) = message
            .strip_prefix("error[NU18]: train loss is ")
            .and_then(|rest| rest.strip_suffix("; training stopped")?.split_once(" at step "))
            .unwrap_or_else(|| panic!("{message}"));
        assert!(["NaN", "inf"].contains(&loss), "{message}");
        let step: u64 = step.parse().unwrap();
        let last = step.checked_sub(1).unwrap_or_else(|| panic!("{message}"));
        ran.says(&format!(
            "help: the checkpoints up to step {last} are good; a smaller --lr usually helps"
        ));

        let archive = Archive::open(&run).unwrap();
        let steps: Vec<u64> = archive.checkpoints().map(|checkpoint| checkpoint.step).collect();
        assert_eq!(steps, (0..=last).collect::<Vec<_>>());
        for checkpoint in archive.checkpoints() {
            let loaded = checkpoint.load(None).unwrap();
            let mut values = loaded.tensors.iter().flat_map(|tensor| &tensor.values);
            assert!(values.all(|value| value.is_finite()), "step {} is not good", loaded.step);
        }
        let logged: Vec<u64> =
            archive.runs[0].metrics().unwrap().iter().map(|row| row.step).collect();
        assert_eq!(logged, steps);
    }
}

#[test]
fn help_names_presets_options_and_an_example() {
    let ran = train(args!["--help"]).exits(0);
    for text in [
        "Presets:\n  nanda2023        the mainline run of arXiv:2301.05217",
        "\n  transformer-lens the TransformerLens demonstration",
        "\n  demo             a small run that memorises, then generalises",
        "Example: groundswell-train --preset demo --out runs/demo",
        "--resume",
        "--save-at <SCHEDULE>",
    ] {
        assert!(ran.stdout.contains(text), "no {text:?} in {}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
    let version = format!("groundswell-train {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(train(args!["--version"]).exits(0).stdout, version);
}

#[test]
fn errors_as_json_have_their_code_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    let ran = with(&dir.path().join("run"), &["--modulus", "4", "--log-format", "json"]).exits(2);
    let object: Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
    assert_eq!(object["code"], "CL03");
    let message = "modulus p = 4 is not an odd number of at least 3";
    assert_eq!(object["message"], message);
    assert_eq!(object["action"], "pick another `--modulus`, such as 59 or 113");
}
