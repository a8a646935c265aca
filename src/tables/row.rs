//! What a row type says about its table, and the macro that says it.
//!
//! The macro turns one list into a struct, a schema and a frame. The doc-comment of a field *is*
//! the definition of its column, in the library's documentation, in `groundswell schema`, in
//! `docs/tables.md` and in the metadata of the Parquet file.

use std::cmp::Ordering;

use polars::prelude::{DataFrame, PolarsResult};

use super::cell::{self, Cell, Dtype};

/// What is known of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub dtype: Dtype,
    /// Unit of measurement; empty for names, flags, free text, indices and ratios.
    pub unit: &'static str,
    /// One or two sentences.
    pub definition: &'static str,
    /// Whether a value can be null.
    pub nullable: bool,
}

/// A column, and how to read it from a row.
#[derive(Debug)]
pub struct Field<R> {
    pub column: Column,
    pub get: for<'a> fn(&'a R) -> Cell<'a>,
}

/// One line of a table.
pub trait Row: Sized + 'static {
    /// Name of the table, and of its file without `.parquet`.
    const TABLE: &'static str;
    /// Raised when a column changes its meaning, so that old files go stale. Adding a column
    /// does not raise it.
    const VERSION: u32;
    /// Columns that identify a row, in the order by which the table is sorted.
    const KEY: &'static [&'static str];
    /// The columns in file order.
    const FIELDS: &'static [Field<Self>];

    /// What a row of the table is.
    fn description() -> &'static str;

    /// The order of rows in the table; equal means that two rows have the same key.
    fn compare_keys(&self, other: &Self) -> Ordering;

    /// The row whose cells come in the order of `FIELDS`.
    ///
    /// # Errors
    /// The name of the first column whose cell has no value of that column's type.
    fn from_cells<'a>(cells: impl FnMut() -> Cell<'a>) -> Result<Self, &'static str>;

    /// The columns in file order.
    #[must_use]
    fn columns() -> Vec<Column> {
        Self::FIELDS.iter().map(|field| field.column).collect()
    }

    /// The rows as a frame, in the order given.
    ///
    /// # Errors
    /// If polars refuses the columns; none is known.
    fn frame(rows: &[Self]) -> PolarsResult<DataFrame> {
        let columns = Self::FIELDS.iter().map(|Field { column, get }| {
            cell::column(column.name, column.dtype, rows.iter().map(get))
        });
        DataFrame::new(rows.len(), columns.collect())
    }

    /// The key for a message: `run = "a", step = 3`.
    #[must_use]
    fn key(&self) -> String {
        let keys = Self::FIELDS.iter().filter(|field| Self::KEY.contains(&field.column.name));
        let parts = keys.map(|Field { column, get }| format!("{} = {}", column.name, get(self)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// Defines a row type: struct, schema and frame from one list.
///
/// ```text
/// groundswell::table! {
///     /// What a row of the table is.
///     struct ProgressRow, table "progress", version 1, key [run, step];
///
///     /// Definition of the column.
///     test_loss: Option<f64> ["nats"],    // the unit left out for names, flags and ratios
/// }
/// ```
///
/// A default row has the status `internal_error`, so that one nobody filled in cannot pass as
/// measured.
#[macro_export]
macro_rules! table {
    (
        $( #[doc = $about:literal] )+
        struct $row:ident, table $table:literal, version $version:literal, key [$( $key:ident ),+];
        $(
            $( #[doc = $definition:literal] )+
            $field:ident: $type:ty $( [$unit:literal] )?,
        )+
    ) => {
        $( #[doc = $about] )+
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $row {
            $(
                $( #[doc = $definition] )+
                $( #[doc = concat!("\n\nUnit: ", $unit, ".")] )?
                pub $field: $type,
            )+
        }

        impl $crate::tables::Row for $row {
            const TABLE: &'static str = $table;
            const VERSION: u32 = $version;
            const KEY: &'static [&'static str] = &[$( stringify!($key) ),+];
            const FIELDS: &'static [$crate::tables::Field<Self>] = &[$(
                $crate::tables::Field {
                    column: $crate::tables::Column {
                        name: stringify!($field),
                        dtype: <$type as $crate::tables::Scalar>::DTYPE,
                        unit: concat!($( $unit )?),
                        definition: concat!($( $definition ),+).trim_ascii_start(),
                        nullable: <$type as $crate::tables::Scalar>::NULLABLE,
                    },
                    get: |row| $crate::tables::Scalar::cell(&row.$field),
                }
            ),+];

            fn description() -> &'static str {
                concat!($( $about ),+).trim_ascii_start()
            }

            fn compare_keys(&self, other: &Self) -> ::std::cmp::Ordering {
                use $crate::tables::Scalar as _;
                ::std::cmp::Ordering::Equal
                    $( .then_with(|| self.$key.cell().compare(&other.$key.cell())) )+
            }

            fn from_cells<'a>(
                mut cells: impl FnMut() -> $crate::tables::Cell<'a>,
            ) -> ::std::result::Result<Self, &'static str> {
                // The fields of a struct expression are evaluated in the order written.
                Ok(Self {
                    $( $field: <$type as $crate::tables::Scalar>::from_cell(cells())
                        .ok_or(stringify!($field))?, )+
                })
            }
        }
    };
}
