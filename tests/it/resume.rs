//! An analysis goes on where it ended, however it ended, and what is there is not computed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use groundswell::tables::{CheckpointRow, FailureRow, SpectrumRow, Status};

use super::support::*;

/// Two runs of 31 checkpoints, two blocks each.
static ARCHIVE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    for seed in ["1", "2"] {
        let run = dir.path().join(format!("runs/seed{seed}"));
        let small = args!["--modulus", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "16"];
        let short = args!["--train-fraction", "0.6", "--steps", "60", "--save-at", "0..:2"];
        train([args!["--out", run, "--seed", seed], small, short].concat()).exits(0);
    }
    analyze(&dir.path().join("runs"), &dir.path().join("clean")).exits(0);
    dir
});

/// A copy of the archive that a test may damage.
pub fn runs(dir: &Path) -> PathBuf {
    let copy = dir.join("runs");
    plant(&copy, &tree(&ARCHIVE.path().join("runs")));
    copy
}

/// The tables of the undamaged archive.
pub fn clean() -> Tree {
    tree(&ARCHIVE.path().join("clean"))
}

/// The journal of an analysis without shards.
fn journal(out: &Path) -> PathBuf {
    out.join(".groundswell/journal-00001-of-00001.jsonl")
}

fn count(ran: &Ran, out: &Path, told: &str) {
    let line = format!("{}: {told}\n", out.display());
    assert!(ran.stdout.starts_with(&line), "no {line:?} in {ran:#?}");
}

/// Every file of a table, a block or a plan that bears a final name is whole.
#[track_caller]
fn assert_whole(out: &Path) {
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if groundswell::durable::is_temporary(name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".parquet") {
                groundswell::tables::read(&path).unwrap();
            }
        }
    }
}

/// SIGKILL at random moments, again and again, until an attempt comes to its end.
#[test]
fn killed_analyses_end_with_the_same_bytes() {
    let (archive, expected) = (ARCHIVE.path().join("runs"), clean());
    let untouched = tree(&archive);
    let mut random = Random(230_105_217);
    let (mut kills, wanted) = (0, if soak() { 200 } else { 50 });
    while kills < wanted {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        for _ in 0..12 {
            let args = args!["analyze", &archive, "--out", &out, "--threads", "2"];
            let mut command = command(GROUNDSWELL, args);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            random.pause(150_000.0);
            let ended = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_whole(&out);
            if ended {
                break;
            }
            kills += 1;
        }
        analyze(&archive, &out).exits(0);
        assert_same(&tree(&out), &expected);
        groundswell(args!["verify", &out, "--archive", &archive]).exits(0);
    }
    assert_same(&tree(&archive), &untouched);
}

#[test]
fn a_new_checkpoint_costs_its_block_and_what_compares_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    let manifest = archive.join("seed1/manifest.jsonl");
    let whole = fs::read_to_string(&manifest).unwrap();
    let last = |line: &&str| !line.contains("checkpoints/step_00000060");
    let lines: Vec<&str> = whole.lines().filter(last).collect();
    fs::write(&manifest, lines.join("\n") + "\n").unwrap();
    let some = |measures: &str| args!["analyze", &archive, "--out", &out, "--measures", measures];
    count(&groundswell(some("spectra")).exits(0), &out, "61 checkpoints measured");
    fs::write(&manifest, &whole).unwrap();
    let told = "15 checkpoints measured, 47 taken from before";
    count(&groundswell(some("spectra")).exits(0), &out, told);
    // A measure more reads everything, and computes itself alone.
    count(&groundswell(some("spectra,neurons")).exits(0), &out, "62 checkpoints measured");
    let expected = clean();
    for name in ["spectra.parquet", "singular_values.parquet", "neurons.parquet"] {
        assert!(tree(&out)[name] == expected[name], "{name} differs");
    }
}

/// CR14: what a damaged line told of is computed again; a torn end is cut off.
#[test]
fn a_damaged_journal_costs_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs"), dir.path().join("out"));
    analyze(&archive, &out).exits(0);
    let good = fs::read_to_string(journal(&out)).unwrap();
    let third = good.lines().nth(2).unwrap();
    fs::write(journal(&out), good.replace(third, &third.replace("seed", "deed"))).unwrap();
    let ran = analyze(&archive, &out).exits(0);
    ran.mentions("journal line 3 damaged: what it told of is computed again");
    assert_same(&tree(&out), &clean());

    fs::write(journal(&out), &good[..good.len() - 10]).unwrap();
    fs::remove_file(out.join("manifest.json")).unwrap();
    let ran = analyze(&archive, &out).exits(0);
    assert!(ran.stdout.contains(" taken from before\n"), "{ran:#?}");
    assert_same(&tree(&out), &clean());
    groundswell(args!["verify", &out]).exits(0);
}

/// CR15: a block that is gone, cut or flipped is computed again, with a warning.
#[test]
fn a_damaged_block_is_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs"), dir.path().join("out"));
    analyze(&archive, &out).exits(0);
    let blocks = out.join(".groundswell/blocks/spectra");
    let damages: [fn(&Path); 3] = [
        |file| fs::remove_dir_all(file.parent().unwrap()).unwrap(),
        |file| fs::write(file, &fs::read(file).unwrap()[..50]).unwrap(),
        |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[99] ^= 4;
            fs::write(file, bytes).unwrap();
        },
    ];
    for damage in damages {
        let block = fs::read_dir(&blocks).unwrap().next().unwrap().unwrap().path();
        damage(&block.join("spectra.parquet"));
        let ran = groundswell(args!["verify", &out]).exits(4);
        assert!(ran.stdout.contains("; 1 damaged\n") || ran.stdout.contains("; 2 damaged\n"));
        // The tables are whole, so nothing needs the block.
        count(&analyze(&archive, &out).exits(0), &out, "nothing to do, 0 to compute");
        fs::remove_file(out.join("spectra.parquet")).unwrap();
        let ran = analyze(&archive, &out).exits(0);
        let ran = ran.mentions("WARN 1 blocks were damaged or gone, and computed again");
        assert!(ran.stdout.contains(" checkpoints measured, "), "{ran:#?}");
        assert_same(&tree(&out), &clean());
        groundswell(args!["verify", &out]).exits(0);
    }
}

/// CR18: an input that was edited since is measured again, and that is said.
#[test]
fn an_edited_input_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    fs::remove_file(archive.join("seed1/manifest.jsonl")).unwrap();
    analyze(&archive, &out).exits(0);
    let path = checkpoint(&archive.join("seed1"), 10);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    let name = "runs/seed1/checkpoints/step_00000010.safetensors";
    let ran = groundswell(args!["verify", &out, "--archive", &archive]).exits(4);
    assert!(ran.stdout.contains(&format!("{}: BLAKE3 mismatch: ", &name[5..])), "{ran:#?}");

    let ran = analyze(&archive, &out).exits(0);
    ran.mentions(
        "WARN 1 input files changed since they were measured; their rows are computed again",
    );
    let again = dir.path().join("again");
    analyze(&archive, &again).exits(0);
    assert_same(&tree(&out), &tree(&again));
    count(&analyze(&archive, &out).exits(0), &out, "nothing to do, 0 to compute");
}

/// CR19, CR25: neither copies nor clocks cost anything; digests decide.
#[test]
fn copies_are_what_they_are_copies_of() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    analyze(&archive, &out).exits(0);
    let copy = |from: &Path, to: &Path| {
        assert!(command("cp", args!["-r", from, to]).status().unwrap().success());
    };
    let (moved, elsewhere) = (dir.path().join("moved"), dir.path().join("elsewhere"));
    copy(&archive, &moved);
    copy(&out, &elsewhere);
    let touched = args!["-d", "2099-01-01", checkpoint(&moved.join("seed1"), 10)];
    assert!(command("touch", touched).status().unwrap().success());
    let before = modified(&elsewhere);
    let ran = analyze(&moved, &elsewhere).exits(0);
    count(&ran, &elsewhere, "nothing to do, 0 to compute");
    assert_eq!(modified(&elsewhere), before);
    groundswell(args!["verify", &elsewhere, "--archive", &moved]).exits(0);
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs"), dir.path().join("out"));
    let dry = || {
        let args = args!["analyze", &archive, "--out", &out, "--dry-run", "--measures"];
        groundswell([args, args!["spectra,training"]].concat()).exits(0).stdout
    };
    let told = dry();
    assert!(told.contains("measures     training, spectra\n"), "{told}");
    assert!(told.contains("units        6 of 6 to compute\n"), "{told}");
    assert!(told.contains("checkpoints  62 to read, "), "{told}");
    assert!(!out.exists());
    analyze(&archive, &out).exits(0);
    let before = modified(&out);
    assert!(dry().contains("units        0 of 6 to compute\n"));
    assert_eq!(modified(&out), before);
}

/// CR20: what needs more memory than there may be is left out, and measured once there is more.
#[test]
fn a_memory_limit_leaves_out_what_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs/seed1"), dir.path().join("out"));
    let limited = |limit: &str| {
        let args = args!["analyze", &archive, "--out", &out, "--memory-limit", limit];
        groundswell([args, args!["--measures", "checkpoints,spectra"]].concat())
    };
    limited("1kB").exits(4).mentions("needs about 1 MB of memory, and 0 MB may be used");
    limited("1e6").exits(2).mentions("`1e6` is no size");
    let sizes = fs::read_dir(archive.join("checkpoints")).unwrap();
    let sizes = sizes.map(|entry| entry.unwrap().metadata().unwrap().len());
    let needed = 8 * sizes.max().unwrap();
    limited(&(needed - 1).to_string()).exits(3);
    let failures = rows::<FailureRow>(&out);
    assert!((1..31).contains(&failures.len()) && failures.iter().all(|row| row.code == "CR20"));
    let listed = |status| rows::<CheckpointRow>(&out).iter().filter(|r| r.status == status).count();
    assert_eq!(listed(Status::TooLarge), failures.len());
    assert_eq!(listed(Status::Ok), 31 - failures.len());
    // Those blocks are not believed once there is more memory.
    limited(&needed.to_string()).exits(0);
    assert_eq!((listed(Status::Ok), rows::<FailureRow>(&out).len()), (31, 0));
}

/// CR06: a limit on the size of files is told like a full disk, and what was committed stays.
#[test]
fn a_limit_on_file_sizes_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs"), dir.path().join("out"));
    let limited = args!["--fsize=12000", GROUNDSWELL, "analyze", &archive, "--out", &out];
    let ran: Ran = command("prlimit", limited).output().unwrap().into();
    ran.exits(5).mentions("error[CR05]: could not write ").mentions("File too large");
    assert_eq!(tables_in(&out), [""; 0]);
    assert_whole(&out);
    analyze(&archive, &out).exits(0);
    assert_same(&tree(&out), &clean());
}

/// CR12: one process at a time, but for the shards of one analysis.
#[test]
fn one_process_writes_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs"), dir.path().join("out"));
    analyze(&archive, &out).exits(0);
    let _lock = groundswell::durable::Lock::exclusive(&out.join(".groundswell/lock")).unwrap();
    let me = format!("in use by pid {} on host ", std::process::id());
    analyze(&archive, &out).exits(11).mentions(&me);
    groundswell(args!["merge", &out]).exits(11).mentions(&me);
    groundswell(args!["analyze", &archive, "--out", &out, "--shard", "1/2"]).exits(11);
    let unlocked = groundswell(args!["analyze", &archive, "--out", &out, "--no-lock"]).exits(0);
    count(&unlocked, &out, "nothing to do, 0 to compute");
    groundswell(args!["status", &out]).exits(0);
}

/// A damaged checkpoint's failure is kept with its block: not computed again, but told again.
#[test]
fn a_failure_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    fs::write(checkpoint(&archive.join("seed2"), 20), "").unwrap();
    analyze(&archive, &out).exits(3);
    let told = rows::<FailureRow>(&out);
    assert_eq!((told.len(), told[0].code.as_str()), (1, "ST001"));
    let before = modified(&out);
    let ran = analyze(&archive, &out).exits(3).mentions("WARN 1 inputs were skipped");
    count(&ran, &out, "nothing to do, 0 to compute");
    assert_eq!(modified(&out), before);
    // Written anew it is the same, also by a measure that has no failure itself.
    fs::remove_file(out.join("failures.parquet")).unwrap();
    analyze(&archive, &out).exits(3);
    assert_eq!(rows::<FailureRow>(&out), told);
    fs::remove_file(out.join("training.parquet")).unwrap();
    groundswell(args!["analyze", &archive, "--out", &out, "--measures", "training"]).exits(3);
    assert_eq!(rows::<FailureRow>(&out), told);
    assert_eq!(rows::<SpectrumRow>(&out).iter().filter(|row| row.step == 20).count(), 14);
}

/// What a patient analysis has passed over, a strict one refuses, also where nothing is left to compute.
#[test]
fn a_strict_analysis_believes_no_passed_over_block() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    fs::remove_file(archive.join("seed1/manifest.jsonl")).unwrap();
    let path = checkpoint(&archive.join("seed1"), 10);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    for measures in ["spectra", "movement", "trajectory"] {
        let out = out.join(measures);
        let args = args!["analyze", &archive, "--out", &out, "--measures", measures];
        groundswell(args.clone()).exits(0);
        groundswell([args, args!["--strict"]].concat()).exits(4).mentions("holds NaN or Inf");
    }
    let strict = args!["analyze", archive.join("seed2"), "--out", out.join("good"), "--strict"];
    groundswell(strict.clone()).exits(0);
    count(&groundswell(strict).exits(0), &out.join("good"), "nothing to do, 0 to compute");
}

/// A digest that comes to be known later is looked at.
#[test]
fn a_manifest_that_comes_later_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    let (manifest, kept) = (archive.join("seed1/manifest.jsonl"), dir.path().join("kept"));
    fs::rename(&manifest, &kept).unwrap();
    let path = checkpoint(&archive.join("seed1"), 10);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    analyze(&archive, &out).exits(0);
    fs::rename(&kept, &manifest).unwrap();
    analyze(&archive, &out).exits(3);
    assert_eq!(rows::<FailureRow>(&out)[0].code, "ST027");
}

#[test]
fn folders_of_other_versions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (ARCHIVE.path().join("runs"), dir.path().join("out"));
    let shard = || groundswell(args!["analyze", &archive, "--out", &out, "--shard", "1/2"]);
    shard().exits(0);
    let plan = out.join("plan.json");
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("seed1", "seed3")).unwrap();
    let damaged = format!("error[PQ04]: {}: checksum mismatch", plan.display());
    shard().exits(4).mentions(&damaged);
    groundswell(args!["status", &out]).exits(4).mentions(&damaged);
    groundswell(args!["merge", dir.path().join("nowhere")]).exits(10).mentions("no such plan");
    groundswell(args!["verify", dir.path().join("nowhere")]).exits(10);
    // One process can always begin anew.
    analyze(&archive, &out).exits(0);
    assert_same(&tables_of(&out), &{
        let mut tables = clean();
        tables.remove("plan.json");
        tables
    });
}
