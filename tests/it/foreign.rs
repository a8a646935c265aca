//! Archives of other programs: every layout that is known is read, each checkpoint once, under its
//! step; and what cannot be placed is told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use groundswell::archive::write::to_bytes;
use groundswell::archive::{Data, TensorRef};
use groundswell::tables::{CheckpointRow, FailureRow, SpectrumRow, Status};
use serde_json::Value;

use super::support::*;

/// A checkpoint of no network that we know; other weights for other numbers.
pub fn model(number: u32) -> Vec<u8> {
    model_with(number, &BTreeMap::new())
}

fn model_with(number: u32, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let weight: Vec<f32> = (0..12).map(|i| (i * i) as f32 + number as f32 / 64.0).collect();
    let heads: Vec<f32> = (0..12).map(|i| i as f32 - number as f32).collect();
    let tensors = [
        TensorRef { name: "layer.weight", shape: &[4, 3], data: Data::F32(&weight) },
        TensorRef { name: "layer.heads", shape: &[2, 3, 2], data: Data::F32(&heads) },
        TensorRef { name: "layer.bias", shape: &[3], data: Data::F32(&weight[..3]) },
    ];
    to_bytes(&tensors, metadata).unwrap()
}

pub fn put(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An archive with a model in each of these files.
pub fn archive(dir: &Path, files: &[&str]) -> PathBuf {
    let root = dir.join("archive");
    for (number, file) in (1..).zip(files) {
        put(root.join(file), &model(number));
    }
    root
}

pub fn audit(root: &Path, options: &[&str]) -> (i32, Value) {
    let mut args = args!["audit", root, "--json"];
    args.extend(options.iter().map(Into::into));
    let ran = groundswell(args);
    let report = serde_json::from_str(&ran.stdout);
    (ran.code.unwrap(), report.unwrap_or_else(|error| panic!("{error}: {ran:#?}")))
}

/// Run, step and file of every checkpoint.
fn placed(report: &Value) -> Vec<(String, i64, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let runs = report["runs"].as_array().unwrap().iter();
    let rows = runs.flat_map(|run| run["checkpoints"].as_array().unwrap());
    rows.map(|row| (text(&row["run"]), row["step"].as_i64().unwrap(), text(&row["file"]))).collect()
}

fn steps(report: &Value) -> Vec<i64> {
    placed(report).into_iter().map(|(_, step, _)| step).collect()
}

/// Code, path and message of what is of this kind.
pub fn told(report: &Value, kind: &str) -> Vec<[String; 3]> {
    let found = report["findings"].as_array().unwrap().iter().filter(|f| f["kind"] == kind);
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    found.map(|f| [text(&f["code"]), text(&f["path"]), text(&f["message"])]).collect()
}

/// An archive in which these files have these runs and steps, and nothing is wrong.
#[track_caller]
fn reads(files: &[&str], options: &[&str], expected: &[(&str, i64, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), files);
    let (code, report) = audit(&root, options);
    assert_eq!(told(&report, "unreadable"), [[""; 3]; 0]);
    let expected: Vec<_> =
        expected.iter().map(|(run, step, file)| ((*run).into(), *step, (*file).into())).collect();
    assert_eq!(placed(&report), expected);
    assert_eq!(code, 0);
}

#[test]
fn ar12_steps_are_numbers_wherever_they_stand() {
    reads(
        &["checkpoint-10/model.safetensors", "checkpoint-9/model.safetensors"],
        &[],
        &[
            ("archive", 9, "checkpoint-9/model.safetensors"),
            ("archive", 10, "checkpoint-10/model.safetensors"),
        ],
    );
    reads(
        &["step2/m.safetensors", "step10/m.safetensors", "step-001000-2BT/m.safetensors"],
        &[],
        &[
            ("archive", 2, "step2/m.safetensors"),
            ("archive", 10, "step10/m.safetensors"),
            ("archive", 1000, "step-001000-2BT/m.safetensors"),
        ],
    );
    reads(
        &["a/step_0001.safetensors", "a/step_0002.safetensors", "b/global_step5000/x.safetensors"],
        &[],
        &[
            ("a", 1, "a/step_0001.safetensors"),
            ("a", 2, "a/step_0002.safetensors"),
            ("b", 5000, "b/global_step5000/x.safetensors"),
        ],
    );
    // The name of the file counts before those above it.
    reads(&["step1/iter_30.safetensors"], &[], &[("step1", 30, "step1/iter_30.safetensors")]);
    // `checkpoints/` says only what is in it.
    reads(
        &["x/checkpoints/step_5.safetensors", "x/optimizer/step_5.safetensors"],
        &[],
        &[("x", 5, "x/checkpoints/step_5.safetensors")],
    );
    // Numbers at the end, if the names differ in nothing else.
    reads(
        &["e/model_1.safetensors", "e/model_20.safetensors"],
        &[],
        &[("e", 1, "e/model_1.safetensors"), ("e", 20, "e/model_20.safetensors")],
    );
    reads(
        &["100/model.safetensors", "200/model.safetensors"],
        &[],
        &[("archive", 100, "100/model.safetensors"), ("archive", 200, "200/model.safetensors")],
    );
}

#[test]
fn the_pattern_of_the_user_counts_first() {
    reads(
        &["step1/epoch7.safetensors", "step1/epoch12.safetensors"],
        &["--step-regex", r"epoch(?P<step>\d+)"],
        &[("step1", 7, "step1/epoch7.safetensors"), ("step1", 12, "step1/epoch12.safetensors")],
    );
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["m.safetensors"]);
    let bad = args!["audit", &root, "--step-regex", "(?P<stp>a)"];
    groundswell(bad).exits(2).mentions("`(?P<stp>a)` has no group (?P<step>…)");
}

#[test]
fn global_step_of_the_trainer_state_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["last/model.safetensors"]);
    put(root.join("last/trainer_state.json"), br#"{"epoch": 2.0, "global_step": 750}"#);
    let (code, report) = audit(&root, &[]);
    assert_eq!((code, steps(&report)), (0, vec![750]));
}

#[test]
fn own_metadata_count_before_names_and_may_not_contradict_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let with = |step: &str| model_with(1, &[("step".to_owned(), step.to_owned())].into());
    put(root.join("final.safetensors"), &with("300"));
    put(root.join("step_7.safetensors"), &with("8"));
    put(root.join("step_9.safetensors"), &with("9"));
    let (code, report) = audit(&root, &[]);
    assert_eq!(steps(&report), [9, 300]);
    let message = "the name says step 7, the metadata say step 8";
    assert_eq!(told(&report, "unreadable"), [["AR11", "step_7.safetensors", message]]);
    assert_eq!(code, 4);
}

#[test]
fn ar11_without_a_step_and_a_step_twice() {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["model.safetensors", "a/step5.safetensors"]);
    put(root.join("a/ckpt5.safetensors"), &model(9));
    put(root.join("b/step6.safetensors"), &model(3));
    put(root.join("b/ckpt6.safetensors"), &model(3));
    let (code, report) = audit(&root, &[]);
    assert_eq!(placed(&report), [("b".to_owned(), 6, "b/ckpt6.safetensors".to_owned())]);
    let twice = |other: &str| format!("step 5 is also that of \"a/{other}\", with other bytes");
    let expected = [
        ["AR11", "a/ckpt5.safetensors", &twice("step5")],
        ["AR11", "a/step5.safetensors", &twice("ckpt5")],
        ["AR11", "model.safetensors", "cannot find a step in \"model.safetensors\""],
    ];
    assert_eq!(told(&report, "unreadable"), expected);
    let message = "step 6: \"b/step6\" has the bytes of \"b/ckpt6\", and is left out";
    assert_eq!(told(&report, "duplicate"), [["AR11", "", message]]);
    assert_eq!(code, 4);

    // Alone, it is the error of the whole archive.
    let alone = archive(&dir.path().join("alone"), &["model.safetensors"]);
    let path = alone.join("model.safetensors");
    let message =
        format!("error[AR11]: {}: cannot find a step in \"model.safetensors\"", path.display());
    analyze(&alone, &dir.path().join("out"))
        .exits(4)
        .says(&message)
        .says(r"help: tell where it stands: --step-regex '(?P<step>\d+)'");
}

#[test]
fn ar06_what_is_being_saved_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(
        dir.path(),
        &["checkpoint-1/model.safetensors", "tmp-checkpoint-2/model.safetensors"],
    );
    put(root.join("checkpoint-3/model.safetensors.incomplete"), b"half");
    put(root.join("step4.safetensors.tmp"), b"half");
    let (code, report) = audit(&root, &["--strict"]);
    assert_eq!((code, steps(&report)), (0, vec![1]));
    let message = "3 unfinished files or folders left out";
    assert_eq!(told(&report, "unfinished"), [["AR06", "", message]]);
}

#[test]
fn st026_pickles_are_counted_and_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["step1.safetensors"]);
    for name in ["step1.pt", "step2.pth", "pytorch_model.bin", "last.ckpt"] {
        put(root.join(name), b"\x80\x02.");
    }
    let (code, report) = audit(&root, &["--strict"]);
    assert_eq!(code, 0);
    assert_eq!(told(&report, "pickles"), [["ST026", "", "4 pickle files are not opened"]]);
    let named = root.join("last.ckpt");
    for command in ["audit", "analyze"] {
        let mut args = args![command, &named];
        if command == "analyze" {
            args.extend(args!["--out", dir.path().join("out")]);
        }
        groundswell(args)
            .exits(2)
            .says(&format!("error[ST026]: {}: pickle checkpoints are not opened", named.display()))
            .says(&format!(
                "help: convert it once, where you trust it: python examples/from_torch.py {} \
                 OUT.safetensors",
                named.display()
            ));
    }
    assert!(!dir.path().join("out").exists());
}

/// A repository as the Hugging Face libraries keep it: refs to commits, and in each snapshot a link
/// to a blob, which is named by the SHA-256 of its bytes.
fn cache(dir: &Path, refs: &[(&str, u32)]) -> PathBuf {
    let repository = dir.join("hub/models--org--model");
    for (name, number) in refs {
        let commit = format!("{number:040x}");
        put(repository.join("refs").join(name), commit.as_bytes());
        let snapshot = repository.join("snapshots").join(&commit);
        if snapshot.exists() {
            continue;
        }
        let blob = repository.join("blobs/new");
        put(blob.clone(), &model(*number));
        let sum = Command::new("sha256sum").arg(&blob).output().unwrap().stdout;
        let name = String::from_utf8(sum[..64].to_vec()).unwrap();
        fs::rename(&blob, repository.join("blobs").join(&name)).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        symlink(Path::new("../../blobs").join(name), snapshot.join("model.safetensors")).unwrap();
    }
    repository
}

#[test]
fn ar08_a_hugging_face_cache() {
    let dir = tempfile::tempdir().unwrap();
    let repository =
        cache(dir.path(), &[("step1000", 1), ("step2000", 2), ("main", 3), ("pr/1", 2)]);
    let run = "models--org--model";
    for (root, run) in [(dir.path().join("hub"), run), (repository.clone(), run)] {
        let (code, report) = audit(&root, &["--strict"]);
        assert_eq!(told(&report, "unreadable"), [[""; 3]; 0]);
        let found: Vec<_> = placed(&report).into_iter().map(|(run, step, _)| (run, step)).collect();
        assert_eq!(found, [(run.to_owned(), 1000), (run.to_owned(), 2000)]);
        assert_eq!(report["runs"][0]["verified"], 2, "by the names of the blobs");
        assert_eq!(code, 0);
    }
    // Refs without a step, and no refs at all.
    fs::remove_dir_all(repository.join("refs")).unwrap();
    let (code, report) = audit(&repository, &[]);
    assert_eq!((code, placed(&report).len()), (4, 0));
    let codes: Vec<_> = told(&report, "unreadable").into_iter().map(|[code, ..]| code).collect();
    assert_eq!(codes, ["AR11"; 3]);
}

#[test]
fn ar07_a_blob_that_is_missing_and_one_that_changed() {
    let dir = tempfile::tempdir().unwrap();
    let repository = cache(dir.path(), &[("step1", 1), ("step2", 2), ("step3", 3)]);
    let link = |number: u32| repository.join(format!("snapshots/{number:040x}/model.safetensors"));
    fs::remove_file(fs::canonicalize(link(2)).unwrap()).unwrap();
    let blob = fs::canonicalize(link(3)).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let (code, report) = audit(&repository, &[]);
    let found = told(&report, "unreadable");
    assert_eq!(found.len(), 2, "{found:?}");
    let path = format!("snapshots/{:040x}/model.safetensors", 2);
    assert_eq!(found[0], ["AR07", &path, "blob missing (incomplete download)"]);
    assert_eq!(found[1][0], "ST027");
    assert!(found[1][2].starts_with("SHA-256 mismatch: the blob is named "), "{found:?}");
    assert_eq!(code, 4);
}

#[test]
fn ar09_links() {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["checkpoint-1/model.safetensors"]);
    let outside = archive(&dir.path().join("other"), &["step7/m.safetensors"]);
    symlink("checkpoint-1", root.join("latest")).unwrap(); // A second name: once is enough.
    symlink("..", root.join("checkpoint-1/loop")).unwrap();
    symlink("itself", root.join("itself")).unwrap();
    symlink(&outside, root.join("more")).unwrap();
    fs::create_dir(root.join("checkpoint-8")).unwrap();
    symlink(outside.join("step7/m.safetensors"), root.join("checkpoint-8/m.safetensors")).unwrap();
    symlink("gone.safetensors", root.join("step9.safetensors")).unwrap();
    let (code, report) = audit(&root, &[]);
    assert_eq!((code, steps(&report)), (4, vec![1]));
    let (back, out) =
        ("the link leads back to a folder above it", "the link leads out of the archive");
    let expected = [
        ["AR09", "checkpoint-1/loop", back],
        ["AR09", "checkpoint-8/m.safetensors", out],
        ["AR09", "itself", back],
        ["AR09", "more", out],
        ["AR03", "step9.safetensors", "the link leads nowhere"],
    ];
    assert_eq!(told(&report, "unreadable"), expected);

    let (_, report) = audit(&root, &["--follow-links"]);
    let found: Vec<_> = placed(&report).into_iter().map(|(run, step, _)| (run, step)).collect();
    assert_eq!(found, [("archive".into(), 1), ("archive".into(), 8), ("more".into(), 7)]);
    assert_eq!(told(&report, "unreadable").len(), 3);
}

/// A checkpoint in two files, with an index.
fn sharded(folder: &Path, weight_map: &str) {
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    for (name, tensor) in names.iter().zip(["a", "b"]) {
        let values = [1.0, 2.0, 3.0, 4.0f32];
        let tensor = TensorRef { name: tensor, shape: &[2, 2], data: Data::F32(&values) };
        put(folder.join(name), &to_bytes(&[tensor], &BTreeMap::new()).unwrap());
    }
    let index = format!(r#"{{"metadata": {{}}, "weight_map": {{{weight_map}}}}}"#)
        .replace("FIRST", "model-00001-of-00002.safetensors")
        .replace("SECOND", "model-00002-of-00002.safetensors");
    put(folder.join("model.safetensors.index.json"), index.as_bytes());
}

#[test]
fn checkpoints_in_several_files_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    sharded(&root.join("checkpoint-5"), r#""a": "FIRST", "b": "SECOND""#);
    let (code, report) = audit(&root, &[]);
    let file = "checkpoint-5/model.safetensors.index.json".to_owned();
    assert_eq!((code, placed(&report)), (0, vec![("archive".into(), 5, file)]));
    let out = dir.path().join("out");
    analyze(&root, &out).exits(0);
    let row = &rows::<CheckpointRow>(&out)[0];
    assert_eq!((row.n_tensors, row.n_params, row.status), (Some(2), Some(8), Status::Ok));
    assert_eq!(row.blake3.as_deref(), report["runs"][0]["checkpoints"][0]["blake3"].as_str());
    let spectra = rows::<SpectrumRow>(&out);
    assert_eq!(spectra.iter().map(|row| row.tensor.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(spectra.iter().all(|row| row.frobenius_sq == Some(30.0)));
}

#[test]
fn ar10_an_index_that_does_not_fit() {
    for (weight_map, message) in [
        (r#""a": "FIRST", "b": "3.s""#, r#"shard "3.s" is missing"#),
        (
            r#""a": "FIRST", "b": "../x/SECOND""#,
            r#"shard "../x/model-00002-of-00002.safetensors" is no plain file name"#,
        ),
        (r#""a": "FIRST", "a": "SECOND""#, r#"tensor "a" stands twice in the index"#),
        (
            r#""a": "FIRST", "b": "SECOND", "c": "SECOND""#,
            r#"tensor "c" is not in shard "model-00002-of-00002.safetensors""#,
        ),
        (
            r#""a": "FIRST", "b": "FIRST""#,
            r#"tensor "b" is not in shard "model-00001-of-00002.safetensors""#,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = archive(dir.path(), &["checkpoint-1/model.safetensors"]);
        sharded(&root.join("checkpoint-5"), weight_map);
        let (out, path) = (dir.path().join("out"), "checkpoint-5/model.safetensors.index.json");
        analyze(&root, &out).exits(3);
        let failures = rows::<FailureRow>(&out);
        // What no index names is told, too.
        let failure = failures.iter().find(|row| row.path == path).unwrap();
        let expected = ("AR10", Some(5), format!("{path}: {message}"));
        assert_eq!((failure.code.as_str(), failure.step, failure.message.clone()), expected);
        assert!(failures.iter().all(|row| row.code == "AR10"), "{failures:?}");
        assert_eq!(rows::<SpectrumRow>(&out).len(), 4, "the other checkpoint");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["step1/m.safetensors", "step2/m-00001-of-00002.safetensors"]);
    let (code, report) = audit(&root, &[]);
    let message = "a shard that no model.safetensors.index.json names";
    let expected = [["AR10", "step2/m-00001-of-00002.safetensors", message]];
    assert_eq!(
        (code, told(&report, "unreadable")),
        (4, expected.map(|f| f.map(str::to_owned)).to_vec())
    );
}

#[test]
fn ar14_names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let name = std::ffi::OsStr::from_bytes(b"run\xff/step5.safetensors");
    put(root.join(name), &model(1));
    let out = dir.path().join("out");
    analyze(&root, &out).exits(0);
    let row = &rows::<CheckpointRow>(&out)[0];
    assert_eq!((row.run.as_str(), row.file.as_str()), ("run\\xFF", "run\\xFF/step5.safetensors"));
}

/// Many files, few descriptors: as many are open as there are threads, and a bit.
#[test]
fn ar15_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    for step in 0..500 {
        put(root.join(format!("step{step}/model.safetensors")), &model(step));
    }
    let limited = |nofile: &str, args: Vec<std::ffi::OsString>| {
        let mut all = args![format!("--nofile={nofile}"), GROUNDSWELL];
        all.extend(args);
        Ran::from(command("prlimit", all).output().unwrap())
    };
    let ran = limited("64", args!["audit", &root, "--threads", "8", "--json"]).exits(0);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["runs"][0]["checkpoints"].as_array().unwrap().len(), 500);
    let out = dir.path().join("out");
    limited("64", args!["analyze", &root, "--out", &out, "--threads", "8"]).exits(0);
}

/// What may not be read costs only itself. (The superuser may read anything.)
#[test]
fn ar16_no_permission() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["step1.safetensors", "step2.safetensors"]);
    let path = root.join("step2.safetensors");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let is_refused = fs::read(&path).is_err();
    let (code, report) = audit(&root, &[]);
    let expected: &[[&str; 3]] =
        if is_refused { &[["AR16", "step2.safetensors", "permission denied"]] } else { &[] };
    assert_eq!(told(&report, "unreadable"), expected);
    assert_eq!(code, if is_refused { 4 } else { 0 });
}
