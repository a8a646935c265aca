//! The tables of `fixtures/tiny` against `fixtures/tiny_golden.json`, which `fixtures/oracle.py`
//! made from the definitions alone; `fixtures/make_tiny.sh` is the command.
//!
//! Measured: losses within 6e-16 of the value, norms, coefficients and singular values within 6e-12
//! of the largest of their kind (singular values of f32 tensors come from a Gram matrix), the
//! condition number within 4e-9 of the value.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use groundswell::tables::{
    AblationRow, ArrowRow, BarrierRow, Cell, CircuitRow, FourierRow, FrequencyRow,
    InterpolationRow, MovementRow, NeuronRow, ProgressRow, ReadoutRow, Row, SharesRow,
    SingularValueRow, SpectrumRow, TrainingRow, TrajectoryRow,
};
use serde_json::Value;
use tempfile::TempDir;

use super::support::*;

/// How far a float may be from its golden value.
#[derive(Debug, Clone, Copy)]
enum Within {
    /// Relative to the value
    Value(f64),
    /// Relative to the largest of the column among the rows that share these columns
    Largest(f64, &'static [&'static str]),
    /// Relative to the largest of these columns in the row
    Columns(f64, &'static [&'static str]),
    /// σ_1/σ_M, whose σ_M comes from a Gram matrix: 1e-9 and N 2⁻⁵² κ², relative to the value
    Condition,
}

const LOSS: Within = Within::Value(1e-6);
const NUMBER: Within = Within::Value(1e-9);

/// The tables of one analysis and two lines, computed once for all tests.
static TABLES: LazyLock<TempDir> = LazyLock::new(|| {
    let out = tempfile::tempdir().unwrap();
    let exact = args!["analyze", fixture("tiny"), "--out", out.path(), "--precision", "f64"];
    groundswell(exact).exits(0);
    let on_request = args!["analyze", fixture("tiny"), "--out", out.path(), "--precision", "f64"];
    groundswell([on_request, args!["--measures", "ablations,circuits"]].concat()).exits(0);
    groundswell(args!["arrow", fixture("tiny"), "--out", out.path(), "--labels", "0"]).exits(0);
    let shares = args!["shares", fixture("tiny"), "--out", out.path(), "--precision", "f64"];
    groundswell([shares, args!["--kernel-at", "0,100,1200"]].concat()).exits(0);
    for (from, to) in [("50", "last"), ("first", "memorised")] {
        let line = args!["landscape", fixture("tiny"), "--out", out.path(), "--from", from];
        groundswell([line, args!["--to", to, "--points", "25"]].concat()).exits(0);
    }
    out
});

/// The same analysis with the network evaluated in f32, as usual.
static NARROW: LazyLock<TempDir> = LazyLock::new(|| {
    let out = tempfile::tempdir().unwrap();
    analyze(&fixture("tiny"), out.path()).exits(0);
    out
});

fn golden() -> Value {
    serde_json::from_slice(&fs::read(fixture("tiny_golden.json")).unwrap()).unwrap()
}

/// The golden rows of a table.
fn golden_rows<R: Row>() -> Vec<Value> {
    let rows = golden()["tables"][R::TABLE].as_array().unwrap().clone();
    assert!(!rows.is_empty());
    rows
}

/// Every golden row is in the table, with equal keys and cells within what `within` allows for
/// their column; and the table has no other row at these steps.
fn agrees<R: Row>(within: impl Fn(&str) -> Within) {
    agrees_in::<R>(TABLES.path(), within);
}

fn agrees_in<R: Row>(tables: &Path, within: impl Fn(&str) -> Within) {
    let (golden, table) = (golden_rows::<R>(), rows::<R>(tables));
    assert!(table.iter().all(|row| cell(row, "run") == Cell::String("tiny")));
    let first = R::KEY[1];
    let steps: Vec<i64> = golden.iter().map(|row| row[first].as_i64().unwrap()).collect();
    let at_these = table
        .iter()
        .filter(|row| matches!(cell(*row, first), Cell::Int64(step) if steps.contains(&step)));
    // The oracle leaves out vectors, which have no spectrum.
    let vector = |row: &&R| {
        R::TABLE == SpectrumRow::TABLE && cell(*row, "status") == Cell::String("not_a_matrix")
    };
    assert_eq!(at_these.filter(|row| !vector(row)).count(), golden.len(), "{}: rows", R::TABLE);
    assert_eq!(differences(&golden, &table, within), [""; 0]);
}

/// The cells that are not what the golden rows say.
fn differences<R: Row>(
    golden: &[Value],
    table: &[R],
    within: impl Fn(&str) -> Within,
) -> Vec<String> {
    // Without the run, and without what the oracle does not know: lines across runs.
    let known = |column: &&&str| !golden[0][**column].is_null();
    let key_columns: Vec<&str> = R::KEY[1..].iter().filter(known).copied().collect();
    let text = |cell: Cell<'_>| match cell {
        Cell::Float64(value) => alpha(value),
        Cell::String(text) => text.to_owned(),
        other => other.to_string(),
    };
    let key = |row: &R| -> Vec<String> {
        key_columns.iter().map(|column| text(cell(row, column))).collect()
    };
    let by_key: BTreeMap<Vec<String>, &R> = table.iter().map(|row| (key(row), row)).collect();
    let mut differences = Vec::new();
    for row in golden {
        let key: Vec<String> =
            key_columns.iter().map(|column| golden_text(&row[*column])).collect();
        let Some(found) = by_key.get(&key) else {
            differences.push(format!("{}: no row {key:?}", R::TABLE));
            continue;
        };
        for (column, expected) in row.as_object().unwrap() {
            if column == "storage" || key_columns.contains(&column.as_str()) {
                continue; // `storage` serves the other comparison, fixtures/compare.py
            }
            let found = cell(*found, column);
            let same = match (found, expected) {
                (Cell::Null, Value::Null) => true,
                (Cell::Int64(found), Value::Number(expected)) => Some(found) == expected.as_i64(),
                (Cell::String(found), Value::String(expected)) => found == expected,
                (Cell::Bool(found), Value::Bool(expected)) => found == *expected,
                (Cell::Float64(found), Value::Number(expected)) => {
                    let allowed = within(column).allowed(golden, row, column);
                    (found - expected.as_f64().unwrap()).abs() <= allowed
                }
                _ => false,
            };
            if !same {
                let place = format!("{}.{column} at {key:?}", R::TABLE);
                differences.push(format!("{place} is {found}, not {expected}"));
            }
        }
    }
    differences
}

impl Within {
    /// Largest distance from the golden value that passes.
    fn allowed(self, golden: &[Value], row: &Value, column: &str) -> f64 {
        let value = row[column].as_f64().unwrap();
        match self {
            Self::Value(relative) => relative * value.abs(),
            Self::Largest(relative, kind) => {
                let same = |other: &&Value| kind.iter().all(|name| other[*name] == row[*name]);
                let values = golden.iter().filter(same).filter_map(|other| other[column].as_f64());
                relative * values.map(f64::abs).fold(0.0, f64::max)
            }
            Self::Columns(relative, columns) => {
                let values = columns.iter().filter_map(|name| row[*name].as_f64());
                relative * values.map(f64::abs).fold(0.0, f64::max)
            }
            Self::Condition => {
                let longer = row["rows"].as_f64().unwrap().max(row["cols"].as_f64().unwrap());
                value * (1e-9 + longer * f64::EPSILON * value * value)
            }
        }
    }
}

fn golden_text(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => alpha(number.as_f64().unwrap()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// 1/24 has several last digits.
fn alpha(alpha: f64) -> String {
    format!("{alpha:.9}")
}

fn losses(column: &str) -> Within {
    if column.contains("loss") { LOSS } else { NUMBER }
}

/// Evaluated in f32: losses within 1e-4 of the value, norms and shares within 1e-5, the same keys.
#[test]
fn f32_is_close_enough() {
    let narrow = |column: &str| Within::Value(if column.contains("loss") { 1e-4 } else { 1e-5 });
    agrees_in::<ProgressRow>(NARROW.path(), narrow);
    agrees_in::<NeuronRow>(NARROW.path(), narrow);
    agrees_in::<FrequencyRow>(NARROW.path(), |column| match column {
        "logit_coefficient" | "logit_cosine" => Within::Largest(1e-5, &["step"]),
        _ => narrow(column),
    });
    let of = |dir: &TempDir| rows::<ProgressRow>(dir.path());
    assert_ne!(of(&NARROW), of(&TABLES), "the numbers are others");
    assert_eq!(rows::<FourierRow>(NARROW.path()), rows::<FourierRow>(TABLES.path()));
}

#[test]
fn progress_agrees() {
    agrees::<ProgressRow>(losses);
}

/// Rates and projections by complex steps, one weight at a time; worst 1e-13 of the largest of the step.
#[test]
fn arrow_agrees() {
    agrees::<ArrowRow>(|_| Within::Largest(1e-9, &["step"]));
}

/// Shapley's shares and interactions by losses one by one; the parts of a change by 200 nodes, where the
/// table's are taken to 1 % of the change.
fn shares(column: &str) -> Within {
    const TRAIN: &[&str] = &["delta_mean_train", "delta_key_train", "delta_rest_train"];
    const TEST: &[&str] = &["delta_mean_test", "delta_key_test", "delta_rest_test"];
    const WHOLE: &[&str] = &["shapley_key_train", "shapley_rest_train"];
    match column {
        _ if TRAIN.contains(&column) => Within::Columns(1e-2, TRAIN),
        _ if TEST.contains(&column) => Within::Columns(1e-2, TEST),
        "share_key_train" | "share_key_test" => NUMBER,
        _ => Within::Columns(1e-9, WHOLE),
    }
}

#[test]
fn shares_agree() {
    agrees::<SharesRow>(shares);
}

/// Of the whole Jacobians, weight by weight: the cosine is theirs, the cross terms are estimates within
/// three of their standard errors.
#[test]
fn kernels_agree() {
    let golden = golden();
    let table = rows::<SharesRow>(TABLES.path());
    let kernels = golden["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 3);
    for expected in kernels {
        let row = table.iter().find(|row| expected["step"] == row.step).unwrap();
        let of = |column: &str| {
            let Cell::Float64(value) = cell(row, column) else { panic!("{column} is null") };
            value
        };
        let exact = |column: &str| expected[column].as_f64().unwrap();
        let cosine = of("gradient_cosine_train") - exact("gradient_cosine_train");
        assert!(cosine.abs() < 1e-9, "{expected}: {cosine:e}");
        for column in ["kernel_cross_jacobian", "kernel_cross"] {
            let error = of(&format!("{column}_standard_error"));
            let off = (of(column) - exact(column)).abs();
            assert!(off < 3.0 * error && error < 0.5 * exact(column), "{expected}: {row:?}");
        }
    }
}

#[test]
fn frequencies_agree() {
    agrees::<FrequencyRow>(|column| match column {
        "logit_coefficient" | "logit_cosine" => Within::Largest(1e-9, &["step"]),
        _ => losses(column),
    });
}

#[test]
fn fourier_agrees() {
    agrees::<FourierRow>(|_| Within::Largest(1e-9, &["step", "object"]));
}

#[test]
fn neurons_agree() {
    agrees::<NeuronRow>(|_| NUMBER);
}

#[test]
fn ablations_agree() {
    agrees::<AblationRow>(losses);
}

/// Small singular values come from a Gram matrix, and residuals are differences.
#[test]
fn circuits_agree() {
    agrees::<CircuitRow>(|column| match column {
        "effective_rank" => Within::Value(1e-5),
        "residual_share" => Within::Largest(1e-9, &[]),
        _ => NUMBER,
    });
}

#[test]
fn readouts_agree() {
    agrees::<ReadoutRow>(|_| NUMBER);
}

#[test]
fn spectra_agree() {
    agrees::<SpectrumRow>(|column| match column {
        "condition" => Within::Condition,
        _ => NUMBER,
    });
}

#[test]
fn singular_values_agree() {
    agrees::<SingularValueRow>(|_| Within::Largest(1e-9, &["step", "tensor", "batch_index"]));
}

#[test]
fn movement_agrees() {
    agrees::<MovementRow>(|_| NUMBER);
}

/// Places and residuals are differences of squares of distances: relative to the largest of the run.
fn places(column: &str) -> Within {
    if column.starts_with("explained") { NUMBER } else { Within::Largest(1e-9, &[]) }
}

#[test]
fn trajectory_agrees() {
    agrees::<TrajectoryRow>(places);
}

#[test]
fn interpolation_agrees() {
    agrees::<InterpolationRow>(losses);
}

/// Barriers are differences of losses, so their scale is that of the losses.
#[test]
fn barriers_agree() {
    let golden = golden();
    let losses = golden["tables"]["interpolation"].as_array().unwrap();
    let largest = losses.iter().filter_map(|row| row["train_loss"].as_f64()).fold(0.0, f64::max);
    let barriers = golden["tables"]["barriers"].as_array().unwrap();
    let found = rows::<BarrierRow>(TABLES.path());
    assert_eq!((found.len(), barriers.len()), (2, 2));
    for row in found {
        let expected = barriers.iter().find(|expected| expected["from_step"] == row.from_step);
        let expected = expected.unwrap();
        assert_eq!(expected["to_step"], row.to_step);
        for column in ["barrier_mean", "barrier_linear", "mli_delta"] {
            let Cell::Float64(value) = cell(&row, column) else { panic!("{column} is null") };
            let off = (value - expected[column].as_f64().unwrap()).abs();
            assert!(off <= 1e-6 * largest, "{column}: {value}, not {}", expected[column]);
        }
    }
}

/// What the trainer logged, in f32, is what an analysis finds, in f64: within 1e-4 of the value.
#[test]
fn the_training_log_agrees() {
    agrees::<TrainingRow>(|_| Within::Value(1e-4));
}

/// Twice what is allowed fails, in every column of numbers: it is not the tolerance that passes.
#[test]
fn a_wrong_number_is_found() {
    fn columns<R: Row>(within: impl Fn(&str) -> Within + Copy) -> usize {
        let (golden, table) = (golden_rows::<R>(), rows::<R>(TABLES.path()));
        let mut tried = 0;
        for field in R::FIELDS.iter().filter(|field| !R::KEY.contains(&field.column.name)) {
            let column = field.column.name;
            let of_value = |row: &Value| row[column].as_f64().is_some_and(|value| value != 0.0);
            let Some(at) = golden.iter().position(of_value) else { continue };
            let mut wrong = golden.clone();
            let value = golden[at][column].as_f64().unwrap();
            wrong[at][column] = match golden[at][column].as_i64() {
                Some(count) => (count + 1).into(),
                None => (value + 3.0 * within(column).allowed(&golden, &golden[at], column)).into(),
            };
            let found = differences(&wrong, &table, within);
            assert_eq!(found.len(), 1, "{column}: {found:?}");
            assert!(found[0].starts_with(&format!("{}.{column} at ", R::TABLE)), "{found:?}");
            tried += 1;
        }
        tried
    }
    assert_eq!(columns::<ProgressRow>(losses), 17);
    assert_eq!(columns::<NeuronRow>(|_| NUMBER), 2);
    assert_eq!(columns::<InterpolationRow>(losses), 6);
    assert_eq!(columns::<MovementRow>(|_| NUMBER), 5);
    assert_eq!(columns::<TrajectoryRow>(places), 8);
    assert_eq!(columns::<SharesRow>(shares), 14);
}

/// The fixture tells keys from other frequencies, and steps from each other.
#[test]
fn the_fixture_is_worth_comparing() {
    let found = rows::<ProgressRow>(TABLES.path());
    assert_eq!(found.iter().map(|row| row.step).collect::<Vec<_>>(), TINY_STEPS);
    assert!(found.iter().all(|row| row.key_frequencies.as_deref() == Some("1,3")));
    let accuracy = |row: &ProgressRow| row.train_accuracy.unwrap();
    assert!(accuracy(&found[0]) < 0.3 && accuracy(&found[6]) > 0.99, "it learns");
}

/// The kernel that trained a run is no input of its analysis.
#[test]
fn the_blas_that_trained_a_run_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let run = tiny(dir.path());
    let path = run.join("run.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut info: Value = serde_json::from_str(&text).unwrap();
    info["blas"]["kernel"] = "Prescott".into();
    info["blas"]["version"] = "9.9.9".into();
    fs::write(&path, serde_json::to_vec(&info).unwrap()).unwrap();

    let out = dir.path().join("out");
    analyze(&run, &out).exits(0);
    for table in analysis_tables() {
        let bytes = |dir: &Path| fs::read(dir.join(format!("{table}.parquet"))).unwrap();
        assert!(bytes(&out) == bytes(NARROW.path()), "{table} differs");
    }
}
