//! `groundswell landscape` on many lines: across runs, between several checkpoints, consecutive saves.

use std::fs;
use std::path::{Path, PathBuf};

use groundswell::tables::{BarrierRow, InterpolationRow, ProgressRow, Status};

use super::support::*;

/// Two runs of one small network from different seeds, `a` and `b`, with checkpoints 0, 10, 20, 30;
/// and `c`, of another width.
fn two_runs(dir: &Path) -> PathBuf {
    let archive = dir.join("runs");
    for (name, seed, width) in [("a", "1", "12"), ("b", "2", "12"), ("c", "1", "16")] {
        let size = args!["--modulus", "7", "--d-model", "8", "--heads", "2", "--d-mlp", width];
        let steps = args!["--steps", "30", "--save-at", "0..:10", "--lr", "0.01", "--seed", seed];
        train([args!["--out", archive.join(name)], size, steps].concat()).exits(0);
    }
    archive
}

fn landscape(archive: &Path, out: &Path, options: &[&str]) -> Ran {
    let options = options.iter().map(std::ffi::OsString::from).collect();
    groundswell([args!["landscape", archive, "--out", out], options].concat())
}

/// The losses at the end of a line are those of the checkpoint of the other run, on the split of
/// the first: here both runs have the same split, so they are those of `progress` in f64, to
/// the last bit.
#[test]
fn a_line_can_end_in_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (two_runs(dir.path()), dir.path().join("out"));
    groundswell(args!["analyze", &archive, "--out", &out, "--precision", "f64"]).exits(0);
    let options = ["--from", "a:last", "--to", "b:20", "--points", "3"];
    landscape(&archive, &out, &options).exits(0);
    landscape(&archive, &out, &["--from", "a:last", "--to", "a:20", "--points", "2"]).exits(0);
    let points = rows::<InterpolationRow>(&out);
    let keys: Vec<_> = points
        .iter()
        .map(|row| (row.run.as_str(), row.from_step, row.to_step, row.to_run.as_str()))
        .collect();
    let within = ("a", 30, 20, "a");
    let across = ("a", 30, 20, "b");
    assert_eq!(keys, [within, within, across, across, across]);
    let progress = rows::<ProgressRow>(&out);
    let of = |run: &str, step: i64| {
        progress.iter().find(|row| row.run == run && row.step == step).unwrap()
    };
    let plain = ["train_loss", "test_loss", "train_accuracy", "test_accuracy"];
    let circuit = ["excluded_loss_train", "restricted_loss_all"];
    for (point, row) in [(0, of("a", 30)), (1, of("a", 20)), (2, of("a", 30)), (4, of("b", 20))] {
        let of_run = if row.run == "a" { circuit.as_slice() } else { &[] };
        for column in plain.iter().chain(of_run).copied() {
            let [found, expected] = [exact(cell(&points[point], column)), exact(cell(row, column))];
            assert_eq!(found, expected, "{column}");
        }
    }
    // The same checkpoint at the end of another line has the same bits.
    let [one, other] = [&points[0], &points[2]].map(|point| exact(cell(point, "train_loss")));
    assert_eq!(one, other);
    let barriers = rows::<BarrierRow>(&out);
    assert_eq!(barriers.iter().map(|row| row.to_run.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let middle = points[3].train_loss.unwrap();
    let ends = 0.5 * (points[2].train_loss.unwrap() + points[4].train_loss.unwrap());
    let barrier = barriers[1].barrier_linear.unwrap();
    assert!((barrier - (middle - ends).max(0.0)).abs() < 1e-12, "{barrier}");
}

#[test]
fn checkpoints_of_different_networks_have_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (two_runs(dir.path()), dir.path().join("out"));
    let ran = landscape(&archive, &out, &["--from", "a:last", "--to", "c:last"]).exits(4);
    ran.says(&format!(
        "error[AR13]: {}: tensor \"blocks.0.mlp.W_in\" has shape [16, 8], expected [12, 8]",
        checkpoint(&archive.join("c"), 30).display()
    ));
    let ran = landscape(&archive, &out, &["--from", "a:last", "--to", "d:last"]).exits(2);
    ran.mentions("unknown run `d`").says("help: known: a, b, c");
    landscape(&archive, &out, &["--from", "a:last", "--to", "b:21"]).exits(2).says(&format!(
        "error[AR20]: {}: step 21 is not saved; nearest saved steps: 20, 30",
        archive.join("b").display()
    ));
    assert!(!out.exists(), "something was created");
}

/// All pairs of a list, and all pairs of saves so many saves apart.
#[test]
fn many_lines_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let tiny = fixture("tiny");
    landscape(&tiny, &out, &["--between", "first,50,last", "--points", "2"]).exits(0);
    let pairs = |out: &Path| {
        let rows = rows::<BarrierRow>(out);
        rows.iter().map(|row| (row.from_step, row.to_step)).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&out), [(0, 50), (0, 1200), (50, 1200)]);
    landscape(&tiny, &out, &["--apart", "2", "--points", "3"]).exits(0);
    let apart: Vec<_> = TINY_STEPS.iter().copied().zip(TINY_STEPS[2..].iter().copied()).collect();
    let both: Vec<_> = apart.iter().copied().chain([(0, 1200), (50, 1200)]).collect();
    let mut both: Vec<_> = both.into_iter().collect();
    both.sort_unstable();
    assert_eq!(pairs(&out), both);
    // (0, 50) is both, and was replaced.
    let count = |pair: (i64, i64)| {
        let rows = rows::<InterpolationRow>(&out);
        rows.iter().filter(|row| (row.from_step, row.to_step) == pair).count()
    };
    assert_eq!([count((0, 50)), count((0, 1200)), count((600, 1200))], [3, 2, 0]);
    // What is there with as many points stays: one of three.
    let ran = landscape(&tiny, &out, &["--between", "first,50,last", "--points", "3"]).exits(0);
    assert!(ran.stdout.contains("6 points evaluated, 3 taken from before"), "{ran:?}");
    let ran = landscape(&tiny, &out, &["--apart", "2", "--points", "3"]).exits(0);
    assert!(ran.stdout.contains("nothing to do"), "{ran:?}");

    landscape(&tiny, &out, &["--apart", "7"]).exits(2).mentions("tiny has 7 checkpoints");
    landscape(&tiny, &out, &["--between", "50"]).exits(2).mentions("1 checkpoint makes no pair");
    landscape(&tiny, &out, &[]).exits(2).mentions("nothing is asked for");
}

/// Weights far from anything that was trained: null with a status, and the other rows stay.
#[test]
fn losses_out_of_range_are_null_and_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny_without_manifest(dir.path()), dir.path().join("out"));
    let path = checkpoint(&run, 50);
    let mut bytes = fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for weight in bytes[data..].chunks_exact_mut(4) {
        weight.copy_from_slice(&1e38f32.to_le_bytes());
    }
    fs::write(&path, &bytes).unwrap();
    landscape(&run, &out, &["--from", "first", "--to", "50", "--points", "3"]).exits(0);
    let points = rows::<InterpolationRow>(&out);
    assert!(points[0].train_loss.is_some() && points[0].status == Status::Ok);
    assert_eq!((points[1].train_loss, points[1].status), (None, Status::Overflow));
    assert_eq!((points[2].train_loss, points[2].status), (None, Status::Overflow));
    let barriers = rows::<BarrierRow>(&out);
    assert_eq!((barriers[0].barrier_linear, barriers[0].status), (None, Status::Overflow));

    bytes[data..data + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    landscape(&run, &out, &["--from", "first", "--to", "50", "--points", "2"]).exits(0);
    assert_eq!(rows::<InterpolationRow>(&out)[1].status, Status::NonFinite);
}

/// Matched neurons and heads: the ends are the same functions, the way between them another.
#[test]
fn lines_between_runs_can_be_aligned() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (two_runs(dir.path()), dir.path().join("out"));
    let line = ["--from", "a:last", "--to", "b:last", "--points", "3"];
    landscape(&archive, &out, &line).exits(0);
    landscape(&archive, &out, &[&line[..], &["--align"]].concat()).exits(0);
    let points = rows::<InterpolationRow>(&out);
    let kinds: Vec<&str> = points.iter().map(|row| row.alignment.as_str()).collect();
    assert_eq!(kinds, ["none", "none", "none", "permuted", "permuted", "permuted"]);
    let loss = |i: usize| points[i].train_loss.unwrap();
    assert_eq!(loss(0).to_bits(), loss(3).to_bits());
    assert!((loss(2) - loss(5)).abs() < 1e-12 * loss(2));
    assert!((loss(1) - loss(4)).abs() > 1e-9, "{} {}", loss(1), loss(4));
    assert_eq!(rows::<BarrierRow>(&out).len(), 2);
}
