//! C1, C3, C4b, C8, C9: claims with nulls of random frequencies.

use std::collections::BTreeMap;

use super::*;
use crate::claims::curse::{Walks, is_gone};
use crate::claims::nulls::subsets::Pool;
use crate::claims::nulls::{Compared, NullId, compare};
use crate::claims::onset::onset;
use crate::claims::stats::Side;
use crate::claims::verdict::Bounds;

fn exponents_of(keys: f64, others: f64) -> Vec<f64> {
    (1..=FREQUENCIES).map(|k| if KEYS.contains(&k) { keys } else { others }).collect()
}

#[test]
fn c1_tells_a_climb_from_a_stumble() {
    let (rules, run) = (few_draws(), course());
    let climb = walking(0.05, |t| t / 100.0);
    let straight = exponents_of(1.9, 1.0);
    let found = c1(&rules, &run, &Walks::new(&rules, &run, &climb), Ok(&straight));
    is(&found, Verdict::Supports);
    let found = found.unwrap();
    assert!(found.p.unwrap() < 0.05 && found.headline.unwrap() > 0.99, "{found:?}");
    assert!(found.reason.ends_with("a head start is not ruled out"), "{found:?}");
    // Rows that wander: the climb is not theirs. Nor is it known without the weights.
    is(
        &c1(&rules, &run, &Walks::new(&rules, &run, &climb), Ok(&exponents_of(1.9, 1.9))),
        Verdict::Undecided,
    );
    let none = Gap(Lack::Missing, "no weights".into());
    lacks(&c1(&rules, &run, &Walks::new(&rules, &run, &climb), Err(none)), Lack::Missing);
    // Flat, then nearly all at the end.
    let jump = walking(0.0, |t| t / 1e5 + if t > 780.0 { 10.0 } else { 0.0 });
    is(&c1(&rules, &run, &Walks::new(&rules, &run, &jump), Ok(&straight)), Verdict::Refutes);
    let late = climb.within(0, 300);
    lacks(&c1(&rules, &run, &Walks::new(&rules, &run, &late), Ok(&straight)), Lack::Missing);
}

fn curse(p: &[f64]) -> Curse {
    let compared = |(null, p): (NullId, &f64)| Compared {
        p: Some(*p),
        ..compare(&rules().nulls, null, 1.0, &[], Side::Upper)
    };
    let nulls = [NullId::N5a, NullId::N5aPaths, NullId::N5b];
    Curse { clearance: nulls.into_iter().zip(p).map(compared).collect(), split: None }
}

/// An onset, with the p of N5 by the first deadline and by the second.
fn at(step: Option<i64>, early: &[f64], late: &[f64]) -> Result<Origin, Gap> {
    let curses = [curse(early), curse(late)];
    let curse = [("t_mem", curses.clone()), ("t_peak", curses)].into();
    Ok(Origin { step, saves: course().steps, curse, ..Origin::default() })
}

fn origins(origin: &Result<Origin, Gap>) -> BTreeMap<String, Result<Origin, Gap>> {
    rules().c3.statistics.iter().map(|name| (name.clone(), origin.clone())).collect()
}

fn c3a(origins: &BTreeMap<String, Result<Origin, Gap>>) -> Outcome {
    let run = course();
    c3(rules(), &run, origins, rules().c3.a, ("t_mem", run.t_mem()))
}

#[test]
fn c3_needs_an_early_onset_that_is_no_selection() {
    let judge = |origin: &Result<Origin, Gap>| c3a(&origins(origin));
    let (low, high) = (&[0.001, 0.002, 0.001][..], &[0.001, 0.3, 0.001][..]);
    for (step, early, late, expected) in [
        (Some(10), low, low, Verdict::Supports),
        (Some(50), low, low, Verdict::Undecided),  // between
        (Some(50), high, low, Verdict::Undecided), // nothing was to be seen by the first deadline
        (Some(100), low, low, Verdict::Refutes),   // late
        (None, &[][..], &[][..], Verdict::Refutes),
        (Some(10), high, high, Verdict::Refutes), // gone under N5
        (Some(50), high, high, Verdict::Refutes),
        (Some(10), high, low, Verdict::Undecided), // gone by the first deadline alone
        (Some(10), low, high, Verdict::Undecided),
        (Some(10), &[][..], &[][..], Verdict::Undecided), // N5 is undefined
    ] {
        is(&judge(&at(step, early, late)), expected);
    }
    let found = judge(&at(Some(10), low, low)).unwrap();
    assert_eq!((found.headline, found.p), (Some(0.1), Some(0.002)));
    assert!(found.reason.contains("ruled out for independent increments alone"), "{found:?}");
    let found = judge(&at(Some(10), &low[..2], &low[..2])).unwrap();
    assert_eq!(found.verdict, Verdict::Supports);
    assert!(found.reason.contains("a head start is not ruled out"), "{found:?}");
    lacks(&judge(&Err(Gap(Lack::Missing, "no table".into()))), Lack::Missing);
    // One statistic that says otherwise leaves it open.
    let mut mixed = origins(&at(Some(10), low, low));
    mixed.insert("w_e_norm".into(), at(Some(900), low, low));
    is(&c3a(&mixed), Verdict::Undecided);
    let gap = Err(Gap(Lack::NotReached, "no t_peak".into()));
    lacks(&c3(rules(), &course(), &mixed, rules().c3.a, ("t_peak", gap)), Lack::NotReached);
}

/// "Never" and "late" of a statistic that is not known up to the deadline would be said of what is missing.
#[test]
fn c3_decides_nothing_on_saves_that_are_not_there() {
    for step in [None, Some(10), Some(900)] {
        let mut short = at(step, &[0.001; 3], &[0.001; 3]).unwrap();
        short.saves.retain(|step| *step < 80);
        let found = c3a(&origins(&Ok(short)));
        lacks(&found, Lack::Missing);
        assert!(found.unwrap().reason.contains("8 of the 11 saves of 0..100"));
    }
}

/// The odd neurons are one null more; what could not be looked at supports nothing, and takes nothing back.
#[test]
fn c3_needs_the_other_half_of_the_neurons() {
    let with = |split: Result<f64, Gap>| {
        let mut origin = at(Some(10), &[0.001; 3], &[0.001; 3]).unwrap();
        for curse in origin.curse.values_mut().flatten() {
            let null = |p| Compared {
                p: Some(p),
                ..compare(&rules().nulls, NullId::N5c, 1.0, &[], Side::Upper)
            };
            curse.split = Some(split.clone().map(null));
        }
        let mut all = origins(&at(Some(10), &[0.001; 3], &[0.001; 3]));
        all.insert("w_l_norm".into(), Ok(origin));
        c3a(&all)
    };
    let found = with(Ok(0.01));
    is(&found, Verdict::Supports);
    let found = found.unwrap();
    assert_eq!(found.p, Some(0.01));
    let row = found.parts.iter().find(|row| row.statistic == "odd neurons' w_l_norm by 0.1 t_mem");
    assert_eq!(row.unwrap().against.unwrap().null, "N5c");
    let gone = with(Ok(0.2)).unwrap();
    let row = gone.parts.iter().find(|row| row.statistic == "w_l_norm/t_mem").unwrap();
    assert_eq!((row.verdict, gone.verdict), (Verdict::Refutes, Verdict::Undecided));
    let gap = with(Err(Gap(Lack::Missing, "no such file".into())));
    is(&gap, Verdict::Undecided);
    let gap = gap.unwrap();
    assert_eq!(gap.p, None);
    assert!(gap.parts.iter().any(|row| row.reason == "no such file"), "{gap:?}");
}

const DEADLINE: &str = "t_mem";

fn onset_of(rules: &Rules, run: &Course, series: &Series) -> Origin {
    let sets = run.subsets(rules, Pool::Plain).unwrap();
    let thresholds = sets.thresholds(series.values.view(), rules.nulls.quantile);
    let save = onset(&series.mean(&run.keys), &thresholds, rules.nulls.in_a_row);
    let row = (save.map(|save| series.steps[save]), save.and_then(|save| thresholds[save]));
    let deadline = Deadline { name: DEADLINE, unit: T_MEM, bounds: rules.c3.a };
    let walks = &Walks::new(rules, run, series);
    origin(rules, run, &Known { series, walks, of: OfWalks::Value }, row, &[deadline])
}

/// p by the first deadline.
fn p_of(origin: &Origin) -> Vec<f64> {
    origin.curse[DEADLINE][0].clearance.iter().filter_map(|null| null.p).collect()
}

/// Keys that grow on their own stand out, and winners by chance hardly ever do as early; keys that only
/// won do not.
#[test]
fn winners_by_chance_are_known_for_what_they_are() {
    let (rules, run) = (few_draws(), course());
    let grown = onset_of(&rules, &run, &walking(0.1, |t| t / 10.0));
    assert!(grown.step.is_some_and(|step| step <= 50), "{grown:?}");
    // Growth rates, as N5b has them, are defined for what is positive.
    assert!(p_of(&grown).len() == 2 && p_of(&grown).iter().all(|p| *p < 0.03), "{grown:?}");
    // The save was chosen because the keys exceed there: their mean and N1's band, in its units, and no p.
    let there = grown.at_onset.unwrap();
    let band = there.quantile.unwrap();
    assert!(there.value > band && there.mean.unwrap() < band && there.z.unwrap() > 3.0);
    assert_eq!((there.null, there.p), (NullId::N1, None));
    let mut positive = walking(0.1, |t| t / 10.0);
    positive.values.mapv_inplace(f64::exp);
    let grown = onset_of(&rules, &run, &positive);
    assert!(p_of(&grown).len() == 3 && p_of(&grown).iter().all(|p| *p < 0.03), "{grown:?}");
    assert!(grown.ticket.is_some_and(|null| null.null == NullId::N5d && null.value < 1.0));
    let chance = walking(0.1, |_| 0.0);
    let last = chance.values.row(100);
    let mut order: Vec<usize> = (1..=FREQUENCIES).collect();
    order.sort_by(|a, b| last[b - 1].total_cmp(&last[a - 1]));
    let (keys, plain) = (order[..3].to_vec(), order[3..].to_vec());
    let won = Course { keys, plain, ..course() };
    let found = onset_of(&rules, &won, &chance);
    assert!(p_of(&found).iter().any(|p| *p > 0.05) || found.step.is_none(), "{found:?}");
    let walks = Walks::new(&rules, &won, &chance);
    let curse = walks.curse(|_| at_end);
    assert_eq!(is_gone(&rules, &curse), Some(true), "{curse:?}");
    assert_eq!(is_gone(&rules, &[]), None);
    let unknown = Compared { p: None, ..curse[0] };
    assert_eq!(is_gone(&rules, &[unknown]), None);
    assert_eq!(is_gone(&rules, &[unknown, Compared { p: Some(0.5), ..unknown }]), Some(true));
}

/// The keys of another run have their onsets on this one, without those that both have.
#[test]
fn keys_of_other_runs_are_looked_at_too() {
    let rules = few_draws();
    let others = vec![("b".to_owned(), vec![3, 12, 13]), ("c".to_owned(), vec![3, 7])];
    let run = Course { others, ..course() };
    let found = onset_of(&rules, &run, &walking(0.1, |t| t / 50.0));
    assert_eq!(found.others.len(), 1, "{found:?}");
    assert_eq!(found.others[0].0, "b");
}

fn rates(total: Series) -> Rates {
    let series = ["ce", "total"].map(|name| (name.to_owned(), total.clone()));
    Rates { series: series.into(), order: 57, ..Rates::default() }
}

#[test]
fn c4b_needs_the_final_keys_at_once() {
    let (rules, run) = (few_draws(), course());
    let climb = about_zero(walking(0.01, |t| t / 100.0));
    let strong = c4b(&rules, &run, &rates(noisy(|_| 30.0)), &Walks::new(&rules, &run, &climb));
    is(&strong, Verdict::Supports);
    let strong = strong.unwrap();
    assert!(strong.p.unwrap() < 0.02 && strong.reason.contains("a head start is not ruled out"));
    is(
        &c4b(&rules, &run, &rates(noisy(|_| 0.0)), &Walks::new(&rules, &run, &climb)),
        Verdict::Refutes,
    );
    // Away from the keys is not towards them.
    is(
        &c4b(&rules, &run, &rates(noisy(|_| -30.0)), &Walks::new(&rules, &run, &climb)),
        Verdict::Refutes,
    );
    // Rates that are all equal have no z: nothing is known of most saves.
    let mut flat = noisy(|_| 30.0);
    flat.values.slice_mut(ndarray::s![1.., ..]).fill(1.0);
    lacks(&c4b(&rules, &run, &rates(flat), &Walks::new(&rules, &run, &climb)), Lack::Missing);
    // Only later, but before t_mem.
    let later = noisy(|t| if t > 40.0 { 30.0 } else { 0.0 });
    is(&c4b(&rules, &run, &rates(later), &Walks::new(&rules, &run, &climb)), Verdict::Undecided);
    // The push is there, and c_k does not follow more than that of winners by chance.
    let idle = walking(0.01, |_| 0.0);
    is(
        &c4b(&rules, &run, &rates(noisy(|_| 30.0)), &Walks::new(&rules, &run, &idle)),
        Verdict::Undecided,
    );
    lacks(
        &c4b(&rules, &run, &Rates::default(), &Walks::new(&rules, &run, &climb)),
        Lack::NoMoments,
    );
    let short = rates(noisy(|_| 30.0).within(30, 1000));
    lacks(&c4b(&rules, &run, &short, &Walks::new(&rules, &run, &climb)), Lack::Missing);
}

#[test]
fn c8_has_a_verdict_for_each_rate() {
    let (rules, run) = (few_draws(), course());
    let climb = about_zero(walking(0.01, |t| t / 100.0));
    let judge = |rate: &dyn Fn(f64) -> f64| {
        c8(&rules, &run, &rates(noisy(rate)), &Walks::new(&rules, &run, &climb))
    };
    let found = judge(&|_| 30.0);
    is(&found, Verdict::Supports);
    let found = found.unwrap();
    let of = |name: &str| {
        let row = found.parts.iter().find(|row| row.statistic == name && row.against.is_none());
        row.map(|row| (row.verdict, row.lack))
    };
    assert_eq!(of("share_total"), Some((Verdict::Supports, None)));
    assert_eq!(of("share_adam"), Some((Verdict::Undecided, Some(Lack::NoMoments))));
    assert!(found.reason.contains("a head start is not ruled out"), "{found:?}");
    // Sets with two of the three keys are above the band at every save, too, and not as far.
    let n1 = found.parts.iter().find(|row| row.against.is_some_and(|against| against.null == "N1"));
    let n1 = n1.unwrap().against.unwrap();
    assert!(n1.quantile.unwrap() < 0.9 && n1.p.unwrap() < 0.02, "{n1:?}");
    is(&judge(&|_| 0.0), Verdict::Refutes);
    is(&judge(&|t| if t < 600.0 { 30.0 } else { 0.0 }), Verdict::Undecided);
    // Saved every 10 steps up to 200 and every 100 from there on: 21 of 27 saves, a quarter of the time.
    let mut run = course();
    run.steps.retain(|step| *step <= 200 || step % 100 == 0);
    let early = noisy(|t| if t <= 200.0 { 30.0 } else { 0.0 }).at_steps(&run.steps);
    let found = c8(&rules, &run, &rates(early), &Walks::new(&rules, &run, &climb)).unwrap();
    let value = |name: &str| found.parts.iter().find(|row| row.statistic == name).unwrap().value;
    assert_eq!(value("share_ce"), Some(21.0 / 27.0));
    // 200 steps, and half of the way from the last of them to the next save.
    assert!((value("share_ce_of_time").unwrap() - 250.0 / 800.0).abs() < 1e-12, "{found:?}");
    let run = super::course();
    let idle = walking(0.3, |_| 0.0);
    is(
        &c8(&rules, &run, &rates(noisy(|_| 30.0)), &Walks::new(&rules, &run, &idle)),
        Verdict::Undecided,
    );
    lacks(&c8(&rules, &run, &Rates::default(), &Walks::new(&rules, &run, &climb)), Lack::Missing);
}

#[test]
fn c9_needs_the_switch_and_the_pace() {
    let (rules, run) = (rules(), course());
    let saves = |pass: i64| -> Vec<ShareSave> {
        let of = |step: &i64| ShareSave {
            step: *step,
            share_key_test: Some(*step as f64 / 1000.0),
            angle_test: Some(if *step >= pass { 60.0 } else { 30.0 }),
            ..ShareSave::default()
        };
        run.steps.iter().map(of).collect()
    };
    // ln c grows by `slow` per step up to t_drop, and by 0.01 after it.
    let growing = |slow: f64| {
        walking(0.0, move |t| {
            let drop = T_DROP as f64;
            (slow * t.min(drop) + 0.01 * (t - drop).max(0.0)).exp() - 1.0
        })
    };
    is(&c9(rules, &run, &growing(0.001), &saves(500)), Verdict::Supports);
    is(&c9(rules, &run, &growing(0.001), &saves(300)), Verdict::Undecided);
    // Before t_mem the angle is noise.
    let mut noise = saves(500);
    noise.iter_mut().take(7).for_each(|save| save.angle_test = Some(60.0));
    is(&c9(rules, &run, &growing(0.001), &noise), Verdict::Supports);
    // Not known where it passes: at 480, or at 500.
    let mut gap = saves(500);
    gap.iter_mut().filter(|save| (480..500).contains(&save.step)).for_each(|s| s.angle_test = None);
    lacks(&c9(rules, &run, &growing(0.001), &gap), Lack::Missing);
    is(&c9(rules, &run, &growing(0.005), &saves(500)), Verdict::Undecided);
    is(&c9(rules, &run, &growing(0.02), &saves(500)), Verdict::Refutes);
    let found = c9(rules, &run, &growing(0.001), &saves(500)).unwrap();
    assert!((found.headline.unwrap() - 10.0).abs() < 1e-9, "{found:?}");
    lacks(&c9(rules, &run, &growing(0.001), &[]), Lack::Missing);
    lacks(&c9(rules, &run, &growing(0.001).within(0, 300), &saves(500)), Lack::Missing);
    let falling = walking(0.0, |_| -2.0);
    lacks(&c9(rules, &run, &falling, &saves(500)), Lack::NotReached);
}

#[test]
fn bounds_of_c3b_are_wider() {
    let Bounds { supports, refutes } = rules().c3.b;
    assert!(supports > rules().c3.a.supports && (refutes - 1.0).abs() < 1e-15);
}
