//! The same work in parts, by several processes: the same bytes.

use std::fs;
use std::path::Path;

use super::resume::{clean, runs};
use super::support::*;

fn shard(archive: &Path, out: &Path, shard: &str) -> Ran {
    groundswell(args!["analyze", archive, "--out", out, "--shard", shard])
}

/// Both tables and manifest, but not the plan: it says how many shards there were.
#[track_caller]
fn assert_clean(out: &Path) {
    let mut expected = clean();
    expected.remove("plan.json");
    let mut found = tree(out);
    found.remove("plan.json");
    assert_same(&found, &expected);
}

#[test]
fn shards_in_any_order_are_one_analysis() {
    for (n, order) in [(3, vec![2, 3, 1]), (2, vec![1, 2]), (6, (1..=6).rev().collect())] {
        let dir = tempfile::tempdir().unwrap();
        let (archive, out) = (runs(dir.path()), dir.path().join("out"));
        for (done, k) in order.iter().enumerate() {
            let ran = groundswell(args!["merge", &out]);
            if done > 0 {
                let missing: Vec<String> =
                    (1..=n).filter(|k| !order[..done].contains(k)).map(|k| k.to_string()).collect();
                let (count, list) = (missing.len(), missing.join(", "));
                let told = format!("{count} of {n} shards are not complete: {list}");
                ran.exits(10).mentions(&told).mentions(&format!("--shard k/{n}; "));
            } else {
                ran.exits(10);
            }
            shard(&archive, &out, &format!("{k}/{n}")).exits(0);
            assert_eq!(tables_in(&out).iter().filter(|name| !name.contains('/')).count(), 0);
        }
        let parts = tables_in(&out);
        assert!(parts.contains(&format!("spectra/part-00001-of-{n:05}")), "{parts:?}");
        let ran = groundswell(args!["merge", &out]).exits(0);
        assert!(ran.stdout.contains(": 62 checkpoints in the tables\n"), "{ran:#?}");
        assert_clean(&out);
        let before = modified(&out);
        let again = groundswell(args!["merge", &out]).exits(0);
        assert!(again.stdout.ends_with(": nothing to do, 0 to compute\n"), "{again:#?}");
        assert_eq!(modified(&out), before);
        // A whole analysis has nothing left to do, but is another plan.
        let whole = analyze(&archive, &out).exits(0);
        assert!(whole.stdout.ends_with(": nothing to do, 0 to compute\n"), "{whole:#?}");
    }
}

#[test]
fn shards_at_the_same_time_share_one_plan() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    let start = |k: usize| {
        let args = args!["analyze", &archive, "--out", &out, "--shard", format!("{k}/4")];
        command(GROUNDSWELL, args).spawn().unwrap()
    };
    let children: Vec<_> = (1..=4).map(start).collect();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    groundswell(args!["merge", &out]).exits(0);
    assert_clean(&out);
}

#[test]
fn a_plan_is_of_one_number_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    shard(&archive, &out, "1/2").exits(0);
    let plan = out.join("plan.json");
    let differs = |what: &str| {
        let plan = plan.display();
        format!("error[CR16]: {plan}: written with different parameters: {what}")
    };
    shard(&archive, &out, "1/3").exits(12).says(&differs("number of shards is 2 there, 3 here"));
    let args = args!["analyze", &archive, "--out", &out, "--shard", "2/2", "--measures", "spectra"];
    groundswell(args).exits(12).mentions("measures is {");
    fs::rename(archive.join("seed1"), archive.join("seed9")).unwrap();
    shard(&archive, &out, "2/2")
        .exits(12)
        .says(&differs("run seed1 is there, and not in this archive"));
    for text in ["0/2", "3/2", "x/2", "2"] {
        shard(&archive, &out, text).exits(2).mentions("shard: ");
    }
}

/// Checkpoints that came after the plan are told of and left out, those that went are failures.
#[test]
fn a_plan_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    let manifest = archive.join("seed1/manifest.jsonl");
    let whole = fs::read_to_string(&manifest).unwrap();
    let kept = |line: &&str| !line.contains("checkpoints/step_00000030");
    let lines: Vec<&str> = whole.lines().filter(kept).collect();
    fs::write(&manifest, lines.join("\n") + "\n").unwrap();
    shard(&archive, &out, "1/2").exits(0);
    fs::write(&manifest, &whole).unwrap();
    fs::remove_file(checkpoint(&archive.join("seed1"), 40)).unwrap();
    let ran = shard(&archive, &out, "2/2").exits(3);
    ran.mentions("1 checkpoints are newer than the plan, and left out");
    groundswell(args!["merge", &out]).exits(3);
    let listed = rows::<groundswell::tables::CheckpointRow>(&out);
    assert_eq!(listed.len(), 61);
    assert!(!listed.iter().any(|row| row.run == "seed1" && row.step == 30));
    let failures = rows::<groundswell::tables::FailureRow>(&out);
    let told: Vec<_> = failures.iter().map(|row| (row.code.as_str(), row.step)).collect();
    assert_eq!(told, [("AR03", Some(40))]);
}

/// An input that is edited between two shards does not stand in the tables in both its forms; nor does
/// what an older process wrote come back when the newest does not name it.
#[test]
fn edited_inputs_are_never_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    for run in ["seed1", "seed2"] {
        fs::remove_file(archive.join(run).join("manifest.jsonl")).unwrap();
    }
    let edit = || {
        let path = checkpoint(&archive.join("seed1"), 0);
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 1] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    shard(&archive, &out, "1/2").exits(0);
    edit();
    shard(&archive, &out, "2/2").exits(0);
    let changed =
        "seed1/checkpoints/step_00000000.safetensors changed between one shard and another";
    groundswell(args!["merge", &out]).exits(10).mentions(changed);
    shard(&archive, &out, "1/2").exits(0).mentions("1 input files changed");
    groundswell(args!["merge", &out]).exits(0);

    edit();
    analyze(&archive, &out).exits(0).mentions("1 input files changed");
    let newest = tables_of(&out);
    let again = groundswell(args!["merge", &out]).exits(0);
    assert!(again.stdout.ends_with(": nothing to do, 0 to compute\n"), "{again:#?}");
    assert_same(&tables_of(&out), &newest);
    let again = analyze(&archive, &out).exits(0);
    assert!(again.stdout.ends_with(": nothing to do, 0 to compute\n"), "{again:#?}");
}

#[test]
fn a_cluster_says_which_shard_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (runs(dir.path()), dir.path().join("out"));
    let auto = |task: Option<&str>| -> Ran {
        let args = args!["analyze", &archive, "--out", &out, "--shard", "auto/2"];
        let mut command = command(GROUNDSWELL, args);
        match task {
            Some(task) => command.env("SLURM_ARRAY_TASK_ID", task),
            None => command.env_remove("SLURM_ARRAY_TASK_ID"),
        };
        command.output().unwrap().into()
    };
    auto(None).exits(2).mentions("shard: SLURM_ARRAY_TASK_ID is not set");
    auto(Some("3")).exits(2).mentions("shard: 3 is not in 1..=2");
    assert!(!out.exists());
    auto(Some("2")).exits(0);
    let status = groundswell(args!["status", &out]).exits(0).stdout;
    for line in [
        "62 checkpoints of 2 runs\n",
        "  shard 1/2            0 of       3 units\n",
        "  shard 2/2            3 of       3 units\n",
        "  the tables are not written yet\n",
    ] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    auto(Some("1")).exits(0);
    groundswell(args!["merge", &out]).exits(0);
    assert_clean(&out);
    let status = groundswell(args!["status", &out]).exits(0).stdout;
    assert!(status.ends_with("  the tables are written\n"), "{status}");
}
