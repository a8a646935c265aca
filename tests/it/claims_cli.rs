//! `groundswell claims` as its users meet it: what it needs, what it leaves alone, what it decides.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use groundswell::claims::rules;
use groundswell::pipeline::output::Output;
use groundswell::tables::{
    self, CheckpointRow, ClaimRow, FourierRow, FrequencyRow, ProgressRow, SharesRow, Status,
};
use serde_json::{Value, json};

use super::support::*;

const ALL_CLAIMS: [&str; 16] = [
    "C1", "C10", "C11", "C12", "C13", "C14", "C2", "C3a", "C3b", "C4a", "C4b", "C5", "C6", "C7",
    "C8", "C9",
];

fn claims(archive: &Path, out: &Path, options: &[&str]) -> Ran {
    let options = options.iter().map(std::ffi::OsString::from).collect();
    groundswell([args!["claims", archive, "--out", out], options].concat())
}

/// The verdicts of a run, by claim.
fn verdicts(rows: &[ClaimRow], run: &str) -> BTreeMap<String, (String, Status)> {
    let own = rows.iter().filter(|row| row.run == run && row.statistic == "verdict");
    let own = own.filter(|row| row.null_id == "none");
    own.map(|row| (row.claim.clone(), (row.verdict.clone(), row.status))).collect()
}

/// What a planted run is told to be.
struct Planted {
    name: &'static str,
    seed: u64,
    weight_decay: &'static str,
    /// `share_key_train` up to t_drop
    share: f64,
    /// Test accuracy at the end
    end: f64,
}

/// Runs modulo 31 with these names and settings, and tables that say what runs that grok would: t_mem 20,
/// t_drop and t_gen 120. Their checkpoints are of a smaller network, so none can be evaluated.
fn planted(dir: &Path, runs: &[Planted]) -> (PathBuf, PathBuf) {
    let (archive, out) = (dir.join("runs"), dir.join("out"));
    let (mut progress, mut shares) = (Vec::new(), Vec::new());
    for planted in runs {
        let run = archive.join(planted.name);
        plant(&run, &tree(&fixture("tiny")));
        let settings = run.join("run.json");
        let text = fs::read_to_string(&settings).unwrap();
        let changed = text
            .replace("\"modulus\": 7", "\"modulus\": 31")
            .replace("\"seed\": 2", &format!("\"seed\": {}", planted.seed))
            .replace(
                "\"weight_decay\": 1.0",
                &format!("\"weight_decay\": {}", planted.weight_decay),
            );
        fs::write(&settings, changed).unwrap();
        let later = TINY_STEPS.into_iter().filter(|step| *step > 150);
        for step in (0..=150).step_by(10).chain(later) {
            let late = step >= 120;
            progress.push(ProgressRow {
                run: planted.name.into(),
                step,
                train_accuracy: Some(if step < 20 { 0.5 } else { 1.0 }),
                test_loss: Some(if late { 0.1 } else { 3.0 + step as f64 / 100.0 }),
                test_accuracy: Some(if late { planted.end } else { 0.1 }),
                restricted_accuracy_test: Some(0.3),
                key_frequencies: Some("3,5".into()),
                status: Status::Ok,
                ..ProgressRow::default()
            });
            let delta = (step > 0).then_some(-0.01);
            shares.push(SharesRow {
                run: planted.name.into(),
                step,
                shapley_key_train: Some(0.2),
                shapley_rest_train: Some(0.8),
                share_key_train: Some(if step > 120 { 0.9 } else { planted.share }),
                interaction_train: Some(0.01),
                delta_mean_train: delta.map(|delta| 0.01 * delta),
                delta_key_train: delta.map(|delta| 0.01 * delta),
                delta_rest_train: delta,
                closure_train: delta.map(|_| 1e-4),
                status: Status::Ok,
                ..SharesRow::default()
            });
        }
    }
    let mut output = Output::open(&out, &archive).unwrap();
    let mut replacement = output.replace();
    let metadata = BTreeMap::from([("keys".to_owned(), "{}".to_owned())]);
    replacement.table(progress, &metadata).unwrap();
    replacement.table(shares, &metadata).unwrap();
    replacement.commit(BTreeMap::new()).unwrap();
    (archive, out)
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn five(share: f64) -> Vec<Planted> {
    let one = |(i, name): (usize, &'static str)| {
        let (seed, weight_decay) = (i as u64, "1.0");
        Planted { name, seed, weight_decay, share, end: 1.0 }
    };
    NAMES.into_iter().enumerate().map(one).collect()
}

/// Five seeds decide what their tables tell; a run of other settings and one that does not generalise are
/// no part of it.
#[test]
fn five_seeds_decide_and_strangers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut runs = five(0.1);
    runs[4].share = 0.4;
    runs.push(Planted { name: "n7", seed: 0, weight_decay: "0.5", share: 0.9, end: 0.2 });
    let (archive, out) = planted(dir.path(), &runs);
    let before = tables_of(&out);
    let ran = claims(&archive, &out, &["--threads", "1"]).exits(0);
    assert!(ran.stdout.contains("C2   supports   0.1 [0.1, 0.4]"), "{ran:#?}");
    ran.mentions("no table arrow: `groundswell arrow` writes it");
    let found = rows::<ClaimRow>(&out);
    let all = verdicts(&found, "all");
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), ALL_CLAIMS);
    let of = |claim: &str| (all[claim].0.as_str(), all[claim].1);
    let ok = Status::Ok;
    assert_eq!(
        [of("C2"), of("C7"), of("C5")],
        [("supports", ok), ("supports", ok), ("refutes", ok)]
    );
    let missing = ["C1", "C3a", "C3b", "C4a", "C4b", "C6", "C8", "C9", "C11", "C12", "C14"];
    assert!(missing.iter().all(|claim| of(claim) == ("undecided", Status::Missing)), "{all:?}");
    assert_eq!([of("C10"), of("C13")], [("undecided", Status::NoTwin); 2]);

    let own = verdicts(&found, "e");
    assert_eq!(own["C2"], ("undecided".to_owned(), ok));
    let stranger = verdicts(&found, "n7");
    assert_eq!(stranger["C2"], ("undecided".to_owned(), Status::NotReached));
    let n7 = found.iter().find(|row| row.claim == "C2" && row.null_id == "N7").unwrap();
    assert_eq!((n7.run.as_str(), n7.value, n7.null_mean), ("all", Some(0.1), None));

    // The rules stand in the file; the other tables are as they were; any number of threads, the same bytes.
    let path = out.join("claims.parquet");
    let bytes = fs::read(&path).unwrap();
    let about = tables::metadata(&path, &bytes).unwrap();
    assert_eq!(about["rules"], rules::rules().text());
    assert_eq!(about["rules_digest"], rules::rules().digest());
    assert_eq!(about["runs_of_all"], r#"["a","b","c","d","e"]"#);
    let first = tables_of(&out);
    for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".parquet")) {
        assert!(first[name] == *bytes, "{name} changed");
    }
    claims(&archive, &out, &["--threads", "2"]).exits(0);
    assert_same(&tables_of(&out), &first);
    groundswell(args!["verify", &out]).exits(0);
}

/// A run on permuted labels is compared with, but not if its tables are of other checkpoints.
#[test]
fn a_stale_twin_is_left_out() {
    let reason = |stale: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut runs = five(0.1);
        runs.push(Planted { name: "t", seed: 0, weight_decay: "1.0", share: 0.1, end: 0.1 });
        let (archive, out) = planted(dir.path(), &runs);
        let settings = archive.join("t/run.json");
        let text = fs::read_to_string(&settings).unwrap();
        let permuted = text.replace("\"seed\": 0,", "\"seed\": 0, \"permute_labels\": 0,");
        assert_ne!(text, permuted);
        fs::write(&settings, permuted).unwrap();
        let (mut frequencies, mut fourier) = (Vec::new(), Vec::new());
        for (run, shift) in [("a", 0), ("t", 1)] {
            let cells = (0..=150).step_by(10).flat_map(|step| (1..=15).map(move |k| (step, k)));
            for (step, frequency) in cells {
                let value = 2.0 + ((7 * step + 13 * frequency + 29 * shift) as f64).sin();
                frequencies.push(FrequencyRow {
                    run: run.into(),
                    step,
                    frequency,
                    logit_coefficient: Some(value),
                    neuron_share: Some(value),
                    ..FrequencyRow::default()
                });
                fourier.extend(["W_E", "W_L"].map(|object| FourierRow {
                    run: run.into(),
                    step,
                    object: object.into(),
                    frequency,
                    norm: Some(value),
                    ..FourierRow::default()
                }));
            }
        }
        let blake3 = stale.then(|| "0".repeat(64));
        let checkpoint = CheckpointRow { run: "t".into(), blake3, ..CheckpointRow::default() };
        let mut output = Output::open(&out, &archive).unwrap();
        let mut replacement = output.replace();
        let metadata = BTreeMap::new();
        replacement.table(frequencies, &metadata).unwrap();
        replacement.table(fourier, &metadata).unwrap();
        replacement.table(vec![checkpoint], &metadata).unwrap();
        replacement.commit(BTreeMap::new()).unwrap();
        drop(output); // and its lock
        claims(&archive, &out, &[]).exits(0);
        let found = rows::<ClaimRow>(&out);
        let own = |row: &&ClaimRow| {
            (row.claim.as_str(), row.run.as_str(), row.statistic.as_str())
                == ("C13", "a", "verdict")
        };
        let row = found.iter().find(own).unwrap();
        assert_eq!(row.status, Status::NoTwin, "{}", row.reason);
        row.reason.clone()
    };
    assert_eq!(reason(false), "1 runs on permuted labels; the detector needs 2");
    let found = reason(true);
    assert!(
        found.ends_with("can be used; t: step 0 of the tables is of another checkpoint"),
        "{found}"
    );
}

/// Four runs decide nothing, and a share of 0.6 from the start refutes.
#[test]
fn four_seeds_are_too_few() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path(), &five(0.6)[..4]);
    claims(&archive, &out, &[]).exits(0);
    let found = rows::<ClaimRow>(&out);
    assert_eq!(verdicts(&found, "a")["C2"].0, "refutes");
    let all = found.iter().find(|row| {
        (row.claim.as_str(), row.run.as_str(), row.statistic.as_str()) == ("C2", "all", "verdict")
    });
    let all = all.unwrap();
    assert_eq!((all.verdict.as_str(), all.status), ("undecided", Status::NotReached));
    assert!(all.reason.ends_with("5 runs are needed"), "{}", all.reason);
}

/// Tables of other keys or another protocol, and an onset that is older than its tables, decide nothing; the
/// reason says what differs.
#[test]
fn tables_that_do_not_belong_together_are_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path(), &five(0.1));
    let said = |key_rule: &str, protocol: &str| {
        let parameters = json!({ "key_rule": key_rule, "protocol": protocol });
        json!({ "blocks": "", "parameters": parameters })
    };
    let say = |shares: Value, onset: Value| {
        let parameters =
            [("progress", said("w_l", "sum_dirs")), ("shares", shares), ("onset", onset)];
        let parameters = parameters.map(|(name, said)| (name.to_owned(), said));
        let mut output = Output::open(&out, &archive).unwrap();
        output.replace().commit(parameters.into()).unwrap();
    };
    let c2 = || {
        let rows = rows::<ClaimRow>(&out);
        let is_verdict = |row: &&ClaimRow| {
            (row.claim.as_str(), row.run.as_str(), row.statistic.as_str()) == ("C2", "a", "verdict")
        };
        rows.iter().find(is_verdict).unwrap().clone()
    };
    let digest = rules::rules().digest();
    let of_rules = || json!({ "rules_digest": digest });
    say(said("w_l", "sum_dirs"), of_rules());
    claims(&archive, &out, &[]).exits(0);
    assert_eq!(c2().verdict, "supports");
    for (shares, difference) in [
        (said("w_l", "block3x3"), "protocol is \"block3x3\" in it, \"sum_dirs\" in table progress"),
        (
            said("per-checkpoint", "sum_dirs"),
            "key_rule is \"per-checkpoint\" in it, \"w_l\" in table progress",
        ),
    ] {
        say(shares, of_rules());
        let reason = format!(
            "table shares is put aside: {difference}: run `groundswell shares` and `groundswell analyze` \
             with the same options"
        );
        claims(&archive, &out, &[]).exits(3).mentions(&reason);
        let row = c2();
        assert_eq!((row.verdict.as_str(), row.status), ("undecided", Status::Missing));
        assert_eq!(row.reason, reason);
    }
    let older = json!({ "inputs": { "progress": "an older one" }, "rules_digest": digest });
    say(said("w_l", "sum_dirs"), older);
    claims(&archive, &out, &[]).exits(3).mentions(
        "table onset is put aside: it was made from another table progress than is there",
    );
    assert_eq!(c2().verdict, "supports");
}

/// Lines, planes and Hessians of checkpoints that were replaced decide nothing.
#[test]
fn landscapes_of_other_checkpoints_are_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path(), &five(0.1));
    let mut output = Output::open(&out, &archive).unwrap();
    let of = |about: Value| json!({ "the first": about.clone(), "of no run": { "run": "z" } });
    let parameters = [
        ("interpolation", of(json!({ "run": "a", "to_run": "b", "final": { "step": 1 } }))),
        ("surface", of(json!({ "run": "b", "plane": "pca", "inputs": "others" }))),
        ("curvature", of(json!({ "run": "c", "final": { "step": 1 } }))),
    ];
    let parameters = parameters.map(|(name, said)| (name.to_owned(), said));
    output.replace().commit(parameters.into()).unwrap();
    drop(output);
    let mut ran = claims(&archive, &out, &[]).exits(3);
    let rows = rows::<ClaimRow>(&out);
    for (table, claim) in [("barriers", "C14"), ("surface", "C6"), ("curvature", "C11")] {
        let reason = format!(
            "table {table} is put aside: the first is of checkpoints that the archive has others of now: run \
             `groundswell landscape` again, as before"
        );
        ran = ran.mentions(&reason);
        let of_claim = rows.iter().find(|row| row.claim == claim && row.run == "a").unwrap();
        assert_eq!((of_claim.verdict.as_str(), of_claim.status), ("undecided", Status::Missing));
        assert!(of_claim.reason.contains("is put aside: the first"), "{}", of_claim.reason);
    }
}

/// Of a run that has saves after the last of its tables nobody knows what it ends with.
#[test]
fn a_run_that_grew_is_not_judged_by_older_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path(), &five(0.1));
    let is_earlier = |row: &ProgressRow| row.run != "a" || row.step < 1200;
    let earlier: Vec<ProgressRow> = rows(&out).into_iter().filter(is_earlier).collect();
    let mut output = Output::open(&out, &archive).unwrap();
    let mut replacement = output.replace();
    replacement.table(earlier, &BTreeMap::from([("keys".to_owned(), "{}".to_owned())])).unwrap();
    replacement.commit(BTreeMap::new()).unwrap();
    drop(output);
    claims(&archive, &out, &[]).exits(0);
    let rows = rows::<ClaimRow>(&out);
    let of = |run: &str| {
        let is_c2 = |row: &&ClaimRow| row.claim == "C2" && row.statistic == "verdict";
        rows.iter().filter(is_c2).find(|row| row.run == run).unwrap()
    };
    assert_eq!((of("a").verdict.as_str(), of("a").status), ("undecided", Status::Missing));
    let why = "the archive has saves up to step 1200, table progress up to 600";
    assert!(of("a").reason.starts_with(why), "{}", of("a").reason);
    assert_eq!(of("b").verdict, "supports");
}

/// Saves of the archive that no table has are missing: two of the thirteen up to t_drop are too many.
#[test]
fn saves_that_could_not_be_read_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path(), &five(0.1));
    let is_read = |run: &str, step: i64| run != "a" || ![50, 100].contains(&step);
    let (mut progress, mut shares) = (rows::<ProgressRow>(&out), rows::<SharesRow>(&out));
    progress.retain(|row| is_read(&row.run, row.step));
    shares.retain(|row| is_read(&row.run, row.step));
    let metadata = BTreeMap::from([("keys".to_owned(), "{}".to_owned())]);
    let mut output = Output::open(&out, &archive).unwrap();
    let mut replacement = output.replace();
    replacement.table(progress, &metadata).unwrap();
    replacement.table(shares, &metadata).unwrap();
    replacement.commit(BTreeMap::new()).unwrap();
    drop(output);
    claims(&archive, &out, &[]).exits(0);
    let rows = rows::<ClaimRow>(&out);
    let missing = ("undecided".to_owned(), Status::Missing);
    assert_eq!(verdicts(&rows, "a")["C2"], missing);
    assert_eq!(verdicts(&rows, "b")["C2"], ("supports".to_owned(), Status::Ok));
}

/// Other rules are read strictly, and leave their own digest.
#[test]
fn rules_can_be_others_but_not_misspelt() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = planted(dir.path(), &five(0.3));
    let mine = dir.path().join("mine.toml");
    let own = rules::rules().text();
    let write = |from: &str, to: &str| {
        assert!(own.contains(from), "{from}");
        fs::write(&mine, own.replace(from, to)).unwrap();
    };
    let option = ["--rules", mine.to_str().unwrap()];
    write("least_runs = 5 ", "least_run = 5 ");
    let ran = claims(&archive, &out, &option).exits(2);
    ran.mentions("unknown key `least_run`; did you mean `least_runs`?")
        .mentions(&format!("{}:8:1: ", mine.display()));
    assert!(!out.join("claims.parquet").exists());
    write("share_key = { supports = 0.2,", "share_key = { supports = 0.35,");
    claims(&archive, &out, &option).exits(0);
    let all = verdicts(&rows::<ClaimRow>(&out), "all");
    assert_eq!(all["C2"].0, "supports");
    let path = out.join("claims.parquet");
    let about = tables::metadata(&path, &fs::read(&path).unwrap()).unwrap();
    assert_ne!(about["rules_digest"], rules::rules().digest());
    let missing = dir.path().join("none.toml");
    claims(&archive, &out, &["--rules", missing.to_str().unwrap()]).exits(10);
}

/// A run that does not generalise has no final algorithm; its tables are those of a real analysis.
#[test]
fn a_run_that_does_not_generalise_is_undecided() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let archive = fixture("tiny");
    let ran = claims(&archive, &out, &[]).exits(10);
    ran.mentions("no tables").mentions("help: first run `groundswell analyze");
    assert!(!out.exists());
    analyze(&archive, &out).exits(0);
    claims(&archive, &out, &[]).exits(0);
    let found = rows::<ClaimRow>(&out);
    let own = verdicts(&found, "tiny");
    for claim in ALL_CLAIMS {
        let status = if claim == "C10" { Status::NoTwin } else { Status::NotReached };
        assert_eq!(own[claim], ("undecided".to_owned(), status), "{claim}");
    }
    // An analysis afterwards leaves the table alone.
    let table = fs::read(out.join("claims.parquet")).unwrap();
    analyze(&archive, &out).exits(0);
    assert!(fs::read(out.join("claims.parquet")).unwrap() == table);
    claims(&archive, &archive.join("tables"), &[]).exits(2).mentions("inside the archive");
}
