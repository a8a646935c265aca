//! `groundswell schema`, `doctor` and `completions`, and a reader that stops reading.

use std::process::Stdio;

use groundswell::archive::Run;
use groundswell::tables::{Row, schema};

use super::support::*;

#[test]
fn schema_lists_every_table() {
    let ran = groundswell(args!["schema"]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("TABLE ") && lines[0].ends_with("ONE ROW IS"), "{}", lines[0]);
    let mut tables: Vec<String> = lines[1..]
        .iter()
        .filter(|line| !line.starts_with(' '))
        .map(|line| first_word(line))
        .collect();
    tables.sort();
    let lines = LANDSCAPE_TABLES.map(str::to_owned).to_vec();
    let on_request =
        ["ablations", "activations", "circuits", "readouts"].map(str::to_owned).to_vec();
    let claims = ["arrow", "shares", "onset", "claims"].map(str::to_owned).to_vec();
    let mut expected = [analysis_tables(), lines, on_request, claims].concat();
    expected.sort();
    assert_eq!(tables, expected);
}

fn first_word(line: &str) -> String {
    line.split(' ').next().unwrap().to_owned()
}

#[test]
fn schema_shows_the_columns_of_a_table() {
    let ran = groundswell(args!["schema", "progress"]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "progress.parquet: Losses, accuracies and progress measures of one checkpoint.",
            "Key: run, step. Schema version 1. A type with `?` can be null.",
        ]
    );
    let heading = lines.iter().position(|line| line.starts_with("COLUMN ")).unwrap();
    let columns: Vec<String> = lines[heading + 1..]
        .iter()
        .filter(|line| !line.starts_with(' '))
        .map(|line| first_word(line))
        .collect();
    let expected: Vec<&str> =
        groundswell::tables::ProgressRow::FIELDS.iter().map(|field| field.column.name).collect();
    assert_eq!(columns, expected);
    let row = lines.iter().find(|line| line.starts_with("test_loss ")).unwrap();
    assert_eq!(
        row.split_whitespace().take(3).collect::<Vec<_>>(),
        ["test_loss", "float64?", "nats"]
    );
    assert!(row.contains("  CE(L) on the held-out pairs; null if every pair is"), "{row}");
}

/// What is printed is what the library says: every table can be shown.
#[test]
fn every_table_can_be_shown() {
    for table in schema::all() {
        let ran = groundswell(args!["schema", table.table]).exits(0);
        assert_eq!((ran.stdout, ran.stderr.as_str()), (table.text(), ""));
    }
}

#[test]
fn an_unknown_table_comes_with_the_nearest_one() {
    let ran = groundswell(args!["schema", "progres"]).exits(2);
    assert_eq!(ran.stdout, "");
    ran.says("error[CL03]: unknown table `progres`; did you mean `progress`?")
        .mentions("help: known: checkpoints, training, progress, frequencies, ");
}

#[test]
fn an_unknown_command_comes_with_the_nearest_one() {
    groundswell(args!["analyse"]).exits(2).mentions("analyze");
    groundswell(args![]).exits(2).mentions("Usage: groundswell");
}

#[test]
fn doctor_names_what_computes_and_trusts_it() {
    let ran = groundswell(args!["doctor"]).exits(0);
    let value = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {}", ran.stdout))[name.len()..]
            .trim()
            .to_owned()
    };
    let info = groundswell::blas::info();
    assert_eq!(value("BLAS "), format!("{} {}", info.library, info.version));
    assert_eq!(value("kernel"), kernel());
    assert!(value("BLAS threads").starts_with("1 ("), "{}", value("BLAS threads"));
    assert!(value("self-test").starts_with("concurrent calls give the bits of serial ones ("));
}

/// BLAS keeps to one thread whatever the environment says.
#[test]
fn the_environment_does_not_set_blas_threads() {
    let mut doctor = command(GROUNDSWELL, args!["doctor"]);
    doctor.env("OPENBLAS_NUM_THREADS", "64").env("OMP_NUM_THREADS", "64");
    let ran = Ran::from(doctor.output().unwrap()).exits(0);
    assert!(ran.stdout.contains("\nBLAS threads     1 ("), "{}", ran.stdout);
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let ran = groundswell(args!["completions", "bash"]).exits(0);
    assert!(ran.stdout.starts_with("_groundswell() {"), "{:.200}", ran.stdout);
    for word in ["analyze", "landscape", "--measures", "--points"] {
        assert!(ran.stdout.contains(word), "no {word}");
    }
    let ran = groundswell(args!["man"]).exits(0);
    assert!(ran.stdout.contains(".TH groundswell"), "{:.200}", ran.stdout);
}

/// `… | head`: printing ends, the work goes on, and nothing panics.
#[test]
fn a_closed_stdout_or_stderr_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (out, trained) = (dir.path().join("out"), dir.path().join("run"));
    let train = args![
        "--out",
        &trained,
        "--modulus",
        "5",
        "--d-model",
        "4",
        "--heads",
        "1",
        "--d-mlp",
        "4",
        "--steps",
        "3"
    ];
    let damaged = tiny(dir.path());
    std::fs::write(checkpoint(&damaged, 50), "").unwrap();
    let cases = [
        (GROUNDSWELL, args!["schema"], 0),
        (GROUNDSWELL, args!["schema", "progress"], 0),
        (GROUNDSWELL, args!["doctor"], 0),
        (GROUNDSWELL, args!["completions", "bash"], 0),
        (GROUNDSWELL, args!["analyze", fixture("tiny"), "--out", &out], 0),
        (GROUNDSWELL, args!["analyze", fixture("tiny"), "--out", &out], 0), // complete already
        (GROUNDSWELL, args!["analyze", &damaged, "--out", dir.path().join("out3")], 3),
        (GROUNDSWELL, args!["schema", "progres"], 2),
        (TRAIN, train.clone(), 0),
        (TRAIN, train, 0), // complete already
    ];
    for (program, args, code) in cases {
        for (close_stdout, close_stderr) in [(true, false), (false, true), (true, true)] {
            let mut command = command(program, args.clone());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            if close_stdout {
                drop(child.stdout.take());
            }
            if close_stderr {
                drop(child.stderr.take());
            }
            let ran = Ran::from(child.wait_with_output().unwrap());
            let closed = format!("stdout closed: {close_stdout}, stderr closed: {close_stderr}");
            assert_eq!(ran.code, Some(code), "{program} {args:?}, {closed}: {ran:#?}");
        }
    }
    assert_eq!(tables_in(&out), analysis_tables());
    let run = Run::open(&trained).unwrap();
    assert_eq!(run.checkpoint(3).unwrap().load(None).unwrap().step, 3, "against its digest");
}
