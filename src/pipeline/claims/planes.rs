//! What the planes and Hessians of a run say: from table `surface` and `curvature` to C6 and C11.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::RunTables;
use crate::claims::course::Course;
use crate::claims::judge::{Patch, Site, StepWidths, radius};
use crate::claims::rules::Rules;
use crate::claims::stats::mean;
use crate::landscape::basins::Surface;
use crate::tables::SurfaceRow;

/// The planes that C6 is about.
#[must_use]
pub fn patches(tables: RunTables<'_>, course: &Course) -> Vec<Patch> {
    let Ok(t_mem) = course.t_mem() else { return Vec::new() };
    let (first, last) = (course.steps.first(), course.steps.last());
    let (Some(&first), Some(&last)) = (first, last) else { return Vec::new() };
    let on_plane = |plane: &str, step: i64| {
        let point = tables.plane_point(plane, step)?;
        let on_it = point.residual_fraction.is_none_or(|residual| residual < 1e-6);
        Some([point.x?, point.y?]).filter(|_| on_it)
    };
    let of = |plane: &str| {
        let site = if plane.starts_with("three:") {
            let [start, memorised, end] = [first, t_mem, last].map(|s| on_plane(plane, s));
            Site::Three { start: start?, memorised: memorised?, end: end? }
        } else {
            random_at(plane).filter(|step| *step == t_mem).map(|_| Site::Random)?
        };
        let rows = tables.surface(plane);
        let column = |pick: fn(&SurfaceRow) -> Option<f64>| {
            rows.iter().map(|row| pick(row)).collect::<Vec<_>>()
        };
        Some(Patch {
            name: plane.to_owned(),
            site,
            columns: usize::try_from(rows.iter().map(|row| row.j).max()? + 1).ok()?,
            at: rows.iter().map(|row| [row.x, row.y]).collect(),
            train: column(|row| row.train_loss),
            excluded: column(|row| row.excluded_loss_train),
            restricted: column(|row| row.restricted_loss_all),
        })
    };
    tables.planes().into_iter().filter_map(of).collect()
}

/// Radii on random planes, and traces, by step.
#[must_use]
pub fn widths(tables: RunTables<'_>, rules: &Rules) -> Vec<StepWidths> {
    let rise = rules.c11.rise;
    let mut ratios: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for plane in tables.planes() {
        let Some(step) = random_at(plane) else { continue };
        let rows = tables.surface(plane);
        let columns = rows.iter().map(|row| row.j).max().map_or(0, |last| last + 1);
        let nearest = (0..rows.len()).min_by(|a, b| {
            let size = |i: usize| rows[i].x.hypot(rows[i].y);
            size(*a).total_cmp(&size(*b))
        });
        let (Some(centre), Ok(columns)) = (nearest, usize::try_from(columns)) else { continue };
        let of = |pick: fn(&SurfaceRow) -> Option<f64>| {
            let heights: Vec<Option<f64>> = rows.iter().map(|row| pick(row)).collect();
            radius(Surface { columns, heights: &heights }, centre, rise)
        };
        let radii = of(|row| row.restricted_loss_all).zip(of(|row| row.excluded_loss_train));
        if let Some((restricted, excluded)) = radii {
            ratios.entry(step).or_default().push((restricted / excluded).ln());
        }
    }
    let (excluded, restricted) = (tables.traces("excluded"), tables.traces("restricted"));
    let shares: BTreeMap<i64, f64> = tables
        .shares()
        .iter()
        .filter_map(|save| Some((save.step, save.share_key_train?)))
        .collect();
    let steps: BTreeSet<i64> = ratios.keys().chain(excluded.keys()).copied().collect();
    let of_step = |step: i64| {
        let traces = excluded.get(&step).zip(restricted.get(&step));
        let flatter = traces.and_then(|(excluded, restricted)| flatness(*excluded, *restricted));
        StepWidths {
            step,
            by_radius: ratios.get(&step).and_then(|ratios| mean(ratios)),
            by_trace: flatter,
            share_key: shares.get(&step).copied(),
        }
    };
    steps.into_iter().map(of_step).collect()
}

/// ln(trace of excluded/trace of restricted); a trace that is not positive says nothing of a width.
fn flatness(excluded: f64, restricted: f64) -> Option<f64> {
    (excluded > 0.0 && restricted > 0.0).then(|| (excluded / restricted).ln())
}

/// The step that a random plane is about.
fn random_at(plane: &str) -> Option<i64> {
    let (_, at) = plane.strip_prefix("random:")?.split_once('@')?;
    at.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_a_width_if_it_is_positive() {
        assert_eq!(flatness(3.0, 1.5), Some(2.0f64.ln()));
        for [excluded, restricted] in
            [[-3.0, -1.5], [3.0, -1.5], [-3.0, 1.5], [0.0, 1.5], [3.0, 0.0]]
        {
            assert_eq!(flatness(excluded, restricted), None);
        }
    }

    #[test]
    fn random_planes_say_where_they_are() {
        assert_eq!(random_at("random:1@143"), Some(143));
        assert_eq!(random_at("random:1@143 radius 0.5"), Some(143));
        assert_eq!(random_at("three:0,143,40000"), None);
    }
}
