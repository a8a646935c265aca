//! Every program in `examples/` runs, and prints what it promises.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::support::*;

/// An example, its arguments in a temporary folder, and lines of its output: how each begins.
struct Example {
    name: &'static str,
    args: fn(&Path) -> Vec<OsString>,
    lines: &'static [&'static str],
}

const EXAMPLES: &[Example] = &[
    Example {
        name: "add_a_measure",
        args: |_| args![fixture("tiny")],
        lines: &["tiny step     0: Some(", "tiny step  1200: Some(", "neighbours.parquet: "],
    },
    Example {
        name: "read_archive",
        args: |_| args![fixture("tiny")],
        lines: &[
            "tiny: 7 checkpoints, task add modulo 7",
            "  step     0  ‖W_E‖ = ",
            "  step  1200  ‖W_E‖ = ",
        ],
    },
    Example {
        name: "train_tiny",
        args: |dir| args![dir.join("run")],
        lines: &["step    0: train loss 2.", "step  400: train loss ", "saved 9 checkpoints in "],
    },
];

#[test]
fn every_example_runs_and_says_what_it_did() {
    let folder = Path::new(GROUNDSWELL).parent().unwrap().join("examples");
    for example in EXAMPLES {
        let dir = tempfile::tempdir().unwrap();
        let program = folder.join(example.name);
        assert!(
            program.exists(),
            "{} is not built; `cargo test` without --test builds it, or cargo build --examples",
            program.display()
        );
        let ran = Ran::from(
            command(program.to_str().unwrap(), (example.args)(dir.path())).output().unwrap(),
        );
        let ran = ran.exits(0);
        for line in example.lines {
            let found = ran.stdout.lines().any(|found| found.starts_with(line));
            assert!(found, "{}: no line {line:?} in {}", example.name, ran.stdout);
        }
    }
}

#[test]
fn every_example_has_a_test() {
    let mut files: Vec<String> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
            .collect();
    files.sort();
    assert_eq!(files, EXAMPLES.iter().map(|example| example.name).collect::<Vec<_>>());
}
