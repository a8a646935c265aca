use super::*;
use crate::archive::sample;

/// A complete run, opened.
fn sample_run(dir: &Path) -> Run {
    sample::run(dir, &sample::info());
    Run::open(dir).unwrap()
}

#[test]
fn a_run_is_listed_by_step_without_reading_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("seed-1");
    let run = sample_run(&dir);
    assert_eq!((run.name.as_str(), run.uncommitted), ("seed-1", 0));
    let steps: Vec<u64> = run.checkpoints.iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(steps, sample::STEPS);
    assert_eq!(run.optimizer.len(), 1, "only the last state is kept");
    assert_eq!(run.metrics().unwrap().len(), 4);

    let last = run.checkpoint(4).unwrap();
    let checkpoint = last.load(Some(&["embed.W_E"])).unwrap();
    assert_eq!(
        checkpoint.tensor("embed.W_E").unwrap().values.as_slice().unwrap(),
        [4.0, -4.0, 0.5]
    );
    assert_eq!(checkpoint.tensor("unembed.W_U").unwrap_err().code(), "AR13");
    assert_eq!(Some(&checkpoint.blake3), last.blake3.as_ref());
    let metadata = &last.header().unwrap().metadata;
    let expected =
        [("run", "seed-1"), ("step", "4"), ("test_loss", "1e-7"), ("train_loss", "0.02")];
    assert!(metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{metadata:?}");
}

#[test]
fn steps_that_are_not_saved_are_answered_with_their_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let run = sample_run(dir.path());
    assert_eq!(run.nearest_steps(3), [2, 4]);
    assert_eq!(run.nearest_steps(2), [2]);
    assert_eq!(run.nearest_steps(9), [4]);
    let error = run.checkpoint(3).unwrap_err();
    let expected =
        format!("{}: step 3 is not saved; nearest saved steps: 2, 4", dir.path().display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn files_without_a_line_do_not_exist_yet() {
    let dir = tempfile::tempdir().unwrap();
    let run = sample_run(dir.path());
    let folder = dir.path().join("checkpoints");
    fs::copy(&run.checkpoints[0].path, folder.join("step_00000009.safetensors")).unwrap();
    fs::write(folder.join(".step_00000010.safetensors.7-0123456789abcdef.gs-tmp"), b"").unwrap();
    let run = Run::open(dir.path()).unwrap();
    assert_eq!((run.checkpoints.len(), run.uncommitted), (4, 2));
}

#[test]
fn a_line_without_its_file_fails_when_it_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let run = sample_run(dir.path());
    fs::remove_file(&run.checkpoints[1].path).unwrap();
    let run = Run::open(dir.path()).unwrap();
    let lost = run.checkpoint(1).unwrap();
    let expected =
        format!("{}: disappeared while running, or was never copied here", lost.path.display());
    for error in [lost.load(None).unwrap_err(), lost.header().unwrap_err()] {
        assert_eq!(
            (error.code(), error.exit_code(), error.to_string()),
            ("AR03", 4, expected.clone())
        );
    }
}

#[test]
fn copied_checkpoints_without_a_manifest_count_without_digests() {
    let dir = tempfile::tempdir().unwrap();
    sample_run(dir.path());
    fs::remove_file(dir.path().join("manifest.jsonl")).unwrap();
    fs::remove_file(dir.path().join("metrics.jsonl")).unwrap();
    let run = Run::open(dir.path()).unwrap();
    assert_eq!(run.checkpoints.len(), 4);
    assert!(run.checkpoints.iter().all(|checkpoint| checkpoint.blake3.is_none()));
    assert_eq!(run.checkpoints[2].load(None).unwrap().tensors.len(), 2);
    assert!(run.metrics().unwrap().is_empty());
}

/// Also flips in the header, after which the file may be rejected for many reasons: the digest is
/// the one that is told.
#[test]
fn every_flipped_bit_is_detected_by_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let run = sample_run(dir.path());
    let checkpoint = &run.checkpoints[2];
    let whole = fs::read(&checkpoint.path).unwrap();
    let loaded = checkpoint.load(None).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&checkpoint.path, &bytes).unwrap();
        let error = checkpoint.load(Some(&["embed.W_E"])).unwrap_err();
        assert_eq!(error.code(), "ST027", "bit {bit}: {error}");
        let found = blake3::hash(&bytes).to_hex();
        let digest = checkpoint.blake3.as_ref().unwrap();
        let expected = format!("BLAKE3 mismatch: expected {digest}, found {found}");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
    fs::write(&checkpoint.path, &whole).unwrap();
    assert_eq!(checkpoint.load(None).unwrap(), loaded);
}

#[test]
fn another_length_is_told_by_the_header() {
    let dir = tempfile::tempdir().unwrap();
    let run = sample_run(dir.path());
    let checkpoint = &run.checkpoints[2];
    let whole = fs::read(&checkpoint.path).unwrap();
    for length in 0..whole.len() {
        fs::write(&checkpoint.path, &whole[..length]).unwrap();
        let code = checkpoint.load(None).unwrap_err().code();
        assert!(["ST001", "ST003", "ST009"].contains(&code), "{length} bytes: {code}");
    }
    fs::write(&checkpoint.path, [&whole[..], b"!"].concat()).unwrap();
    assert_eq!(checkpoint.load(None).unwrap_err().code(), "ST008");
}

#[test]
fn folder_names_that_are_not_utf8_are_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(OsStr::from_bytes(b"a\xffb"));
    assert_eq!(sample_run(&odd).name, "a\\xFFb");
    assert_eq!(run_name(&odd.join("..")).unwrap(), run_name(dir.path()).unwrap());
}
