//! `groundswell onset`: from when on the key frequencies are beyond the others. Table `onset`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::open;
use super::series::{Frequencies, FrequencyStatistic, Sources, TABLES};
use crate::archive::{self, Run};
use crate::claims::course::Series;
use crate::claims::nulls::subsets::{Pool, Subsets, single_thresholds};
use crate::claims::onset::{ALSO, onset};
use crate::claims::phases::Phases;
use crate::claims::rules::{NullRules, Rules};
use crate::error::{Error, Result};
use crate::pipeline::Summary;
use crate::pipeline::output::{self, Output};
use crate::tables::{self, OnsetRow, ProgressRow, Row, Status};

/// Name under which the manifest keeps what the table was computed from.
const MEASURE: &str = "onset";

/// Name of the digest of the rules, in the manifest and in the file.
pub(super) const RULES_DIGEST: &str = "rules_digest";

/// Target of the rows about all keys together.
const KEYS: &str = "keys";

/// Which onsets.
#[derive(Debug)]
pub struct Request<'a> {
    pub archive: &'a Path,
    /// How to read what is not ours
    pub options: &'a archive::Options,
    pub out: &'a Path,
    /// How many random sets, which quantile of them, for how many saves in a row
    pub rules: &'a Rules,
    /// Of the random sets [default: that of the rules]
    pub seed: Option<u64>,
}

/// Find the onsets of every run of the archive that the tables are about; write `onset`.
///
/// Of the archive only settings and digests are read: the order of the group, and whether the tables are of
/// its checkpoints. A run whose tables are not is left out.
///
/// # Errors
/// [`Error::Incomplete`] if there is no table `progress`, or no run of the archive in it; otherwise as
/// [`crate::pipeline::analyze::analyze`].
pub fn onsets(request: &Request<'_>) -> Result<Summary> {
    let (archive, mut output, missing) = open(request.archive, request.options, request.out)?;
    let sources = Sources::read(&output)?;
    let mut summary = Summary::default();
    for name in sources.strangers(&archive) {
        summary.warnings.push(format!("{name}: is in the tables and not in the archive"));
    }
    let mut nulls = request.rules.nulls.clone();
    nulls.seed = request.seed.unwrap_or(nulls.seed);
    let (mut rows, mut compared) = (Vec::new(), serde_json::Map::new());
    for run in &archive.runs {
        if let Some(problem) = sources.differs(run) {
            summary.warnings.push(format!("{problem}: run `groundswell analyze` again"));
            summary.skipped += 1;
            continue;
        }
        let found = of_run(&sources, run, &nulls);
        compared.insert(run.name.clone(), found.compared);
        summary.warnings.extend(found.warnings);
        rows.extend(found.rows);
        summary.computed += 1;
    }
    if summary.computed == 0 {
        return Err(missing("the tables are of none of the runs of the archive"));
    }
    let about = json!({
        "null": "N1",
        "draws": nulls.subsets,
        "seed": nulls.seed,
        "generator": "ChaCha8",
        "quantile": nulls.quantile,
        "saves_in_a_row": [nulls.in_a_row, ALSO[0], ALSO[1]],
        "frequencies": compared,
        RULES_DIGEST: request.rules.digest(),
    });
    let inputs = TABLES.iter().filter_map(|table| {
        let entry = output.manifest().tables.get(*table)?;
        Some(((*table).to_owned(), json!(entry.blake3)))
    });
    let mut provenance = about.clone();
    provenance["inputs"] = inputs.collect::<serde_json::Map<_, _>>().into();
    let mut metadata = output::metadata(&archive, &[])?;
    metadata.extend(chosen(&output)?);
    metadata.insert(MEASURE.to_owned(), about.to_string());
    metadata.insert(RULES_DIGEST.to_owned(), request.rules.digest());
    let mut replacement = output.replace();
    replacement.table(rows, &metadata)?;
    summary.tables = replacement.commit([(MEASURE.to_owned(), provenance)].into())?;
    Ok(summary)
}

/// By which choices the tables were made, from the metadata of `progress`.
fn chosen(output: &Output) -> Result<BTreeMap<String, String>> {
    let path = output.dir().join(format!("{}.parquet", ProgressRow::TABLE));
    let bytes = std::fs::read(&path).map_err(Error::read(&path))?;
    let mut metadata = tables::metadata(&path, &bytes)?;
    metadata.retain(|key, _| ["key_rule", "keys", "protocol", "precision"].contains(&key.as_str()));
    Ok(metadata)
}

/// The onsets of one run.
struct OfRun {
    rows: Vec<OnsetRow>,
    warnings: Vec<String>,
    /// For the metadata: keys, and what they are compared with
    compared: serde_json::Value,
}

fn of_run(sources: &Sources, run: &Run, rules: &NullRules) -> OfRun {
    let phases = sources.phases(&run.name);
    let of_keys = sources.of_keys(run);
    let (mut rows, mut warnings) = (Vec::new(), Vec::new());
    for &statistic in FrequencyStatistic::ALL {
        let series = sources.series(&run.name, statistic);
        if let (None, Ok(_)) = (&series, &of_keys) {
            warnings.push(format!(
                "{}: no {} in the tables: `{}` makes it",
                run.name,
                statistic.source(),
                statistic.command()
            ));
        }
        let mut of_statistic = match (&of_keys, &series) {
            (Ok(of_keys), Some(series)) => measured(series, of_keys, rules),
            (Ok(of_keys), None) => unmeasured(&of_keys.keys, Status::Missing),
            (Err(status), _) => unmeasured(&[], *status),
        };
        of_statistic.iter_mut().for_each(|row| about(row, run, statistic, phases));
        rows.append(&mut of_statistic);
    }
    let compared = match of_keys {
        Ok(Frequencies { keys, plain }) => json!({ "keys": keys, "others": plain }),
        Err(status) => json!({ "status": status.name() }),
    };
    OfRun { rows, warnings, compared }
}

/// Fill in what all rows of a statistic have in common.
fn about(row: &mut OnsetRow, run: &Run, statistic: FrequencyStatistic, phases: Phases) {
    let Phases { t_mem, t_peak, t_drop, t_gen } = phases;
    row.run.clone_from(&run.name);
    statistic.name().clone_into(&mut row.statistic);
    (row.t_mem, row.t_peak, row.t_drop, row.t_gen) = (t_mem, t_peak, t_drop, t_gen);
    row.lead = t_drop.zip(row.step_onset).map(|(drop, onset)| drop - onset);
}

/// A row for each target, without an onset.
fn unmeasured(keys: &[usize], status: Status) -> Vec<OnsetRow> {
    let targets = keys.iter().map(usize::to_string).chain([KEYS.to_owned()]);
    targets.map(|target| OnsetRow { target, status, ..OnsetRow::default() }).collect()
}

fn measured(series: &Series, of_keys: &Frequencies, rules: &NullRules) -> Vec<OnsetRow> {
    let Frequencies { keys, plain } = of_keys;
    let values = series.values.view();
    let row = |target: String, own: &[f64], thresholds: Option<&[Option<f64>]>| {
        let Some(thresholds) = thresholds.filter(|all| all.iter().any(Option::is_some)) else {
            return OnsetRow { target, status: Status::TooFewFrequencies, ..OnsetRow::default() };
        };
        let first = |in_a_row| onset(own, thresholds, in_a_row);
        let step = |save: Option<usize>| save.map(|save| series.steps[save]);
        let found = first(rules.in_a_row);
        OnsetRow {
            target,
            threshold: found.and_then(|save| thresholds[save]),
            step_onset: step(found),
            step_onset_3: step(first(ALSO[0])),
            step_onset_10: step(first(ALSO[1])),
            status: if found.is_some() { Status::Ok } else { Status::NotReached },
            ..OnsetRow::default()
        }
    };
    let single = single_thresholds(values, plain, rules.quantile);
    let of_key = |k: &usize| row(k.to_string(), &values.column(k - 1).to_vec(), Some(&single));
    let mut rows: Vec<OnsetRow> = keys.iter().map(of_key).collect();
    let sets = Subsets::new(rules, keys, plain, Pool::Plain);
    let thresholds = sets.map(|sets| sets.thresholds(values, rules.quantile));
    rows.push(row(KEYS.to_owned(), &series.mean(keys), thresholds.as_deref()));
    rows
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::claims::rules::rules;

    /// 24 frequencies, of which 2 and 3 are keys that grow from save 4 and 6 on; the others stay within
    /// 0.9 to 1.1.
    fn growing() -> Series {
        let values = Array2::from_shape_fn((20, 24), |(save, index)| {
            let grown = |from: usize| 1.0 + save.saturating_sub(from) as f64;
            match index + 1 {
                2 => grown(3),
                3 => grown(5),
                _ => 1.0 + 0.1 * ((3 * save + 5 * index) as f64).sin(),
            }
        });
        Series { steps: (0..20).map(|save| 10 * save).collect(), values }
    }

    #[test]
    fn growing_keys_have_their_onsets() {
        let of_keys = Frequencies { keys: vec![2, 3], plain: (7..=24).collect() };
        let rows = measured(&growing(), &of_keys, &rules().nulls);
        let found: Vec<_> =
            rows.iter().map(|row| (row.target.as_str(), row.step_onset, row.status)).collect();
        let expected = [
            ("2", Some(40), Status::Ok),
            ("3", Some(60), Status::Ok),
            ("keys", Some(40), Status::Ok),
        ];
        assert_eq!(found, expected);
        assert!(rows.iter().all(|row| (0.9..1.1).contains(&row.threshold.unwrap())));
        assert_eq!(rows, measured(&growing(), &of_keys, &rules().nulls));
        // Ten in a row fit for 2 only just: saves 4 to 13 of 14.
        let mut short = growing();
        short.values = short.values.slice(ndarray::s![..14, ..]).to_owned();
        let rows = measured(&short, &of_keys, &rules().nulls);
        let tens: Vec<_> = rows.iter().map(|row| row.step_onset_10).collect();
        assert_eq!(tens, [Some(40), None, Some(40)]);
    }

    #[test]
    fn no_onset_and_no_null_are_told_apart() {
        let of = |keys: &[usize], plain: &[usize]| {
            let of_keys = Frequencies { keys: keys.to_vec(), plain: plain.to_vec() };
            let rows = measured(&growing(), &of_keys, &rules().nulls);
            rows.iter().map(|row| (row.step_onset, row.status)).collect::<Vec<_>>()
        };
        let many: Vec<usize> = (6..=24).collect();
        assert_eq!(of(&[4, 5], &many), [(None, Status::NotReached); 3]);
        assert_eq!(of(&[2], &[5, 6])[0], (None, Status::TooFewFrequencies));
        // Four of 4 are one set, 2 of 14 are 91, and 100 are needed.
        assert_eq!(of(&[2, 3, 4, 5], &[6, 7, 8, 9])[4], (None, Status::TooFewFrequencies));
        assert_eq!(of(&[2, 3], &many[..14])[2], (None, Status::TooFewFrequencies));
        assert_eq!(of(&[2, 3], &many[..15])[2], (Some(40), Status::Ok));
    }

    /// Saves in a row, and the quantile, are those of the rules.
    #[test]
    fn rules_decide_what_an_onset_is() {
        let of_keys = Frequencies { keys: vec![2, 3], plain: (7..=24).collect() };
        let mut dip = growing();
        dip.values.row_mut(7).fill(0.0);
        let onset = |rules: &NullRules| measured(&dip, &of_keys, rules)[2].step_onset;
        let own = rules().nulls.clone();
        assert_eq!(onset(&own), Some(80));
        assert_eq!(onset(&NullRules { in_a_row: 2, ..own.clone() }), Some(40));
        let threshold = |quantile: f64| {
            let rules = NullRules { quantile, ..own.clone() };
            measured(&growing(), &of_keys, &rules)[2].threshold
        };
        assert!(threshold(0.5) < threshold(0.999));
    }
}
