//! `groundswell analyze` and `landscape`: what is told of an archive that cannot be used, what one
//! damaged file costs, and that the same input gives the same bytes.

use std::fs;
use std::path::Path;

use groundswell::durable::Lock;
use groundswell::tables::{
    BarrierRow, Cell, CheckpointRow, FailureRow, InterpolationRow, ProgressRow, SpectrumRow,
    Status, TrainingRow,
};

use super::support::*;

/// A refused command creates no folder of tables.
#[track_caller]
fn refused(archive: &Path, code: i32) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let ran = analyze(archive, &dir.path().join("out")).exits(code);
    assert_eq!(tree(dir.path()), Tree::new(), "something was created");
    assert_eq!(ran.stdout, "");
    ran
}

#[test]
fn what_is_no_archive_is_told_with_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    refused(&missing, 10)
        .says(&format!("error[AR01]: {}: no such archive", missing.display()))
        .says("help: check the path");

    let help = "help: an archive is a run folder with run.json and checkpoints/step_*.safetensors, \
                safetensors files of other programs whose names tell their steps, or a folder of \
                such folders";
    let pickles = "help: pickles are not opened; python examples/from_torch.py FOLDER OUT_FOLDER \
                   converts those that you trust";
    let told = |path: &Path, found: &str| {
        let help = if found.contains(".pt") { pickles } else { help };
        refused(path, 4).says(&format!("error[AR02]: {}: {found}", path.display())).says(help);
    };
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    told(&empty, "0 checkpoints; no other files");

    let text = |name: &str| (name.to_owned(), b"text".to_vec());
    let texts = dir.path().join("texts");
    plant(&texts, &["a.txt", "sub/b.txt", "c.pt", "README"].map(text).into());
    told(&texts, "0 checkpoints; 4 other files: 2 .txt, 1 .pt, 1 without extension");
    told(&texts.join("a.txt"), "0 checkpoints; this is a file, not a folder");

    let run = tiny(dir.path());
    for step in TINY_STEPS {
        fs::remove_file(checkpoint(&run, step)).unwrap();
    }
    fs::remove_file(run.join("manifest.jsonl")).unwrap();
    told(&run, "0 checkpoints; 3 other files: 1 .json, 1 .jsonl, 1 .safetensors");
}

#[test]
fn a_broken_run_json_is_placed() {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny(dir.path());
    let path = run.join("run.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"add\"", "\"ad\"")).unwrap();
    refused(&run, 4).says(&format!(
        "error[AR21]: {}: line 4: unknown task `ad`; did you mean `add`? (column 16)",
        path.display()
    ));
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    refused(&run, 12).says(&format!(
        "error[CR16]: {}: written with different parameters: format is 2 there, 1 here",
        path.display()
    ));
}

#[test]
fn tables_inside_the_archive_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny(dir.path());
    let before = tree(dir.path());
    for out in
        [run.clone(), run.join("out"), run.join("checkpoints/deep/er"), run.join("../tiny/x")]
    {
        let ran = analyze(&run, &out).exits(2);
        let (out, run) = (out.display(), run.display());
        ran.says(&format!("error[CL03]: out: {out} lies inside the archive {run}"))
            .says("help: choose a folder beside it: an archive is never written to");
    }
    assert_same(&tree(dir.path()), &before);
}

#[test]
fn an_unknown_measure_comes_with_the_nearest_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = args!["analyze", fixture("tiny"), "--out", &out, "--measures", "spectra,neuron"];
    groundswell(args).exits(2).mentions(
        "error: invalid value 'neuron' for '--measures <NAMES>': unknown measure `neuron`; \
         did you mean `neurons`?",
    );
    assert!(!out.exists());
}

#[test]
fn an_analysis_says_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let ran = analyze(&fixture("tiny"), &out).exits(0);
    let expected = format!("{}: 7 checkpoints measured\n", out.display());
    assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 1 + analysis_tables().len());
    for (table, count) in [("progress", 7), ("frequencies", 21), ("neurons", 112), ("failures", 0)]
    {
        let line = format!("  {:<24} {count:>9} rows", format!("{table}.parquet"));
        assert!(ran.stdout.lines().any(|found| found == line), "no {line:?} in {}", ran.stdout);
    }
    assert!(!ran.stderr.contains('\x1b'), "colours without a terminal: {}", ran.stderr);
    assert_eq!(tables_in(&out), analysis_tables());
    let others = tree(&out).into_keys().filter(|name| !name.ends_with(".parquet"));
    assert_eq!(others.collect::<Vec<_>>(), ["manifest.json", "plan.json"]);
}

/// The same tables from any number of threads, in any folder, by any spelling of the paths.
#[test]
fn the_same_archive_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let reference = dir.path().join("reference");
    analyze(&fixture("tiny"), &reference).exits(0);
    let expected = tree(&reference);

    let copy = tiny(&dir.path().join("elsewhere"));
    let spelled = format!("{}/./elsewhere/../elsewhere/tiny/", dir.path().display());
    for (i, archive) in [copy.as_os_str(), spelled.as_ref()].into_iter().enumerate() {
        for threads in ["1", "2", "7"] {
            let out = dir.path().join(format!("deep/{i}/{threads}"));
            groundswell(args!["analyze", archive, "--out", &out, "--threads", threads]).exits(0);
            assert_same(&tree(&out), &expected);
        }
    }
    let mut relative = command(GROUNDSWELL, args!["analyze", ".", "--out", "../here"]);
    Ran::from(relative.current_dir(&copy).output().unwrap()).exits(0);
    assert_same(&tree(&dir.path().join("elsewhere/here")), &expected);
}

/// Also what is told of a damaged file has no path of the machine, however the archive is spelled.
#[test]
fn failures_do_not_depend_on_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny(dir.path());
    fs::write(checkpoint(&run, 50), "<html>").unwrap();
    let plain = dir.path().join("plain");
    analyze(&run, &plain).exits(3);
    assert_eq!(
        rows::<FailureRow>(&plain)[0].message,
        "checkpoints/step_00000050.safetensors: file is 6 bytes; a safetensors file needs at least 8"
    );
    let spellings = [
        format!("{}/", run.display()),
        format!("{}//", run.display()),
        format!("{}/.", run.display()),
        format!("{}/../tiny", run.display()),
    ];
    for (i, archive) in spellings.iter().enumerate() {
        let out = dir.path().join(i.to_string());
        analyze(archive.as_ref(), &out).exits(3);
        assert_same(&tree(&out), &tree(&plain));
    }
    let mut relative = command(GROUNDSWELL, args!["analyze", ".", "--out", "../here"]);
    Ran::from(relative.current_dir(&run).output().unwrap()).exits(3);
    assert_same(&tree(&dir.path().join("here")), &tree(&plain));
}

#[test]
fn a_second_analysis_computes_nothing_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    analyze(&run, &out).exits(0);
    let before = (tree(&out), modified(&out), tree(&run), modified(&run));
    let ran = analyze(&run, &out).exits(0);
    assert_eq!(ran.stdout, format!("{}: nothing to do, 0 to compute\n", out.display()));
    assert_same(&tree(&out), &before.0);
    assert_eq!(modified(&out), before.1);

    // A subset of what is there is there already.
    let some = args!["analyze", &run, "--out", &out, "--measures", "neurons,progress"];
    assert!(groundswell(some).exits(0).stdout.ends_with(": nothing to do, 0 to compute\n"));
    assert_eq!(modified(&out), before.1);
    assert_same(&tree(&run), &before.2);
    assert_eq!(modified(&run), before.3, "the archive was written to");
}

#[test]
fn a_damaged_table_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    analyze(&run, &out).exits(0);
    let before = tree(&out);
    for damage in 0..4 {
        let path = out.join("neurons.parquet");
        let mut bytes = before["neurons.parquet"].clone();
        match damage {
            0 => bytes[100] ^= 1,
            1 => bytes.truncate(bytes.len() / 2),
            2 => fs::remove_file(&path).unwrap(),
            _ => fs::remove_file(out.join("manifest.json")).unwrap(),
        }
        if damage < 2 {
            fs::write(&path, bytes).unwrap();
        }
        let ran = analyze(&run, &out).exits(0);
        let told = ": 0 checkpoints measured, 7 taken from before\n";
        assert!(ran.stdout.contains(told), "{damage}: {}", ran.stdout);
        assert_same(&tree(&out), &before);
    }
}

#[test]
fn a_new_checkpoint_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    let manifest = fs::read_to_string(run.join("manifest.jsonl")).unwrap();
    let line = manifest.lines().find(|line| line.contains("checkpoints/step_00000300")).unwrap();
    fs::write(run.join("manifest.jsonl"), manifest.replace(&format!("{line}\n"), "")).unwrap();
    assert!(analyze(&run, &out).exits(0).stdout.contains(": 6 checkpoints measured\n"));

    fs::write(run.join("manifest.jsonl"), &manifest).unwrap();
    // The other tables would stay behind.
    let before = tree(&out);
    let some = args!["analyze", &run, "--out", &out, "--measures", "spectra"];
    groundswell(some).exits(12).says(&format!(
        "error[CR16]: {}: written with different parameters: checkpoints, training, progress, \
         frequencies, fourier, neurons, movement, trajectory were computed from other checkpoints, or \
         nothing says from which; without --measures, or with these too, they are computed again",
        out.display()
    ));
    assert_same(&tree(&out), &before);

    assert!(analyze(&run, &out).exits(0).stdout.contains(": 7 checkpoints measured\n"));
    let clean = dir.path().join("clean");
    analyze(&run, &clean).exits(0);
    assert_same(&tree(&out), &tree(&clean));
}

#[test]
fn one_measure_writes_its_tables_only() {
    let dir = tempfile::tempdir().unwrap();
    let (out, all) = (dir.path().join("out"), dir.path().join("all"));
    let only =
        |measures: &str| args!["analyze", fixture("tiny"), "--out", &out, "--measures", measures];
    groundswell(only("spectra")).exits(0);
    assert_eq!(tables_in(&out), ["failures", "singular_values", "spectra"]);
    groundswell(only("neurons")).exits(0);
    assert_eq!(tables_in(&out), ["failures", "neurons", "singular_values", "spectra"]);

    analyze(&fixture("tiny"), &all).exits(0);
    let expected = tree(&all);
    for (name, bytes) in tree(&out).iter().filter(|(name, _)| name.ends_with(".parquet")) {
        assert!(bytes == &expected[name], "{name} depends on the other measures");
    }
}

/// A way to damage the checkpoint of step 50 in a copy of the fixture, and what is told of it, with
/// words for what depends on the file.
type Damage = (fn(&Path), &'static str, &'static str);

#[test]
fn a_damaged_checkpoint_costs_only_its_own_rows() {
    let damages: [Damage; 5] = [
        (|path| flip(path, 2000), "ST027", "BLAKE3 mismatch: expected GOOD, found DAMAGED"),
        (|path| flip(path, 20), "ST027", "BLAKE3 mismatch: expected GOOD, found DAMAGED"),
        (
            |path| fs::write(path, &fs::read(path).unwrap()[..3000]).unwrap(),
            "ST009",
            "expected LENGTH bytes, file has 3000 (truncated)",
        ),
        (
            |path| fs::write(path, "").unwrap(),
            "ST001",
            "file is 0 bytes; a safetensors file needs at least 8",
        ),
        (
            |path| fs::remove_file(path).unwrap(),
            "AR03",
            "disappeared while running, or was never copied here",
        ),
    ];
    let clean = tempfile::tempdir().unwrap();
    analyze(&fixture("tiny"), clean.path()).exits(0);
    for (damage, code, message) in damages {
        let dir = tempfile::tempdir().unwrap();
        let (run, out) = (tiny(dir.path()), dir.path().join("out"));
        let path = checkpoint(&run, 50);
        let good = fs::read(&path).unwrap();
        damage(&path);
        let damaged = tree(&run);
        let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
        let message = message
            .replace("GOOD", &digest(&good))
            .replace("DAMAGED", &digest(&fs::read(&path).unwrap_or_default()))
            .replace("LENGTH", &good.len().to_string());
        for attempt in ["first", "second"] {
            // Exit 0 would say that every checkpoint was analysed: it never is.
            analyze(&run, &out).exits(3).mentions(" WARN 1 inputs were skipped; see ");
            let failures = rows::<FailureRow>(&out);
            assert_eq!(failures.len(), 1, "{attempt}: {failures:?}");
            let failure = &failures[0];
            assert_eq!((failure.code.as_str(), failure.step), (code, Some(50)));
            assert_eq!(failure.path, "checkpoints/step_00000050.safetensors");
            assert_eq!(failure.message, format!("{}: {message}", failure.path));
            let listed = rows::<CheckpointRow>(&out);
            assert_eq!(
                listed.iter().find(|row| row.step == 50).unwrap().status,
                Status::Unreadable
            );
            assert_eq!(rows_without(&out, 50), rows_without(clean.path(), 50));
        }
        assert_same(&tree(&run), &damaged);

        // Restored from a copy, it is analysed like the others.
        fs::write(&path, &good).unwrap();
        analyze(&run, &out).exits(0);
        assert_same(&tree(&out), &tree(clean.path()));
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// An archive without one usable checkpoint is not an analysis with nothing in it.
#[test]
fn an_archive_of_damaged_checkpoints_is_not_usable() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    for step in TINY_STEPS {
        fs::write(checkpoint(&run, step), "").unwrap();
    }
    analyze(&run, &out).exits(4).says(&format!(
        "error[AR02]: {}: none of 7 checkpoints can be used; the first: \
         checkpoints/step_00000000.safetensors: file is 0 bytes; a safetensors file needs at least 8",
        run.display()
    ));
    assert_eq!(tables_in(&out), [""; 0]);
}

/// One run that cannot be opened does not stop the others, and is listed.
#[test]
fn a_broken_run_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (dir.path().join("runs"), dir.path().join("out"));
    let good = tree(&fixture("tiny"));
    plant(&archive.join("good"), &good);
    plant(&archive.join("broken"), &good);
    fs::write(archive.join("broken/run.json"), "{").unwrap();
    analyze(&archive, &out).exits(3);
    let failures = rows::<FailureRow>(&out);
    assert_eq!(failures.len(), 1);
    assert_eq!((failures[0].path.as_str(), failures[0].code.as_str()), ("broken/run.json", "AR21"));
    let progress = rows::<ProgressRow>(&out);
    assert_eq!(progress.iter().map(|row| row.step).collect::<Vec<_>>(), TINY_STEPS);
    assert!(progress.iter().all(|row| row.run == "good"));

    // Neither the tables nor their manifest know where the archive was.
    let elsewhere = dir.path().join("else/where");
    plant(&elsewhere, &tree(&archive));
    let out2 = dir.path().join("out2");
    analyze(&elsewhere, &out2).exits(3);
    assert_same(&tree(&out2), &tree(&out));
}

/// Nor does a log that cannot be read: the checkpoints beside it are measured.
#[test]
fn a_broken_log_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    let path = run.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"step\":50,", "\"stop\":50,", 1)).unwrap();
    analyze(&run, &out).exits(3);
    let failures = rows::<FailureRow>(&out);
    assert_eq!(failures.len(), 1);
    let FailureRow { path, run: name, step, code, message } = &failures[0];
    assert_eq!((path.as_str(), code.as_str()), ("metrics.jsonl", "AR21"));
    assert_eq!((name.as_deref(), *step), (Some("tiny"), None));
    assert!(message.starts_with("metrics.jsonl: line 3: unknown field `stop`"), "{message}");
    assert_eq!(rows::<ProgressRow>(&out).len(), 7);
    assert_eq!(rows::<TrainingRow>(&out), []);
}

/// Two runs with the same files: rows of both, and the second's checkpoints are duplicates.
#[test]
fn several_runs_are_told_apart_and_duplicates_named() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (dir.path().join("runs"), dir.path().join("out"));
    for name in ["b", "a"] {
        plant(&archive.join(name), &tree(&fixture("tiny")));
    }
    analyze(&archive, &out).exits(0);
    let listed = rows::<CheckpointRow>(&out);
    let found: Vec<_> = listed.iter().map(|row| (row.run.as_str(), row.step)).collect();
    let expected: Vec<_> =
        ["a", "b"].iter().flat_map(|run| TINY_STEPS.map(|step| (*run, step))).collect();
    assert_eq!(found, expected);
    for (a, b) in listed[..7].iter().zip(&listed[7..]) {
        assert_eq!((&a.duplicate_of, b.duplicate_of.as_ref()), (&None, Some(&a.file)));
        assert_eq!(a.file, format!("a/checkpoints/step_{:08}.safetensors", a.step));
    }
}

/// Tensors of other shapes are a failure, not a measure that means something else.
#[test]
fn a_checkpoint_of_another_run_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny_without_manifest(dir.path()), dir.path().join("out"));
    let other = dir.path().join("other");
    let size = args!["--modulus", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "12"];
    train([args!["--out", &other, "--steps", "1"], size].concat()).exits(0);
    fs::copy(checkpoint(&other, 1), checkpoint(&run, 50)).unwrap();
    analyze(&run, &out).exits(3);
    let failure = &rows::<FailureRow>(&out)[0];
    assert_eq!(failure.code, "AR13");
    assert_eq!(
        failure.message,
        "checkpoints/step_00000050.safetensors: tensor \"blocks.0.mlp.W_in\" has shape [12, 8], \
         expected [16, 8]"
    );
}

/// NaN in the final checkpoint, valid by its digest: no keys, and everything says so.
#[test]
fn a_final_checkpoint_with_nan_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    let (last, manifest) = (checkpoint(&run, 1200), run.join("manifest.jsonl"));
    let mut bytes = fs::read(&last).unwrap();
    let before = blake3::hash(&bytes).to_hex().to_string();
    let end = bytes.len();
    bytes[end - 8..end - 4].copy_from_slice(&f32::NAN.to_le_bytes()); // W_U, not the class `=`
    let digest = blake3::hash(&bytes).to_hex().to_string();
    fs::write(&last, bytes).unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(&before));
    fs::write(&manifest, text.replace(&before, &digest)).unwrap();

    let ran = analyze(&run, &out).exits(0);
    ran.mentions(" WARN tiny: no key frequencies: ");
    assert_eq!(rows::<FailureRow>(&out), []);
    let listed = rows::<CheckpointRow>(&out);
    let non_finite = |row: &&CheckpointRow| row.status == Status::NonFinite;
    assert_eq!(listed.iter().filter(non_finite).map(|row| row.step).collect::<Vec<_>>(), [1200]);
    for row in rows::<ProgressRow>(&out) {
        assert_eq!((row.key_frequencies, row.restricted_loss_all), (None, None));
        let expected = if row.step == 1200 { Status::NonFinite } else { Status::Missing };
        assert_eq!((row.status, row.train_loss.is_some()), (expected, row.step != 1200));
    }
    let w_u = |row: &&SpectrumRow| row.step == 1200 && row.tensor == "unembed.W_U";
    let spectra = rows::<SpectrumRow>(&out);
    assert_eq!(spectra.iter().find(w_u).unwrap().status, Status::NonFinite);
}

#[test]
fn locked_tables_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join(".groundswell");
    fs::create_dir(&private).unwrap();
    let lock = Lock::exclusive(&private.join("lock")).unwrap();
    for args in [
        args!["analyze", fixture("tiny"), "--out", dir.path()],
        args!["landscape", fixture("tiny"), "--out", dir.path(), "--from", "0", "--to", "10"],
    ] {
        let holder = format!("lock: in use by pid {} on host ", std::process::id());
        groundswell(args)
            .exits(11)
            .mentions("error[CR12]: ")
            .mentions(&holder)
            .says("help: wait for it to end, or choose another folder");
    }
    assert_eq!(tables_in(dir.path()), [""; 0]);
    drop(lock);
    analyze(&fixture("tiny"), dir.path()).exits(0);
}

/// Below a regular file no folder can be made, whoever asks.
#[test]
fn an_output_that_cannot_be_written_is_told_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    let before = tree(dir.path());
    for out in [file.join("out"), file.join("a/b/out"), file.clone()] {
        let ran = analyze(&fixture("tiny"), &out).exits(5);
        ran.mentions("error[CR05]: could not write ").mentions(&file.display().to_string());
    }
    assert_same(&tree(dir.path()), &before);
}

#[test]
fn logs_can_be_json() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    let args = args!["--log-format", "json", "analyze", &missing, "--out", dir.path().join("out")];
    let ran = groundswell(args).exits(10);
    let object: serde_json::Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
    assert_eq!(object["code"], "AR01");
    assert_eq!(object["message"], format!("{}: no such archive", missing.display()));
    assert_eq!(object["action"], "check the path");
}

fn line(from: &str, to: &str, points: &str, out: &Path) -> Ran {
    let args = args!["landscape", fixture("tiny"), "--out", out, "--from", from, "--to", to];
    groundswell([args, args!["--points", points]].concat())
}

#[test]
fn a_line_that_cannot_be_drawn_is_told_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let tiny = fixture("tiny");
    let not_saved = |from: &str, to: &str, step: &str, nearest: &str| {
        line(from, to, "5", &out).exits(2).says(&format!(
            "error[AR20]: {}: step {step} is not saved; nearest saved steps: {nearest}",
            tiny.display()
        ));
    };
    not_saved("20", "last", "20", "10, 50");
    not_saved("first", "1201", "1201", "1200");
    line("generalised", "last", "5", &out).exits(2).says(&format!(
        "error[AR20]: {}: never generalised (accuracy of 99.0 %); it reached 30.0 %",
        tiny.display()
    ));
    for points in ["1", "0", "100001", "18446744073709551615"] {
        line("first", "last", points, &out)
            .exits(2)
            .says(&format!("error[CL03]: points: {points} is not in 2..=100000"))
            .says("help: 25 is usual");
    }
    line("memorized", "last", "5", &out)
        .exits(2)
        .mentions("unknown step `memorized`; did you mean `memorised`?");
    assert!(!out.exists(), "something was created");

    let missing =
        args!["landscape", dir.path().join("no"), "--out", &out, "--from", "0", "--to", "1"];
    groundswell(missing).exits(10).mentions("no such archive");
    assert!(!out.exists());
}

#[test]
fn lines_are_added_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let ran = line("0", "1200", "5", &out).exits(0);
    let text = format!(
        "{}: 5 points evaluated\n  {:<24} {:>9} rows\n  {:<24} {:>9} rows\n",
        out.display(),
        "interpolation.parquet",
        5,
        "barriers.parquet",
        1
    );
    assert_eq!(ran.stdout, text);
    let first = rows::<InterpolationRow>(&out);
    let alphas: Vec<u64> = first.iter().map(|row| row.alpha.to_bits()).collect();
    assert_eq!(alphas, [0.0, 0.25, 0.5, 0.75, 1.0].map(f64::to_bits));

    line("memorised", "last", "3", &out).exits(0);
    let both = rows::<InterpolationRow>(&out);
    assert_eq!((both.len(), &both[..5]), (8, &first[..]));
    assert!(both[5..].iter().all(|row| (row.from_step, row.to_step) == (300, 1200)));
    let ends: Vec<_> =
        rows::<BarrierRow>(&out).iter().map(|row| (row.from_step, row.to_step)).collect();
    assert_eq!(ends, [(0, 1200), (300, 1200)]);

    // The same line again replaces its points.
    line("first", "last", "2", &out).exits(0);
    assert_eq!(rows::<InterpolationRow>(&out).len(), 5);
    assert_eq!(rows::<BarrierRow>(&out).len(), 2);

    // Lines and an analysis live in one folder, in either order.
    let analysis = dir.path().join("analysis");
    analyze(&fixture("tiny"), &analysis).exits(0);
    line("300", "1200", "3", &analysis).exits(0);
    line("0", "1200", "2", &analysis).exits(0);
    analyze(&fixture("tiny"), &out).exits(0);
    assert_same(&tree(&out), &tree(&analysis));
}

/// Each run keeps its lines, also if the name of one begins like that of another.
#[test]
fn lines_of_several_runs_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (dir.path().join("runs"), dir.path().join("out"));
    plant(&archive.join("a"), &tree(&fixture("tiny")));
    for (name, seed) in [("a b", "5"), ("a b 0", "6")] {
        let size = args!["--modulus", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "12"];
        let steps = args!["--steps", "10", "--save-at", "0,5", "--seed", seed];
        train([args!["--out", archive.join(name)], size, steps].concat()).exits(0);
    }
    for (to, lines) in [("last", 3), ("10", 4), ("first", 7)] {
        let args = args!["landscape", &archive, "--out", &out, "--from", "first", "--to", to];
        let ran = groundswell([args, args!["--points", "3"]].concat()).exits(0);
        assert!(!ran.stderr.contains("dropped"), "{}", ran.stderr);
        assert_eq!(rows::<BarrierRow>(&out).len(), lines, "to {to}");
        assert_eq!(rows::<InterpolationRow>(&out).len(), 3 * lines, "to {to}");
    }
}

/// A checkpoint that was replaced takes its lines with it, and says so.
#[test]
fn a_line_of_a_replaced_checkpoint_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny_without_manifest(dir.path()), dir.path().join("out"));
    let line = |to: &str| {
        let args = args!["landscape", &run, "--out", &out, "--from", "0", "--to", to];
        groundswell([args, args!["--points", "2"]].concat()).exits(0)
    };
    line("50");
    line("1200");
    let ends =
        |out: &Path| rows::<BarrierRow>(out).iter().map(|row| row.to_step).collect::<Vec<_>>();
    assert_eq!(ends(&out), [50, 1200]);
    fs::remove_file(checkpoint(&run, 50)).unwrap();
    line("300").mentions(" WARN tiny 0 50: dropped, its checkpoints were replaced");
    assert_eq!(ends(&out), [300, 1200]);
}

/// The ends of a line are checkpoints, evaluated in f64: the same losses to the last digits.
#[test]
fn the_ends_of_a_line_have_the_losses_of_progress() {
    let dir = tempfile::tempdir().unwrap();
    let exactly = args!["analyze", fixture("tiny"), "--out", dir.path(), "--precision", "f64"];
    groundswell(exactly).exits(0);
    line("10", "600", "4", dir.path()).exits(0);
    let progress = rows::<ProgressRow>(dir.path());
    let points = rows::<InterpolationRow>(dir.path());
    assert_eq!(points.len(), 4);
    for (point, step) in [(&points[0], 10), (&points[3], 600)] {
        let row = progress.iter().find(|row| row.step == step).unwrap();
        for column in [
            "train_loss",
            "test_loss",
            "train_accuracy",
            "test_accuracy",
            "excluded_loss_train",
            "restricted_loss_all",
        ] {
            let [Cell::Float64(found), Cell::Float64(expected)] =
                [cell(point, column), cell(row, column)]
            else {
                panic!("{column} at step {step} is null");
            };
            let off = (found - expected).abs();
            assert!(off <= 1e-12 * expected, "{column} at step {step}: {found}, not {expected}");
        }
    }
    let thirds: Vec<u64> = points.iter().map(|point| point.alpha.to_bits()).collect();
    assert_eq!(thirds, [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0].map(f64::to_bits));
}

#[test]
fn lines_do_not_depend_on_threads_or_place() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tiny(dir.path());
    let outs = ["1", "2"].map(|threads| {
        let out = dir.path().join(threads);
        let args = args!["landscape", &copy, "--out", &out, "--from", "50", "--to", "last"];
        groundswell([args, args!["--points", "9", "--threads", threads]].concat()).exits(0);
        tree(&out)
    });
    let here = dir.path().join("here");
    line("50", "1200", "9", &here).exits(0);
    assert_same(&outs[1], &outs[0]);
    assert_same(&tree(&here), &outs[0]);
}
