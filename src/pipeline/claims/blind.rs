//! The blind detector on a run and its twins: from the tables of all of them to C13.

use ndarray::ArrayView1;

use super::series::FrequencyStatistic;
use super::tables::RunTables;
use crate::claims::course::{Course, Gap, Series};
use crate::claims::detector::{Detection, Detector, Scores, Statistic, smallest_chance};
use crate::claims::judge::{Detected, Seen};
use crate::claims::rules::Rules;
use crate::claims::stats::mean;
use crate::claims::verdict::Lack;

/// What the detector looks at.
const STATISTICS: [FrequencyStatistic; 4] = [
    FrequencyStatistic::WENorm,
    FrequencyStatistic::WLNorm,
    FrequencyStatistic::LogitCoefficient,
    FrequencyStatistic::NeuronShare,
];

/// Two numbers of the same checkpoint, however it was evaluated, differ by less.
const SAME: f64 = 1e-9;

/// A statistic of all runs at the same saves.
struct OfAll {
    statistic: FrequencyStatistic,
    own: Series,
    twins: Vec<Series>,
}

/// Look at a run beside all runs on permuted labels with its settings, from whatever initialisation; of
/// those that cannot be used, the reason.
///
/// # Errors
/// What is missing.
pub fn detected(
    rules: &Rules,
    course: &Course,
    tables: RunTables<'_>,
    twins: &[Result<RunTables<'_>, String>],
) -> Result<Detected, Gap> {
    if twins.is_empty() {
        return Err(Gap(Lack::NoTwin, "no run on permuted labels with these settings".into()));
    }
    let t_drop = course.t_drop()?;
    let own = own_series(rules, course, tables, t_drop)?;
    let (mut theirs, mut left_out) = (Vec::new(), Vec::new());
    for twin in twins {
        let found = twin.as_ref().map_err(String::clone);
        match found.and_then(|twin| series_of_twin(rules, course, *twin, &own, t_drop)) {
            Ok(series) => theirs.push(series),
            Err(why) => left_out.push(why),
        }
    }
    if theirs.is_empty() {
        let why: String = left_out.iter().map(|why| format!("; {why}")).collect();
        let reason = format!("no run on permuted labels with these settings can be used{why}");
        return Err(Gap(Lack::NoTwin, reason));
    }
    let (steps, all) = at_common_saves(rules, course, &own, &theirs, t_drop)?;
    let compared: Vec<Statistic<'_>> = all
        .iter()
        .map(|OfAll { statistic, own, twins }| Statistic {
            name: statistic.name(),
            log: statistic.is_positive(),
            own: own.values.view(),
            twins: twins.iter().map(|twin| twin.values.view()).collect(),
        })
        .collect();

    let judging = Detector::new(rules);
    let keys = course.keys.as_slice();
    let seen = |found: Detection| Seen {
        step: steps[found.save],
        key: found.frequency,
        chance: found.chance,
        neuron_share: share_of_neurons(&all, keys, found.save),
    };
    let literal = {
        let literal = judging.literal();
        literal.detect(literal.rejected(literal.p_values(&compared).view()).view(), keys)
    };
    let p = judging.p_values(&compared);
    let rejected = judging.rejected(p.view());
    let held_out = judging.hold_out(&compared);
    let of_twins: Vec<f64> =
        held_out.iter().filter_map(|twin| mean(&any(twin.rows().into_iter()))).collect();
    let frequencies = rejected.ncols();
    let is_key = |k: &usize| keys.contains(k);
    let is_plain = |k: &usize| course.plain.contains(k);
    let among_discoveries = |which: &dyn Fn(&usize) -> bool| {
        let share = |row: ArrayView1<'_, bool>| {
            let found: Vec<usize> = (1..=frequencies).filter(|k| row[k - 1]).collect();
            let share = found.iter().filter(|k| which(k)).count() as f64 / found.len() as f64;
            share.is_finite().then_some(share)
        };
        mean(&rejected.rows().into_iter().filter_map(share).collect::<Vec<_>>())
    };
    let before_drop = steps.iter().filter(|step| **step < t_drop).count();
    let scores = judging.scores(p.slice(ndarray::s![..before_drop, .., ..]));
    let of = |which: &[usize]| which.iter().map(|k| scores[k - 1]).collect();
    let (draws, seed) = (rules.nulls.subsets, rules.nulls.seed);
    Ok(Detected {
        judged: judging.detect(rejected.view(), keys).map(seen),
        literal: literal.map(seen),
        last: steps.last().copied().unwrap_or(0),
        before_drop,
        smallest_chance: smallest_chance(keys.len(), frequencies),
        discoveries: mean(&any(rejected.rows().into_iter())),
        held_out: mean(&of_twins),
        false_alarms: judging.false_alarms(&held_out, keys.len(), draws, seed),
        plain_share: among_discoveries(&is_plain),
        harmonic_share: among_discoveries(&|k| !is_key(k) && !is_plain(k)),
        scores: Scores { keys: of(keys), plain: of(&course.plain) },
        twins: theirs.len(),
        left_out,
    })
}

/// 1 for each save at which anything is rejected, 0 for the others.
fn any<'a>(saves: impl Iterator<Item = ArrayView1<'a, bool>>) -> Vec<f64> {
    saves.map(|save| f64::from(u8::from(save.iter().any(|is| *is)))).collect()
}

/// The run's own statistics. A network without W_E has no norms of it; nothing else may be missing.
fn own_series(
    rules: &Rules,
    course: &Course,
    tables: RunTables<'_>,
    t_drop: i64,
) -> Result<Vec<(FrequencyStatistic, Series)>, Gap> {
    let mut found = Vec::new();
    for statistic in STATISTICS {
        let Some(series) = tables.statistic(statistic) else {
            let has_w_l = || tables.statistic(FrequencyStatistic::WLNorm).is_some();
            if statistic == FrequencyStatistic::WENorm && has_w_l() {
                continue;
            }
            return Err(super::one::no_table(statistic.source(), statistic.command()));
        };
        let steps = series.steps.iter().copied();
        course.require_cover(rules, statistic.name(), (0, t_drop), steps)?;
        found.push((statistic, series));
    }
    Ok(found)
}

/// The same statistics of a twin, if it has all of them at most of the run's saves up to t_drop; or why it
/// cannot be used.
fn series_of_twin(
    rules: &Rules,
    course: &Course,
    twin: RunTables<'_>,
    own: &[(FrequencyStatistic, Series)],
    t_drop: i64,
) -> Result<Vec<Series>, String> {
    let of = |(statistic, own): &(FrequencyStatistic, Series)| {
        let lacks = || format!("{}: no {} in the tables", twin.run, statistic.source());
        let series = twin.statistic(*statistic).ok_or_else(lacks)?;
        if series.values.ncols() != own.values.ncols() {
            return Err(format!("{}: other frequencies in {}", twin.run, statistic.source()));
        }
        let common = course.steps.iter().copied();
        let common = common.filter(|step| series.steps.binary_search(step).is_ok());
        let covers = course.require_cover(rules, twin.run, (0, t_drop), common);
        covers.map_err(|Gap(_, why)| why).map(|()| series)
    };
    own.iter().map(of).collect()
}

/// All statistics at the saves that all runs have, from the first one on at which no twin has the same
/// weights as the run. The twin from the same initialisation has them at step 0, and where the learning rate warms up
/// from 0 at step 1 as well.
fn at_common_saves(
    rules: &Rules,
    course: &Course,
    own: &[(FrequencyStatistic, Series)],
    theirs: &[Vec<Series>],
    t_drop: i64,
) -> Result<(Vec<i64>, Vec<OfAll>), Gap> {
    let mut steps = course.steps.clone();
    theirs.iter().flatten().chain(own.iter().map(|(_, series)| series)).for_each(|series| {
        steps.retain(|step| series.steps.binary_search(step).is_ok());
    });
    let what = "saves that the runs on permuted labels have as well";
    course.require_cover(rules, what, (0, t_drop), steps.iter().copied())?;
    let at = |steps: &[i64]| -> Vec<OfAll> {
        let of = |(i, (statistic, own)): (usize, &(FrequencyStatistic, Series))| OfAll {
            statistic: *statistic,
            own: own.at_steps(steps),
            twins: theirs.iter().map(|twin| twin[i].at_steps(steps)).collect(),
        };
        own.iter().enumerate().map(of).collect()
    };
    let all = at(&steps);
    let is_same = |save: usize, twin: usize| {
        all.iter().all(|OfAll { own, twins, .. }| {
            let pairs = own.values.row(save);
            let mut pairs = pairs.iter().zip(twins[twin].values.row(save));
            pairs.all(|(a, b)| (a - b).abs() <= SAME * a.abs().max(b.abs()))
        })
    };
    let differ = |save: &usize| (0..theirs.len()).all(|twin| !is_same(*save, twin));
    let first = (0..steps.len()).find(differ).unwrap_or(steps.len());
    steps.drain(..first);
    let all = at(&steps);
    Ok((steps, all))
}

/// `neuron_share` of the keys in sum.
fn share_of_neurons(all: &[OfAll], keys: &[usize], save: usize) -> Option<f64> {
    let shares = all.iter().find(|one| one.statistic == FrequencyStatistic::NeuronShare)?;
    Some(keys.iter().map(|k| shares.own.values[[save, k - 1]]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::phases::Phases;
    use crate::claims::rules::rules;
    use crate::pipeline::claims::series::Sources;
    use crate::pipeline::claims::tables::Tables;
    use crate::tables::{FourierRow, FrequencyRow, Status};

    const KEYS: [i64; 2] = [3, 5];
    const NAMES: [&str; 4] = ["a", "t1", "t2", "t3"];

    /// Four statistics of 20 frequencies at steps 0, 10 … 190. In run `a` the logit coefficients of the keys
    /// leave those of the others from step `from` on. `t1` has the weights of `a` at step 0, and ends at
    /// step `end`.
    fn sources(from: i64, end: i64) -> Sources {
        let mut sources = Sources::default();
        for (run, name) in (0..).zip(NAMES) {
            let last = if name == "t1" { end } else { 190 };
            for (step, frequency) in
                (0..=last).step_by(10).flat_map(|step| (1..=20).map(move |k| (step, k)))
            {
                let drawn = if step == 0 && run == 1 { 0 } else { run };
                let wave =
                    |phase: i64| ((7 * step + 13 * frequency + 29 * drawn + phase) as f64).sin();
                let grows = drawn == 0 && KEYS.contains(&frequency);
                let grown = if grows { (step - from + 10).max(0) } else { 0 };
                sources.frequencies.push(FrequencyRow {
                    run: name.into(),
                    step,
                    frequency,
                    logit_coefficient: Some(wave(0) + grown as f64),
                    neuron_share: Some(0.05 * (0.1 * wave(1)).exp()),
                    status: Status::Ok,
                    ..FrequencyRow::default()
                });
                sources.fourier.extend(["W_E", "W_L"].map(|object| FourierRow {
                    run: name.into(),
                    step,
                    object: object.into(),
                    frequency,
                    norm: Some((0.1 * wave(object.len() as i64)).exp()),
                    ..FourierRow::default()
                }));
            }
        }
        sources
    }

    fn look(sources: Sources, twins: &[&'static str]) -> Result<Detected, Gap> {
        let tables = Tables::of_sources(sources);
        let phases =
            Phases { t_mem: Some(20), t_peak: Some(30), t_drop: Some(160), t_gen: Some(180) };
        let course = Course {
            steps: (0..20).map(|save| 10 * save).collect(),
            phases,
            keys: KEYS.map(|k| k as usize).into(),
            plain: vec![7, 9, 11, 12, 13, 14, 16, 17, 18, 19, 20],
            ..Course::default()
        };
        let twins: Vec<_> = twins.iter().map(|twin| Ok(tables.of(twin))).collect();
        detected(rules(), &course, tables.of("a"), &twins)
    }

    #[test]
    fn planted_keys_are_found_when_they_leave_the_twins() {
        let found = look(sources(100, 190), &NAMES[1..]).unwrap();
        let seen = found.judged.unwrap();
        assert_eq!((seen.step, seen.key, found.literal.unwrap().step), (100, 3, 100));
        assert!((seen.chance - 1.0 / 190.0).abs() < 1e-12, "{seen:?}");
        assert!((seen.neuron_share.unwrap() - 0.1).abs() < 0.02, "{seen:?}");
        assert_eq!((found.last, found.before_drop, found.twins), (190, 15, 3));
        assert_eq!((found.plain_share, found.harmonic_share), (Some(0.0), Some(0.0)));
        // From step 100 to 190 of 10 to 190.
        assert!((found.discoveries.unwrap() - 10.0 / 19.0).abs() < 1e-12, "{found:?}");
        assert_eq!((found.held_out, found.false_alarms), (Some(0.0), Some(0.0)));
        assert_eq!((found.scores.keys.len(), found.scores.plain.len()), (2, 11));
        assert_eq!((found.scores.area(), found.left_out), (Some(1.0), vec![]));
        // Five saves before t_drop have it: without them a curve sees nothing.
        let late = look(sources(130, 190), &NAMES[1..]).unwrap();
        assert!(late.scores.area().unwrap() < 1.0 && late.judged.unwrap().step == 130, "{late:?}");
    }

    /// At step 0 the twin from the same initialisation is the run itself: what is there from the start on is found
    /// at the next save.
    #[test]
    fn the_run_is_not_compared_with_itself() {
        let found = look(sources(0, 190), &NAMES[1..]).unwrap();
        assert_eq!((found.judged.unwrap().step, found.before_drop), (10, 15));
        let others = look(sources(0, 190), &["t2", "t3"]).unwrap();
        assert_eq!((others.judged.unwrap().step, others.before_drop), (0, 16));
    }

    /// A twin that ends before the test loss drops, or has no tables, is left out and named; without twins
    /// there is nothing to compare with.
    #[test]
    fn twins_must_cover_the_window() {
        let found = look(sources(100, 60), &["t1", "t2", "t3", "t9"]).unwrap();
        assert_eq!((found.twins, found.last, found.judged.unwrap().step), (2, 190, 100));
        let [short, none] = found.left_out.as_slice() else { panic!("{found:?}") };
        assert_eq!(short, "t1: 7 of the 17 saves of 0..160");
        assert_eq!(none, "t9: no fourier.norm in the tables");
        let Gap(lack, why) = look(sources(100, 60), &["t1"]).unwrap_err();
        assert!(lack == Lack::NoTwin && why.ends_with(short), "{why}");
        assert_eq!(look(sources(100, 190), &[]).unwrap_err().0, Lack::NoTwin);
    }

    /// All statistics are needed, but the norms of a W_E that the network does not have; and most of the saves.
    #[test]
    fn a_run_without_a_statistic_is_not_looked_at() {
        let lack = |keep: &dyn Fn(&mut Sources)| {
            let mut sources = sources(100, 190);
            keep(&mut sources);
            look(sources, &NAMES[1..]).map(|found| found.judged.unwrap().step).map_err(|gap| gap.0)
        };
        assert_eq!(lack(&|all| all.fourier.clear()), Err(Lack::Missing));
        assert_eq!(
            lack(&|all| all.frequencies.iter_mut().for_each(|row| row.neuron_share = None)),
            Err(Lack::Missing)
        );
        assert_eq!(lack(&|all| all.fourier.retain(|row| row.object != "W_E")), Ok(100));
        assert_eq!(
            lack(&|all| all.frequencies.retain(|row| row.run != "a" || row.step > 20)),
            Err(Lack::Missing)
        );
    }
}
