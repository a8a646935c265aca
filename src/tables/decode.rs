//! The bytes of a Parquet file back to a frame or to rows.
//!
//! Only what [`super::encode`] wrote is read: bytes that were cut or changed since, and Parquet
//! files of other programs, are an error that names the file before polars sees them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use polars::prelude::{
    Column, DataFrame, ParallelStrategy, ParquetReader, PolarsError, PolarsResult, SerReader,
};

use super::cell::{self, Cell};
use super::encode::PREFIX;
use super::row::Row;
use super::seal;
use crate::error::{Error, Result};

type Reader<'a> = ParquetReader<Cursor<&'a [u8]>>;

/// The file of a table as a frame.
///
/// # Errors
/// [`Error::Read`] if it cannot be read; [`Error::TableFile`] if it is damaged, or no table of
/// ours.
pub fn read(path: &Path) -> Result<DataFrame> {
    // Not by polars from the path: it would map the file, and die if the file is cut meanwhile.
    read_bytes(path, &std::fs::read(path).map_err(Error::read(path))?)
}

/// The bytes of a table as a frame; `origin` is the path that messages name.
///
/// # Errors
/// [`Error::TableFile`] if the bytes are damaged, or no table of ours.
pub fn read_bytes(origin: &Path, bytes: &[u8]) -> Result<DataFrame> {
    open(origin, bytes)?.finish().map_err(refused(origin))
}

/// What a table's file says about itself: its `groundswell.*` metadata, without that prefix.
///
/// # Errors
/// [`Error::TableFile`] if the bytes are damaged, or no table of ours.
pub fn metadata(origin: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    about(origin, &mut open(origin, bytes)?)
}

/// The rows of a table; `origin` is the path that messages name.
///
/// A nullable column that the file lacks was added after it was written, and reads as null. A
/// column that only the file has is ignored.
///
/// # Errors
/// [`Error::TableFile`] if the bytes are damaged or hold no table of ours; [`Error::OtherRun`]
/// if it is another table, or has another schema.
pub fn decode<R: Row>(origin: &Path, bytes: &[u8]) -> Result<Vec<R>> {
    rows(origin, &frame::<R>(origin, bytes)?)
}

/// The columns of a table, in the order of its schema.
///
/// # Errors
/// As [`decode`].
pub(super) fn frame<R: Row>(origin: &Path, bytes: &[u8]) -> Result<DataFrame> {
    let mut reader = open(origin, bytes)?;
    let about = about(origin, &mut reader)?;
    let other = |differences: String| Error::OtherRun { path: origin.to_owned(), differences };

    for (key, ours) in [("table", R::TABLE), ("schema_version", &R::VERSION.to_string())] {
        match about.get(key) {
            None => {
                let problem = format!("has no metadata `{PREFIX}{key}`");
                return Err(Error::TableFile { path: origin.to_owned(), problem });
            }
            Some(found) if found != ours => {
                return Err(other(format!("{key} is {found:?}, this program reads {ours:?}")));
            }
            Some(_) => {}
        }
    }

    let frame = reader.finish().map_err(refused(origin))?;
    let mut columns = Vec::with_capacity(R::FIELDS.len());
    for column in R::columns() {
        columns.push(match frame.column(column.name) {
            Ok(found) if *found.dtype() == column.dtype.polars() => found.clone(),
            Ok(found) => {
                let (found, ours) = (found.dtype(), column.dtype);
                let problem =
                    format!("column `{}` is {found}, this program reads {ours}", column.name);
                return Err(other(problem));
            }
            Err(_) if column.nullable => {
                Column::full_null(column.name.into(), frame.height(), &column.dtype.polars())
            }
            Err(_) => return Err(other(format!("column `{}` is missing", column.name))),
        });
    }
    DataFrame::new(frame.height(), columns).map_err(refused(origin))
}

/// The rows of such columns.
pub(super) fn rows<R: Row>(origin: &Path, frame: &DataFrame) -> Result<Vec<R>> {
    let damaged = |problem: String| Error::TableFile { path: origin.to_owned(), problem };
    let columns = frame.columns().iter().zip(R::FIELDS);
    let columns = columns.map(|(column, field)| cell::cells(column, field.column.dtype));
    let mut columns = columns.collect::<PolarsResult<Vec<_>>>().map_err(refused(origin))?;
    (0..frame.height())
        .map(|row| {
            let mut in_order = columns.iter_mut();
            R::from_cells(|| in_order.next().and_then(Iterator::next).unwrap_or(Cell::Null))
                .map_err(|name| damaged(format!("row {row}: column `{name}` has no valid value")))
        })
        .collect()
}

/// A reader of bytes whose seal is whole.
fn open<'a>(origin: &Path, bytes: &'a [u8]) -> Result<Reader<'a>> {
    seal::check(bytes).map_err(|problem| Error::TableFile { path: origin.to_owned(), problem })?;
    // Threads belong to the engines.
    Ok(Reader::new(Cursor::new(bytes)).read_parallel(ParallelStrategy::None))
}

fn about(origin: &Path, reader: &mut Reader<'_>) -> Result<BTreeMap<String, String>> {
    let file = reader.get_metadata().map_err(refused(origin))?;
    let ours = file.key_value_metadata().iter().flatten().filter_map(|pair| {
        let key = pair.key.strip_prefix(PREFIX)?.to_owned();
        Some((key, pair.value.clone().unwrap_or_default()))
    });
    Ok(ours.collect())
}

/// For what polars refuses although the seal is whole.
fn refused(origin: &Path) -> impl FnOnce(PolarsError) -> Error + '_ {
    |error| Error::TableFile { path: origin.to_owned(), problem: error.to_string() }
}
