//! C11: which algorithm's basin is the wide one.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::rules::Rules;
use crate::claims::stats::spearman;
use crate::claims::verdict::{Finding, Lack, Measured, Verdict};
use crate::landscape::basins::Surface;

/// How much wider the basin of restricted loss is than that of excluded loss, at a save.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepWidths {
    pub step: i64,
    /// ln(radius of restricted / radius of excluded)
    pub by_radius: Option<f64>,
    /// ln(trace of excluded / trace of restricted)
    pub by_trace: Option<f64>,
    pub share_key: Option<f64>,
}

/// How far a loss stays below its value at the centre plus `rise`: the radius of a disc as large as the
/// connected points about the centre that do. In steps of the grid; `None` without a loss at the centre, and
/// where these points reach the edge: how far the basin goes beyond it is not known.
#[must_use]
pub fn radius(surface: Surface<'_>, centre: usize, rise: f64) -> Option<f64> {
    let top = surface.heights[centre]? + rise;
    let mut seen = vec![false; surface.heights.len()];
    let mut left = vec![centre];
    let mut points = 0usize;
    seen[centre] = true;
    let (columns, rows) = (surface.columns, surface.heights.len() / surface.columns);
    while let Some(at) = left.pop() {
        points += 1;
        let (i, j) = (at / columns, at % columns);
        if i == 0 || j == 0 || i + 1 == rows || j + 1 == columns {
            return None;
        }
        for other in [at - columns, at + columns, at - 1, at + 1] {
            if !seen[other] && surface.heights[other].is_some_and(|height| height <= top) {
                seen[other] = true;
                left.push(other);
            }
        }
    }
    Some((points as f64 / std::f64::consts::PI).sqrt())
}

/// A value of a save.
type Column = fn(&StepWidths) -> Option<f64>;

/// C11: the visible basin is that of the more influential algorithm.
///
/// # Errors
/// What is missing.
pub fn c11(rules: &Rules, course: &Course, widths: &[StepWidths]) -> Outcome {
    course.require_final()?;
    let bounds = rules.c11.spearman;
    let kinds: [(&str, &str, Column); 2] = [
        ("width_with_share", "random planes at", |save| save.by_radius),
        ("flatness_with_share", "curvature of excluded and restricted at", |save| save.by_trace),
    ];
    let (mut parts, mut verdicts, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for (name, needs, of) in kinds {
        let pairs = widths.iter().filter_map(|save| Some((of(save)?, save.share_key?)));
        let (x, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
        if x.len() < rules.c11.least_steps {
            let reason = format!("{needs} {} steps; {} are needed", x.len(), rules.c11.least_steps);
            parts.push(Measured::lacking(name, Lack::Missing, reason));
            continue;
        }
        let rho = spearman(&x, &y);
        let verdict = rho.map_or(Verdict::Undecided, |rho| bounds.judge(rho));
        parts.push(Measured::number(name, rho).judged(verdict, bounds.words()));
        verdicts.push(verdict);
        found.extend(rho.map(|rho| (name, rho)));
    }
    let missing = kinds.len() - verdicts.len();
    let Some((_, headline)) = found.first().copied() else {
        let reasons: Vec<String> =
            parts.iter().map(|part| format!("{}: {}", part.statistic, part.reason)).collect();
        return Err(Gap(Lack::Missing, reasons.join("; ")));
    };
    // Both must say so; one alone decides nothing.
    let verdict = if missing > 0 { Verdict::Undecided } else { Verdict::unanimous(&verdicts) };
    let told: Vec<String> =
        found.iter().map(|(name, rho)| format!("{name} {}", short(*rho))).collect();
    let mut reason = told.join(", ");
    if missing > 0 {
        reason += "; the other one is not measured";
    }
    let lack = (missing > 0).then_some(Lack::Missing);
    Ok(Finding::new(verdict, Some(headline), reason, parts).lack(lack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bowl_reaches_as_far_as_it_is_wide() {
        let side = 101;
        let bowl = |scale: f64| -> Vec<Option<f64>> {
            let at = |i: usize| i as f64 - 50.0;
            (0..side * side)
                .map(|k| Some(scale * (at(k / side).powi(2) + at(k % side).powi(2))))
                .collect()
        };
        let centre = 50 * side + 50;
        let of = |scale: f64| {
            let heights = bowl(scale);
            radius(Surface { columns: side, heights: &heights }, centre, 1.0).unwrap()
        };
        // x² + y² ≤ 20²
        assert!((of(1.0 / 400.0) - 20.0).abs() < 0.1, "{}", of(1.0 / 400.0));
        assert!((of(1.0 / 1600.0) / of(1.0 / 400.0) - 2.0).abs() < 0.01);
        // What is behind a wall does not count.
        let walls = [30, 60];
        let mut walled = bowl(0.0);
        (0..side * side)
            .filter(|k| walls.contains(&(k / side)) || walls.contains(&(k % side)))
            .for_each(|k| walled[k] = Some(5.0));
        let found = radius(Surface { columns: side, heights: &walled }, centre, 1.0).unwrap();
        assert!((found - (29.0f64 * 29.0 / std::f64::consts::PI).sqrt()).abs() < 1e-9);
        // A basin that leaves the grid has no known radius.
        let heights = bowl(1.0 / 3600.0);
        assert_eq!(radius(Surface { columns: side, heights: &heights }, centre, 1.0), None);
        assert_eq!(radius(Surface { columns: 1, heights: &[None] }, 0, 1.0), None);
    }
}
