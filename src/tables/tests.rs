//! Writing and reading together: what goes in comes out, whatever it is, in one form only.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use polars::prelude::{ParquetReader, ParquetWriter, SerReader};
use proptest::prelude::*;

use super::*;
use crate::error::{Error, Result};
use crate::table;

table! {
    /// A row with every type of column.
    struct ExtremeRow, table "extreme", version 3, key [name, index];

    /// First part of the key.
    name: String,
    /// Second part of the key.
    index: i64 ["steps"],
    /// A number.
    number: f64 ["nats"],
    /// A flag.
    flag: bool,
    /// A text
    /// on two lines.
    text: Option<String>,
    /// A count.
    count: Option<i64> ["count"],
    /// A number that can be undefined.
    maybe: Option<f64> ["weight²"],
    /// A flag that can be undefined.
    sure: Option<bool>,
    /// Why values are null.
    status: Status,
}

/// Tables that call themselves `extreme` and are not.
mod other {
    use crate::table;

    table! {
        /// A row with a column of another type.
        struct ExtremeRow, table "extreme", version 3, key [name, index];

        /// First part of the key.
        name: String,
        /// Second part of the key.
        index: i64 ["steps"],
        /// A number that was an integer.
        number: i64 ["nats"],
    }

    table! {
        /// A row with half the key.
        struct HalfRow, table "extreme", version 3, key [name];

        /// First part of the key.
        name: String,
    }
}

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn row(name: &str, index: i64) -> ExtremeRow {
    ExtremeRow { name: name.into(), index, ..Default::default() }
}

fn round_trip(rows: Vec<ExtremeRow>) -> Result<Vec<ExtremeRow>> {
    decode(Path::new("x.parquet"), &encode(rows, &none())?)
}

/// One row per value that has tripped a reader or a writer before.
fn extremes() -> Vec<ExtremeRow> {
    let texts = ["", " ", "null", "NaN", "naïve 🌊👩‍🔬", "\0\n\r\t\u{1b}[31m\u{202e}", "\u{10ffff}"];
    let numbers = [
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        -f64::from_bits(0x000f_ffff_ffff_ffff),
        0.1 + 0.2,
        f64::EPSILON,
    ];
    let mut rows: Vec<_> = texts.iter().map(|text| row(text, i64::MIN)).collect();
    rows.push(ExtremeRow { text: Some("🌊".repeat(1 << 18)), ..row("long", i64::MAX) });
    for (i, number) in (0..).zip(numbers) {
        let text = Some(texts[i as usize % texts.len()].to_owned());
        let (count, maybe) = (Some([i64::MIN, -1, 0, i64::MAX][i as usize % 4]), Some(number));
        let (flag, sure) = (i % 2 == 0, Some(i % 3 == 0));
        let status = Status::ALL[i as usize];
        rows.push(ExtremeRow { number, flag, text, count, maybe, sure, status, ..row("n", i) });
    }
    rows
}

#[test]
fn extreme_values_survive_exactly() {
    let rows = extremes();
    let mut expected = rows.clone();
    expected.sort_by(Row::compare_keys);
    // Compared as text, which tells -0.0 from 0.0 and gives each f64 its own digits.
    assert_eq!(format!("{:?}", round_trip(rows).unwrap()), format!("{expected:?}"));
}

#[test]
fn a_table_without_rows_keeps_its_columns() {
    let bytes = encode::<ExtremeRow>(vec![], &none()).unwrap();
    assert_eq!(decode::<ExtremeRow>(Path::new("x"), &bytes).unwrap(), []);
    let frame = read_bytes(Path::new("x"), &bytes).unwrap();
    assert_eq!(frame.schema(), ExtremeRow::frame(&[]).unwrap().schema());
}

#[test]
fn rows_are_sorted_by_the_whole_key() {
    let rows = vec![row("b", -1), row("a", 10), row("é", 0), row("a", 9), row("B", 0)];
    let keys: Vec<_> = round_trip(rows).unwrap().iter().map(Row::key).collect();
    assert_eq!(
        keys,
        [
            r#"name = "B", index = 0"#,
            r#"name = "a", index = 9"#,
            r#"name = "a", index = 10"#,
            r#"name = "b", index = -1"#,
            r#"name = "é", index = 0"#,
        ]
    );
}

#[test]
fn a_key_occurs_once() {
    let error = encode(vec![row("a", 2), row("a", 1), row("a", 2)], &none()).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"internal error: table `extreme`: two rows have the key name = "a", index = 2"#
    );
}

#[test]
fn what_is_not_finite_is_refused() {
    for (bad, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        let rows = vec![row("a", 0), ExtremeRow { maybe: Some(bad), ..row("a", 1) }];
        assert_eq!(
            encode(rows, &none()).unwrap_err().to_string(),
            format!(
                "internal error: table `extreme`: column `maybe` is {shown} in the row \
                 name = \"a\", index = 1; undefined must be null"
            )
        );
    }
    // In a key, too, where an order with NaN would be none.
    let rows = [f64::NAN, 0.0].map(|alpha| InterpolationRow { alpha, ..Default::default() });
    let error = encode(rows.to_vec(), &none()).unwrap_err().to_string();
    assert!(error.contains("column `alpha` is NaN"), "{error}");
}

#[test]
fn a_row_group_has_131072_rows() {
    let rows: Vec<_> = (0..300_000)
        .map(|index| SingularValueRow { index, sigma: index as f64, ..Default::default() })
        .collect();
    let bytes = encode(rows.clone(), &none()).unwrap();
    let mut reader = ParquetReader::new(Cursor::new(&bytes));
    let groups = reader.get_metadata().unwrap().row_groups.iter().map(|group| group.num_rows());
    assert_eq!(groups.collect::<Vec<_>>(), [131_072, 131_072, 37_856]);
    assert!(decode::<SingularValueRow>(Path::new("x"), &bytes).unwrap() == rows);
}

#[test]
fn the_file_says_what_it_holds() {
    let given = BTreeMap::from([("config_hash".to_owned(), "abc".to_owned())]);
    let bytes = encode(vec![row("a", 0)], &given).unwrap();
    let about = metadata(Path::new("x"), &bytes).unwrap();
    for (key, value) in [
        ("table", "extreme"),
        ("description", "A row with every type of column."),
        ("key", "name,index"),
        ("schema_version", "3"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("config_hash", "abc"),
        ("column.text.definition", "A text on two lines."),
        ("column.maybe.unit", "weight²"),
    ] {
        assert_eq!(about.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(about.len(), 6 + 2 * ExtremeRow::FIELDS.len());

    let taken = BTreeMap::from([("key".to_owned(), "step".to_owned())]);
    let error = encode(vec![row("a", 0)], &taken).unwrap_err().to_string();
    assert!(error.ends_with("metadata key `key` is written by the table itself"), "{error}");
}

#[test]
fn columns_added_later_read_as_null_from_older_files() {
    let mut frame = ExtremeRow::frame(&[row("a", 7)]).unwrap();
    for name in ["maybe", "sure", "text"] {
        frame.drop_in_place(name).unwrap();
    }
    assert_eq!(decode::<ExtremeRow>(Path::new("x"), &file(frame)).unwrap(), [row("a", 7)]);
}

/// A file with the metadata of `extreme` and any columns.
fn file(mut frame: polars::prelude::DataFrame) -> Vec<u8> {
    let about = [("table", "extreme"), ("schema_version", "3")]
        .map(|(key, value)| (format!("groundswell.{key}"), value.to_owned()));
    let about = polars::prelude::KeyValueMetadata::from_static(about.to_vec());
    let mut bytes = Vec::new();
    let writer = ParquetWriter::new(&mut bytes).with_key_value_metadata(Some(about));
    writer.finish(&mut frame).unwrap();
    super::seal::seal(bytes).unwrap()
}

#[test]
fn other_schemas_are_told_apart() {
    let path = Path::new("t/x.parquet");
    let other = |bytes: &[u8]| {
        let error = decode::<ExtremeRow>(path, bytes).unwrap_err();
        assert_eq!(error.exit_code(), 12);
        error.to_string()
    };
    let prefix = "t/x.parquet: written with different parameters: ";
    let renamed = encode::<BarrierRow>(vec![], &none()).unwrap();
    assert_eq!(
        other(&renamed),
        format!("{prefix}table is \"barriers\", this program reads \"extreme\"")
    );
    let half = encode::<other::HalfRow>(vec![], &none()).unwrap();
    assert_eq!(other(&half), format!("{prefix}column `index` is missing"));
    let retyped = encode::<other::ExtremeRow>(vec![], &none()).unwrap();
    assert_eq!(
        other(&retyped),
        format!("{prefix}column `number` is i64, this program reads float64")
    );
}

#[test]
fn what_is_no_table_of_ours_is_named() {
    let path = Path::new("t/x.parquet");
    let mut frame = ExtremeRow::frame(&[row("a", 0)]).unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    let error = decode::<ExtremeRow>(path, &bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "t/x.parquet: checksum mismatch: damaged, or changed by another program"
    );
    assert_eq!((error.code(), error.exit_code()), ("PQ04", 4));
    let error = decode::<ExtremeRow>(path, b"<!doctype html>").unwrap_err();
    assert_eq!(error.to_string(), "t/x.parquet: its 15 bytes are no whole Parquet file");

    let sealed = super::seal::seal(bytes).unwrap();
    let error = decode::<ExtremeRow>(path, &sealed).unwrap_err();
    assert_eq!(error.to_string(), "t/x.parquet: has no metadata `groundswell.table`");

    let mut frame = ExtremeRow::frame(&[row("a", 0), row("a", 1)]).unwrap();
    let status = polars::prelude::Column::new("status".into(), ["ok", "fine"]);
    frame.with_column(status).unwrap();
    let error = decode::<ExtremeRow>(path, &file(frame)).unwrap_err();
    assert_eq!(error.to_string(), "t/x.parquet: row 1: column `status` has no valid value");
}

#[test]
fn a_truncated_table_is_named() {
    let bytes = encode(extremes(), &none()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.parquet");
    for percent in 0..100 {
        let cut = &bytes[..bytes.len() * percent / 100];
        std::fs::write(&path, cut).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, Error::TableFile { path: named, .. } if *named == path));
        assert_eq!(error.exit_code(), 4);
        decode::<ExtremeRow>(&path, cut).unwrap_err();
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap().height(), extremes().len());
    let error = read(&folder.path().join("none.parquet")).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

/// Text, integers and finite numbers from their whole range, edges included.
fn any_row() -> impl Strategy<Value = ExtremeRow> {
    let number = || prop_oneof![any::<f64>(), Just(-0.0), Just(f64::MIN_POSITIVE / 2.0)];
    let finite = move || number().prop_filter("finite", |x| x.is_finite());
    let text = || prop_oneof![any::<String>(), Just(String::new()), Just("🌊".to_owned())];
    (
        (text(), any::<i64>(), finite(), any::<bool>()),
        (
            prop::option::of(text()),
            prop::option::of(prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)]),
            prop::option::of(finite()),
            prop::option::of(any::<bool>()),
            prop::sample::select(Status::ALL),
        ),
    )
        .prop_map(|((name, index, number, flag), (text, count, maybe, sure, status))| {
            ExtremeRow { name, index, number, flag, text, count, maybe, sure, status }
        })
}

/// Up to 40 rows with distinct keys.
fn any_rows() -> impl Strategy<Value = Vec<ExtremeRow>> {
    prop::collection::vec(any_row(), 0..40).prop_map(|mut rows| {
        rows.sort_by(Row::compare_keys);
        rows.dedup_by(|a, b| a.compare_keys(b).is_eq());
        rows
    })
}

proptest! {
    /// Rows come back sorted, with the same bits.
    #[test]
    fn any_rows_survive_exactly(rows in any_rows()) {
        let expected = format!("{rows:?}");
        prop_assert_eq!(format!("{:?}", round_trip(rows).unwrap()), expected);
    }

    /// The order in which threads deliver rows does not reach the file.
    #[test]
    fn same_rows_give_same_bytes((rows, shuffled) in any_rows().prop_flat_map(|rows| {
        (Just(rows.clone()), Just(rows).prop_shuffle())
    })) {
        let bytes = encode(rows.clone(), &none()).unwrap();
        prop_assert!(encode(rows, &none()).unwrap() == bytes, "a second time");
        prop_assert!(encode(shuffled, &none()).unwrap() == bytes, "in another order");
    }

    /// No flipped bit gets as far as polars, which could panic or run out of memory over it.
    #[test]
    fn a_flipped_bit_is_named(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = encode(vec![row("a", 0), row("b", 1)], &none()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let error = decode::<ExtremeRow>(Path::new("t/x.parquet"), &bytes).unwrap_err();
        prop_assert!(error.to_string().starts_with("t/x.parquet: "), "{error}");
        prop_assert_eq!(error.exit_code(), 4);
    }
}
