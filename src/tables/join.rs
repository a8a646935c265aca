//! Many small tables of one kind to one, without having all rows in memory.
//!
//! What is joined are blocks: files of [`super::encode`] whose keys follow each other. The bytes are
//! those of the same rows encoded at once, so it cannot be seen from a table in what parts, or in
//! how many attempts, it was computed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use polars::prelude::{DataFrame, PolarsError};

use super::decode;
use super::encode::{self, ROW_GROUP};
use super::row::Row;
use super::seal;
use crate::error::{Error, Result};

/// A block of a table: where it is, for messages, and its bytes.
pub type Block = (PathBuf, Vec<u8>);

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub rows: u64,
    pub bytes: u64,
    /// BLAKE3 of the file, in hexadecimal
    pub blake3: String,
}

/// What is needed of a row type to join its tables, without the type.
#[derive(Debug, Clone, Copy)]
pub struct Joinable {
    pub table: &'static str,
    pub version: u32,
    join: fn(Blocks<'_>, &BTreeMap<String, String>, &mut File) -> Result<Joined>,
}

/// Blocks one after the other, each read when its turn comes.
pub type Blocks<'a> = &'a mut dyn Iterator<Item = Result<Block>>;

impl Joinable {
    /// The table of this row type.
    #[must_use]
    pub const fn of<R: Row>() -> Self {
        Self { table: R::TABLE, version: R::VERSION, join: join::<R> }
    }

    /// As [`join`].
    ///
    /// # Errors
    /// As [`join`].
    pub fn join(
        &self,
        blocks: Blocks<'_>,
        metadata: &BTreeMap<String, String>,
        file: &mut File,
    ) -> Result<Joined> {
        (self.join)(blocks, metadata, file)
    }
}

/// Write the rows of the blocks, in their order, as one table with this metadata; `file` is empty.
///
/// # Errors
/// [`Error::TableFile`] or [`Error::OtherRun`] for bytes that are no block of this table;
/// [`Error::Internal`] if the keys do not ascend from block to block; [`Error::Write`], without
/// the path, which only the caller knows, if the file cannot be written.
pub fn join<R: Row>(
    blocks: Blocks<'_>,
    metadata: &BTreeMap<String, String>,
    file: &mut File,
) -> Result<Joined> {
    let mut sink = Sink { to: BufWriter::new(&mut *file), failed: None };
    let written = write_groups::<R>(blocks, metadata, &mut sink);
    // polars wraps an error of the sink into one of its own.
    if let Some(source) = sink.failed.take() {
        return Err(Error::Write { path: PathBuf::new(), source });
    }
    let rows = written?;
    let flushed = sink.to.flush();
    drop(sink);
    let sealed = flushed.and_then(|()| seal::seal_file(file));
    let (bytes, blake3) = sealed.map_err(Error::write(Path::new("")))?;
    Ok(Joined { rows, bytes, blake3 })
}

/// Write full row groups as soon as there are rows for them; returns the number of rows.
fn write_groups<R: Row>(
    blocks: Blocks<'_>,
    metadata: &BTreeMap<String, String>,
    sink: &mut Sink<'_>,
) -> Result<u64> {
    let polars = |source: PolarsError| Error::Table { table: R::TABLE, source };
    let metadata = encode::file_metadata::<R>(metadata)?;
    let mut writer = encode::writer::<R, _>(sink, metadata).map_err(polars)?;
    let mut rows = 0;
    let mut last: Option<R> = None;
    // Rows that wait until they fill a row group.
    let mut waiting = R::frame(&[]).map_err(polars)?;
    for block in blocks {
        let (origin, bytes) = block?;
        let frame = decode::frame::<R>(&origin, &bytes)?;
        drop(bytes);
        if frame.height() == 0 {
            continue;
        }
        let [first, end] = [frame.head(Some(1)), frame.tail(Some(1))]
            .map(|frame| decode::rows::<R>(&origin, &frame).map(|mut rows| rows.pop()));
        let (first, end) = (first?, end?);
        if let Some((last, first)) = last.as_ref().zip(first.as_ref())
            && last.compare_keys(first) != Ordering::Less
        {
            let (table, keys) = (R::TABLE, format!("{} after {}", first.key(), last.key()));
            return Err(Error::Internal(format!("table `{table}`: blocks out of order: {keys}")));
        }
        last = end;
        rows += frame.height() as u64;
        waiting.vstack_mut(&frame).map_err(polars)?;
        while waiting.height() >= ROW_GROUP {
            let (group, rest) = waiting.split_at(ROW_GROUP as i64);
            writer.write_batch(&whole(group)).map_err(polars)?;
            waiting = rest;
        }
    }
    if waiting.height() > 0 {
        writer.write_batch(&whole(waiting)).map_err(polars)?;
    }
    writer.finish().map_err(polars)?;
    Ok(rows)
}

/// The frame with every column in one piece: pieces would be written as pages of their own.
fn whole(mut frame: DataFrame) -> DataFrame {
    frame.rechunk_mut();
    frame
}

/// Keeps the error of the system, with its kind, for who wrote to it through polars.
struct Sink<'a> {
    to: BufWriter<&'a mut File>,
    failed: Option<io::Error>,
}

impl Sink<'_> {
    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed.get_or_insert(error);
            told
        })
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.noted(flushed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;
    use crate::tables::{self, SingularValueRow};

    fn row(step: i64, index: i64) -> SingularValueRow {
        SingularValueRow {
            run: "r".into(),
            step,
            tensor: format!("w{}", step % 3),
            batch_index: 0,
            index,
            sigma: (step * 1000 + index) as f64 / 7.0,
        }
    }

    fn joined(blocks: &[Vec<SingularValueRow>]) -> Result<(Vec<u8>, Joined)> {
        let metadata = BTreeMap::from([("config_hash".to_owned(), "x".to_owned())]);
        let mut blocks = blocks.iter().map(|rows| {
            let bytes = tables::encode(rows.clone(), &BTreeMap::new())?;
            Ok((PathBuf::from("block"), bytes))
        });
        let mut file = tempfile::tempfile().unwrap();
        let joined = join::<SingularValueRow>(&mut blocks, &metadata, &mut file)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        Ok((bytes, joined))
    }

    /// Over two row groups in one file, and blocks of every size down to none.
    #[test]
    fn joined_is_encoded_at_once() {
        let metadata = BTreeMap::from([("config_hash".to_owned(), "x".to_owned())]);
        let sizes = [70_000, 0, 1, 61_070, 1, 200_000, 3];
        let blocks: Vec<Vec<SingularValueRow>> = (0..)
            .zip(sizes)
            .map(|(step, size)| (0..size).map(|index| row(step, index)).collect())
            .collect();
        for blocks in [&blocks[..], &blocks[..1], &blocks[1..2], &[]] {
            let (found, joined) = joined(blocks).unwrap();
            let at_once = tables::encode(blocks.concat(), &metadata).unwrap();
            assert!(found == at_once, "{} bytes, at once {}", found.len(), at_once.len());
            let rows = blocks.concat().len() as u64;
            let blake3 = blake3::hash(&at_once).to_hex().to_string();
            assert_eq!(joined, Joined { rows, bytes: at_once.len() as u64, blake3 });
        }
    }

    #[test]
    fn blocks_out_of_order_are_refused() {
        let error = joined(&[vec![row(2, 0)], vec![row(1, 0)]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "internal error: table `singular_values`: blocks out of order: \
             run = \"r\", step = 1, tensor = \"w1\", batch_index = 0, index = 0 after \
             run = \"r\", step = 2, tensor = \"w2\", batch_index = 0, index = 0"
        );
        assert_eq!(joined(&[vec![row(1, 0)], vec![row(1, 0)]]).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn damaged_blocks_and_other_tables_are_named() {
        let mut damaged = tables::encode(vec![row(1, 0)], &BTreeMap::new()).unwrap();
        damaged[50] ^= 1;
        let other = tables::encode::<tables::BarrierRow>(Vec::new(), &BTreeMap::new()).unwrap();
        for (bytes, code) in [(damaged, 4), (other, 12)] {
            let mut blocks = std::iter::once(Ok((PathBuf::from("block"), bytes)));
            let mut file = tempfile::tempfile().unwrap();
            let refused = join::<SingularValueRow>(&mut blocks, &BTreeMap::new(), &mut file);
            let error = refused.unwrap_err();
            assert!(error.to_string().starts_with("block: "), "{error}");
            assert_eq!(error.exit_code(), code);
        }
    }

    /// `/dev/full` refuses every byte, as a full disk does.
    #[test]
    fn a_full_disk_is_an_error_of_writing() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let rows = (0..100_000).map(|index| row(1, index)).collect();
        let mut blocks =
            [Ok((PathBuf::from("b"), tables::encode(rows, &BTreeMap::new()).unwrap()))];
        let mut blocks =
            blocks.iter_mut().map(|block| std::mem::replace(block, Ok(Block::default())));
        let refused = join::<SingularValueRow>(&mut blocks, &BTreeMap::new(), &mut full);
        assert_eq!(refused.unwrap_err().exit_code(), 5);
    }
}
