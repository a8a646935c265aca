//! Rows to the bytes of a Parquet file.
//!
//! Order, uniqueness and finiteness are settled here, on the rows; polars only lays out and
//! compresses what it is given, on the calling thread.

use std::collections::BTreeMap;
use std::io::Write;

use polars::polars_utils::compression::ZstdLevel;
use polars::prelude::{
    BatchedWriter, CompatLevel, KeyValueMetadata, ParquetCompression, ParquetWriter, PolarsResult,
    SchemaExt, StatisticsOptions,
};
use polars_parquet::write::schema_to_metadata_key;

use super::cell::Dtype;
use super::row::{Field, Row};
use super::seal::seal;
use crate::error::{Error, Result};

/// Prefix of every key that we write into the metadata of a file.
pub(super) const PREFIX: &str = "groundswell.";

/// Rows per row group: what a reader decodes at least, and what statistics can skip.
pub(super) const ROW_GROUP: usize = 131_072;

/// Level of zstd; higher ones cost seconds and win a few per cent on floating-point columns.
const ZSTD_LEVEL: i32 = 3;

/// The table as a Parquet file: sorted by key, checked, compressed, with a checksum inside.
///
/// The file's metadata names the table, its key, schema version and program version, and the
/// unit and definition of each column; `metadata` adds to it (`config_hash` becomes
/// `groundswell.config_hash`) and must hold no path, host name or time. The order of `rows`
/// does not matter: the same rows and metadata give the same bytes.
///
/// # Errors
/// [`Error::Internal`] if a value is NaN or infinite, if two rows have the same key, or if
/// `metadata` holds a key that the table writes itself; [`Error::Table`] if polars fails.
pub fn encode<R: Row>(mut rows: Vec<R>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    // First, because the order of rows is one of finite numbers.
    refuse_non_finite(&rows)?;
    rows.sort_by(R::compare_keys);
    if let Some(twice) = rows.windows(2).find(|pair| pair[0].compare_keys(&pair[1]).is_eq()) {
        return Err(Error::Internal(format!(
            "table `{}`: two rows have the key {}",
            R::TABLE,
            twice[0].key()
        )));
    }
    let metadata = file_metadata::<R>(metadata)?;
    let bytes =
        write(&rows, metadata).map_err(|source| Error::Table { table: R::TABLE, source })?;
    seal(bytes).ok_or_else(|| {
        Error::Internal(format!("table `{}`: polars wrote no whole Parquet file", R::TABLE))
    })
}

fn refuse_non_finite<R: Row>(rows: &[R]) -> Result<()> {
    let floats = R::FIELDS.iter().filter(|field| field.column.dtype == Dtype::Float64);
    for Field { column, get } in floats {
        if let Some(row) = rows.iter().find(|row| !get(row).is_finite()) {
            return Err(Error::Internal(format!(
                "table `{}`: column `{}` is {} in the row {}; undefined must be null",
                R::TABLE,
                column.name,
                get(row),
                row.key()
            )));
        }
    }
    Ok(())
}

/// What the file says about itself; sorted, so that it is written in one order.
pub(super) fn file_metadata<R: Row>(
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([
        ("table".to_owned(), R::TABLE.to_owned()),
        ("description".to_owned(), R::description().to_owned()),
        ("key".to_owned(), R::KEY.join(",")),
        ("schema_version".to_owned(), R::VERSION.to_string()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    for column in R::columns() {
        all.insert(format!("column.{}.unit", column.name), column.unit.to_owned());
        all.insert(format!("column.{}.definition", column.name), column.definition.to_owned());
    }
    for (key, value) in given {
        if all.insert(key.clone(), value.clone()).is_some() {
            return Err(Error::Internal(format!(
                "table `{}`: metadata key `{key}` is written by the table itself",
                R::TABLE
            )));
        }
    }
    Ok(all)
}

fn write<R: Row>(rows: &[R], metadata: BTreeMap<String, String>) -> PolarsResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = writer::<R, _>(&mut bytes, metadata)?;
    // One batch is one row group. polars' own splitting only bounds their size within a factor
    // of two, and this way only one row group at a time exists as columns beside the rows.
    for group in rows.chunks(ROW_GROUP) {
        writer.write_batch(&R::frame(group)?)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// What writes batches of rows, each of them one row group, to `to`.
pub(super) fn writer<R: Row, W: Write>(
    to: W,
    metadata: BTreeMap<String, String>,
) -> PolarsResult<BatchedWriter<W>> {
    let metadata = metadata.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value));
    let schema = R::frame(&[])?;
    // Left alone, polars declares its own string views, on which pyarrow can run no filter.
    let arrow = schema_to_metadata_key(&schema.schema().to_arrow(CompatLevel::oldest()));
    let arrow = arrow.value.map(|value| (arrow.key, value));
    ParquetWriter::new(to)
        .with_compression(ParquetCompression::Zstd(Some(ZstdLevel::try_new(ZSTD_LEVEL)?)))
        .with_statistics(StatisticsOptions::default())
        .with_key_value_metadata(Some(KeyValueMetadata::from_static(
            metadata.chain(arrow).collect(),
        )))
        .set_parallel(false) // Threads belong to the engines.
        .batched(schema.schema())
}
