//! `groundswell onset` as its users meet it: what it needs, what it leaves alone, what it finds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use groundswell::pipeline::output::Output;
use groundswell::tables::{ClaimRow, FourierRow, FrequencyRow, OnsetRow, ProgressRow, Status};

use super::support::*;

fn onset(archive: &Path, out: &Path) -> Ran {
    groundswell(args!["onset", archive, "--out", out])
}

/// A run modulo 59, and tables that say what one that groks would: keys 3 and 5 grow from step 40 and 60
/// on, in the logits alone. Its checkpoints are of a smaller network: nobody opens them.
fn planted(dir: &Path) -> (PathBuf, PathBuf) {
    let (archive, out) = (tiny(dir), dir.join("out"));
    let settings = archive.join("run.json");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("\"modulus\": 7", "\"modulus\": 59")).unwrap();
    let (mut progress, mut frequencies, mut fourier) = (Vec::new(), Vec::new(), Vec::new());
    let later = TINY_STEPS.into_iter().filter(|step| *step > 150);
    for step in (0..=150).step_by(10).chain(later) {
        let late = step >= 120;
        let test_loss = Some(if late { 0.1 } else { 3.0 + step as f64 / 100.0 });
        let test_accuracy = Some(if late { 1.0 } else { 0.1 });
        progress.push(ProgressRow {
            run: "tiny".into(),
            step,
            train_accuracy: Some(if step < 20 { 0.5 } else { 1.0 }),
            test_loss,
            test_accuracy,
            // Of the pairs whose swap is not known the loss drops later.
            test_loss_unswapped: if step < 130 { Some(4.0) } else { test_loss },
            test_accuracy_unswapped: test_accuracy,
            key_frequencies: Some("3,5".into()),
            status: Status::Ok,
            ..ProgressRow::default()
        });
        for k in 1..=29 {
            let is_key = [3, 5].contains(&k);
            let grown = BTreeMap::from([(3, step - 30), (5, step - 50)]).get(&k).copied();
            let grown = grown.unwrap_or(0).max(0);
            let wave = if is_key { 0.0 } else { ((3 * step + 5 * k) as f64).sin() };
            frequencies.push(FrequencyRow {
                run: "tiny".into(),
                step,
                frequency: k,
                is_key,
                logit_coefficient: Some(wave + grown as f64),
                status: Status::Ok,
                ..FrequencyRow::default()
            });
            let norms = [("W_E", if is_key { 1.0 } else { 0.1 }), ("W_L", 0.5)];
            fourier.extend(norms.map(|(object, norm)| FourierRow {
                run: "tiny".into(),
                step,
                object: object.into(),
                frequency: k,
                norm: Some(norm),
                ..FourierRow::default()
            }));
        }
    }
    let mut output = Output::open(&out, &archive).unwrap();
    let mut replacement = output.replace();
    let metadata = BTreeMap::from([("keys".to_owned(), "{}".to_owned())]);
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
    ran.mentions("tiny: no arrow.rate_total in the tables: `groundswell arrow` makes it");
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
    // Norms that are all alike are beyond nothing.
    assert!(of("w_l_norm").iter().all(|row| row.2 == Status::NotReached));
    // In the embedding both stand out from the first save on.
    assert!(of("w_e_norm").iter().all(|row| row.1 == Some(0)), "{:?}", of("w_e_norm"));
    for row in &found {
        assert_eq!((row.t_mem, row.t_peak, row.t_drop), (Some(20), Some(0), Some(130)));
        assert_eq!((row.t_gen, row.lead), (Some(120), row.step_onset.map(|step| 130 - step)));
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
    assert!(names_the_rules(&out, "onset"));
}

/// Onsets by other rules decide nothing; those by the same rules do.
#[test]
fn onsets_and_claims_go_by_the_same_rules() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path());
    let mine = dir.path().join("mine.toml");
    let own = groundswell::claims::rules::rules().text();
    fs::write(&mine, own.replace("in_a_row = 5 ", "in_a_row = 1 ")).unwrap();
    groundswell(args!["onset", &archive, "--out", &out, "--rules", &mine]).exits(0);
    assert!(!names_the_rules(&out, "onset"));
    let aside = "table onset is put aside: it was made by other rules";
    let c3a = |rows: &[ClaimRow]| {
        let mut own = rows.iter().filter(|row| row.claim == "C3a" && row.run == "tiny");
        own.find(|row| row.statistic == "verdict").unwrap().clone()
    };
    groundswell(args!["claims", &archive, "--out", &out]).exits(3).mentions(aside);
    let found = c3a(&rows::<ClaimRow>(&out));
    assert!(found.verdict == "undecided" && found.reason.contains(aside), "{found:?}");
    let ran = groundswell(args!["claims", &archive, "--out", &out, "--rules", &mine]).exits(0);
    assert!(!ran.stderr.contains(aside), "{ran:?}");
    let found = c3a(&rows::<ClaimRow>(&out));
    assert!(!found.reason.contains(aside), "{found:?}");
    let none = dir.path().join("none.toml");
    groundswell(args!["onset", &archive, "--out", &out, "--rules", &none]).exits(10);
}

/// The keys of the tiny run leave no other of its three frequencies. An analysis afterwards leaves the table
/// alone.
#[test]
fn a_run_with_too_few_frequencies_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    analyze(&fixture("tiny"), &out).exits(0);
    onset(&fixture("tiny"), &out).exits(0);
    let found = rows::<OnsetRow>(&out);
    for row in found.iter().filter(|row| row.statistic.ends_with("_norm")) {
        assert_eq!((row.status, row.step_onset), (Status::TooFewFrequencies, None), "{row:?}");
        assert!(row.t_mem.is_some());
    }
    let table = fs::read(out.join("onset.parquet")).unwrap();
    analyze(&fixture("tiny"), &out).exits(0);
    assert!(fs::read(out.join("onset.parquet")).unwrap() == table);
    groundswell(args!["verify", &out]).exits(0);
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
