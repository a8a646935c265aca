//! A folder of tables: what it holds, who writes to it, and how it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::run::{Choices, RunContext, list};
use super::store;
use crate::archive::{Archive, Run};
use crate::blas;
use crate::config::{Facts, RunConfig};
use crate::durable::{self, Batch, Lock, Locking};
use crate::error::{Error, Result};
use crate::progress::KEY_THRESHOLD;
use crate::tables::manifest::{self, Manifest};
use crate::tables::{self, Blocks, Joinable, Row, TrainingRow};

/// A folder of tables, locked for writing.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
    manifest: Manifest,
    _lock: Lock,
}

impl Output {
    /// Create or open the folder, and lock it.
    ///
    /// # Errors
    /// As [`Output::open_with`].
    pub fn open(dir: &Path, archive: &Path) -> Result<Self> {
        Self::open_with(dir, archive, Locking::On)
    }

    /// The same with or without a lock.
    ///
    /// # Errors
    /// [`Error::Setting`] if it lies inside the archive, which is never written to;
    /// [`Error::Write`], before any work; [`Error::Locked`]; [`Error::TableFile`] for a damaged
    /// manifest.
    pub fn open_with(dir: &Path, archive: &Path, locking: Locking) -> Result<Self> {
        refuse_inside(dir, archive)?;
        durable::create_dir(&dir.join(store::PRIVATE))?;
        Self::open_existing(dir, locking)
    }

    /// The same for tables that are not computed from an archive.
    ///
    /// # Errors
    /// As [`Output::open_existing`].
    pub fn without_archive(dir: &Path) -> Result<Self> {
        durable::create_dir(&dir.join(store::PRIVATE))?;
        Self::open_existing(dir, Locking::On)
    }

    /// A folder that an earlier command wrote.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Write`], [`Error::Locked`], [`Error::TableFile`].
    pub fn open_existing(dir: &Path, locking: Locking) -> Result<Self> {
        let private = dir.join(store::PRIVATE);
        if !private.is_dir() {
            return Err(Error::NotFound { path: dir.to_owned(), kind: "folder of tables" });
        }
        let lock = match locking {
            Locking::On => Lock::exclusive(&private.join("lock"))?,
            Locking::Off => Lock::none(),
        };
        if locking == Locking::On {
            store::sweep(dir)?;
        }
        Ok(Self { dir: dir.to_owned(), manifest: read_manifest(dir)?, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest as it is now.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What a measure's tables were computed from, when they were last written.
    #[must_use]
    pub fn parameters(&self, measure: &str) -> Option<&Value> {
        self.manifest.parameters.get(measure)
    }

    /// Whether this table is listed.
    #[must_use]
    pub fn has(&self, table: &str) -> bool {
        self.manifest.tables.contains_key(table)
    }

    /// Whether these tables are listed, and there with the bytes that were written.
    ///
    /// # Errors
    /// [`Error::Read`] if the folder cannot be listed.
    pub fn is_intact(&self, tables: &[&str]) -> Result<bool> {
        let wrong = self.manifest.verify(&self.dir)?;
        let damaged = |table: &str| wrong.iter().any(|w| w.file == format!("{table}.parquet"));
        Ok(tables.iter().all(|table| self.has(table) && !damaged(table)))
    }

    /// Rows of a table written before; none if there is no such table.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::TableFile`] if it is damaged.
    pub fn rows<R: Row>(&self) -> Result<Vec<R>> {
        if !self.has(R::TABLE) {
            return Ok(Vec::new());
        }
        let path = self.path::<R>();
        match std::fs::read(&path) {
            Ok(bytes) => tables::decode(&path, &bytes),
            // Deleted by hand, say because it was damaged: it is written anew.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::read(&path)(error)),
        }
    }

    fn path<R: Row>(&self) -> PathBuf {
        self.dir.join(format!("{}.parquet", R::TABLE))
    }

    /// Begin to replace tables; nothing changes before [`Replacement::commit`].
    #[must_use]
    pub fn replace(&mut self) -> Replacement<'_> {
        Replacement {
            manifest: self.manifest.clone(),
            output: self,
            batch: Batch::default(),
            written: Vec::new(),
        }
    }
}

/// New tables on their way in.
#[derive(Debug)]
pub struct Replacement<'a> {
    output: &'a mut Output,
    manifest: Manifest,
    batch: Batch,
    written: Vec<(&'static str, u64)>,
}

impl Replacement<'_> {
    /// Encode and stage a table.
    ///
    /// # Errors
    /// [`Error::Internal`] or [`Error::Table`] for rows that make no table; [`Error::Write`].
    pub fn table<R: Row>(
        &mut self,
        rows: Vec<R>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let count = rows.len() as u64;
        let bytes = tables::encode(rows, metadata)?;
        self.batch.stage(&self.output.path::<R>(), &bytes)?;
        self.manifest.insert::<R>(&bytes, count);
        self.written.push((R::TABLE, count));
        Ok(())
    }

    /// Join blocks to a table and stage it.
    ///
    /// # Errors
    /// As [`tables::join`]; [`Error::Write`].
    pub fn join(
        &mut self,
        table: &Joinable,
        blocks: Blocks<'_>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let path = self.output.dir.join(format!("{}.parquet", table.table));
        let joined = self.batch.stage_with(&path, |file| table.join(blocks, metadata, file))?;
        self.written.push((table.table, joined.rows));
        self.manifest.insert_joined(table, joined);
        Ok(())
    }

    /// Put the tables in place, the manifest last: where it is present, the folder is complete.
    ///
    /// # Errors
    /// [`Error::Write`]; the old tables are then intact, or no manifest claims the new ones.
    pub fn commit(
        mut self,
        parameters: BTreeMap<String, Value>,
    ) -> Result<Vec<(&'static str, u64)>> {
        self.manifest.parameters.extend(parameters);
        self.manifest.version = env!("CARGO_PKG_VERSION").to_owned();
        let path = self.output.dir.join(manifest::FILE);
        self.batch.stage(&path, &self.manifest.to_json()?)?;
        durable::remove(&path)?;
        self.batch.commit()?;
        self.output.manifest = self.manifest;
        Ok(self.written)
    }
}

/// The manifest of a folder; an empty one if it has none.
///
/// # Errors
/// [`Error::Read`], [`Error::TableFile`].
pub fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(manifest::FILE);
    match std::fs::read(&path) {
        Ok(json) => Manifest::parse(&path, &json),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Manifest::new(BTreeMap::new()))
        }
        Err(error) => Err(Error::read(&path)(error)),
    }
}

/// What the trainer of a run logged, as rows.
pub(super) fn training(run: &Run) -> Result<Vec<TrainingRow>> {
    let rows = run.metrics()?.into_iter().map(|row| TrainingRow {
        run: run.name.clone(),
        step: i64::try_from(row.step).unwrap_or(i64::MAX),
        train_loss: row.train_loss,
        test_loss: row.test_loss,
        train_accuracy: row.train_accuracy,
        test_accuracy: row.test_accuracy,
        learning_rate: row.learning_rate,
        gradient_norm: row.gradient_norm,
        tiny_second_moment: row.tiny_second_moment,
    });
    Ok(rows.collect())
}

/// Inputs are never written to, so the tables may not lie among them.
pub(super) fn refuse_inside(dir: &Path, archive: &Path) -> Result<()> {
    let archive = archive.canonicalize().map_err(Error::read(archive))?;
    // The nearest folder that exists decides; the rest will be created below it.
    let mut existing = std::path::absolute(dir).map_err(Error::read(dir))?;
    while !existing.exists() && existing.pop() {}
    let existing = existing.canonicalize().map_err(Error::read(dir))?;
    if existing.starts_with(&archive) {
        return Err(Error::setting(
            "out",
            format!("{} lies inside the archive {}", dir.display(), archive.display()),
            "choose a folder beside it: an archive is never written to",
        ));
    }
    Ok(())
}

/// Metadata of every table: what computed it, the settings of the runs, and which key frequencies by
/// which rule.
///
/// # Errors
/// [`Error::Internal`] if the settings cannot be written as JSON; none are known.
pub fn metadata(archive: &Archive, runs: &[&RunContext]) -> Result<BTreeMap<String, String>> {
    /// What is known of how a run was trained.
    #[derive(serde::Serialize)]
    #[serde(untagged)]
    enum Said<'a> {
        Settings(&'a RunConfig),
        Facts(&'a Facts),
    }
    fn said(run: &Run) -> Said<'_> {
        run.info.as_ref().map_or(Said::Facts(&run.facts), |info| Said::Settings(&info.config))
    }
    let configs: BTreeMap<&str, Said<'_>> =
        archive.runs.iter().map(|run| (run.name.as_str(), said(run))).collect();
    let config = serde_json::to_string(&configs)
        .map_err(|error| Error::Internal(format!("settings as JSON: {error}")))?;
    let keys: BTreeMap<&str, Value> = runs
        .iter()
        .filter_map(|run| {
            let keys = run.keys.as_ref()?;
            Some((run.name.as_str(), json!({ "keys": list(&keys.keys), "margin": keys.margin })))
        })
        .collect();
    let info = blas::info();
    let usual = Choices::default();
    let choices = runs.first().map_or(&usual, |run| &run.choices);
    let entries = [
        ("openblas", format!("{} {}", info.library, info.version)),
        ("kernel", info.kernel),
        ("config_hash", blake3::hash(config.as_bytes()).to_hex().to_string()),
        ("config", config),
        ("key_rule", choices.keys.described(KEY_THRESHOLD)),
        ("protocol", choices.protocol.to_string()),
        ("precision", choices.precision.to_string()),
        ("keys", json!(keys).to_string()),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}
