//! N5a, N5a' and N5b.

use ndarray::array;

use super::*;
use crate::claims::course::Series;
use crate::claims::nulls::paths;
use crate::claims::nulls::walks::{self, Walk};
use crate::claims::nulls::winners::{Contest, Winners};

const WALKS: usize = 56;
const SAVES: usize = 41;
const KEYS: usize = 5;

/// The save that is looked at.
const SAVE: usize = 12;

/// Of the walks: as many as take a second.
const REPETITIONS: usize = 250;

/// Exchangeable walks, with steps of different size by interval and a drift.
fn alike(rng: &mut ChaCha8Rng) -> Array2<f64> {
    let mut series = Array2::zeros((SAVES, WALKS));
    for save in 0..SAVES {
        for walk in 0..WALKS {
            let before = if save == 0 { 0.0 } else { series[[save - 1, walk]] };
            let size = 1.0 + 0.5 * (save % 3) as f64;
            series[[save, walk]] = before + 0.3 + size * normal(rng);
        }
    }
    series
}

/// Exchangeable walks whose increments are an autoregression: `v ← ρ v + √(1 − ρ²) · normal`.
fn smooth(rng: &mut ChaCha8Rng, rho: f64) -> Array2<f64> {
    let mut series = Array2::zeros((SAVES, WALKS));
    for walk in 0..WALKS {
        let (mut x, mut v) = (0.0, normal(rng));
        for save in 0..SAVES {
            series[[save, walk]] = x;
            v = rho * v + (1.0 - rho * rho).sqrt() * normal(rng);
            x += v;
        }
    }
    series
}

/// Walks with one growth rate, from different starts.
fn one_rate(rng: &mut ChaCha8Rng) -> Array2<f64> {
    let mut series = Array2::zeros((SAVES, WALKS));
    for save in 0..SAVES {
        for walk in 0..WALKS {
            let before = if save == 0 { -3.0 } else { f64::ln(series[[save - 1, walk]]) };
            let (drift, size) = if save == 0 { (0.0, 0.3) } else { (0.2, 0.15) };
            series[[save, walk]] = (before + drift + size * normal(rng)).exp();
        }
    }
    series
}

/// Which of the others are not compared with.
#[derive(Debug, Clone, Copy)]
enum LeftOut {
    None,
    /// So many of the next-highest at the end
    NearWinners(usize),
    /// So many, whatever they are
    Any(usize),
}

/// The keys are the highest at the end.
fn sides(series: &Array2<f64>, left: LeftOut) -> (Vec<usize>, Vec<usize>) {
    let (keys, mut plain) = by_end(series, KEYS);
    match left {
        LeftOut::None => {}
        LeftOut::NearWinners(count) => {
            let (higher, _) = by_end(series, KEYS + count);
            plain.retain(|k| !higher.contains(k));
        }
        LeftOut::Any(count) => drop(plain.drain(..count)),
    }
    (keys, plain)
}

/// What is drawn.
#[derive(Debug, Clone, Copy)]
enum Null {
    Walk(Walk),
    Paths,
}

/// p of the contrast at a save.
fn p_of(
    series: &Array2<f64>,
    (keys, plain): &(Vec<usize>, Vec<usize>),
    null: Null,
    save: usize,
    draws: usize,
) -> f64 {
    let tamed = Series { steps: Vec::new(), values: series.clone() }.without_tail().values;
    let walked = if matches!(null, Null::Paths) { &tamed } else { series };
    let contest = Contest { series: walked.view(), keys, plain, kept: save + 1 };
    // Other draws for each series: repetitions are to be independent.
    let seed = series.last().unwrap().to_bits();
    let found = match null {
        Null::Walk(walk) => walks::winners(&contest, walk, draws, seed),
        Null::Paths => paths::winners(&contest, draws, seed),
    };
    let of_null = found.unwrap().at(save);
    stats::p_value(contest.contrast()[save], &of_null, Side::Upper).unwrap()
}

fn curse_p(series: &Array2<f64>, null: Null, save: usize) -> f64 {
    p_of(series, &sides(series, LeftOut::None), null, save, 999)
}

/// The keys of walks that do not differ look early against N1, and do not against N5a.
#[test]
fn n5a_is_calibrated_where_n1_is_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (mut cursed, mut naive) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let series = alike(&mut rng);
        cursed.push(curse_p(&series, Null::Walk(Walk::Additive), SAVE));
        let (keys, plain) = by_end(&series, KEYS);
        naive.push(exchanged_p(&drawing(199), series.row(SAVE), &keys, &plain));
    }
    assert_calibrated(&cursed);
    assert!(rate(&naive, 0.05) > 0.5, "{}", rate(&naive, 0.05));
}

/// Increments that last are no walks of independent steps: N5a takes most winners for more than chance.
#[test]
fn n5a_is_not_for_smooth_series() {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let p = |rng: &mut ChaCha8Rng| {
        let series = smooth(rng, 0.9);
        p_of(&series, &sides(&series, LeftOut::None), Null::Walk(Walk::Additive), SAVE, 199)
    };
    let found: Vec<f64> = (0..60).map(|_| p(&mut rng)).collect();
    assert!(rate(&found, 0.05) > 0.8, "{}", rate(&found, 0.05));
}

/// Where near-winners are left out of the measured others, and not of those of the draws, p ≤ 5 % came in 17 %
/// of the cases.
#[test]
fn n5a_leaves_out_whom_the_data_leave_out() {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let p = |rng: &mut ChaCha8Rng| {
        let series = smooth(rng, 0.0);
        let sides = sides(&series, LeftOut::NearWinners(20));
        p_of(&series, &sides, Null::Walk(Walk::Additive), SAVE, 199)
    };
    let found: Vec<f64> = (0..400).map(|_| p(&mut rng)).collect();
    let most = 0.05 + 3.3 * (0.05f64 * 0.95 / 400.0).sqrt();
    assert!(rate(&found, 0.05) <= most, "{}", rate(&found, 0.05));
}

/// p ≤ 5 % and p ≤ 0.1 % are no more frequent than they say, with so many repetitions that 7.5 % would be too
/// many. 199 draws tell where p may be small, and 999 how small.
#[track_caller]
fn assert_conservative(seed: u64, rho: f64, left: LeftOut, tail: fn(f64) -> f64) {
    const REPETITIONS: usize = 2_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let p = |rng: &mut ChaCha8Rng| {
        let series = smooth(rng, rho);
        let spread = stats::deviation(&series.row(SAVES - 1).to_vec()).unwrap();
        let series = series.mapv(|x| tail(x / spread));
        let sides = sides(&series, left);
        let few = p_of(&series, &sides, Null::Paths, SAVE, 199);
        if few > 0.05 { few } else { p_of(&series, &sides, Null::Paths, SAVE, 999) }
    };
    let found: Vec<f64> = (0..REPETITIONS).map(|_| p(&mut rng)).collect();
    for level in [0.05, 0.001] {
        let n = REPETITIONS as f64;
        let most = level + 2.5 * (level * (1.0 - level) / n).sqrt();
        let found = rate(&found, level);
        assert!(found <= most, "rho {rho}, {left:?}: {found} at {level}");
    }
}

#[test]
fn n5a_by_paths_is_conservative_for_independent_steps() {
    assert_conservative(16, 0.0, LeftOut::None, |x| x);
}

#[test]
fn n5a_by_paths_is_conservative_for_smooth_series() {
    assert_conservative(17, 0.9, LeftOut::None, |x| x);
}

#[test]
fn n5a_by_paths_is_conservative_without_near_winners() {
    assert_conservative(18, 0.9, LeftOut::NearWinners(20), |x| x);
}

#[test]
fn n5a_by_paths_is_conservative_without_any_others() {
    assert_conservative(19, 0.0, LeftOut::Any(26), |x| x);
}

/// Few large values among many small ones, as growth by a factor makes: of positive values, and of both signs.
#[test]
fn n5a_by_paths_is_conservative_for_long_tails() {
    assert_conservative(23, 0.9, LeftOut::None, |x| (2.0 * x).exp());
    assert_conservative(24, 0.9, LeftOut::None, |x| (1.5 * x).sinh());
}

/// What N5a' finds of keys that rise by so many s.d. of all frequencies up to the save that is looked at, and by
/// six at the end; 25 others, smooth series. docs/claims.md has the numbers.
#[test]
fn n5a_by_paths_has_power() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut power = |height: f64| {
        let p = |rng: &mut ChaCha8Rng| {
            let mut series = smooth(rng, 0.9);
            let spread = |save: usize| stats::deviation(&series.row(save).to_vec()).unwrap();
            let [to, end] = [height * spread(SAVE), 6.0 * spread(SAVES - 1)];
            for save in 0..SAVES {
                let part = |from: usize, until: usize| {
                    (save.saturating_sub(from) as f64 / (until - from) as f64).min(1.0)
                };
                let rise = to * part(2, SAVE) + (end - to) * part(SAVE, SAVES - 1);
                (0..KEYS).for_each(|key| series[[save, key]] += rise);
            }
            let sides = sides(&series, LeftOut::Any(26));
            p_of(&series, &sides, Null::Paths, SAVE, 499)
        };
        rate(&(0..300).map(|_| p(&mut rng)).collect::<Vec<f64>>(), 0.05)
    };
    let found = [3.0, 4.0, 6.0].map(&mut power);
    let documented = [0.09, 0.45, 0.93];
    let is_near = |(found, documented): (&f64, &f64)| (found - documented).abs() < 0.05;
    assert!(found.iter().zip(&documented).all(is_near), "{found:?}, documented as {documented:?}");
}

/// All paths of every draw, as the definition says, instead of the means alone: the same means and the same
/// spread of the larger contrast at every save.
#[test]
fn means_of_paths_are_those_of_paths_one_by_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let series = smooth(&mut rng, 0.5);
    let (keys, plain) = sides(&series, LeftOut::Any(17));
    let contest = Contest { series: series.view(), keys: &keys, plain: &plain, kept: SAVES };
    let fast = paths::winners(&contest, 10_000, 5).unwrap();
    let last = series.row(SAVES - 1);
    let mut others: Vec<usize> = (1..=WALKS).filter(|k| !keys.contains(k)).collect();
    others.sort_by(|a, b| last[b - 1].total_cmp(&last[a - 1]));
    let mut slow = vec![Vec::new(); SAVES];
    let scale = ((WALKS - 1) as f64).sqrt();
    for _ in 0..2_000 {
        let g = Array2::from_shape_simple_fn((WALKS, WALKS), || normal(&mut rng));
        let centred = |save: usize| {
            let row = series.row(save);
            row.mapv(|x| (x - row.sum() / WALKS as f64) / scale)
        };
        let end = g.dot(&centred(SAVES - 1));
        let mut order: Vec<usize> = (0..WALKS).collect();
        order.sort_by(|a, b| end[*b].total_cmp(&end[*a]));
        for (save, slow) in slow.iter_mut().enumerate().step_by(8) {
            let path = g.dot(&centred(save));
            let mean = |walks: &[usize]| {
                walks.iter().map(|walk| path[*walk]).sum::<f64>() / walks.len() as f64
            };
            let won = mean(&order[..KEYS]);
            let compared: Vec<usize> = order[KEYS..]
                .iter()
                .zip(&others)
                .filter(|(_, k)| plain.contains(k))
                .map(|(walk, _)| *walk)
                .collect();
            slow.push((won - mean(&order[KEYS..])).max(won - mean(&compared)));
        }
    }
    for (save, slow) in slow.iter().enumerate().step_by(8).skip(1) {
        let fast = fast.at(save);
        let [(a, s), (b, t)] = [slow, &fast]
            .map(|values| (stats::mean(values).unwrap(), stats::deviation(values).unwrap()));
        let error = s * (1.0 / slow.len() as f64 + 1.0 / fast.len() as f64).sqrt();
        assert!((a - b).abs() < 4.0 * error, "save {save}: {a} and {b}, ± {error}");
        assert!((s / t - 1.0).abs() < 0.08, "save {save}: {s} and {t}");
    }
}

#[test]
fn n5b_is_calibrated() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let null = Null::Walk(Walk::Multiplicative);
    let p: Vec<f64> = (0..REPETITIONS).map(|_| curse_p(&one_rate(&mut rng), null, SAVE)).collect();
    assert_calibrated(&p);
}

/// Five frequencies that rise from the first save on are beyond all three; a head start alone is beyond those
/// that do not know of it.
#[test]
fn an_early_rise_is_beyond_the_winners_curse() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut risen = alike(&mut rng);
    let mut ahead = one_rate(&mut rng);
    let mut faster = ahead.clone();
    for save in 0..SAVES {
        for walk in 0..KEYS {
            risen[[save, walk]] += 40.0 * (1.0 - (-(save as f64)).exp());
            faster[[save, walk]] *= (0.5 * save as f64).exp();
            ahead[[save, walk]] *= 6.0;
        }
    }
    let (additive, multiplicative) = (Null::Walk(Walk::Additive), Null::Walk(Walk::Multiplicative));
    assert_eq!(curse_p(&risen, additive, 2), 0.001);
    assert!(curse_p(&risen, Null::Paths, 2) <= 0.002);
    assert_eq!(curse_p(&faster, multiplicative, 2), 0.001);
    assert!(curse_p(&ahead, multiplicative, 2) > 0.05);
    assert!(curse_p(&ahead, additive, 2) <= 0.01);
    assert!(curse_p(&ahead, Null::Paths, 2) <= 0.01);
}

/// Against paths one by one: winners of few walks by the definition.
#[test]
fn winners_of_certain_steps_are_known() {
    // Every plain frequency makes the same steps: all walks are that of the first row.
    let mut series = Array2::zeros((3, 10));
    for k in 0..10 {
        series.column_mut(k).assign(&array![1.0, 3.0, 6.0]);
    }
    series.column_mut(0).assign(&array![2.0, 30.0, 60.0]);
    let plain: Vec<usize> = (2..=10).collect();
    let of = |series: &Array2<f64>, keys: &[usize], plain: &[usize], null: Null| {
        let contest = Contest { series: series.view(), keys, plain, kept: 3 };
        match null {
            Null::Walk(walk) => walks::winners(&contest, walk, 4, 0),
            Null::Paths => paths::winners(&contest, 4, 0),
        }
    };
    let (additive, multiplicative) = (Null::Walk(Walk::Additive), Null::Walk(Walk::Multiplicative));
    let row = |found: &Winners| -> Vec<f64> { (0..3).map(|save| found.at(save)[0]).collect() };
    let found = of(&series, &[1], &plain, additive).unwrap();
    assert!(row(&found).iter().all(|x| x.abs() < 1e-14), "{found:?}");
    // Multiplied, the one that starts ahead stays ahead by its factor of 2, with the mean rate of all.
    let found = of(&series, &[1], &plain, multiplicative).unwrap();
    let growth =
        |before: f64, after: f64, own: f64| (0.9 * (after / before).ln() + 0.1 * own.ln()).exp();
    let first = growth(1.0, 3.0, 15.0);
    let second = first * growth(3.0, 6.0, 2.0);
    for (found, expected) in row(&found).iter().zip([1.0, first, second]) {
        assert!((found - expected).abs() < 1e-13 * expected, "{found}, not {expected}");
    }
    for null in [additive, Null::Paths] {
        assert_eq!(of(&series, &[1], &plain[..7], null), None);
        assert_eq!(of(&series, &[], &plain, null), None);
    }
    series.row_mut(1).fill(-1.0);
    assert_eq!(of(&series, &[1], &plain, multiplicative), None);
    // Nobody wins where all end at the same value.
    series.row_mut(2).fill(0.7);
    assert_eq!(of(&series, &[1], &plain, Null::Paths), None);
}

/// Contrasts of few saves are the first of those of all; the last save decides all the same.
#[test]
fn what_is_not_looked_at_is_not_kept() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let series = smooth(&mut rng, 0.5);
    let (keys, plain) = sides(&series, LeftOut::Any(10));
    let of = |kept: usize| {
        let contest = Contest { series: series.view(), keys: &keys, plain: &plain, kept };
        assert_eq!(contest.contrast().len(), kept);
        let walked = walks::winners(&contest, Walk::Additive, 20, 9).unwrap();
        [walked, paths::winners(&contest, 20, 9).unwrap()]
    };
    for (few, all) in of(4).iter().zip(&of(SAVES)) {
        let gaps = few.at(3).into_iter().zip(all.at(3)).map(|(x, y)| (x - y).abs());
        assert!(gaps.fold(0.0, f64::max) < 1e-12);
        assert!(few.at(4).is_empty() && all.at(SAVES - 1).len() == 20);
    }
}
