//! Every file of `fixtures/bad/`, placed as a checkpoint among good ones: it is told by its code
//! and its message, and costs the others nothing.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use groundswell::tables::{
    CheckpointRow, FailureRow, FourierRow, NeuronRow, ProgressRow, SingularValueRow, SpectrumRow,
    Status,
};
use tempfile::TempDir;

use super::support::*;

/// No checkpoint of `fixtures/tiny`, and not behind its last, which fixes the key frequencies.
const STEP: i64 = 400;

/// A clean analysis, without digests, for all tests.
static CLEAN: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny_without_manifest(dir.path());
    let out = tempfile::tempdir().unwrap();
    analyze(&run, out.path()).exits(0);
    out
});

/// Analyse `fixtures/tiny` with this file as one more checkpoint.
fn with(file: &str, dir: &Path) -> (Ran, std::path::PathBuf) {
    let run = tiny_without_manifest(dir);
    fs::copy(fixture("bad").join(format!("{file}.safetensors")), checkpoint(&run, STEP)).unwrap();
    let out = dir.join("out");
    (analyze(&run, &out), out)
}

fn refused(file: &str, code: &str, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (ran, out) = with(file, dir.path());
    let failures = out.join("failures.parquet");
    let summary = format!(" WARN 1 inputs were skipped; see {}", failures.display());
    ran.exits(3).says(&summary);
    let path = "checkpoints/step_00000400.safetensors";
    let expected = FailureRow {
        path: path.into(),
        run: Some("tiny".into()),
        step: Some(STEP),
        code: code.into(),
        message: format!("{path}: {message}"),
    };
    assert_eq!(rows::<FailureRow>(&out), [expected]);
    let listed = rows::<CheckpointRow>(&out);
    let listed = listed.iter().find(|row| row.step == STEP).unwrap();
    assert_eq!(
        (listed.status, &listed.blake3, &listed.n_params),
        (Status::Unreadable, &None, &None)
    );
    let bytes = fs::metadata(fixture("bad").join(format!("{file}.safetensors"))).unwrap().len();
    assert_eq!(listed.bytes, i64::try_from(bytes).unwrap());
    assert_eq!(rows_without(&out, STEP), rows_without(CLEAN.path(), STEP));
}

/// One test per file that is refused, and the list of them all.
macro_rules! refused {
    ($($test:ident: $file:literal, $code:literal, $message:literal;)+) => {
        $(
            #[test]
            fn $test() {
                refused($file, $code, $message);
            }
        )+

        const REFUSED: &[&str] = &[$($file),+];
    };
}

refused! {
    st001: "ST001_seven_bytes", "ST001", "file is 7 bytes; a safetensors file needs at least 8";
    st002: "ST002_header_length_2_63", "ST002",
        "header length 9223372036854775808 exceeds 100000000";
    st003: "ST003_header_beyond_end", "ST003", "header says 1000 bytes, only 62 available";
    st004: "ST004_header_not_utf8", "ST004", "header is not UTF-8 at byte 3";
    st005: "ST005_header_not_json", "ST005", "header is not valid JSON: line 1 column 8";
    st006: "ST006_overlap", "ST006", r#"tensor "b" [4,12) overlaps "a""#;
    st007: "ST007_hole", "ST007", "bytes [4,8) belong to no tensor";
    st008: "ST008_trailing_byte", "ST008", "1 bytes after the last tensor";
    st009: "ST009_truncated", "ST009", "expected 70 bytes, file has 67 (truncated)";
    st010: "ST010_end_before_begin", "ST010", r#"invalid data_offsets for "w""#;
    st012: "ST012_shape_against_bytes", "ST012",
        r#"tensor "w": shape [2,3] F32 needs 24 bytes, has 20"#;
    st013: "ST013_duplicate_name", "ST013", r#"duplicate tensor name "w""#;
    st024: "ST024_git_lfs_pointer", "ST024", "this is a Git LFS pointer";
}

/// Not refused: what does not depend on the NaN is measured, and null is what does.
#[test]
fn st030() {
    let dir = tempfile::tempdir().unwrap();
    let (ran, out) = with("ST030_nan", dir.path());
    ran.exits(0);
    assert_eq!(rows::<FailureRow>(&out), []);
    assert_eq!(rows_without(&out, STEP), rows_without(CLEAN.path(), STEP));

    let listed = rows::<CheckpointRow>(&out);
    let listed = listed.iter().find(|row| row.step == STEP).unwrap();
    assert_eq!((listed.status, listed.n_params), (Status::NonFinite, Some(688)));
    assert!(listed.blake3.is_some());

    let progress = rows::<ProgressRow>(&out);
    let progress = progress.into_iter().find(|row| row.step == STEP).unwrap();
    let blank = ProgressRow { run: "tiny".into(), step: STEP, ..Default::default() };
    assert_eq!(progress, ProgressRow { status: Status::NonFinite, ..blank });

    let neurons = rows::<NeuronRow>(&out);
    let neurons: Vec<_> = neurons.iter().filter(|row| row.step == STEP).collect();
    assert_eq!(neurons.len(), 16);
    assert!(neurons.iter().all(|row| row.fve.is_none() && row.status == Status::NonFinite));

    let fourier = rows::<FourierRow>(&out);
    let fourier: Vec<_> = fourier.iter().filter(|row| row.step == STEP).collect();
    assert_eq!(fourier.len(), 7 * 4, "seven objects, frequencies 0 to 3");
    assert!(fourier.iter().all(|row| row.norm.is_none()));

    // The file is step 100 but for one value of W_E: all its other tensors have those spectra.
    let spectra = rows::<SpectrumRow>(&out);
    let at = |step: i64| spectra.iter().filter(move |row| row.step == step);
    assert_eq!(at(STEP).count(), at(100).count());
    for (row, good) in at(STEP).zip(at(100)) {
        if row.tensor == "embed.W_E" {
            assert_eq!(
                (row.status, row.rows, row.frobenius_sq),
                (Status::NonFinite, Some(8), None)
            );
        } else {
            assert_eq!(row, &SpectrumRow { step: STEP, ..good.clone() });
        }
    }
    let sigma = rows::<SingularValueRow>(&out);
    let tensors = |step: i64| sigma.iter().filter(move |row| row.step == step).count();
    assert_eq!(tensors(STEP), tensors(100) - 8, "W_E is 8×8");
}

#[test]
fn every_file_has_a_test() {
    let mut files: Vec<String> = fs::read_dir(fixture("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".safetensors").map(str::to_owned))
        .collect();
    files.sort();
    let mut tested = [REFUSED, &["ST030_nan"]].concat();
    tested.sort_unstable();
    assert_eq!(files, tested);
}
