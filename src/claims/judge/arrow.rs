//! C4a, C4b and C8: where the gradient, and the whole step, points.

use std::collections::BTreeMap;

use crate::claims::course::{Course, Gap, Outcome, Series, short};
use crate::claims::curse::{Walks, head_start, is_gone, p_of_keys};
use crate::claims::nulls::subsets::{Pool, score};
use crate::claims::nulls::subspaces::chance_embedding;
use crate::claims::nulls::{Compared, NullId, compare};
use crate::claims::rules::{RATES, Rules};
use crate::claims::stats::{Side, deviation, mean, median, normal_tail, z};
use crate::claims::verdict::{Against, Finding, Lack, Measured, Verdict};
use crate::dynamics::trajectory::Weighting;

/// What holds for all frequencies together at one save.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepMean {
    pub step: i64,
    /// Mean over the frequencies
    pub rate_ce: Option<f64>,
    /// z of that mean among permuted labels, N3
    pub z_label: Option<f64>,
    /// z of the mean of `rate_total` over that of the mirrored directions, N2
    pub z_mirror: Option<f64>,
}

/// A value of a save.
type Column = fn(&StepMean) -> Option<f64>;

/// C4a: at once the gradient points to *an* algorithm of the family: the mean rate over all frequencies is
/// beyond that under permuted labels and that of the mirrored directions, at the first steps. The p is that
/// of the normal tail at the median z.
///
/// # Errors
/// What is missing.
pub fn c4a(rules: &Rules, course: &Course, saves: &[StepMean]) -> Outcome {
    course.require_final()?;
    let early: Vec<&StepMean> =
        saves.iter().filter(|save| (0..=rules.c4.last_step).contains(&save.step)).collect();
    let window = (0, rules.c4.last_step);
    let rates: Vec<f64> = early.iter().filter_map(|save| save.rate_ce).collect();
    let mut parts = vec![Measured::number("mean_rate_ce", mean(&rates))];
    let (mut shares, mut bands, mut p_values) = (Vec::new(), Vec::new(), Vec::new());
    let kinds: [(&str, NullId, Column); 2] = [
        ("z_label", NullId::N3, |save| save.z_label),
        ("z_mirror", NullId::N2, |save| save.z_mirror),
    ];
    for (name, null, of) in kinds {
        let known: Vec<(i64, f64)> =
            early.iter().filter_map(|save| Some((save.step, of(save)?))).collect();
        course.require_cover(rules, name, window, known.iter().map(|(step, _)| *step))?;
        let values: Vec<f64> = known.into_iter().map(|(_, z)| z).collect();
        let share = share_of(&values, |z| z > rules.c4.z);
        let (middle, band) = (median(&values), share_of(&values, |z| z <= rules.c4.z));
        let p = middle.map(normal_tail);
        let against = Against { null: null.name(), z: middle, p, ..Against::default() };
        let verdict = match (share >= rules.c4.a_share, band >= rules.c4.band_share) {
            (true, _) => Verdict::Supports,
            (_, true) => Verdict::Refutes,
            _ => Verdict::Undecided,
        };
        let row = Measured::number(format!("share_{name}_above"), Some(share));
        parts.push(row.against(against).judged(verdict, "share of the first steps"));
        shares.push(share);
        bands.push(verdict);
        p_values.extend(p);
    }
    let verdict = if bands.contains(&Verdict::Refutes) {
        Verdict::Refutes
    } else {
        Verdict::unanimous(&bands)
    };
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    let reason = format!(
        "share_z_above {}: z of the mean rate above {} at so many of the steps 0..{}, against labels {}, \
         against the mirror {}",
        short(least),
        rules.c4.z,
        rules.c4.last_step,
        short(shares[0]),
        short(shares[1]),
    );
    let p = p_values.into_iter().reduce(f64::max);
    Ok(Finding::new(verdict, Some(least), reason, parts).with_p(p))
}

fn share_of(values: &[f64], is: impl Fn(f64) -> bool) -> f64 {
    values.iter().filter(|value| is(**value)).count() as f64 / values.len().max(1) as f64
}

/// What table `arrow` has of a run: rates of every frequency, and sums of its columns over W_E and W_U.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// By `ce`, `adam`, `decay`, `total`; only what is known
    pub series: BTreeMap<String, Series>,
    /// `gradient_share`, of every frequency
    pub gradient_share: Option<Series>,
    /// Step and cosine of −Π_K g with Π_K(θ_T − θ)
    pub cosines: Vec<(i64, f64)>,
    /// Order of the group
    pub order: usize,
}

/// z of the keys' mean among the sets of N1 at every save that has one, and the same of every set:
/// `[draw][save]`.
struct Scores {
    steps: Vec<i64>,
    keys: Vec<f64>,
    sets: Vec<Vec<f64>>,
}

/// Of the saves in a window, most of which must have a z.
fn scores(
    rules: &Rules,
    course: &Course,
    what: &str,
    window: (i64, i64),
    series: &Series,
) -> Result<Scores, Gap> {
    let series = series.within(window.0, window.1);
    let drawn = course.subsets(rules, Pool::Plain).ok_or_else(|| {
        let reason = "too few plain frequencies for sets of N1";
        Gap(Lack::Missing, reason.into())
    })?;
    let keys = series.mean(&course.keys);
    let (steps, sets) = (Vec::new(), vec![Vec::new(); rules.nulls.subsets]);
    let mut found = Scores { steps, keys: Vec::new(), sets };
    for ((values, value), step) in series.values.rows().into_iter().zip(keys).zip(&series.steps) {
        let null = drawn.means(values);
        // Rates that are all equal, such as those of a step of no length, tell nothing.
        let Some(own) = z(value, &null) else { continue };
        found.steps.push(*step);
        found.keys.push(own);
        let Some((centre, scale)) = mean(&null).zip(deviation(&null)) else { continue };
        for (set, of_set) in found.sets.iter_mut().zip(null) {
            set.push((of_set - centre) / scale);
        }
    }
    course.require_cover(rules, what, window, found.steps.iter().copied())?;
    Ok(found)
}

fn rate<'a>(rates: &'a Rates, name: &str) -> Result<&'a Series, Gap> {
    let series = rates.series.get(name).filter(|series| !series.steps.is_empty());
    let lack = if name == "ce" || name == "decay" { Lack::Missing } else { Lack::NoMoments };
    series.ok_or_else(|| Gap(lack, format!("table arrow has no rate_{name}")))
}

/// C4b: at once the step points to *the* algorithm that the run ends with.
///
/// # Errors
/// What is missing.
pub fn c4b(rules: &Rules, course: &Course, rates: &Rates, coefficients: &Walks<'_>) -> Outcome {
    course.require_final()?;
    let t_mem = course.t_mem()?;
    let (last, bound) = (rules.c4.last_step, rules.c4.z);
    let total = rate(rates, "total")?;
    let early = total.within(0, last);
    let first = scores(rules, course, "rate_total", (0, last), total)?;
    let share = share_of(&first.keys, |z| z > bound);
    let band =
        share_of(&scores(rules, course, "rate_total", (0, t_mem), total)?.keys, |z| z <= bound);
    let mut parts = vec![
        Measured::number("share_z_above", Some(share)),
        Measured::number("median_z", median(&first.keys)),
        Measured::number("share_not_above_to_t_mem", Some(band)),
    ];
    // The whole push of the first steps, among those of other sets: it has a p.
    let push = mean(&early.mean(&course.keys)).unwrap_or(0.0);
    let n1 = course.among_sets(rules, push, |set| mean(&early.mean(set)));
    let curse = coefficients.rise_over_others((0, last));
    parts.push(n1.row("mean_rate_total"));
    parts.extend(curse.iter().map(|null| null.row("rise_over_others")));
    parts.extend(towards_the_end(course, rates, last));
    let gone = is_gone(rules, &curse);
    let p = p_of_keys(n1, &curse);
    let (verdict, why) = if band >= rules.c4.band_share {
        (Verdict::Refutes, "not above the band until t_mem")
    } else if share >= rules.c4.b_share {
        match gone {
            Some(false) => (Verdict::Supports, "above the band at once"),
            Some(true) => (Verdict::Undecided, "winners by chance rise as much"),
            None => (Verdict::Undecided, "N5 is undefined"),
        }
    } else {
        (Verdict::Undecided, "neither above the band at once nor at or below it until t_mem")
    };
    let left = if verdict == Verdict::Supports { head_start(&curse) } else { "" };
    let reason = format!("share_z_above {bound} at steps 0..{last}: {}; {why}{left}", short(share));
    Ok(Finding::new(verdict, Some(share), reason, parts).with_p(p))
}

/// Enrichment of the gradient in the key rows over chance, and its cosine with the way to the end.
fn towards_the_end(course: &Course, rates: &Rates, last: i64) -> Vec<Measured> {
    let mut parts = Vec::new();
    let chance = chance_embedding(course.keys.len(), rates.order);
    if let Some(series) = &rates.gradient_share {
        let keys = course.keys.len() as f64;
        let shares: Vec<f64> =
            series.within(0, last).mean(&course.keys).iter().map(|share| share * keys).collect();
        let value = mean(&shares);
        let against = Against { null: NullId::N6.name(), mean: Some(chance), ..Against::default() };
        parts.push(Measured::number("gradient_share", value).against(against));
        parts.push(Measured::number("enrichment", value.map(|share| share / chance)));
    }
    let early = rates.cosines.iter().filter(|(step, _)| *step <= last);
    let cosines: Vec<f64> = early.map(|(_, cosine)| *cosine).collect();
    parts.push(Measured::number("cosine_to_end", mean(&cosines)));
    parts
}

/// C8: the entire time the gradient points there, too. One verdict per rate; the claim's is that of the
/// rate that the rules name. Saves are counted, as the claim says; the share of the time stands beside it.
///
/// # Errors
/// What is missing.
pub fn c8(rules: &Rules, course: &Course, rates: &Rates, coefficients: &Walks<'_>) -> Outcome {
    course.require_final()?;
    let t_gen = course.t_gen()?;
    let bounds = rules.c8.share;
    let mut parts = Vec::new();
    let mut judged: Option<Outcome> = None;
    let rises = coefficients.rise_over_others((0, t_gen));
    parts.extend(rises.iter().map(|null| null.row("rise_over_others")));
    for name in RATES {
        let statistic = format!("share_{name}");
        let found = share_above(rules, course, rates, name);
        let (share, of_time, n1) = match found {
            Ok(found) => found,
            Err(gap) => {
                parts.push(Measured::lacking(&statistic, gap.0, &gap.1));
                if name == rules.c8.judged {
                    judged = Some(Err(gap));
                }
                continue;
            }
        };
        let (mut verdict, mut why) = (bounds.judge(share), bounds.words());
        if verdict == Verdict::Supports {
            match is_gone(rules, &rises) {
                Some(false) => why += head_start(&rises),
                Some(true) => {
                    (verdict, why) = (Verdict::Undecided, "winners by chance rise as much".into());
                }
                None => (verdict, why) = (Verdict::Undecided, "N5 is undefined".into()),
            }
        }
        parts.push(Measured::number(&statistic, Some(share)).judged(verdict, &why));
        parts.push(Measured::number(format!("{statistic}_of_time"), Some(of_time)));
        parts.push(n1.row(&statistic));
        if name == rules.c8.judged {
            let reason = format!(
                "{statistic} {} of the saves in 0..t_gen, {} of the time; {why}",
                short(share),
                short(of_time)
            );
            let p = p_of_keys(n1, &rises);
            judged = Some(Ok(Finding::new(verdict, Some(share), reason, Vec::new()).with_p(p)));
        }
    }
    let unnamed = || Err(Gap(Lack::Missing, "no rate is judged".into()));
    let mut finding = match judged.unwrap_or_else(unnamed) {
        Ok(finding) => finding,
        Err(gap) => gap.into(),
    };
    finding.parts = parts;
    Ok(finding)
}

/// Share of the saves in [0, t_gen] with a z of the keys above the band; the same share of the time, each
/// save for half the steps between its neighbours, since saves are dense early; and the share of the saves
/// among sets of N1.
fn share_above(
    rules: &Rules,
    course: &Course,
    rates: &Rates,
    name: &str,
) -> Result<(f64, f64, Compared), Gap> {
    let (window, series) = ((0, course.t_gen()?), rate(rates, name)?);
    let scores = scores(rules, course, &format!("rate_{name}"), window, series)?;
    let is_above = |z: f64| z > rules.c8.z;
    let share = share_of(&scores.keys, is_above);
    let weights = Weighting::Time.weights(&scores.steps);
    let above = scores.keys.iter().zip(weights).filter(|(z, _)| is_above(**z));
    let of_time = above.map(|(_, weight)| weight).sum();
    let null: Vec<f64> = scores.sets.iter().map(|set| share_of(set, is_above)).collect();
    let series = series.within(window.0, window.1);
    let p = course.exchanged_p(rules, |set| Some(beyond(rules, course, &series, set)));
    let n1 = compare(&rules.nulls, NullId::N1, share, &null, Side::Upper);
    Ok((share, of_time, Compared { p, ..n1 }))
}

/// For the p of a share of saves above the band: the share of a set, and of equal shares the mean score. Every set
/// is scored among the sets of all the rest, as the keys are: so the keys are one set like any other.
fn beyond(rules: &Rules, course: &Course, series: &Series, set: &[usize]) -> (f64, f64) {
    let pool = [&course.keys[..], &course.plain].concat();
    let scores = series.values.rows().into_iter().filter_map(|save| score(save, set, &pool));
    let scores: Vec<f64> = scores.collect();
    (share_of(&scores, |z| z > rules.c8.z), mean(&scores).unwrap_or(f64::NEG_INFINITY))
}
