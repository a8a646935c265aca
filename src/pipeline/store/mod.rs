//! What an analysis leaves behind while it runs, so that it can go on after any end.
//!
//! ```text
//! TABLES/
//!   plan.json                               what is computed, of what
//!   .groundswell/
//!     lock, lock-kkkkk-of-nnnnn, lock-plan  held by whoever writes
//!     journal-kkkkk-of-nnnnn.jsonl          a line for every finished unit of a measure
//!     blocks/<measure>/<key>/<table>.parquet
//! ```
//!
//! A block appears at once, by the renaming of its folder; then its line is appended. A block is only
//! ever replaced by one of the same key, whose bytes a kernel of other rounding may have changed. Tables
//! are joined from blocks, in the order of the plan.

pub mod inputs;
pub mod journal;
pub mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use self::journal::{BlockFile, Journal, Line};
use self::plan::{Plan, Unit};
use crate::durable::{self, Batch, Log};
use crate::error::{Error, Result};
use crate::pipeline::measures::{Encoded, MeasureKind};

/// Name of the folder that holds what readers of the tables need not see.
pub const PRIVATE: &str = ".groundswell";

/// BLAKE3, in hexadecimal, of a value as JSON with sorted keys and no spaces.
fn canonical_digest(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    blake3::hash(sorted.to_string().as_bytes()).to_hex().to_string()
}

/// One of n processes that share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1
    pub k: usize,
    pub n: usize,
}

impl Shard {
    /// One process does everything.
    pub const ALL: Self = Self { k: 1, n: 1 };

    /// Whether the unit with this index in the plan is its work.
    #[must_use]
    pub fn has(self, unit: usize) -> bool {
        unit % self.n + 1 == self.k
    }

    /// `00001-of-00004`
    #[must_use]
    pub fn name(self) -> String {
        format!("{:05}-of-{:05}", self.k, self.n)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.k, self.n)
    }
}

/// `3/8`, as it is said on the command line; `auto/8` is what the command line makes of it.
impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let help = "--shard k/n has k from 1 to n; auto/n takes k from SLURM_ARRAY_TASK_ID";
        let refuse = || Error::setting("shard", format!("`{text}` is no k/n"), help);
        let (k, n) = text.split_once('/').ok_or_else(refuse)?;
        let (k, n) = (k.parse().map_err(|_| refuse())?, n.parse().map_err(|_| refuse())?);
        if !(1..=99_999).contains(&n) || !(1..=n).contains(&k) {
            let problem = format!("{k} is not in 1..={n}");
            return Err(Error::setting("shard", problem, help));
        }
        Ok(Self { k, n })
    }
}

/// The blocks of a folder of tables, and the journal of one process.
#[derive(Debug)]
pub struct Store {
    private: PathBuf,
    log: Mutex<Log>,
    /// Of the lines to come
    sequence: u64,
}

impl Store {
    /// Continue the journal of a shard in this folder of tables, whose journals are these.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`].
    pub fn open(tables: &Path, shard: Shard, journal: &Journal) -> Result<Self> {
        let private = tables.join(PRIVATE);
        durable::create_dir(&private)?;
        let log = journal::open(&private.join(format!("journal-{}.jsonl", shard.name())))?;
        Ok(Self { private, log: Mutex::new(log), sequence: journal.next() })
    }

    /// Put the blocks of a unit in place, then their lines into the journal.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn commit(&self, blocks: Vec<(Line, Vec<Encoded>)>) -> Result<Vec<Line>> {
        let mut batch = Batch::default();
        let (mut lines, mut text) = (Vec::new(), String::new());
        for (mut line, tables) in blocks {
            line.sequence = self.sequence;
            line.tables = tables.iter().map(|table| (table.name.to_owned(), file(table))).collect();
            let folder = block_folder(&self.private, &line);
            // Those that are there with the same key and content are the same.
            if !is_intact(&self.private, &line) {
                durable::create_dir(folder.parent().unwrap_or(&self.private))?;
                let names: Vec<String> =
                    tables.iter().map(|table| format!("{}.parquet", table.name)).collect();
                let files = names.iter().map(String::as_str);
                let bytes = tables.iter().map(|table| table.bytes.as_slice());
                batch.stage_folder(&folder, files.zip(bytes))?;
            }
            text += &line.to_text()?;
            lines.push(line);
        }
        batch.commit()?;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).append(&text)?;
        Ok(lines)
    }
}

fn file(table: &Encoded) -> BlockFile {
    BlockFile {
        blake3: blake3::hash(&table.bytes).to_hex().to_string(),
        bytes: table.bytes.len() as u64,
        rows: table.rows,
    }
}

/// Where the block of a line lies.
fn block_folder(private: &Path, line: &Line) -> PathBuf {
    private.join("blocks").join(line.measure.name()).join(line.key())
}

/// Where a table of a block lies, in this folder of tables.
#[must_use]
pub fn block_file(tables: &Path, line: &Line, table: &str) -> PathBuf {
    block_folder(&tables.join(PRIVATE), line).join(format!("{table}.parquet"))
}

/// Whether the block of a line is there, byte by byte.
#[must_use]
pub fn is_intact(private: &Path, line: &Line) -> bool {
    let folder = block_folder(private, line);
    line.tables.iter().all(|(table, file)| {
        let bytes = std::fs::read(folder.join(format!("{table}.parquet")));
        bytes.is_ok_and(|bytes| blake3::hash(&bytes).to_hex().as_str() == file.blake3)
    })
}

/// Remove what killed processes left among the blocks. Call it where no other process writes.
///
/// # Errors
/// [`Error::Write`].
pub fn sweep(tables: &Path) -> Result<()> {
    let blocks = tables.join(PRIVATE).join("blocks");
    for folder in [tables.to_owned(), tables.join(PRIVATE)] {
        durable::sweep_temporaries(&folder)?;
    }
    let measures = MeasureKind::ALL.iter().map(|kind| blocks.join(kind.name()));
    for folder in measures.filter(|folder| folder.is_dir()) {
        durable::sweep_temporaries(&folder)?;
    }
    Ok(())
}

/// The plan of a folder of tables, if it has one.
///
/// # Errors
/// [`Error::Read`]; as [`Plan::parse`].
pub fn read_plan(tables: &Path) -> Result<Option<Plan>> {
    let path = tables.join(plan::FILE);
    match std::fs::read(&path) {
        Ok(json) => Plan::parse(&path, &json).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::read(&path)(error)),
    }
}

/// How far the units of a plan are.
#[derive(Debug, Default)]
pub struct Progress<'a> {
    /// The line of each measure of each unit, in the order of the plan; none where there is work
    pub lines: BTreeMap<MeasureKind, Vec<Option<&'a Line>>>,
    /// Whether each unit is complete
    pub is_done: Vec<bool>,
}

impl<'a> Progress<'a> {
    /// What the journal says of each unit, as far as `is_valid` believes it.
    pub fn of(
        plan: &Plan,
        units: &[Unit],
        journal: &'a Journal,
        is_valid: impl Fn(&Line) -> bool,
    ) -> Self {
        let mut progress = Self::default();
        for unit in units {
            let mut is_done = true;
            for kind in plan.measures_of(unit) {
                let line = journal.get(&plan.basis(kind, unit)).filter(|line| is_valid(line));
                is_done &= line.is_some();
                progress.lines.entry(kind).or_default().push(line);
            }
            progress.is_done.push(is_done);
        }
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_take_turns() {
        let of = |k| (0..7).filter(|unit| Shard { k, n: 3 }.has(*unit)).collect::<Vec<_>>();
        assert_eq!([of(1), of(2), of(3)], [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
        assert_eq!("3/8".parse::<Shard>().unwrap(), Shard { k: 3, n: 8 });
        assert_eq!(Shard { k: 3, n: 8 }.name(), "00003-of-00008");
        for (text, problem) in [
            ("0/8", "shard: 0 is not in 1..=8"),
            ("9/8", "shard: 9 is not in 1..=8"),
            ("1/0", "shard: 1 is not in 1..=0"),
            ("3", "shard: `3` is no k/n"),
            ("a/b", "shard: `a/b` is no k/n"),
            ("-1/3", "shard: `-1/3` is no k/n"),
        ] {
            let error = text.parse::<Shard>().unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (problem, 2));
        }
    }
}
