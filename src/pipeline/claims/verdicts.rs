//! `groundswell claims`: the essay's claims, judged by the rules. Table `claims`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use serde_json::{Value, json};

use super::families::Families;
use super::one::{Bench, CLAIMS, Judged};
use super::open;
use super::tables::Tables;
use crate::archive::{self, Run};
use crate::claims::judge::{All, Capacity, all_runs, c10, curve, other_families};
use crate::claims::rules::Rules;
use crate::claims::verdict::{Finding, Lack, Measured};
use crate::error::{Error, Result};
use crate::pipeline::output;
use crate::pipeline::{Observe, Summary, in_parallel};
use crate::tables::{ClaimRow, Status};

/// Name under which the manifest keeps what the table was computed from.
const MEASURE: &str = "claims";

/// The run of the rows about all of them.
const ALL: &str = "all";

/// Claims whose numbers count saves or add up what is between them: other cadences have others.
const OF_CADENCE: [&str; 2] = ["C7", "C8"];

/// The statistic of the rows with a claim's verdict.
const VERDICT: &str = "verdict";

/// Tables that decide rows.
const INPUTS: [&str; 15] = [
    "arrow",
    "barriers",
    "checkpoints",
    "curvature",
    "fourier",
    "frequencies",
    "interpolation",
    "neurons",
    "onset",
    "plane_points",
    "progress",
    "shares",
    "surface",
    "basins",
    "resemblance",
];

/// What to judge, and by which rules.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    pub rules: &'a Rules,
    /// Number of threads; the table does not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

/// A claim over all runs, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub claim: &'static str,
    pub verdict: &'static str,
    pub value: Option<f64>,
    pub interval: Option<[f64; 2]>,
    pub p: Option<f64>,
    pub reason: String,
}

/// Judge every run of the archive, and all runs of its largest family together; write `claims`.
///
/// # Errors
/// [`Error::Incomplete`] if there is no table `progress`, or no run of the archive in it; otherwise as
/// [`crate::pipeline::analyze::analyze`].
pub fn claims(request: &Request<'_>, observe: Observe<'_>) -> Result<(Summary, Vec<Told>)> {
    crate::linalg::require_sound()?;
    let (archive, mut output, missing) = open(request.archive, request.options, request.out)?;
    let tables = Tables::read(&output, &archive, request.rules)?;
    let families = Families::new(&archive)?;
    let runs: Vec<&Run> = families.judged().collect();
    if runs.iter().all(|run| tables.of(&run.name).progress().next().is_none()) {
        return Err(missing("the tables are of none of the runs of the archive"));
    }
    let bench = Bench { rules: request.rules, tables: &tables, families: &families };
    let judged =
        in_parallel(&runs, request.threads, request.stop, observe, |run| Ok(bench.judge(run)))?;
    let main: BTreeSet<&str> = families.main().into_iter().collect();
    let mut all = together(&bench, &judged, &main);
    let rows = rows(&judged, &main, &all);

    let skipped = archive.unreadable.len() + tables.aside.len();
    let mut summary = Summary { computed: judged.len(), skipped, ..Summary::default() };
    summary.warnings.extend(archive.unreadable.iter().map(Error::to_string));
    summary.warnings.extend(tables.aside.values().cloned());
    for (table, command) in &tables.missing {
        summary.warnings.push(format!("no table {table}: `{command}` writes it"));
    }
    let inputs = INPUTS.iter().filter_map(|table| {
        let entry = output.manifest().tables.get(*table)?;
        Some(((*table).to_owned(), json!(entry.blake3)))
    });
    let inputs: serde_json::Map<String, Value> = inputs.collect();
    let names = |runs: Vec<&str>| json!(runs);
    let about = json!({
        "rules": request.rules.digest(),
        "all": names(families.main()),
        "permuted": names(families.permuted().map(|run| run.name.as_str()).collect()),
        "inputs": inputs,
        "generator": "ChaCha8",
    });
    let mut metadata = output::metadata(&archive, &[])?;
    metadata.insert("rules".to_owned(), request.rules.text().to_owned());
    metadata.insert("rules_digest".to_owned(), request.rules.digest());
    metadata.insert("runs_of_all".to_owned(), about["all"].to_string());
    let mut replacement = output.replace();
    replacement.table(rows, &metadata)?;
    summary.tables = replacement.commit([(MEASURE.to_owned(), about)].into())?;
    let told = CLAIMS.into_iter().filter_map(|claim| {
        let All { finding, interval, .. } = all.remove(claim)?;
        Some(Told {
            claim,
            verdict: finding.verdict.name(),
            value: finding.headline,
            interval,
            p: finding.p,
            reason: finding.reason,
        })
    });
    Ok((summary, told.collect()))
}

/// Every claim over the runs of the main family.
fn together(
    bench: &Bench<'_>,
    judged: &[Judged],
    main: &BTreeSet<&str>,
) -> BTreeMap<&'static str, All> {
    let rules = bench.rules;
    let capacities: Vec<Capacity> = judged.iter().map(|judged| judged.capacity.clone()).collect();
    let as_large = |run: &str| main.iter().all(|own| bench.families.share_size(run, own));
    let as_often = |run: &str| main.iter().all(|own| bench.families.share_cadence(run, own));
    let mut all: BTreeMap<&'static str, All> = BTreeMap::new();
    for claim in CLAIMS {
        let of = |inside: bool| -> Vec<&Finding> {
            let chosen = judged
                .iter()
                .filter(|judged| main.contains(judged.run.as_str()) == inside)
                // Networks of other sizes are what C10 is about.
                .filter(|judged| as_large(&judged.run))
                .filter(|judged| !OF_CADENCE.contains(&claim) || as_often(&judged.run));
            chosen.filter_map(|judged| judged.findings.get(claim)).collect()
        };
        let mut found = match claim {
            "C10" => c10(rules, &capacities),
            _ => all_runs(rules, claim, &of(true)),
        };
        if claim == "C13" {
            let own = judged.iter().filter(|judged| main.contains(judged.run.as_str()));
            let rows = curve(rules.c13.level, own.map(|judged| &judged.scores));
            found.parts.extend(rows.map(|row| (row, None)));
        }
        if let Some(row) = other_families(&found, &of(false)).filter(|_| claim != "C10") {
            found.parts.push((row, None));
        }
        all.insert(claim, found);
    }
    All::correct(rules, &mut all.values_mut().collect::<Vec<_>>());
    all
}

fn rows(
    judged: &[Judged],
    main: &BTreeSet<&str>,
    all: &BTreeMap<&'static str, All>,
) -> Vec<ClaimRow> {
    let mut rows = Vec::new();
    for judged in judged {
        for (claim, finding) in &judged.findings {
            let mut finding = finding.clone();
            if !main.contains(judged.run.as_str()) {
                finding.reason += "; not among the runs of `all`";
            }
            rows.push(verdict_row(claim, &judged.run, &finding, None));
            let parts = finding.parts.iter();
            rows.extend(parts.map(|part| part_row(claim, &judged.run, part, None)));
        }
    }
    for (claim, found) in all {
        rows.push(verdict_row(claim, ALL, &found.finding, found.interval));
        let parts = found.parts.iter();
        rows.extend(parts.map(|(part, interval)| part_row(claim, ALL, part, *interval)));
    }
    rows
}

fn verdict_row(claim: &str, run: &str, finding: &Finding, interval: Option<[f64; 2]>) -> ClaimRow {
    let mut row =
        Measured::number(VERDICT, finding.headline).judged(finding.verdict, finding.reason.clone());
    row.lack = finding.lack;
    ClaimRow { p: finding.p, ..part_row(claim, run, &row, interval) }
}

fn part_row(claim: &str, run: &str, part: &Measured, interval: Option<[f64; 2]>) -> ClaimRow {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let of = part.against.unwrap_or_default();
    ClaimRow {
        claim: claim.to_owned(),
        run: run.to_owned(),
        statistic: part.statistic.clone(),
        null_id: part.against.map_or("none", |against| against.null).to_owned(),
        value: finite(part.value),
        low: finite(interval.map(|[low, _]| low)),
        high: finite(interval.map(|[_, high]| high)),
        null_mean: finite(of.mean),
        null_q: finite(of.quantile),
        z: finite(of.z),
        p: finite(of.p),
        verdict: part.verdict.name().to_owned(),
        reason: part.reason.clone(),
        status: status(part.lack),
    }
}

/// Why a row is not whole.
fn status(lack: Option<Lack>) -> Status {
    match lack {
        None => Status::Ok,
        Some(Lack::NotReached) => Status::NotReached,
        Some(Lack::Missing) => Status::Missing,
        Some(Lack::NoTwin) => Status::NoTwin,
        Some(Lack::NoMoments) => Status::NoMoments,
        Some(Lack::NoKeys) => Status::NoKeys,
    }
}
