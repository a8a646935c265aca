//! Every way in which a disk can fail an analysis, one operation after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::archive::sample::tree;
use crate::durable::faults::{Faults, Kind, Operation};

/// Errors of the system that writing can meet.
const ERRORS: [(&str, i32); 4] = [("EIO", 5), ("ENOSPC", 28), ("EFBIG", 27), ("EDQUOT", 122)];

static FIXTURE: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny"));
static OPTIONS: LazyLock<archive::Options> = LazyLock::new(archive::Options::default);
static CHOICES: LazyLock<Choices> = LazyLock::new(Choices::default);
static NO_SIGNAL: AtomicUsize = AtomicUsize::new(0);

/// An analysis with one thread, so that the n-th operation is the same one each time.
fn request(out: &Path) -> Request<'_> {
    Request {
        archive: &FIXTURE,
        options: &OPTIONS,
        out,
        measures: &[MeasureKind::Checkpoints, MeasureKind::Training, MeasureKind::Movement],
        shard: None,
        threads: 1,
        strict: false,
        choices: &CHOICES,
        trajectory_weights: Weighting::Time,
        memory_limit: None,
        locking: Locking::On,
        stop: &NO_SIGNAL,
    }
}

fn run(out: &Path, shard: Option<Shard>) -> Result<Summary> {
    analyze(&Request { shard, ..request(out) }, &|_, _| {})
}

/// The tables and the manifest.
fn tables(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = if out.exists() { tree(out) } else { BTreeMap::new() };
    files.retain(|name, _| {
        !name.starts_with('.') && (name.ends_with(".parquet") || name == "manifest.json")
    });
    files
}

fn temporaries(out: &Path) -> Vec<String> {
    let files = tree(out).into_keys();
    files.filter(|name| name.split('/').any(durable::is_temporary)).collect()
}

/// Whatever operation fails, the analysis says so, what it replaces is whole, and the next attempt
/// ends with the same bytes.
///
/// With `before` there are tables of fewer measures, which must stay whole.
fn every_operation(shard: Option<Shard>, kinds: &[Kind], before: bool) {
    let expected = {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), None).unwrap();
        tables(dir.path())
    };
    let finish = |out: &Path| {
        run(out, shard).unwrap();
        if shard.is_some() {
            merge::merge(out, Locking::On).unwrap();
        }
        assert_eq!(tables(out).keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(tables(out) == expected, "the tables differ");
        assert_eq!(temporaries(out), [""; 0]);
    };
    for kind in kinds {
        let mut operations = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            if before {
                let less = Request { measures: &[MeasureKind::Training], ..request(&out) };
                analyze(&less, &|_, _| {}).unwrap();
            }
            let old = tables(&out);
            let faults = Faults::below(&out, Some((operations, *kind)));
            let result = run(&out, shard);
            let was_reached = faults.seen().len() > operations;
            let failed = faults.seen().get(operations).cloned();
            drop(faults);
            if !was_reached {
                assert!(result.is_ok(), "{result:?}");
                finish(&out);
                break;
            }
            match result {
                Err(error) => {
                    assert_eq!(error.exit_code(), 5, "{failed:?}: {error}");
                    // Complete, or not there: no manifest tells of what is not.
                    let found = tables(&out);
                    let is_whole = found == expected || found == old;
                    assert!(is_whole || !found.contains_key("manifest.json"), "{failed:?}");
                }
                // Nothing that had to be done failed.
                Ok(_) => assert!(
                    matches!(failed, Some((Operation::Remove | Operation::Create, _))),
                    "{failed:?} failed, and nothing was said"
                ),
            }
            if out.exists() {
                finish(&out);
            }
            operations += 1;
        }
        assert!(operations > 30, "{operations} operations");
    }
}

#[test]
fn every_operation_may_fail() {
    let kinds = ERRORS.map(|(_, errno)| Kind::Errno(errno));
    let kinds =
        if std::env::var_os("GROUNDSWELL_SOAK").is_some() { &kinds[..] } else { &kinds[1..2] };
    every_operation(None, kinds, false);
}

#[test]
fn a_full_disk_leaves_the_tables_before() {
    every_operation(None, &[Kind::Errno(28)], true);
}

#[test]
fn a_kill_at_every_operation_loses_nothing() {
    every_operation(None, &[Kind::Killed], true);
}

#[test]
fn a_killed_shard_loses_nothing() {
    every_operation(Some(Shard::ALL), &[Kind::Killed], false);
}

/// CR24: the power fails after so many operations. What was not synced may be gone: here it is, bytes
/// and names.
#[test]
fn a_power_loss_loses_nothing() {
    let expected = {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), None).unwrap();
        tables(dir.path())
    };
    let every = if std::env::var_os("GROUNDSWELL_SOAK").is_some() { 1 } else { 5 };
    for cut in (0..).step_by(every) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let faults = Faults::below(&out, Some((cut, Kind::Killed)));
        let result = run(&out, None);
        let seen = faults.seen();
        drop(faults);
        if result.is_ok() {
            assert!(cut > 30, "{cut} operations");
            break;
        }
        lose(&seen[..cut]);
        if out.exists() {
            run(&out, None).unwrap();
            assert!(tables(&out) == expected, "the tables differ after {cut} operations");
        }
    }
}

/// Take away what these operations did not make durable.
fn lose(done: &[(Operation, PathBuf)]) {
    let synced_since = |at: usize, path: &Path| {
        done[at..].iter().any(|(op, synced)| *op == Operation::Sync && synced == path)
    };
    for (at, (operation, path)) in done.iter().enumerate() {
        match operation {
            Operation::Rename if !synced_since(at, path.parent().unwrap()) => {
                let _ =
                    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
            // Of a log the last lines: all others were synced with the next append.
            Operation::Write if !synced_since(at, path) && path.is_file() => {
                let bytes = fs::read(path).unwrap();
                let before = bytes.iter().rev().skip(1).position(|byte| *byte == b'\n');
                let kept = before.map_or(0, |from_end| bytes.len() - 1 - from_end);
                fs::write(path, &bytes[..kept]).unwrap();
            }
            _ => {}
        }
    }
}

/// CR22: somebody removes the folder while it is written to.
#[test]
fn a_folder_that_disappears_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let request = Request { measures: &[MeasureKind::Spectra], ..request(&out) };
    let remove = |_, _| {
        let _ = fs::remove_dir_all(&out);
    };
    let error = analyze(&request, &remove).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert!(error.to_string().contains("it was removed meanwhile"), "{error}");
    run(&out, None).unwrap();
}

/// Nothing gets its final name before its bytes are on the disk, and no line or manifest tells of a
/// name before the name is.
#[test]
fn names_follow_bytes_and_lines_follow_names() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let less = Request { measures: &[MeasureKind::Training], ..request(&out) };
    analyze(&less, &|_, _| {}).unwrap();
    let faults = Faults::below(&out, None);
    run(&out, None).unwrap();
    let seen = faults.seen();
    for (i, (_, path)) in seen.iter().enumerate().filter(|(_, (op, _))| *op == Operation::Write) {
        let synced = |(op, synced): &(Operation, PathBuf)| *op == Operation::Sync && synced == path;
        let sync = seen[i..].iter().position(synced);
        let rename = seen[i..].iter().position(|(op, _)| *op == Operation::Rename);
        assert!(sync.is_some(), "{} is not synced", path.display());
        assert!(rename.is_none_or(|rename| sync < Some(rename)), "{}", path.display());
    }
    let at = |what: &dyn Fn(Operation, &Path) -> bool| {
        seen.iter()
            .enumerate()
            .filter(|(_, (op, path))| what(*op, path))
            .map(|(i, _)| i)
            .collect::<Vec<_>>()
    };
    let tables = out.join("movement.parquet");
    let created = at(&|op, path| op == Operation::Create && path == tables);
    let synced = at(&|op, path| op == Operation::Sync && path == tables);
    let renamed = at(&|op, path| op == Operation::Rename && path == tables);
    assert!(created < synced && synced < renamed, "{created:?} {synced:?} {renamed:?}");

    let manifest = out.join("manifest.json");
    let last = at(&|op, path| op == Operation::Rename && path == manifest);
    let others = at(&|op, path| op == Operation::Rename && path.parent() == Some(&out));
    assert_eq!(others.last(), last.last(), "the manifest comes last");
    let removed = at(&|op, path| op == Operation::Remove && path == manifest);
    let of_tables = at(&|op, path| {
        op == Operation::Rename && path.parent() == Some(&out) && path.ends_with("movement.parquet")
    });
    assert!(!removed.is_empty() && removed < of_tables, "the old manifest goes first");
    assert_eq!(seen.last(), Some(&(Operation::Sync, out.clone())), "names last are durable");

    // The folder of a block is synced between its rename and its line.
    let journal = out.join(".groundswell/journal-00001-of-00001.jsonl");
    for (i, (op, path)) in seen.iter().enumerate() {
        let is_block = path.parent().is_some_and(|measure| measure.ends_with("blocks/movement"));
        if *op == Operation::Rename && is_block {
            let folder = path.parent().unwrap();
            let next = |wanted: &Path, op: Operation| {
                seen[i..].iter().position(|(o, path)| *o == op && path == wanted).unwrap()
            };
            assert!(next(folder, Operation::Sync) < next(&journal, Operation::Write));
        }
    }
    assert!(fs::read_to_string(&journal).unwrap().lines().count() == 3);
}
