//! `plan.json`: what an analysis is of, and in which units it is done.
//!
//! It is written before any work, and holds all that joining the results needs: a shard, and
//! `groundswell merge`, must come to the same tables as one process that does everything. It names
//! no folder of the machine, and no time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::canonical_digest;
use crate::error::{Error, Result};
use crate::pipeline::measures::{MeasureKind, Scope};
use crate::pipeline::places::Places;
use crate::tables::FailureRow;

/// Name of the plan in a folder of tables.
pub const FILE: &str = "plan.json";

/// Raised when a plan, a journal or a block is written in another way.
const FORMAT: u32 = 1;

/// Consecutive checkpoints of a run that are measured as one unit: what a kill costs each worker.
pub const BLOCK: usize = 16;

/// What is computed, of what, and by whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    format: u32,
    /// Version of the program
    pub version: String,
    /// Number of shards; 1 if one process does everything
    pub shards: usize,
    /// Parameters by measure
    pub measures: BTreeMap<MeasureKind, Value>,
    /// In the order of the tables
    pub runs: Vec<PlannedRun>,
    /// Metadata of every table
    pub metadata: BTreeMap<String, String>,
    /// Files that are no checkpoints of any run
    pub failures: Vec<Failure>,
}

/// The checkpoints of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRun {
    pub name: String,
    /// Digest of its settings, or of what was said of it
    pub subject: String,
    /// Digest of what the measures of the network were told besides: its key frequencies
    pub circuit: String,
    /// By step
    pub checkpoints: Vec<PlannedCheckpoint>,
    /// States of the optimiser, by step
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optimizer: Vec<PlannedCheckpoint>,
}

/// A checkpoint as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedCheckpoint {
    pub step: u64,
    /// Path in the archive
    pub file: String,
    pub bytes: u64,
    /// Digest that its bytes ought to have, where the archive says
    pub blake3: Option<String>,
}

/// A row of table `failures`, on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub path: String,
    pub run: Option<String>,
    pub step: Option<i64>,
    pub code: String,
    pub message: String,
}

impl From<FailureRow> for Failure {
    fn from(row: FailureRow) -> Self {
        let FailureRow { path, run, step, code, message } = row;
        Self { path, run, step, code, message }
    }
}

impl From<Failure> for FailureRow {
    fn from(failure: Failure) -> Self {
        let Failure { path, run, step, code, message } = failure;
        Self { path, run, step, code, message }
    }
}

/// A part of the work that is committed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Index of the run
    pub run: usize,
    /// Indices of its checkpoints; all of them for what is measured of a run as a whole
    pub checkpoints: Range<usize>,
    pub scope: Part,
}

/// What a unit is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Consecutive checkpoints
    Block,
    /// A whole run
    Run,
}

impl Plan {
    /// A plan of this version of the program.
    #[must_use]
    pub fn new(shards: usize, measures: BTreeMap<MeasureKind, Value>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            shards,
            measures,
            runs: Vec::new(),
            metadata: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// The units in the order in which shards take turns: of each run its blocks, then itself.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        let of_run = |(run, planned): (usize, &PlannedRun)| {
            let count = planned.checkpoints.len();
            let blocks = (0..count).step_by(BLOCK).map(move |first| Unit {
                run,
                checkpoints: first..(first + BLOCK).min(count),
                scope: Part::Block,
            });
            blocks.chain([Unit { run, checkpoints: 0..count, scope: Part::Run }])
        };
        self.runs.iter().enumerate().flat_map(of_run).collect()
    }

    /// The measures of a unit, in their order.
    pub fn measures_of(&self, unit: &Unit) -> impl Iterator<Item = MeasureKind> {
        let part = unit.scope;
        self.measures.keys().copied().filter(move |kind| match kind.scope() {
            Scope::Checkpoint | Scope::Neighbours | Scope::Previous => part == Part::Block,
            Scope::Run => part == Part::Run,
        })
    }

    /// Number of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> usize {
        self.runs.iter().map(|run| run.checkpoints.len()).sum()
    }

    /// Digest of all that decides the rows of a measure of a unit, but for the bytes of the files.
    #[must_use]
    pub fn basis(&self, kind: MeasureKind, unit: &Unit) -> String {
        let run = &self.runs[unit.run];
        let named = |at: Option<usize>| {
            let checkpoint = run.checkpoints.get(at?)?;
            Some((&checkpoint.file, &checkpoint.blake3))
        };
        let own = &run.checkpoints[unit.checkpoints.clone()];
        let own: Vec<(u64, &str, Option<&str>)> =
            own.iter().map(|own| (own.step, own.file.as_str(), own.blake3.as_deref())).collect();
        let Range { start, end } = unit.checkpoints;
        let around: Option<Vec<_>> = match kind.scope() {
            Scope::Checkpoint | Scope::Run => None,
            Scope::Previous => Some(vec![named(start.checked_sub(1))]),
            Scope::Neighbours => {
                let last = run.checkpoints.len().checked_sub(1);
                let around = [Some(0), start.checked_sub(1), Some(end), last];
                Some(around.map(named).into())
            }
        };
        let schemas: Vec<(&str, u32)> =
            kind.joinables().iter().map(|table| (table.table, table.version)).collect();
        let mut told = json!({
            "format": self.format,
            "version": self.version,
            "measure": kind.name(),
            "measure_version": kind.version(),
            "schemas": schemas,
            "parameters": self.measures.get(&kind),
            "run": run.name,
            "subject": run.subject,
            "circuit": kind.is_of_network().then_some(&run.circuit),
            "checkpoints": own,
            "around": around,
        });
        if kind == MeasureKind::Arrow {
            let is_own = |state: &&PlannedCheckpoint| own.iter().any(|own| own.0 == state.step);
            let states = run.optimizer.iter().filter(is_own);
            told["states"] = states.map(|state| json!([state.file, state.blake3])).collect();
        }
        if let Some(chosen) = self.chosen(kind, unit) {
            told["chosen"] = chosen.into();
        }
        canonical_digest(&told)
    }

    /// The steps of a unit of which a measure was asked for more than of others: `last` is another one
    /// when the run has grown. `None` where nothing was asked.
    fn chosen(&self, kind: MeasureKind, unit: &Unit) -> Option<Vec<u64>> {
        let told = self.measures.get(&kind)?;
        let places = told.get("at").or_else(|| told.get("kernel_at"))?.as_str()?;
        let places: Places = places.parse().ok()?;
        let all = &self.runs[unit.run].checkpoints;
        let ends = all.first().zip(all.last()).map(|(first, last)| (first.step, last.step));
        let own = all[unit.checkpoints.clone()].iter().map(|own| own.step);
        Some(own.filter(|step| places.has(*step, ends)).collect())
    }

    /// The bytes of the file: sorted, with a digest of themselves.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written as JSON; none is known.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let internal = |error| Error::Internal(format!("{FILE}: {error}"));
        let mut plan = serde_json::to_value(self).map_err(internal)?;
        plan.sort_all_objects();
        let sealed = json!({ "blake3": canonical_digest(&plan), "plan": plan });
        let mut json = serde_json::to_vec_pretty(&sealed).map_err(internal)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads the bytes of a plan; `origin` is the path that messages name.
    ///
    /// # Errors
    /// [`Error::TableFile`] if they are none, or were changed; [`Error::OtherRun`] if another version
    /// of the program wrote them in another format.
    pub fn parse(origin: &Path, json: &[u8]) -> Result<Self> {
        let bad = |problem: String| Error::TableFile { path: origin.to_owned(), problem };
        let no_plan = |error: serde_json::Error| bad(format!("not a plan: {error}"));
        let mut sealed: Value = serde_json::from_slice(json).map_err(no_plan)?;
        let plan = sealed["plan"].take();
        if sealed["blake3"] != canonical_digest(&plan).as_str() {
            return Err(bad("checksum mismatch: damaged, or changed by hand".into()));
        }
        let format = plan["format"].as_u64().unwrap_or(0);
        if format != u64::from(FORMAT) {
            let differences = format!("format is {format} there, {FORMAT} here");
            return Err(Error::OtherRun { path: origin.to_owned(), differences });
        }
        serde_json::from_value(plan).map_err(no_plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let run = |name: &str, count: u64| PlannedRun {
            name: name.into(),
            subject: "s".into(),
            circuit: "c".into(),
            checkpoints: (0..count)
                .map(|i| PlannedCheckpoint {
                    step: 10 * i,
                    file: format!("{name}/{i}"),
                    bytes: 8,
                    blake3: None,
                })
                .collect(),
            optimizer: Vec::new(),
        };
        let measures = [MeasureKind::Spectra, MeasureKind::Movement, MeasureKind::Training];
        let mut plan = Plan::new(1, measures.map(|kind| (kind, json!({ "a": 1 }))).into());
        plan.runs = vec![run("r", 35), run("s", 1)];
        plan
    }

    #[test]
    fn units_are_blocks_and_runs() {
        let plan = plan();
        let units = plan.units();
        let ranges: Vec<_> =
            units.iter().map(|u| (u.run, u.checkpoints.clone(), u.scope)).collect();
        let expected = [
            (0, 0..16, Part::Block),
            (0, 16..32, Part::Block),
            (0, 32..35, Part::Block),
            (0, 0..35, Part::Run),
            (1, 0..1, Part::Block),
            (1, 0..1, Part::Run),
        ];
        assert_eq!(ranges, expected);
        let kinds = |unit| plan.measures_of(unit).collect::<Vec<_>>();
        assert_eq!(kinds(&units[0]), [MeasureKind::Spectra, MeasureKind::Movement]);
        assert_eq!(kinds(&units[3]), [MeasureKind::Training]);
    }

    /// Everything that decides rows changes the basis, and nothing else does.
    #[test]
    fn a_basis_is_of_what_decides_the_rows() {
        let before = plan();
        let units = before.units();
        let basis = |plan: &Plan, kind, unit: usize| plan.basis(kind, &units[unit]);
        let changed = |plan: &Plan, kind| {
            (0..3)
                .map(|unit| basis(plan, kind, unit) != basis(&before, kind, unit))
                .collect::<Vec<_>>()
        };
        let mut longer = before.clone();
        let checkpoint =
            PlannedCheckpoint { step: 999, file: "r/999".into(), bytes: 8, blake3: None };
        longer.runs[0].checkpoints.push(checkpoint);
        assert_eq!(changed(&longer, MeasureKind::Spectra), [false; 3], "same units, same files");
        assert_eq!(changed(&longer, MeasureKind::Movement), [true; 3], "another last checkpoint");

        let mut keys = before.clone();
        keys.runs[0].circuit = "other".into();
        assert_eq!(changed(&keys, MeasureKind::Spectra), [false; 3]);
        keys.measures.insert(MeasureKind::Progress, Value::Null);
        let mut same = before.clone();
        same.measures.insert(MeasureKind::Progress, Value::Null);
        assert!(basis(&keys, MeasureKind::Progress, 0) != basis(&same, MeasureKind::Progress, 0));

        let mut states = before.clone();
        let state = |step| PlannedCheckpoint {
            step,
            file: format!("r/optimizer/{step}"),
            bytes: 8,
            blake3: None,
        };
        states.runs[0].optimizer = vec![state(100), state(999)];
        assert_eq!(changed(&states, MeasureKind::Arrow), [true, false, false], "of its own steps");
        assert_eq!(changed(&states, MeasureKind::Movement), [false; 3]);

        // Of a run that grew, the block with the former last checkpoint holds no last one any more.
        let told = [
            (MeasureKind::Shares, json!({ "kernel_at": "20,last" })),
            (MeasureKind::Ablations, json!({ "at": "20,last" })),
        ];
        let mut whole = before.clone();
        whole.runs[0].checkpoints.truncate(32);
        whole.measures = told.into();
        let mut grown = before.clone();
        grown.measures.clone_from(&whole.measures);
        for kind in [MeasureKind::Shares, MeasureKind::Ablations] {
            let differ = |unit: usize| basis(&grown, kind, unit) != basis(&whole, kind, unit);
            assert_eq!([differ(0), differ(1)], [false, true], "{kind}");
        }

        let mut other = before.clone();
        other.measures.insert(MeasureKind::Spectra, json!({ "a": 2 }));
        assert_eq!(changed(&other, MeasureKind::Spectra), [true; 3]);
        let mut renamed = before.clone();
        renamed.runs[0].checkpoints[20].step = 201;
        assert_eq!(changed(&renamed, MeasureKind::Spectra), [false, true, false]);
        let mut expected = before.clone();
        expected.runs[0].checkpoints[33].blake3 = Some("d".into());
        assert_eq!(changed(&expected, MeasureKind::Spectra), [false, false, true]);
        assert!(basis(&before, MeasureKind::Spectra, 0) != basis(&before, MeasureKind::Spectra, 1));
    }

    #[test]
    fn a_plan_survives_the_round_trip_and_no_change() {
        let path = Path::new("t/plan.json");
        let json = plan().to_json().unwrap();
        assert_eq!(Plan::parse(path, &json).unwrap(), plan());
        let text = String::from_utf8(json).unwrap();
        let refused = |text: &str| {
            let error = Plan::parse(path, text.as_bytes()).unwrap_err();
            (error.exit_code(), error.to_string())
        };
        let damaged = "t/plan.json: checksum mismatch: damaged, or changed by hand";
        assert_eq!(refused(&text.replace("\"r/7\"", "\"r/8\"")), (4, damaged.into()));
        assert_eq!(refused("{}"), (4, damaged.into()));
        assert!(refused("{").1.starts_with("t/plan.json: not a plan: EOF"));
        let mut newer = plan();
        newer.format = 2;
        let newer = String::from_utf8(newer.to_json().unwrap()).unwrap();
        let message = "t/plan.json: written with different parameters: format is 2 there, 1 here";
        assert_eq!(refused(&newer), (12, message.into()));
    }
}
