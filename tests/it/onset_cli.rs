//! `groundswell onset` as its users meet it: what it needs, what it leaves alone, what it finds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use groundswell::pipeline::output::Output;
use groundswell::tables::{FourierRow, FrequencyRow, OnsetRow, ProgressRow, Status};

use super::support::*;

fn onset(archive: &Path, out: &Path) -> Ran {
    groundswell(args!["onset", archive, "--out", out])
}

/// A run modulo 31 with saves at 0, 10, …, 150, whose tables say what a run that groks would: keys 3 and 5
/// grow from step 40 and 60 on, in the logits alone.
fn planted(dir: &Path) -> (PathBuf, PathBuf) {
    let (archive, out) = (dir.join("run"), dir.join("out"));
    let size = args!["--modulus", "31", "--d-model", "8", "--heads", "2", "--d-mlp", "8"];
    let steps = args!["--steps", "150", "--save-at", "0..:10"];
    train([args!["--out", &archive], size, steps].concat()).exits(0);
    groundswell(args![
        "analyze",
        &archive,
        "--out",
        &out,
        "--measures",
        "progress,frequencies,fourier"
    ])
    .exits(0);
    let mut progress = rows::<ProgressRow>(&out);
    for row in &mut progress {
        let late = row.step >= 120;
        row.key_frequencies = Some("3,5".into());
        row.train_accuracy = Some(if row.step < 20 { 0.5 } else { 1.0 });
        row.test_accuracy = Some(if late { 1.0 } else { 0.1 });
        row.test_loss = Some(if late { 0.1 } else { 3.0 + row.step as f64 / 100.0 });
        (row.test_loss_unswapped, row.test_accuracy_unswapped) = (row.test_loss, row.test_accuracy);
    }
    let mut frequencies = rows::<FrequencyRow>(&out);
    for row in &mut frequencies {
        let wave = ((3 * row.step + 5 * row.frequency) as f64).sin();
        let from = BTreeMap::from([(3, 40), (5, 60)]).get(&row.frequency).copied();
        let grown = from.map_or(0, |from| (row.step - from + 10).max(0));
        row.logit_coefficient = Some(wave + grown as f64);
    }
    let mut fourier = rows::<FourierRow>(&out);
    for row in fourier.iter_mut().filter(|row| row.object == "W_E") {
        row.norm = Some(if [3, 5].contains(&row.frequency) { 1.0 } else { 0.1 });
    }
    let mut output = Output::open(&out, &archive).unwrap();
    let mut replacement = output.replace();
    let metadata = BTreeMap::new();
    replacement.table(progress, &metadata).unwrap();
    replacement.table(frequencies, &metadata).unwrap();
    replacement.table(fourier, &metadata).unwrap();
    replacement.commit(BTreeMap::new()).unwrap();
    (archive, out)
}

#[test]
fn planted_keys_have_their_onsets() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path());
    let before = tables_of(&out);
    let ran = onset(&archive, &out).exits(0);
    ran.mentions("run: no arrow.rate_total in the tables: `groundswell arrow` makes it");
    let found = rows::<OnsetRow>(&out);
    let of = |statistic: &str| {
        let own = found.iter().filter(|row| row.statistic == statistic);
        own.map(|row| (row.target.as_str(), row.step_onset, row.status)).collect::<Vec<_>>()
    };
    let ok = Status::Ok;
    let coefficients = [("3", Some(40), ok), ("5", Some(60), ok), ("keys", Some(40), ok)];
    assert_eq!(of("logit_coefficient"), coefficients);
    let missing = ["3", "5", "keys"].map(|target| (target, None, Status::Missing));
    assert_eq!(of("rate_total"), missing);
    // In the embedding both stand out from the first save on.
    assert!(of("w_e_norm").iter().all(|row| row.1 == Some(0)), "{:?}", of("w_e_norm"));
    for row in &found {
        assert_eq!((row.t_mem, row.t_peak, row.t_drop), (Some(20), Some(110), Some(120)));
        assert_eq!((row.t_gen, row.lead), (Some(120), row.step_onset.map(|step| 120 - step)));
        assert_eq!(row.threshold.is_some(), row.status == Status::Ok);
    }
    // The other tables are as they were, and a second time gives the same bytes.
    let first = tables_of(&out);
    for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".parquet")) {
        assert!(first[name] == *bytes, "{name} changed");
    }
    onset(&archive, &out).exits(0);
    assert_same(&tables_of(&out), &first);
    groundswell(args!["verify", &out]).exits(0);
    // And an analysis leaves the table alone.
    groundswell(args!["analyze", &archive, "--out", &out, "--measures", "spectra"]).exits(0);
    assert!(tables_of(&out)["onset.parquet"] == first["onset.parquet"]);
}

/// The keys of the tiny run leave no other of its three frequencies.
#[test]
fn a_run_with_too_few_frequencies_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    analyze(&fixture("tiny"), &out).exits(0);
    onset(&fixture("tiny"), &out).exits(0);
    let found = rows::<OnsetRow>(&out);
    let known =
        found.iter().filter(|row| ["w_l_norm", "w_e_norm"].contains(&row.statistic.as_str()));
    for row in known {
        assert_eq!((row.status, row.step_onset), (Status::TooFewFrequencies, None), "{row:?}");
        assert!(row.t_mem.is_some());
    }
}

#[test]
fn what_is_needed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tiny(dir.path());
    let out = dir.path().join("out");
    let help = format!(
        "help: first run `groundswell analyze {} --out {}`",
        archive.display(),
        out.display()
    );
    let ran = onset(&archive, &out).exits(10);
    ran.says(&format!("error[CR26]: {}: no tables", out.display())).says(&help);
    assert!(!out.exists());
    groundswell(args!["analyze", &archive, "--out", &out, "--measures", "spectra"]).exits(0);
    onset(&archive, &out).exits(10).mentions("no table `progress`");
    onset(&archive, &archive.join("tables")).exits(2).mentions("inside the archive");
    groundswell(args!["analyze", &archive, "--out", &out]).exits(0);
    // Of another run, and of other checkpoints of the same name.
    let other = dir.path().join("other");
    plant(&other, &tree(&archive));
    onset(&other, &out).exits(10).mentions("the tables are of none of the runs of the archive");
    let manifest = archive.join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let line = text.lines().find(|line| line.contains("checkpoints/step_00000010")).unwrap();
    let digest = line.rsplit('"').nth(1).unwrap();
    fs::write(&manifest, text.replace(digest, &"0".repeat(64))).unwrap();
    onset(&archive, &out).exits(10).mentions("of none of the runs");
}
