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

        /// File, code and message of each.
        const REFUSED: &[(&str, &str, &str)] = &[$(($file, $code, $message)),+];
    };
}

refused! {
    st001: "ST001_seven_bytes", "ST001", "file is 7 bytes; a safetensors file needs at least 8";
    st002: "ST002_header_length_2_63", "ST002",
        "header length 9223372036854775808 exceeds 100000000";
    st003: "ST003_header_beyond_end", "ST003", "header says 1000 bytes, only 62 available";
    st004: "ST004_header_not_utf8", "ST004", "header is not UTF-8 at byte 3";
    st005: "ST005_header_not_json", "ST005", "header is not valid JSON: line 1 column 8";
    st005_empty: "ST005_no_tensors", "ST005", "no tensors";
    st006: "ST006_overlap", "ST006", r#"tensor "b" [4,12) overlaps "a""#;
    st007: "ST007_hole", "ST007", "bytes [4,8) belong to no tensor";
    st008: "ST008_trailing_byte", "ST008", "1 bytes after the last tensor";
    st009: "ST009_truncated", "ST009", "expected 70 bytes, file has 67 (truncated)";
    st010: "ST010_end_before_begin", "ST010", r#"invalid data_offsets for "w""#;
    st010_extra: "ST010_extra_field", "ST010", r#"invalid data_offsets for "w""#;
    st011: "ST011_shape_overflow", "ST011", r#"shape of "w" overflows"#;
    st012: "ST012_shape_against_bytes", "ST012",
        r#"tensor "w": shape [2,3] F32 needs 24 bytes, has 20"#;
    st013: "ST013_duplicate_name", "ST013", r#"duplicate tensor name "w""#;
    st013_escaped: "ST013_duplicate_escaped", "ST013", r#"duplicate tensor name "w""#;
    st014: "ST014_metadata_of_numbers", "ST014", "__metadata__ must map strings to strings";
    st015: "ST015_unknown_dtype", "ST015", r#"unknown dtype "F7" (tensor "w")"#;
    st017: "ST017_half_a_byte", "ST017", r#"tensor "w" is not byte aligned"#;
    st019_rank_65: "ST019_rank_65", "ST019", r#"rank 65 exceeds 64 (tensor "w")"#;
    st024: "ST024_git_lfs_pointer", "ST024", "this is a Git LFS pointer";
    st025_html: "ST025_html", "ST025", "looks like HTML";
    st025_zip: "ST025_zip", "ST025", "looks like zip";
    st025_pickle: "ST025_pickle", "ST025", "looks like pickle";
}

/// The checkpoint of step 100 with something added that costs it none of its rows: those of the
/// tensors in `added` come on top.
fn odd(file: &str, code: i32, status: Status, added: &[(&str, Status)]) {
    let dir = tempfile::tempdir().unwrap();
    let (ran, out) = with(file, dir.path());
    ran.exits(code);
    assert_eq!(rows::<FailureRow>(&out), []);
    assert_eq!(rows_without(&out, STEP), rows_without(CLEAN.path(), STEP));

    let listed = rows::<CheckpointRow>(&out);
    let listed = listed.iter().find(|row| row.step == STEP).unwrap();
    assert_eq!(listed.status, status);
    let progress = rows::<ProgressRow>(&out);
    let at = |step: i64| progress.iter().find(|row| row.step == step).unwrap().clone();
    assert_eq!(at(STEP), ProgressRow { step: STEP, ..at(100) });

    let spectra = rows::<SpectrumRow>(&out);
    let at = |step: i64| spectra.iter().filter(move |row| row.step == step);
    let is_added = |row: &&SpectrumRow| added.iter().any(|(name, _)| *name == row.tensor);
    let found: Vec<(&str, Status)> =
        at(STEP).filter(is_added).map(|row| (row.tensor.as_str(), row.status)).collect();
    assert_eq!(found, added);
    let others: Vec<SpectrumRow> = at(STEP).filter(|row| !is_added(row)).cloned().collect();
    let good: Vec<SpectrumRow> =
        at(100).map(|row| SpectrumRow { step: STEP, ..row.clone() }).collect();
    assert_eq!(others, good);
}

#[test]
fn st016() {
    let unsupported = Status::UnsupportedDtype;
    odd("ST016_unsupported_dtypes", 3, unsupported, &[("c", unsupported), ("f8", unsupported)]);
}

#[test]
fn st018() {
    odd("ST018_zero_size", 0, Status::Ok, &[("empty", Status::Empty)]);
}

#[test]
fn st019() {
    odd("ST019_rank_0", 0, Status::Ok, &[("scalar", Status::NotAMatrix)]);
}

/// The name is kept exactly, and reaches no terminal as it is.
#[test]
fn st021() {
    let name = "../\0\n\x1b[31m\u{202e}";
    odd("ST021_odd_name", 0, Status::Ok, &[(name, Status::TooFewValues)]);
    let dir = tempfile::tempdir().unwrap();
    let run = tiny_without_manifest(dir.path());
    fs::copy(fixture("bad/ST021_odd_name.safetensors"), checkpoint(&run, STEP)).unwrap();
    let ran = groundswell(args!["audit", &run]).exits(4);
    let shown = r#"tensor "../\0\n\u{1b}[31m\u{202e}" is in no other step [AR13]"#;
    assert!(ran.stdout.contains(shown), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'));
}

#[test]
fn st022() {
    odd("ST022_unaligned", 0, Status::Ok, &[]);
}

#[test]
fn st023() {
    odd("ST023_leading_space", 0, Status::Ok, &[]);
    let dir = tempfile::tempdir().unwrap();
    let run = tiny_without_manifest(dir.path());
    fs::copy(fixture("bad/ST023_leading_space.safetensors"), checkpoint(&run, STEP)).unwrap();
    fs::remove_file(checkpoint(&run, 100)).unwrap(); // Otherwise it is there twice.
    let line = "checkpoints/step_00000400.safetensors: white space before the header [ST023]";
    let told = |args| groundswell(args).stdout.contains(line);
    assert!(told(args!["audit", &run, "--strict"]));
    assert!(!told(args!["audit", &run]));
}

/// Without a digest a flipped bit in the data cannot be seen: the audit says that none was checked.
#[test]
fn st028() {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny_without_manifest(dir.path());
    let path = checkpoint(&run, 50);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = groundswell(args!["audit", &run]).exits(0);
    let note = "  tiny: 7 checkpoints unverified: no digest [ST028]";
    assert!(ran.stdout.lines().any(|line| line == note), "{}", ran.stdout);
    analyze(&run, &dir.path().join("out")).exits(0);
}

/// Without a digest a flipped bit in the header gives a fault or another valid file, nothing else.
#[test]
fn st029() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(checkpoint(&fixture("tiny"), 100)).unwrap();
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let path = dir.path().join("step100.safetensors");
    let mut refused = 0;
    for bit in 0..header * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        match groundswell::archive::read::load(&path, None, false) {
            Ok(contents) => assert_eq!(contents.bytes, whole.len() as u64),
            Err(error) => {
                assert!(error.code().starts_with("ST"), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > header * 4, "most of a header must be as it is: {refused}");
}

/// Integers and booleans are buffers: listed, not measured.
#[test]
fn nu17() {
    odd("NU17_integers", 0, Status::Ok, &[]);
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

    let (strict, run) = (dir.path().join("strict"), dir.path().join("tiny"));
    let ran = groundswell(args!["analyze", &run, "--out", &strict, "--strict"]).exits(4);
    let path = checkpoint(&run, STEP);
    ran.says(&format!("error[ST030]: {}: tensor \"embed.W_E\" holds NaN or Inf", path.display()));
    assert_eq!(tables_in(&strict), [""; 0]);

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

/// One of each kind of damage in one archive: each is told by its code and message, in the tables
/// and by the audit, and no row of a good checkpoint changes.
#[test]
fn an_archive_with_every_damage() {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny_without_manifest(dir.path());
    let first = 301; // Between two steps of the run.
    for (step, (file, ..)) in (first..).zip(REFUSED) {
        fs::copy(fixture("bad").join(format!("{file}.safetensors")), checkpoint(&run, step))
            .unwrap();
    }
    let out = dir.path().join("out");
    analyze(&run, &out).exits(3);
    let strict = dir.path().join("strict");
    groundswell(args!["analyze", &run, "--out", &strict, "--strict"]).exits(4);
    assert_eq!(tables_in(&strict), [""; 0]);
    let failures = rows::<FailureRow>(&out);
    let audit = groundswell(args!["audit", &run, "--json"]).exits(4);
    let report: serde_json::Value = serde_json::from_str(&audit.stdout).unwrap();
    let damage = report["findings"].as_array().unwrap().iter();
    let damage: Vec<_> = damage.filter(|finding| finding["severity"] == "damage").collect();
    assert_eq!((failures.len(), damage.len()), (REFUSED.len(), REFUSED.len()), "{damage:#?}");
    for ((step, (_, code, message)), failure) in (first..).zip(REFUSED).zip(&failures) {
        let path = format!("checkpoints/step_{step:08}.safetensors");
        assert_eq!((failure.path.as_str(), failure.code.as_str()), (path.as_str(), *code));
        assert_eq!(failure.message, format!("{path}: {message}"));
        let told = damage.iter().find(|finding| finding["path"] == path.as_str()).unwrap();
        assert_eq!((&told["code"], &told["message"]), (&(*code).into(), &(*message).into()));
        assert_eq!((&told["run"], &told["step"]), (&"tiny".into(), &step.into()));
    }
    let bad = |step: i64| (first..first + REFUSED.len() as i64).contains(&step);
    assert_eq!(rows_where(&out, |step| !bad(step)), rows_where(CLEAN.path(), |_| true));
}

#[test]
fn every_file_has_a_test() {
    let mut files: Vec<String> = fs::read_dir(fixture("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".safetensors").map(str::to_owned))
        .collect();
    files.sort();
    let odd = [
        "NU17_integers",
        "ST016_unsupported_dtypes",
        "ST018_zero_size",
        "ST019_rank_0",
        "ST021_odd_name",
        "ST022_unaligned",
        "ST023_leading_space",
        "ST030_nan",
    ];
    let mut tested: Vec<&str> = REFUSED.iter().map(|(file, ..)| *file).chain(odd).collect();
    tested.sort_unstable();
    assert_eq!(files, tested);
}
