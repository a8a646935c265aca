//! What the surfaces of a plane look like: rows of `basins` and `resemblance`, from those of `surface`.

use crate::landscape::basins::{Surface, basins, fit};
use crate::landscape::plane::{Axis, Plane};
use crate::tables::{BasinRow, ResemblanceRow, SurfaceRow};

/// A column of `surface`.
type Column = (&'static str, fn(&SurfaceRow) -> Option<f64>);

const TRAIN: Column = ("train_loss", |row| row.train_loss);
const OTHERS: [Column; 3] = [
    ("test_loss", |row| row.test_loss),
    ("excluded_loss_train", |row| row.excluded_loss_train),
    ("restricted_loss_all", |row| row.restricted_loss_all),
];

/// Parts of the way to the farthest point.
const RADII: [f64; 4] = [0.125, 0.25, 0.5, 1.0];

/// The basins of every surface of one plane, whose rows are sorted.
pub(super) fn basin_rows(
    plane: &Plane,
    (x, y): (Axis, Axis),
    grid: &[SurfaceRow],
) -> Vec<BasinRow> {
    let [first, second] = plane.norms();
    let sine = (1.0 - plane.cosine().powi(2)).max(0.0).sqrt();
    let step = |axis: Axis| (axis.to - axis.from) / (axis.points - 1) as f64;
    let cell = (step(x) * first * step(y) * second * sine).abs();
    let width = |points: usize| 2.0 * (points as f64 * cell / std::f64::consts::PI).sqrt();
    let mut rows = Vec::new();
    for (loss, height) in [TRAIN].into_iter().chain(OTHERS) {
        let heights: Vec<Option<f64>> = grid.iter().map(height).collect();
        let found = basins(Surface { columns: y.points, heights: &heights });
        rows.extend(found.iter().enumerate().map(|(i, basin)| BasinRow {
            run: grid[0].run.clone(),
            plane: grid[0].plane.clone(),
            loss: loss.to_owned(),
            basin: i as i64,
            x: grid[basin.minimum].x,
            y: grid[basin.minimum].y,
            minimum: basin.height,
            on_edge: basin.on_edge,
            ends_in: basin.end.map(|end| end.into as i64),
            saddle: basin.end.map(|end| end.height),
            depth: basin.depth(),
            width: width(basin.flooded),
        }));
    }
    rows
}

/// How much of the train surface each other one explains, at several distances from the origin.
pub(super) fn resemblance_rows(plane: &Plane, grid: &[SurfaceRow]) -> Vec<ResemblanceRow> {
    let [first, second] = plane.norms();
    let cosine = plane.cosine();
    let distance = |row: &SurfaceRow| {
        let (x, y) = (row.x * first, row.y * second);
        (x * x + y * y + 2.0 * cosine * x * y).max(0.0).sqrt()
    };
    let farthest = grid.iter().map(distance).fold(0.0, f64::max);
    let mut rows = Vec::new();
    for (loss, height) in OTHERS {
        for share in RADII {
            let radius = share * farthest;
            let inside = grid.iter().filter(|row| distance(row) <= radius);
            let pairs: Vec<(f64, f64)> =
                inside.filter_map(|row| Some((height(row)?, row.train_loss?))).collect();
            let points = pairs.len() as i64;
            let found = fit(pairs);
            rows.push(ResemblanceRow {
                run: grid[0].run.clone(),
                plane: grid[0].plane.clone(),
                loss: loss.to_owned(),
                radius,
                points,
                r_squared: found.map(|fit| fit.r_squared),
                slope: found.map(|fit| fit.slope),
            });
        }
    }
    rows
}
