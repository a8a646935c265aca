//! `groundswell shares`: what stands in its table, and what it leaves alone.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use groundswell::tables::{ProgressRow, SharesRow, Status};

use super::support::*;

fn shares(archive: &Path, out: &Path, options: &[&str]) -> Ran {
    let options = options.iter().map(OsString::from).collect();
    groundswell([args!["shares", archive, "--out", out], options].concat())
}

/// A run of 41 checkpoints, three blocks.
fn long_run(dir: &Path, options: &[&str]) {
    let small = args!["--modulus", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "16"];
    let short = args!["--train-fraction", "0.6", "--steps", "80", "--save-at", "0..:2"];
    let options: Vec<OsString> = options.iter().map(OsString::from).collect();
    train([args!["--out", dir, "--seed", "1"], small, short, options].concat()).exits(0);
}

/// The values are those of `progress` where they are the same thing, the changes add up, and everything
/// is the same on one thread and on two, in one attempt and in many.
#[test]
fn shares_agree_with_progress() {
    let dir = tempfile::tempdir().unwrap();
    let (tiny, out) = (fixture("tiny"), dir.path().join("out"));
    shares(&tiny, &out, &["--threads", "1", "--kernel-at", "first,100"]).exits(0);
    assert_eq!(tables_in(&out), ["failures", "shares"]);
    assert!(names_the_rules(&out, "shares"));
    let rows = rows::<SharesRow>(&out);
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), TINY_STEPS);

    let tables = dir.path().join("tables");
    groundswell(args!["analyze", &tiny, "--out", &tables, "--measures", "progress"]).exits(0);
    let progress = super::support::rows::<ProgressRow>(&tables);
    let mut before: Option<&ProgressRow> = None;
    for (row, losses) in rows.iter().zip(&progress) {
        assert_eq!(row.status, Status::Ok, "{row:?}");
        let close = |found: Option<f64>, expected: f64, what: &str| {
            let found = found.unwrap_or_else(|| panic!("step {}: no {what}", row.step));
            assert!((found - expected).abs() < 1e-9, "step {}: {what} {found}", row.step);
        };
        // The shares differ by v(R) − v(K), whatever v(∅) is.
        let gap = losses.excluded_loss_train.unwrap() - losses.restricted_loss_train.unwrap();
        let (key, rest) = (row.shapley_key_train.unwrap(), row.shapley_rest_train.unwrap());
        close(Some(key - rest), gap, "difference of the shares");
        // And v(∅) follows from their sum.
        let none = key + rest + losses.train_loss.unwrap();
        let interaction = losses.train_loss.unwrap()
            - losses.restricted_loss_train.unwrap()
            - losses.excluded_loss_train.unwrap()
            + none;
        close(row.interaction_train, interaction, "interaction");

        let Some(earlier) = before else {
            assert_eq!((row.delta_key_train, row.closure_test), (None, None));
            before = Some(losses);
            continue;
        };
        let sum = row.delta_mean_test.unwrap()
            + row.delta_key_test.unwrap()
            + row.delta_rest_test.unwrap();
        let change = losses.test_loss.unwrap() - earlier.test_loss.unwrap();
        assert!((sum - change).abs() <= 0.01 * change.abs() + 1e-9, "step {}", row.step);
        if let Some(closure) = row.closure_test {
            assert!(closure < 0.01, "{row:?}");
        }
        before = Some(losses);
    }
    // Scales are finite, or a ray has an angle all the same.
    for row in &rows {
        assert_eq!(row.alpha_train.is_some(), row.beta_train.is_some());
        assert!(row.switch_angle_train.is_some() && row.switch_angle_test.is_some(), "{row:?}");
        if let (Some(alpha), Some(beta)) = (row.alpha_test, row.beta_test) {
            let angle = alpha.atan2(beta).to_degrees();
            assert!((row.switch_angle_test.unwrap() - angle).abs() < 1e-9);
        }
    }
    // Gradients and kernels where they were asked for, and nowhere else.
    for row in &rows {
        let asked = [0, 100].contains(&row.step);
        assert_eq!(row.gradient_cosine_train.is_some(), asked, "{row:?}");
        let cross = [
            row.kernel_cross_jacobian,
            row.kernel_cross_jacobian_standard_error,
            row.kernel_cross,
            row.kernel_cross_standard_error,
        ];
        assert!(cross.iter().all(|value| value.is_some() == asked), "{row:?}");
        if asked {
            assert!(row.gradient_cosine_train.unwrap().abs() <= 1.0);
            assert!((0.0..1.2).contains(&row.kernel_cross.unwrap()), "{row:?}");
            assert!(row.kernel_cross_jacobian < row.kernel_cross, "{row:?}");
        }
    }

    let again = dir.path().join("again");
    shares(&tiny, &again, &["--threads", "2", "--kernel-at", "first,100"]).exits(0);
    assert_same(&tables_of(&again), &tables_of(&out));
    shares(&tiny, &dir.path().join("no"), &["--kernel-at", "20"])
        .exits(2)
        .mentions("kernel-at: no run saved step 20");
}

/// Beside other tables, which stay what they are; killed and run again; in shards; in one attempt: the
/// same bytes.
#[test]
fn other_tables_stay_and_attempts_do_not_show() {
    let dir = tempfile::tempdir().unwrap();
    let (runs, out) = (dir.path().join("runs"), dir.path().join("out"));
    long_run(&runs.join("a"), &[]);
    analyze(&runs, &out).exits(0);
    let mut before = tables_of(&out);
    shares(&runs, &out, &["--threads", "2"]).exits(0);
    let mut after = tables_of(&out);
    let table = after.remove("shares.parquet").unwrap();
    for tables in [&mut before, &mut after] {
        tables.remove("manifest.json");
    }
    assert_same(&after, &before);
    let told = shares(&runs, &out, &[]).exits(0);
    assert!(told.stdout.contains("nothing to do, 0 to compute"), "{told:?}");

    let killed = dir.path().join("killed");
    let mut random = Random(7);
    for _ in 0..4 {
        let args = args!["shares", &runs, "--out", &killed, "--threads", "2"];
        let mut child =
            command(GROUNDSWELL, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        random.pause(60_000.0);
        let _ = child.kill();
        child.wait().unwrap();
    }
    shares(&runs, &killed, &[]).exits(0);
    assert!(fs::read(killed.join("shares.parquet")).unwrap() == table, "killed: other bytes");

    let parts = dir.path().join("parts");
    for shard in ["2/2", "1/2"] {
        shares(&runs, &parts, &["--shard", shard]).exits(0);
    }
    groundswell(args!["merge", &parts]).exits(0);
    assert!(fs::read(parts.join("shares.parquet")).unwrap() == table, "shards: other bytes");
}

/// A run that goes on has one last checkpoint: the block that had it before is computed again.
#[test]
fn a_growing_run_has_one_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (dir.path().join("run"), dir.path().join("out"));
    long_run(&run, &[]);
    let path = run.join("manifest.jsonl");
    let manifest = fs::read_to_string(&path).unwrap();
    // One block of sixteen, to step 30.
    let is_early = |line: &&str| {
        let name = line.split("checkpoints/step_").nth(1).map_or("", |rest| &rest[..8]);
        name.parse::<u64>().is_ok_and(|step| step <= 30)
    };
    let early: Vec<&str> = manifest.lines().filter(is_early).collect();
    assert_eq!(early.len(), 16);
    let options = ["--kernel-at", "last", "--keys", "list:1,2"];
    let at = || {
        let rows = rows::<SharesRow>(&out);
        let known = rows.iter().filter(|row| row.kernel_cross_jacobian.is_some());
        (rows.len(), known.map(|row| row.step).collect::<Vec<_>>())
    };
    fs::write(&path, early.join("\n") + "\n").unwrap();
    shares(&run, &out, &options).exits(0);
    assert_eq!(at(), (16, vec![30]));
    fs::write(&path, &manifest).unwrap();
    shares(&run, &out, &options).exits(0);
    assert_eq!(at(), (41, vec![80]));
}

/// A damaged checkpoint has no row, and the one behind it no changes; both say so. The others are what
/// they were.
#[test]
fn a_damaged_checkpoint_costs_itself_and_the_changes_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    let whole = dir.path().join("whole");
    shares(&run, &whole, &[]).exits(0);
    let file = checkpoint(&run, 50);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    shares(&run, &out, &[]).exits(3);
    let (found, expected) = (rows::<SharesRow>(&out), rows::<SharesRow>(&whole));
    assert_eq!(found.len(), expected.len() - 1);
    for row in &found {
        let other = expected.iter().find(|other| other.step == row.step).unwrap();
        if row.step != 100 {
            assert_eq!(row, other);
            continue;
        }
        let without = SharesRow {
            delta_mean_train: None,
            delta_mean_test: None,
            delta_key_train: None,
            delta_key_test: None,
            delta_rest_train: None,
            delta_rest_test: None,
            closure_train: None,
            closure_test: None,
            status: Status::Missing,
            ..other.clone()
        };
        assert_eq!(*row, without);
    }
}

/// Products are measured in their group; a task without a circuit, and a run without keys, say so.
#[test]
fn other_tasks_have_shares_or_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, task: &str, options: &[&str]| {
        let (run, out) = (dir.path().join(name), dir.path().join(format!("{name}-tables")));
        let size = args!["--modulus", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "16"];
        let steps = args!["--task", task, "--steps", "20", "--save-at", "0,20"];
        train([args!["--out", &run], size, steps].concat()).exits(0);
        shares(&run, &out, options).exits(0);
        rows::<SharesRow>(&out)
    };
    let product = of("product", "mul", &["--kernel-at", "last"]);
    assert!(product.iter().all(|row| row.status == Status::Ok), "{product:?}");
    let last = &product[1];
    assert!(last.shapley_key_train.is_some() && last.kernel_cross.is_some(), "{last:?}");
    assert!(last.gradient_cosine_train.is_some() && last.delta_key_test.is_some(), "{last:?}");

    let cubic = of("cubic", "x3+xy", &[]);
    assert!(cubic.iter().all(|row| row.status == Status::NotPeriodic), "{cubic:?}");
    assert!(cubic.iter().all(|row| row.shapley_key_train.is_none() && row.alpha_test.is_none()));

    // After 20 steps no frequency has three clear neurons.
    let (run, out) = (dir.path().join("product"), dir.path().join("no-keys"));
    shares(&run, &out, &["--keys", "neurons"]).exits(0);
    let no_keys = rows::<SharesRow>(&out);
    assert!(no_keys.iter().all(|row| row.status == Status::NoKeys), "{no_keys:?}");
    assert!(no_keys.iter().all(|row| row.shapley_rest_train.is_none()));

    // A final checkpoint that cannot be used leaves nothing to fix the keys by.
    let file = checkpoint(&run, 20);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..100]).unwrap();
    let out = dir.path().join("keyless");
    shares(&run, &out, &[]).exits(3);
    let keyless = rows::<SharesRow>(&out);
    assert_eq!((keyless.len(), keyless[0].status), (1, Status::Missing));
    assert_eq!(keyless[0].shapley_key_train, None);
}
