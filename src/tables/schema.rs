//! All tables, and their columns in words.
//!
//! `groundswell schema` prints [`TableSchema::text`]; `docs/tables.md` is [`markdown`], kept equal
//! by a test.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::row::{Column, Row};
use super::status::Status;
use super::{
    AblationRow, ActivationRow, ArrowRow, BarrierRow, BasinRow, CheckpointRow, CircuitRow,
    ClaimRow, CurvatureRow, FailureRow, FourierRow, FrequencyRow, InterpolationRow, MovementRow,
    NeuronRow, OnsetRow, PlanePointRow, ProgressRow, ReadoutRow, ResemblanceRow, SharesRow,
    SingularValueRow, SpectralDensityRow, SpectrumRow, SurfaceRow, ToyRow, ToySliceRow,
    TrainingRow, TrajectoryRow,
};
use crate::error::{Error, Result};

/// Calls a generic function once per row type: the only list of all tables.
macro_rules! every_row {
    ($function:ident) => {
        [
            $function::<CheckpointRow>(),
            $function::<TrainingRow>(),
            $function::<ProgressRow>(),
            $function::<FrequencyRow>(),
            $function::<FourierRow>(),
            $function::<NeuronRow>(),
            $function::<AblationRow>(),
            $function::<CircuitRow>(),
            $function::<ReadoutRow>(),
            $function::<ActivationRow>(),
            $function::<SpectrumRow>(),
            $function::<SingularValueRow>(),
            $function::<MovementRow>(),
            $function::<TrajectoryRow>(),
            $function::<InterpolationRow>(),
            $function::<BarrierRow>(),
            $function::<SurfaceRow>(),
            $function::<PlanePointRow>(),
            $function::<BasinRow>(),
            $function::<ResemblanceRow>(),
            $function::<CurvatureRow>(),
            $function::<SpectralDensityRow>(),
            $function::<ArrowRow>(),
            $function::<SharesRow>(),
            $function::<OnsetRow>(),
            $function::<ClaimRow>(),
            $function::<ToyRow>(),
            $function::<ToySliceRow>(),
            $function::<FailureRow>(),
        ]
    };
}

/// Lines of plain text are broken before this column, as far as words allow.
const WIDTH: usize = 100;

/// The schema of one table, detached from its row type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub table: &'static str,
    pub version: u32,
    pub key: &'static [&'static str],
    pub description: &'static str,
    pub columns: Vec<Column>,
}

/// The schemas of all tables, in the order of the documentation.
#[must_use]
pub fn all() -> &'static [TableSchema] {
    static ALL: LazyLock<Vec<TableSchema>> = LazyLock::new(|| every_row!(of).into());
    &ALL
}

/// The schema of a row type.
#[must_use]
pub fn of<R: Row>() -> TableSchema {
    TableSchema {
        table: R::TABLE,
        version: R::VERSION,
        key: R::KEY,
        description: R::description(),
        columns: R::columns(),
    }
}

/// The schema of the table with this name.
///
/// # Errors
/// [`Error::UnknownName`] if there is none.
pub fn find(name: &str) -> Result<&'static TableSchema> {
    all().iter().find(|schema| schema.table == name).ok_or_else(|| Error::UnknownName {
        kind: "table",
        found: name.to_owned(),
        known: all().iter().map(|schema| schema.table.to_owned()).collect(),
    })
}

/// One line per table: name, key and what a row is.
#[must_use]
pub fn overview() -> String {
    let rows = all().iter().map(|schema| {
        [schema.table.to_owned(), schema.key.join(", "), schema.summary().to_owned()]
    });
    aligned(["table", "key", "one row is"], &rows.collect::<Vec<_>>())
}

impl TableSchema {
    /// What a row is, in one sentence: the first of the description.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        let end = self.description.find(". ").map_or(self.description.len(), |stop| stop + 1);
        &self.description[..end]
    }

    /// The rest of the description: the symbols of the definitions, where they need any.
    #[must_use]
    pub fn details(&self) -> &'static str {
        self.description[self.summary().len()..].trim_start()
    }

    /// The columns in aligned plain text, for `groundswell schema TABLE`.
    #[must_use]
    pub fn text(&self) -> String {
        let rows: Vec<_> = self
            .columns
            .iter()
            .map(|c| [c.name.into(), type_name(c), c.unit.into(), c.definition.into()])
            .collect();
        let key = format!(
            "Key: {}. Schema version {}. A type with `?` can be null.",
            self.key.join(", "),
            self.version
        );
        let mut out =
            format!("{}.parquet: {}\n{}\n\n", self.table, self.summary(), wrapped("", &key, 0));
        if !self.details().is_empty() {
            let _ = writeln!(out, "{}\n", wrapped("", self.details(), 0));
        }
        out + &aligned(["column", "type", "unit", "definition"], &rows)
    }

    /// The section of `docs/tables.md` about this table.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!(
            "## {}\n\n{}\n\nKey: `{}`. Schema version {}.\n\n\
             | column | type | unit | definition |\n|---|---|---|---|\n",
            self.table,
            self.description,
            self.key.join("`, `"),
            self.version
        );
        for column in &self.columns {
            let definition = column.definition.replace('|', "\\|");
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {definition} |",
                column.name,
                type_name(column),
                column.unit
            );
        }
        out
    }
}

/// The whole of `docs/tables.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# Tables\n\n\
         <!-- Generated from the row types in src/tables; do not edit. -->\n\n\
         One Parquet file per table, sorted by its key. A type with `?` can be null: an undefined\n\
         value is null, never NaN, and where a whole row can be undefined `status` says why. The\n\
         files carry these units and definitions in their metadata, under\n\
         `groundswell.column.NAME.unit` and `.definition`.\n\n\
         | table | key | one row is |\n|---|---|---|\n",
    );
    for schema in all() {
        let (table, key) = (schema.table, schema.key.join("`, `"));
        let _ = writeln!(out, "| [{table}](#{table}) | `{key}` | {} |", schema.summary());
    }
    for schema in all() {
        let _ = write!(out, "\n{}", schema.markdown());
    }
    out.push_str("\n## Values of `status`\n\n| value | meaning |\n|---|---|\n");
    for status in Status::ALL {
        let _ = writeln!(out, "| `{status}` | {} |", status.meaning());
    }
    out
}

/// The name of a column's type: `float64`, or `float64?` if it can be null.
fn type_name(column: &Column) -> String {
    format!("{}{}", column.dtype, if column.nullable { "?" } else { "" })
}

/// Rows of text under a heading, columns two spaces apart, the last one wrapped.
fn aligned<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.max().unwrap_or(0).max(heading[i].len())
    };
    let mut out = String::new();
    let heading = heading.map(str::to_uppercase);
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate().take(N - 1) {
            let _ = write!(line, "{cell:<width$}  ", width = width(i));
        }
        // `wrapped` adds the second of the two spaces itself.
        let indent = line.chars().count();
        line.pop();
        let _ = writeln!(out, "{}", wrapped(&line, &row[N - 1], indent).trim_end());
    }
    out
}

/// The text behind the beginning of its first line, further lines indented.
fn wrapped(beginning: &str, text: &str, indent: usize) -> String {
    let mut out = beginning.to_owned();
    let mut used = out.chars().count();
    for word in text.split(' ') {
        let length = word.chars().count();
        if used + 1 + length > WIDTH {
            let _ = write!(out, "\n{:indent$}{word}", "");
            used = indent + length;
        } else {
            let space = if out.is_empty() { "" } else { " " };
            let _ = write!(out, "{space}{word}");
            used += space.len() + length;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// What every row type promises.
    fn holds<R: Row>() {
        let (table, columns) = (R::TABLE, R::columns());
        let frame = R::frame(&[]).unwrap();
        let found: Vec<_> =
            frame.columns().iter().map(|c| (c.name().to_string(), c.dtype().clone())).collect();
        let promised: Vec<_> =
            columns.iter().map(|c| (c.name.to_owned(), c.dtype.polars())).collect();
        assert_eq!(found, promised, "{table}");

        let names: BTreeSet<_> = columns.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), columns.len(), "{table}: a column name occurs twice");
        for (i, key) in R::KEY.iter().enumerate() {
            assert_eq!(columns[i].name, *key, "{table}: the key columns come first, in order");
            assert!(!columns[i].nullable, "{table}: key column `{key}` can be null");
        }
        assert!(R::description().ends_with('.'), "{table}: {}", R::description());
        for column in columns {
            let definition = column.definition;
            assert!(definition.len() > 10, "{table}.{}: {definition}", column.name);
            assert!(definition.ends_with('.'), "{table}.{}: {definition}", column.name);
            assert_eq!(definition.trim(), definition, "{table}.{}", column.name);
            assert!(!definition.contains("  "), "{table}.{}: {definition}", column.name);
        }
    }

    #[test]
    fn every_row_type_keeps_its_promises() {
        every_row!(holds);
        let tables: BTreeSet<_> = all().iter().map(|schema| schema.table).collect();
        assert_eq!(tables.len(), all().len(), "two tables have one name");
    }

    /// A name means one quantity: one type and one unit wherever it occurs.
    #[test]
    fn columns_of_one_name_have_one_unit() {
        let mut known = BTreeMap::new();
        for schema in all() {
            for column in &schema.columns {
                let (dtype, unit) =
                    *known.entry(column.name).or_insert((column.dtype, column.unit));
                assert_eq!(column.dtype, dtype, "{}.{}", schema.table, column.name);
                assert_eq!(column.unit, unit, "{}.{}", schema.table, column.name);
            }
        }
    }

    #[test]
    fn documentation_is_what_the_row_types_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tables.md");
        if std::env::var_os("GROUNDSWELL_BLESS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == markdown(),
            "docs/tables.md is not what the row types say; write it anew with \
             GROUNDSWELL_BLESS=1 cargo test --release --lib documentation_is"
        );
    }

    #[test]
    fn text_is_aligned_and_wrapped() {
        let text = find("barriers").unwrap().text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            &lines[..8],
            [
                "barriers.parquet: How far the training loss rises on the line between two \
                 checkpoints of a run.",
                "Key: run, from_step, to_step, to_run, alignment. Schema version 1. A type with `?` can be \
                 null.",
                "",
                "ℓ(α) is `interpolation.train_loss` at α, over the points of that table.",
                "",
                "COLUMN          TYPE      UNIT   DEFINITION",
                "run             string           Run name: the name of its folder.",
                "from_step       int64     steps  Step of the checkpoint at α = 0.",
            ]
        );
        for schema in all() {
            for line in schema.text().lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn an_unknown_table_comes_with_the_nearest_known_one() {
        let error = find("progres").unwrap_err();
        assert_eq!(error.to_string(), "unknown table `progres`; did you mean `progress`?");
    }
}
