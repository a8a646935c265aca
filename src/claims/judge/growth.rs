//! C1: how the circuit grows.

use ndarray::ArrayView2;

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::curse::{Walks, head_start, is_gone, p_of_keys};
use crate::claims::nulls::Compared;
use crate::claims::rules::Rules;
use crate::claims::stats::{mean, spearman};
use crate::claims::verdict::{Finding, Lack, Measured, Verdict};

/// Fewest saves that have an order worth a rank correlation.
const LEAST_SAVES: usize = 5;

/// C1: the circuit grows all the time between memorising and generalising, and does not stumble.
///
/// - `coefficients`: c_k of every frequency.
/// - `exponents`: of every frequency, as [`exponents`] gives them, or why there are none.
///
/// # Errors
/// What is missing.
pub fn c1(
    rules: &Rules,
    course: &Course,
    coefficients: &Walks<'_>,
    exponents: Result<&[f64], Gap>,
) -> Outcome {
    course.require_final()?;
    let (t_mem, t_gen) = (course.t_mem()?, course.t_gen()?);
    let window = coefficients.series.within(t_mem, t_gen);
    let steps = window.steps.iter().copied();
    course.require_cover(rules, "logit coefficients", (t_mem, t_gen), steps)?;
    if window.steps.len() < LEAST_SAVES {
        let reason = format!("{} saves between t_mem and t_gen", window.steps.len());
        return Err(Gap(Lack::NotReached, reason));
    }
    let (times, means) = (window.times(), window.mean(&course.keys));
    let rho = spearman(&times, &means)
        .ok_or_else(|| Gap(Lack::NotReached, "c_k of the keys does not change".into()))?;
    let mut parts = vec![Measured::number("spearman", Some(rho))];
    let n1 = course.among_sets(rules, rho, |set| spearman(&times, &window.mean(set)));
    // A set with one key in it climbs as that key does. So p is that of the mean over single frequencies.
    let single = |k: &usize| spearman(&times, &window.mean(&[*k]));
    let p = course
        .exchanged_p(rules, |set| mean(&set.iter().map(single).collect::<Option<Vec<f64>>>()?));
    let n1 = Compared { p, ..n1 };
    let curse = coefficients.rise_over_others((0, t_gen));
    parts.push(n1.row("spearman"));
    parts.extend(curse.iter().map(|null| null.row("rise_over_others")));
    let end = rise_at_end(&times, &means, rules.c1.last_part);
    parts.push(Measured::number("rise_at_end", end));
    let moved = exponents.map(|exponents| of_keys(rules, course, exponents, &mut parts));
    let jumps = end.is_some_and(|share| share >= rules.c1.jump);
    let climbs = rho >= rules.c1.spearman;
    let straight = moved.as_ref().ok().is_some_and(|(keys, others)| {
        *keys >= rules.c1.key_exponent && *others <= rules.c1.other_exponent
    });
    let gone = is_gone(rules, &curse);
    let p = p_of_keys(n1, &curse);
    let (verdict, why) = match (jumps, climbs && straight, gone) {
        (true, ..) => (Verdict::Refutes, "flat, then a jump".to_owned()),
        (_, true, Some(false)) if p.is_some() => {
            (Verdict::Supports, format!("steady, directed{}", head_start(&curse)))
        }
        (_, true, Some(true)) => (Verdict::Undecided, "winners by chance climb as far".into()),
        (_, true, _) => (Verdict::Undecided, "there is no null for it".into()),
        _ if climbs && moved.is_err() => (Verdict::Undecided, "steady; no weights of W_E".into()),
        _ if climbs => (Verdict::Undecided, "steady, but not by directed rows alone".into()),
        _ => (Verdict::Undecided, "neither steady nor a jump".into()),
    };
    let lack = moved.err().map(|gap| gap.0).filter(|_| verdict == Verdict::Undecided);
    let reason = format!("spearman {}: {why}", short(rho));
    Ok(Finding::new(verdict, Some(rho), reason, parts).with_p(p).lack(lack))
}

/// Mean exponents of the keys and of the plain frequencies, with their rows.
fn of_keys(
    rules: &Rules,
    course: &Course,
    exponents: &[f64],
    parts: &mut Vec<Measured>,
) -> (f64, f64) {
    let mean =
        |of: &[usize]| of.iter().map(|k| exponents[k - 1]).sum::<f64>() / of.len().max(1) as f64;
    let (keys, others) = (mean(&course.keys), mean(&course.plain));
    parts.push(Measured::number("exponent_keys", Some(keys)));
    parts.push(Measured::number("exponent_others", Some(others)));
    let compared = course.among_sets(rules, keys, |set| Some(mean(set)));
    parts.push(Measured::number("exponent_keys", Some(keys)).against(compared.into()));
    (keys, others)
}

/// Share of the rise from the first value to the last that the last part of the time has; linear between
/// the values. `None` if there is no rise.
fn rise_at_end(times: &[f64], values: &[f64], part: f64) -> Option<f64> {
    let (first, last) = (*values.first()?, *values.last()?);
    let rise = last - first;
    let at = times.last()? - part * (times.last()? - times.first()?);
    let after = times.partition_point(|time| *time < at).clamp(1, times.len() - 1);
    let (t0, t1) = (times[after - 1], times[after]);
    let share = ((at - t0) / (t1 - t0)).clamp(0.0, 1.0);
    let value = values[after - 1] + share * (values[after] - values[after - 1]);
    (rise > 0.0).then(|| (last - value) / rise)
}

/// Exponent of the mean squared displacement of each frequency's rows of F·W_Eᵀ: the slope of
/// ln MSD(τ) on ln τ, 2 for a straight path, 1 for a random walk.
///
/// ```text
/// MSD(τ) = mean_t ‖x(t+τ) − x(t)‖²,   x: the rows (cosine, sine) of k;  τ = 1, 2, 4 … up to a quarter
/// ```
///
/// - `paths`: of each frequency `[save, row entries]`, at saves that are equally far apart.
///
/// `None` with fewer than nine saves, or where rows do not move.
#[must_use]
pub fn exponents(paths: &[ArrayView2<'_, f64>]) -> Option<Vec<f64>> {
    paths.iter().map(|path| exponent(*path)).collect()
}

fn exponent(path: ArrayView2<'_, f64>) -> Option<f64> {
    let saves = path.nrows();
    let lags = std::iter::successors(Some(1usize), |lag| Some(2 * lag));
    let lags: Vec<usize> = lags.take_while(|lag| 4 * lag < saves).collect();
    let displacement = |lag: usize| {
        let pairs = saves - lag;
        let squares = (0..pairs).map(|t| {
            let moved = &path.row(t + lag) - &path.row(t);
            moved.dot(&moved)
        });
        squares.sum::<f64>() / pairs as f64
    };
    if lags.len() < 2 || saves < 9 {
        return None;
    }
    let points: Vec<[f64; 2]> =
        lags.iter().map(|lag| [(*lag as f64).ln(), displacement(*lag).ln()]).collect();
    let n = points.len() as f64;
    let mean: [f64; 2] = std::array::from_fn(|i| points.iter().map(|p| p[i]).sum::<f64>() / n);
    let xy: f64 = points.iter().map(|p| (p[0] - mean[0]) * (p[1] - mean[1])).sum();
    let xx: f64 = points.iter().map(|p| (p[0] - mean[0]).powi(2)).sum();
    Some(xy / xx).filter(|slope| slope.is_finite())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn paths_have_the_exponents_of_their_kind() {
        let line = Array2::from_shape_fn((64, 2), |(t, j)| t as f64 * (1.0 + j as f64));
        assert!((exponent(line.view()).unwrap() - 2.0).abs() < 1e-12);
        // Steps at right angles to each other, as of a random walk in many dimensions: MSD = τ exactly.
        let walk = Array2::from_shape_fn((64, 64), |(t, j)| f64::from(u8::from(j < t)));
        assert!((exponent(walk.view()).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(exponent(Array2::zeros((64, 2)).view()), None);
        assert_eq!(exponent(line.slice(ndarray::s![..8, ..])), None);
    }

    #[test]
    fn the_last_part_of_a_line_has_its_share() {
        let times: Vec<f64> = (0..=20).map(f64::from).collect();
        assert!((rise_at_end(&times, &times, 0.1).unwrap() - 0.1).abs() < 1e-12);
        let jump: Vec<f64> = times.iter().map(|t| if *t > 19.0 { 1.0 } else { 0.0 }).collect();
        assert_eq!(rise_at_end(&times, &jump, 0.1), Some(1.0));
        assert_eq!(rise_at_end(&times, &[1.0; 21], 0.1), None);
    }
}
