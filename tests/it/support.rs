//! What every test needs: the programs, folders as maps, tables as text.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use groundswell::tables::{
    self, BarrierRow, BasinRow, Cell, CheckpointRow, CurvatureRow, FailureRow, FourierRow,
    FrequencyRow, InterpolationRow, MovementRow, NeuronRow, PlanePointRow, ProgressRow,
    ResemblanceRow, Row, SingularValueRow, SpectralDensityRow, SpectrumRow, SurfaceRow, ToyRow,
    ToySliceRow, TrainingRow, TrajectoryRow,
};

pub const GROUNDSWELL: &str = env!("CARGO_BIN_EXE_groundswell");
pub const TRAIN: &str = env!("CARGO_BIN_EXE_groundswell-train");

/// Arguments of any kind of string or path.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { vec![$(::std::ffi::OsString::from($arg)),*] };
}

/// How a program ended. `code` is `None` if a signal ended it.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Demand this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Demand this line, whole, on stderr.
    #[track_caller]
    pub fn says(self, line: &str) -> Self {
        assert!(self.stderr.lines().any(|found| found == line), "no line {line:?} in {self:#?}");
        self
    }

    /// Demand this text somewhere on stderr.
    #[track_caller]
    pub fn mentions(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        self
    }
}

pub fn command(program: &str, args: Vec<OsString>) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

pub fn groundswell(args: Vec<OsString>) -> Ran {
    command(GROUNDSWELL, args).output().unwrap().into()
}

pub fn train(args: Vec<OsString>) -> Ran {
    command(TRAIN, args).output().unwrap().into()
}

pub fn analyze(archive: &Path, out: &Path) -> Ran {
    groundswell(args!["analyze", archive, "--out", out])
}

/// The kernel that the programs compute with: a better one than this process has, if they start
/// themselves again.
pub fn kernel() -> String {
    let info = groundswell::blas::info();
    let chosen = std::env::var_os("OPENBLAS_CORETYPE").is_some();
    let features = groundswell::blas::vector_features();
    let better = groundswell::blas::better_kernel(&info, &features).filter(|_| !chosen);
    better.map_or(info.kernel, str::to_owned)
}

/// `fixtures/<name>`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The steps of `fixtures/tiny`.
pub const TINY_STEPS: [i64; 7] = [0, 10, 50, 100, 300, 600, 1200];

/// A copy of `fixtures/tiny`, as `dir/tiny`.
pub fn tiny(dir: &Path) -> PathBuf {
    let copy = dir.join("tiny");
    plant(&copy, &tree(&fixture("tiny")));
    copy
}

/// The same without digests: as when only the checkpoints were copied.
pub fn tiny_without_manifest(dir: &Path) -> PathBuf {
    let copy = tiny(dir);
    fs::remove_file(copy.join("manifest.jsonl")).unwrap();
    copy
}

/// Path of a run's checkpoint.
pub fn checkpoint(run: &Path, step: i64) -> PathBuf {
    run.join(format!("checkpoints/step_{step:08}.safetensors"))
}

/// Files of a folder, by path in it.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Every file below a folder but locks, which name the process that held them, and what an analysis
/// keeps for itself, which tells its inputs by their inodes; folders are entries of their own, so that
/// creating one shows.
pub fn tree(dir: &Path) -> Tree {
    let mut files = Tree::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if path.ends_with(".groundswell") {
                continue;
            }
            if path.is_dir() {
                files.insert(format!("{name}/"), Vec::new());
                folders.push(path);
            } else if !["lock", ".lock"].iter().any(|lock| path.ends_with(lock)) {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Write a tree into a folder.
pub fn plant(dir: &Path, files: &Tree) {
    fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        let path = dir.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Demand that two trees are the same; names what differs rather than showing the bytes.
#[track_caller]
pub fn assert_same(found: &Tree, expected: &Tree) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    let differing: Vec<_> =
        found.iter().filter(|(name, bytes)| &expected[*name] != *bytes).map(|(n, _)| n).collect();
    assert!(differing.is_empty(), "these files differ: {differing:?}");
}

/// The rows of a table in a folder of tables.
#[track_caller]
pub fn rows<R: Row>(tables: &Path) -> Vec<R> {
    let path = tables.join(format!("{}.parquet", R::TABLE));
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    tables::decode(&path, &bytes).unwrap()
}

/// A cell of a row, by the name of its column.
pub fn cell<'a, R: Row>(row: &'a R, column: &str) -> Cell<'a> {
    let field = R::FIELDS.iter().find(|field| field.column.name == column);
    let field = field.unwrap_or_else(|| panic!("table {} has no column {column}", R::TABLE));
    (field.get)(row)
}

/// A cell as text that differs wherever a bit does.
pub fn exact(cell: Cell<'_>) -> String {
    match cell {
        Cell::Float64(value) => format!("{:016x}", value.to_bits()),
        other => other.to_string(),
    }
}

/// Every row of every table of checkpoints but those of `step`, exactly, by table. A run's log is
/// among them, the failures are not.
/// (Those about whole runs are not among them: they compare checkpoints.)
pub fn rows_without(tables: &Path, step: i64) -> BTreeMap<&'static str, Vec<Vec<String>>> {
    rows_where(tables, |other| other != step)
}

/// The same of the steps that are wanted.
pub fn rows_where(
    tables: &Path,
    wanted: impl Fn(i64) -> bool + Copy,
) -> BTreeMap<&'static str, Vec<Vec<String>>> {
    fn of<R: Row>(tables: &Path, wanted: impl Fn(i64) -> bool) -> (&'static str, Vec<Vec<String>>) {
        let kept = rows::<R>(tables);
        let kept = kept
            .iter()
            .filter(|row| matches!(cell(*row, "step"), Cell::Int64(step) if wanted(step)));
        let texts = kept.map(|row| R::FIELDS.iter().map(|field| exact((field.get)(row))).collect());
        (R::TABLE, texts.collect())
    }
    BTreeMap::from([
        of::<CheckpointRow>(tables, wanted),
        of::<TrainingRow>(tables, wanted),
        of::<ProgressRow>(tables, wanted),
        of::<FrequencyRow>(tables, wanted),
        of::<FourierRow>(tables, wanted),
        of::<NeuronRow>(tables, wanted),
        of::<SpectrumRow>(tables, wanted),
        of::<SingularValueRow>(tables, wanted),
    ])
}

/// Names of all tables that an analysis writes.
pub fn analysis_tables() -> Vec<String> {
    let all = [
        CheckpointRow::TABLE,
        FailureRow::TABLE,
        FourierRow::TABLE,
        FrequencyRow::TABLE,
        MovementRow::TABLE,
        NeuronRow::TABLE,
        ProgressRow::TABLE,
        SingularValueRow::TABLE,
        SpectrumRow::TABLE,
        TrainingRow::TABLE,
        TrajectoryRow::TABLE,
    ];
    all.map(str::to_owned).to_vec()
}

/// The tables of a folder and their manifest: what does not depend on the attempts it took.
pub fn tables_of(dir: &Path) -> Tree {
    let mut files = tree(dir);
    files.retain(|name, _| name.ends_with(".parquet") || name == "manifest.json");
    files
}

/// Names of the tables in a folder, sorted.
pub fn tables_in(dir: &Path) -> Vec<String> {
    let names = tree(dir).into_keys();
    names.filter_map(|name| name.strip_suffix(".parquet").map(str::to_owned)).collect()
}

/// Tables of landscapes, beside those of an analysis.
pub const LANDSCAPE_TABLES: [&str; 10] = [
    BarrierRow::TABLE,
    BasinRow::TABLE,
    CurvatureRow::TABLE,
    InterpolationRow::TABLE,
    PlanePointRow::TABLE,
    ResemblanceRow::TABLE,
    SpectralDensityRow::TABLE,
    SurfaceRow::TABLE,
    ToyRow::TABLE,
    ToySliceRow::TABLE,
];

/// Whether a table names the rules that the claims are judged by.
pub fn names_the_rules(tables: &Path, table: &str) -> bool {
    let digest = groundswell::claims::rules::rules().digest();
    metadata(tables, table).get("rules_digest") == Some(&digest)
}

/// What the file of a table says of itself.
pub fn metadata(tables: &Path, table: &str) -> BTreeMap<String, String> {
    let path = tables.join(format!("{table}.parquet"));
    groundswell::tables::metadata(&path, &fs::read(&path).unwrap()).unwrap()
}

/// When each file of a folder was last changed.
pub fn modified(dir: &Path) -> BTreeMap<String, std::time::SystemTime> {
    let time = |name: String| {
        let changed = fs::metadata(dir.join(&name)).unwrap().modified().unwrap();
        (name, changed)
    };
    tree(dir).into_keys().map(time).collect()
}

/// Whether the long versions of tests were asked for: `make soak`.
pub fn soak() -> bool {
    std::env::var_os("GROUNDSWELL_SOAK").is_some()
}

/// Numbers that look random and are the same in every test run (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Wait for some time below so many microseconds.
    pub fn pause(&mut self, most: f64) {
        std::thread::sleep(std::time::Duration::from_micros((most * self.uniform()) as u64));
    }
}

/// Send a signal by its name.
pub fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(command("kill", args![format!("-{signal}"), pid]).status().unwrap().success());
}
