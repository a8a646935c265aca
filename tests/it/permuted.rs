//! Runs on permuted labels: the same start and split, nothing to generalise, and no losses of a circuit
//! that training pairs enter.

use std::path::{Path, PathBuf};

use groundswell::archive::read;
use groundswell::tables::{FrequencyRow, ProgressRow, SharesRow, Status, TrainingRow};

use super::support::*;

fn run(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let out = dir.join(name);
    let mut args = args!["--out", &out, "--modulus", "7", "--d-model", "16", "--heads", "2"];
    args.extend(args!["--d-mlp", "32", "--outputs", "residues", "--weight-decay", "0.1"]);
    args.extend(args!["--train-fraction", "0.6", "--steps", "400", "--save-at", "0..:100"]);
    args.extend(options.iter().map(std::ffi::OsString::from));
    train(args).exits(0);
    out
}

#[test]
fn permuted_labels_are_memorised_and_not_taken_for_sums() {
    let dir = tempfile::tempdir().unwrap();
    let plain = run(dir.path(), "runs/plain", &[]);
    let twin = run(dir.path(), "runs/twin", &["--permute-labels", "3"]);
    let first = |run: &Path| std::fs::read(checkpoint(run, 0)).unwrap();
    let weights = |run: &Path| read::load(&checkpoint(run, 0), None, false).unwrap().tensors;
    assert_eq!(weights(&plain), weights(&twin));
    assert_ne!(first(&plain), first(&twin)); // their losses stand in the files
    let tables = dir.path().join("tables");
    analyze(&dir.path().join("runs"), &tables).exits(0);

    let of = |rows: Vec<ProgressRow>| rows.into_iter().filter(|row| row.run == "twin");
    let progress: Vec<ProgressRow> = of(rows(&tables)).collect();
    let logged: Vec<TrainingRow> = rows(&tables);
    for row in &progress {
        let logged =
            logged.iter().find(|line| line.run == "twin" && line.step == row.step).unwrap();
        let (found, expected) = (row.train_loss.unwrap(), logged.train_loss.unwrap());
        assert!((found - expected).abs() < 1e-5 * (1.0 + expected), "{found} {expected}");
        assert_eq!(row.status, Status::Ok);
        assert_eq!((row.restricted_loss_all, row.excluded_loss_train), (None, None));
        assert!(row.restricted_loss_test.is_some() && row.logit_fve.is_some());
    }
    let last = progress.last().unwrap();
    assert_eq!(last.train_accuracy, Some(1.0));
    assert!(last.test_accuracy.unwrap() < 0.6, "{last:?}");

    let frequencies: Vec<FrequencyRow> = rows(&tables);
    for row in frequencies.iter().filter(|row| row.run == "twin") {
        assert!(row.logit_coefficient.is_some() && row.neuron_share.is_some(), "{row:?}");
        assert_eq!((row.excluded_loss_train, row.restricted_loss_all), (None, None));
    }
    groundswell(args!["shares", dir.path().join("runs"), "--out", &tables]).exits(0);
    let shares: Vec<SharesRow> = rows(&tables);
    let twin = shares.iter().filter(|row| row.run == "twin");
    assert!(twin.clone().count() == 5 && twin.clone().all(|row| row.status == Status::NotPeriodic));
    assert!(shares.iter().any(|row| row.run == "plain" && row.shapley_key_train.is_some()));
}
