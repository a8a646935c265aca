//! The blind detector on a run and its twins: from the tables of all of them to C13.

use super::series::FrequencyStatistic;
use super::tables::RunTables;
use crate::claims::course::{Course, Gap, Series};
use crate::claims::detector::{Detection, Detector, Statistic, auc};
use crate::claims::judge::Detected;
use crate::claims::rules::Rules;
use crate::claims::stats::mean;
use crate::claims::verdict::Lack;

/// Look at a run beside all runs on permuted labels with its settings.
///
/// # Errors
/// What is missing.
pub fn detected(
    rules: &Rules,
    course: &Course,
    tables: RunTables<'_>,
    twins: &[RunTables<'_>],
) -> Result<Detected, Gap> {
    let statistics = [
        FrequencyStatistic::WENorm,
        FrequencyStatistic::WLNorm,
        FrequencyStatistic::LogitCoefficient,
        FrequencyStatistic::NeuronShare,
    ];
    let of = |run: RunTables<'_>| -> Vec<Option<Series>> {
        statistics.iter().map(|one| run.statistic(*one)).collect()
    };
    let own = of(tables);
    let theirs: Vec<_> = twins
        .iter()
        .map(|twin| of(*twin))
        .filter(|found| found.iter().any(Option::is_some))
        .collect();
    if theirs.is_empty() {
        let reason = "no run on permuted labels with these settings has tables";
        return Err(Gap(Lack::NoTwin, reason.into()));
    }
    // A statistic takes part if every run has it, at the saves that all of them have.
    let whole = |i: usize| theirs.iter().chain([&own]).all(|run| run[i].is_some());
    let usable: Vec<usize> = (0..statistics.len()).filter(|i| whole(*i)).collect();
    let all: Vec<Vec<Series>> = theirs
        .iter()
        .chain([&own])
        .map(|run| usable.iter().filter_map(|i| run[*i].clone()).collect())
        .collect();
    let mut steps = course.steps.clone();
    all.iter().flatten().for_each(|series| {
        steps.retain(|step| series.steps.binary_search(step).is_ok());
    });
    if usable.is_empty() || steps.is_empty() {
        let reason = "the runs on permuted labels have no save in common with this one";
        return Err(Gap(Lack::NoTwin, reason.into()));
    }
    let all: Vec<Vec<Series>> = all
        .into_iter()
        .map(|run| run.into_iter().map(|series| series.at_steps(&steps)).collect())
        .collect();
    let (own, twins) = all.split_last().expect("this run is the last of them");
    let compared: Vec<Statistic<'_>> = usable
        .iter()
        .enumerate()
        .map(|(i, statistic)| Statistic {
            name: statistics[*statistic].name(),
            log: statistics[*statistic].is_positive(),
            own: own[i].values.view(),
            twins: twins.iter().map(|twin| twin[i].values.view()).collect(),
        })
        .collect();
    let (level, in_a_row) = (rules.c13.level, rules.nulls.in_a_row);
    let detector = Detector { level, in_a_row, centred: false };
    let found = detector.detect(detector.p_values(&compared).view(), &course.keys);
    let held_out = detector.hold_out(&compared);
    let false_share = |detection: &Detection| {
        let rejected: Vec<f64> =
            detection.rejected.iter().map(|is| f64::from(u8::from(*is))).collect();
        mean(&rejected)
    };
    let of_twins: Vec<f64> = held_out.iter().filter_map(false_share).collect();
    let step = found.save.map(|save| steps[save]);
    let neuron_share = step.and_then(|step| {
        let series = tables.statistic(FrequencyStatistic::NeuronShare)?;
        let save = series.steps.binary_search(&step).ok()?;
        Some(series.mean(&course.keys)[save] * course.keys.len() as f64)
    });
    let negative: Vec<f64> = held_out.iter().flat_map(|found| found.score.clone()).collect();
    Ok(Detected {
        step,
        last: steps.last().copied().unwrap_or(0),
        key: found.frequency,
        false_share: mean(&found.others),
        held_out: mean(&of_twins),
        area: auc(&found.score, &negative),
        neuron_share,
        twins: twins.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::rules::rules;
    use crate::pipeline::claims::series::Sources;
    use crate::pipeline::claims::tables::Tables;
    use crate::tables::{FrequencyRow, Status};

    /// Coefficients of 20 frequencies at steps 0, 10 … 190, which frequency 3 of run `a` leaves from step 100
    /// on; the twins are saved up to step `end`.
    fn tables(end: i64) -> Tables {
        let mut frequencies = Vec::new();
        for (run, name) in ["a", "t1", "t2"].into_iter().enumerate() {
            let last = if run == 0 { 190 } else { end };
            for step in (0..=last).step_by(10) {
                for frequency in 1..=20 {
                    let wave = ((7 * step + 13 * frequency + 29 * run as i64) as f64).sin();
                    let grown = if run == 0 && frequency == 3 { (step - 90).max(0) } else { 0 };
                    frequencies.push(FrequencyRow {
                        run: name.into(),
                        step,
                        frequency,
                        logit_coefficient: Some(wave + grown as f64),
                        status: Status::Ok,
                        ..FrequencyRow::default()
                    });
                }
            }
        }
        Tables::of_sources(Sources { frequencies, ..Sources::default() })
    }

    fn look(tables: &Tables, twins: &[&'static str]) -> Result<Detected, Gap> {
        let steps = (0..20).map(|save| 10 * save).collect();
        let course = Course { steps, keys: vec![3, 5], ..Course::default() };
        let twins: Vec<RunTables<'_>> = twins.iter().map(|twin| tables.of(twin)).collect();
        detected(rules(), &course, tables.of("a"), &twins)
    }

    #[test]
    fn a_planted_key_is_found_when_it_leaves_the_twins() {
        let found = look(&tables(190), &["t1", "t2"]).unwrap();
        assert_eq!((found.step, found.key, found.last, found.twins), (Some(100), Some(3), 190, 2));
        assert_eq!((found.false_share, found.held_out), (Some(0.0), Some(0.0)));
        assert!(found.area.unwrap() > 0.7, "{found:?}");
    }

    /// Only saves that all runs have count; without twins there is nothing to compare with.
    #[test]
    fn what_the_twins_lack_is_not_looked_at() {
        let found = look(&tables(60), &["t1", "t2"]).unwrap();
        assert_eq!((found.step, found.last), (None, 60));
        assert_eq!(look(&tables(60), &[]).unwrap_err().0, Lack::NoTwin);
        assert_eq!(look(&tables(60), &["t9"]).unwrap_err().0, Lack::NoTwin);
    }
}
