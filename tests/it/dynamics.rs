//! Tables about whole runs: what a checkpoint that cannot be used means to the others.

use std::fs;
use std::path::Path;

use groundswell::tables::{FailureRow, MovementRow, Row, Status, TrajectoryRow};

use super::support::*;

/// Only the tables about whole runs.
fn analyze_runs(archive: &Path, out: &Path) -> Ran {
    groundswell(args!["analyze", archive, "--out", out, "--measures", "movement,trajectory"])
}

/// The tables of the whole fixture, and of a copy in which one checkpoint is damaged.
fn with_damage(step: i64) -> (tempfile::TempDir, tempfile::TempDir) {
    let (clean, damaged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    analyze_runs(&fixture("tiny"), clean.path()).exits(0);
    let run = tiny(damaged.path());
    fs::write(checkpoint(&run, step), "").unwrap();
    analyze_runs(&run, &damaged.path().join("out")).exits(3);
    let failures = rows::<FailureRow>(&damaged.path().join("out"));
    assert_eq!(failures.iter().map(|row| row.step).collect::<Vec<_>>(), [Some(step)]);
    (clean, damaged)
}

/// Each row of the damaged archive beside the one of the whole archive.
fn beside(
    clean: &tempfile::TempDir,
    damaged: &tempfile::TempDir,
) -> Vec<(MovementRow, MovementRow)> {
    let clean = rows::<MovementRow>(clean.path());
    let found = rows::<MovementRow>(&damaged.path().join("out"));
    let same = |row: &MovementRow| {
        let known = clean.iter().find(|known| known.compare_keys(row).is_eq());
        known.unwrap_or_else(|| panic!("a new row: {row:?}")).clone()
    };
    found.into_iter().map(|row| (same(&row), row)).collect()
}

#[test]
fn a_damaged_checkpoint_is_missing_to_its_neighbours_only() {
    let (clean, damaged) = with_damage(100);
    let pairs = beside(&clean, &damaged);
    assert_eq!(pairs.len(), 6 * 12);
    for (clean, found) in pairs {
        let expected = match found.step {
            50 => MovementRow { cosine_of_steps: None, status: Status::Missing, ..clean },
            300 => MovementRow {
                distance_from_previous: None,
                cosine_of_steps: None,
                status: Status::Missing,
                ..clean
            },
            _ => clean,
        };
        assert_eq!(found, expected);
    }

    // The components are those of the others: the same as if it had never been saved.
    let (run, out) = (tiny_without_manifest(clean.path()), clean.path().join("out"));
    fs::remove_file(checkpoint(&run, 100)).unwrap();
    analyze_runs(&run, &out).exits(0);
    let expected = rows::<TrajectoryRow>(&out);
    assert_eq!(expected.len(), 6);
    assert!(expected.iter().all(|row| row.status == Status::Ok && row.pc1.is_some()));
    assert_eq!(rows::<TrajectoryRow>(&damaged.path().join("out")), expected);
}

#[test]
fn without_the_first_checkpoint_there_is_no_way_from_it() {
    let (clean, damaged) = with_damage(0);
    for (clean, found) in beside(&clean, &damaged) {
        let mut expected =
            MovementRow { distance_from_init: None, status: Status::Missing, ..clean };
        if found.step == 10 {
            (expected.distance_from_previous, expected.cosine_of_steps) = (None, None);
        }
        assert_eq!(found, expected);
    }
    let trajectory = rows::<TrajectoryRow>(&damaged.path().join("out"));
    assert!(trajectory.iter().all(|row| row.status == Status::Ok));
}

#[test]
fn without_the_last_checkpoint_there_is_no_way_to_it() {
    let (clean, damaged) = with_damage(1200);
    for (clean, found) in beside(&clean, &damaged) {
        let mut expected = MovementRow {
            distance_to_final: None,
            subspace_overlap_final: None,
            status: Status::Missing,
            ..clean
        };
        if found.step == 600 {
            expected.cosine_of_steps = None;
        }
        assert_eq!(found, expected);
    }
    let trajectory = rows::<TrajectoryRow>(&damaged.path().join("out"));
    assert_eq!(trajectory.len(), 6);
    for row in trajectory {
        let blank = TrajectoryRow { run: row.run.clone(), step: row.step, ..Default::default() };
        assert_eq!(row, TrajectoryRow { status: Status::Missing, ..blank });
    }
}

/// A NaN in `W_U` of step 100: nothing can be said of that tensor there, nor of the whole vector.
#[test]
fn a_nan_is_said_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny_without_manifest(dir.path()), dir.path().join("out"));
    let clean = dir.path().join("clean");
    analyze_runs(&run, &clean).exits(0);
    let path = checkpoint(&run, 100);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    analyze_runs(&run, &out).exits(0);

    let clean = rows::<MovementRow>(&clean);
    for row in rows::<MovementRow>(&out) {
        let known = clean.iter().find(|known| known.compare_keys(&row).is_eq()).unwrap().clone();
        let affected = ["unembed.W_U", "all"].contains(&row.tensor.as_str());
        let expected = match row.step {
            100 if affected => MovementRow {
                run: known.run,
                step: 100,
                tensor: known.tensor,
                status: Status::NonFinite,
                ..Default::default()
            },
            50 if affected => {
                MovementRow { cosine_of_steps: None, status: Status::NonFinite, ..known }
            }
            300 if affected => MovementRow {
                distance_from_previous: None,
                cosine_of_steps: None,
                status: Status::NonFinite,
                ..known
            },
            _ => known,
        };
        assert_eq!(row, expected);
    }
    let trajectory = rows::<TrajectoryRow>(&out);
    let bad: Vec<_> = trajectory.iter().filter(|row| row.status != Status::Ok).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!((bad[0].step, bad[0].status, bad[0].pc1), (100, Status::NonFinite, None));
}

#[test]
fn weights_of_the_trajectory_are_a_choice() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (fixture("tiny"), dir.path().join("out"));
    let choose = |weights: &str| {
        let args = args!["analyze", &run, "--out", &out, "--measures", "movement,trajectory"];
        groundswell([args, args!["--trajectory-weights", weights]].concat())
    };
    choose("time").exits(0);
    let by_time = rows::<TrajectoryRow>(&out);
    assert!(analyze_runs(&run, &out).exits(0).stdout.contains("nothing to do"), "the default");
    choose("uniform").exits(0);
    let uniform = rows::<TrajectoryRow>(&out);
    assert_eq!(by_time.len(), uniform.len());
    assert!(by_time[0].explained_1 != uniform[0].explained_1);
    assert!(choose("uniform").exits(0).stdout.contains("nothing to do"));
    choose("equal").exits(2).mentions("unknown weighting `equal`");
    // Weighted or not, the shares are those of all that varies.
    for row in by_time.iter().chain(&uniform) {
        let shares = [row.explained_1, row.explained_2, row.explained_3].map(Option::unwrap);
        assert!(shares.is_sorted_by(|a, b| a >= b) && shares.iter().sum::<f64>() < 1.0);
    }
}
