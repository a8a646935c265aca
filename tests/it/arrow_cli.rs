//! `groundswell arrow`: what it leaves alone, what it goes on with, and what it cannot know.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use groundswell::tables::{ArrowRow, FailureRow, FrequencyRow, Status};

use super::support::*;

fn arrow_with(archive: &Path, out: &Path, options: &[&str]) -> Ran {
    let mut args = args!["arrow", archive, "--out", out];
    args.extend(options.iter().map(OsString::from));
    groundswell(args)
}

/// Without labels, which take most of the time.
fn arrow(archive: &Path, out: &Path) -> Ran {
    arrow_with(archive, out, &["--labels", "0"])
}

/// A short run, every step saved.
fn run(dir: &Path, options: &[&str]) -> PathBuf {
    let out = dir.join("run");
    let mut args = args!["--out", &out, "--modulus", "11", "--d-model", "8", "--heads", "2"];
    args.extend(args!["--d-mlp", "12", "--steps", "14", "--save-at", "0..14:1", "--warmup", "3"]);
    args.extend(options.iter().map(OsString::from));
    train(args).exits(0);
    out
}

/// The same archive as if no state of the optimiser had been kept.
fn without_states(run: &Path) {
    fs::remove_dir_all(run.join("optimizer")).unwrap();
    let path = run.join("manifest.jsonl");
    let manifest = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = manifest.lines().filter(|line| !line.contains("optimizer/")).collect();
    assert!(kept.len() < manifest.lines().count());
    fs::write(&path, kept.join("\n") + "\n").unwrap();
}

fn of_step(rows: &[ArrowRow], step: i64) -> Vec<&ArrowRow> {
    rows.iter().filter(|row| row.step == step).collect()
}

/// From saved moments or from consecutive saves: the same, but for the rounding of weights in f32.
#[test]
fn moments_and_consecutive_saves_agree() {
    for optimizer in [&["--optimizer", "adamw"][..], &["--optimizer", "sgd", "--lr", "0.05"]] {
        let dir = tempfile::tempdir().unwrap();
        let archive = run(dir.path(), &[optimizer, &["--save-optimizer", "all"]].concat());
        let (by_moments, by_saves) = (dir.path().join("moments"), dir.path().join("saves"));
        arrow(&archive, &by_moments).exits(0);
        let known = rows::<ArrowRow>(&by_moments);
        assert_eq!(known.len(), 15 * 5);
        let is_known = |row: &ArrowRow| row.rate_adam.is_some() && row.z_mirror.is_some();
        assert!(known.iter().all(is_known), "{known:#?}");

        without_states(&archive);
        arrow(&archive, &by_saves).exits(0);
        let found = rows::<ArrowRow>(&by_saves);
        for step in 0..14 {
            let (known, found) = (of_step(&known, step), of_step(&found, step));
            let largest = known.iter().map(|row| row.rate_adam.unwrap().abs()).fold(0.0, f64::max);
            for (known, found) in known.iter().zip(found) {
                assert_eq!(known.rate_ce, found.rate_ce);
                assert_eq!(known.rate_decay, found.rate_decay);
                let gap = (known.rate_adam.unwrap() - found.rate_adam.unwrap()).abs();
                assert!(gap < 1e-3 * largest, "step {step}: {known:?} {found:?}");
                let sum = found.rate_adam.unwrap() + found.rate_decay.unwrap();
                assert_eq!(found.rate_total, Some(sum));
            }
        }
        for row in of_step(&found, 14) {
            assert_eq!((row.rate_adam, row.rate_total, row.z_mirror), (None, None, None));
            assert_eq!(row.z_mirror_mean, None);
            assert!(row.rate_decay.is_some() && row.gradient_share.is_some(), "{row:?}");
            assert_eq!(row.status, Status::NoMoments);
        }
    }
}

/// The moments decide rows: without them these are others, although no checkpoint has changed.
#[test]
fn states_of_the_optimiser_are_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (tiny(dir.path()), dir.path().join("out"));
    arrow(&archive, &out).exits(0);
    let at_last = |out: &Path| {
        let rows = rows::<ArrowRow>(out);
        of_step(&rows, 1200).iter().map(|row| row.rate_adam.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(at_last(&out), [true; 3]);
    groundswell(args!["verify", &out, "--archive", &archive]).exits(0);

    let state = archive.join("optimizer/step_00001200.safetensors");
    fs::write(&state, "damaged").unwrap();
    groundswell(args!["verify", &out, "--archive", &archive]).exits(4);
    arrow(&archive, &out).exits(3);
    assert_eq!(at_last(&out), [false; 3]);
    let found = rows::<ArrowRow>(&out);
    for row in of_step(&found, 1200) {
        assert_eq!(row.status, Status::Unreadable);
        assert!(row.rate_ce.is_some() && row.rate_decay.is_some(), "{row:?}");
    }
    let failures = rows::<FailureRow>(&out);
    let told: Vec<_> = failures.iter().map(|row| (row.path.as_str(), row.step)).collect();
    assert_eq!(told, [("optimizer/step_00001200.safetensors", None)]);

    without_states(&archive);
    arrow(&archive, &out).exits(0);
    assert_eq!(at_last(&out), [false; 3]);
    assert_eq!(rows::<FailureRow>(&out), []);
}

/// A damaged state is a failure, and costs no rate where the next save tells the step.
#[test]
fn a_damaged_state_leaves_the_way_by_saves() {
    let dir = tempfile::tempdir().unwrap();
    let archive = run(dir.path(), &["--save-optimizer", "all"]);
    let (by_saves, out) = (dir.path().join("saves"), dir.path().join("out"));
    fs::write(archive.join("optimizer/step_00000007.safetensors"), "damaged").unwrap();
    fs::write(archive.join("optimizer/step_00000014.safetensors"), "damaged").unwrap();
    arrow(&archive, &out).exits(3);
    let told: Vec<String> = rows::<FailureRow>(&out).into_iter().map(|row| row.path).collect();
    assert_eq!(told, [7, 14].map(|step| format!("optimizer/step_{step:08}.safetensors")));
    let found = rows::<ArrowRow>(&out);
    without_states(&archive);
    arrow(&archive, &by_saves).exits(0);
    let expected = rows::<ArrowRow>(&by_saves);
    assert_eq!(of_step(&found, 7), of_step(&expected, 7));
    assert!(of_step(&found, 7).iter().all(|row| row.z_mirror_mean.is_some()), "{found:?}");
    assert_ne!(of_step(&found, 6), of_step(&expected, 6), "by moments");
    for row in of_step(&found, 14) {
        assert_eq!((row.status, row.rate_total), (Status::Unreadable, None));
    }
}

#[test]
fn other_tables_stay_and_nothing_is_done_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (fixture("tiny"), dir.path().join("out"));
    analyze(&archive, &out).exits(0);
    let before = tables_of(&out);
    let options = ["--labels", "4", "--labels-at", "0..50:1"];
    let ran = arrow_with(&archive, &out, &options).exits(0);
    assert!(ran.stdout.contains("arrow.parquet"), "{ran:?}");
    let after = tables_of(&out);
    assert_eq!(after.len(), before.len() + 1);
    for (name, bytes) in &before {
        let is_of_all = ["manifest.json", "failures.parquet"].contains(&name.as_str());
        assert!(is_of_all || after[name] == *bytes, "{name} was changed");
    }
    assert_eq!(rows::<FailureRow>(&out), []);
    let status = groundswell(args!["status", &out]).exits(0);
    assert!(status.stdout.contains("arrow"), "{status:?}");
    assert!(names_the_rules(&out, "arrow") && !names_the_rules(&out, "frequencies"));

    let when = modified(&out);
    let ran = arrow_with(&archive, &out, &options).exits(0);
    assert!(ran.stdout.contains("0 to compute"), "{ran:?}");
    assert_eq!(modified(&out), when);
    // Nor does an analysis mind the arrow.
    analyze(&archive, &out).exits(0);
    assert_same(&tables_of(&out), &after);

    let found = rows::<ArrowRow>(&out);
    let keys: Vec<bool> = rows::<FrequencyRow>(&out).iter().map(|row| row.is_key).collect();
    assert_eq!(found.iter().map(|row| row.is_key).collect::<Vec<_>>(), keys);
    for row in &found {
        assert_eq!(row.z_label.is_some(), row.step <= 50, "{row:?}");
        let is_known = [0, 1200].contains(&row.step);
        assert_eq!(row.rate_total.is_some(), is_known, "{row:?}");
        assert_eq!(row.status, if is_known { Status::Ok } else { Status::NoMoments });
        let is_last = row.step == 1200;
        assert_eq!(row.distance_sq_final == Some(0.0), is_last, "{row:?}");
        assert_eq!(row.descent_dot_final == Some(0.0), is_last, "{row:?}");
    }
    // Other labels are another question.
    let ran = arrow(&archive, &out).exits(0);
    assert!(ran.stdout.contains("7 checkpoints measured"), "{ran:?}");
    let unlabelled: Vec<ArrowRow> = found
        .iter()
        .cloned()
        .map(|row| ArrowRow { z_label: None, z_label_mean: None, ..row })
        .collect();
    assert_eq!(rows::<ArrowRow>(&out), unlabelled);
}

/// Permuted labels are for runs on true ones, unless it is said for which.
#[test]
fn labels_are_permuted_where_there_is_something_to_permute() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("runs");
    run(&archive.join("own"), &[]);
    run(&archive.join("twin"), &["--permute-labels", "0"]);
    let labelled = |name: &str, of: &[&str]| -> BTreeMap<String, bool> {
        let out = dir.path().join(name);
        let common = ["--labels", "3", "--labels-at", "0..14:5"];
        arrow_with(&archive, &out, &[&common, of].concat()).exits(0);
        let mut found = BTreeMap::new();
        for row in rows::<ArrowRow>(&out) {
            *found.entry(row.run.clone()).or_default() |= row.z_label.is_some();
        }
        found
    };
    let expected = |own: bool, twin: bool| {
        BTreeMap::from([("own/run".to_owned(), own), ("twin/run".to_owned(), twin)])
    };
    assert_eq!(labelled("plain", &[]), expected(true, false));
    assert_eq!(labelled("twin", &["--labels-of", "tw.*"]), expected(false, true));
    assert_eq!(labelled("none", &["--labels-of", "seeds"]), expected(false, false));
    let of = |name: &str| metadata(&dir.path().join(name), "arrow").get("labels_of").cloned();
    assert_eq!([of("twin"), of("plain")], [Some("tw.*".to_owned()), None]);
    arrow_with(&archive, &dir.path().join("bad"), &["--labels-of", "("])
        .exits(2)
        .mentions("labels-of: `(` is no regular expression");
}

#[test]
fn threads_and_shards_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let archive = run(dir.path(), &[]);
    let out = |name: &str| dir.path().join(name);
    let some = |name: &str, options: &[&str]| {
        let common = ["--labels", "3", "--labels-at", "0..14:5"];
        arrow_with(&archive, &out(name), &[&common, options].concat()).exits(0);
    };
    some("one", &["--threads", "1"]);
    some("three", &["--threads", "3"]);
    assert_same(&tables_of(&out("three")), &tables_of(&out("one")));
    for shard in ["2/3", "3/3", "1/3"] {
        some("shards", &["--shard", shard]);
    }
    groundswell(args!["merge", out("shards")]).exits(0);
    assert_same(&tables_of(&out("shards")), &tables_of(&out("one")));
}

/// Without the final checkpoint there are no keys, and no way to it; rates there are all the same.
#[test]
fn without_the_final_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (tiny(dir.path()), dir.path().join("out"));
    arrow(&archive, &out).exits(0);
    let whole = rows::<ArrowRow>(&out);
    fs::write(checkpoint(&archive, 1200), "").unwrap();
    arrow(&archive, &out).exits(3);
    let found = rows::<ArrowRow>(&out);
    let expected = whole.into_iter().filter(|row| row.step != 1200).map(|row| ArrowRow {
        is_key: false,
        z_nonkey: None,
        descent_dot_final: None,
        distance_sq_final: None,
        status: Status::Missing,
        ..row
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    let failures = rows::<FailureRow>(&out);
    assert_eq!(failures.iter().map(|row| row.step).collect::<Vec<_>>(), [Some(1200)]);
}

/// A damaged checkpoint has no rows; the one before it does not know its step.
#[test]
fn without_the_next_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (run(dir.path(), &[]), dir.path().join("out"));
    arrow(&archive, &out).exits(0);
    let whole = rows::<ArrowRow>(&out);
    fs::write(checkpoint(&archive, 7), "").unwrap();
    arrow(&archive, &out).exits(3);
    let found = rows::<ArrowRow>(&out);
    let expected = whole.into_iter().filter(|row| row.step != 7).map(|row| match row.step {
        6 => ArrowRow {
            rate_adam: None,
            rate_total: None,
            z_nonkey: None,
            z_mirror: None,
            z_mirror_mean: None,
            status: Status::Unreadable,
            ..row
        },
        _ => row,
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn what_has_no_arrow_says_why() {
    for (options, status, frequencies) in [
        (&["--task", "x2+y2"][..], Status::NotPeriodic, 5),
        (&["--architecture", "mlp"], Status::UnknownNetwork, 5),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let run = dir.path().join("run");
        let mut args = args!["--out", &run, "--modulus", "11", "--d-mlp", "12", "--steps", "2"];
        args.extend(options.iter().map(OsString::from));
        train(args).exits(0);
        arrow(&run, &out).exits(0);
        let found = rows::<ArrowRow>(&out);
        assert_eq!(found.len() % frequencies, 0);
        for row in found {
            let (run, step, frequency) = (row.run.clone(), row.step, row.frequency);
            let is_key = row.is_key;
            let blank = ArrowRow { run, step, frequency, is_key, status, ..Default::default() };
            assert_eq!(row, blank);
        }
    }
}

/// The circuit of a product is that of its discrete logarithms: five frequencies modulo 11, the last of
/// them unpaired.
#[test]
fn products_have_arrows() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (run(dir.path(), &["--task", "mul"]), dir.path().join("out"));
    arrow(&archive, &out).exits(0);
    let found = rows::<ArrowRow>(&out);
    assert_eq!(found.len(), 15 * 5);
    assert!(found.iter().all(|row| row.rate_ce.is_some() && row.rate_decay.is_some()));
    let of_first = of_step(&found, 0);
    let shares: f64 = of_first.iter().map(|row| row.gradient_share.unwrap()).sum();
    assert!(shares < 1.0 && shares > 0.3, "{shares}");
}

#[test]
fn what_cannot_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |options: &[&str]| arrow_with(&fixture("tiny"), dir.path(), options).exits(2);
    refused(&["--keys", "per-checkpoint"]).mentions("those of the final checkpoint");
    refused(&["--labels-at", "often"]).mentions("`often` is no schedule");
}
