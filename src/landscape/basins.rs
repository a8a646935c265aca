//! Basins of a surface on a grid: minima, the saddles where they meet, the tree of their merging.
//!
//! The surface is flooded from below. A point that is no neighbour of flooded ones is a minimum; one
//! between two floods is the saddle where they meet, and the flood whose minimum is higher ends there.
//! Its *depth* is the height of the saddle above its minimum (its persistence). The deepest basin has no
//! saddle. Neighbours are the eight around a point; points without a value are walls.
//!
//! Sources: Vincent & Soille (1991), IEEE PAMI 13, 583–598 (watersheds by flooding); Edelsbrunner,
//! Letscher & Zomorodian (2002) (persistence).

/// A surface `[rows, columns]`, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Surface<'a> {
    pub columns: usize,
    pub heights: &'a [Option<f64>],
}

/// One basin, and how it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Basin {
    /// Place of its minimum, among the heights
    pub minimum: usize,
    pub height: f64,
    /// Whether the minimum is on the edge of the grid: the surface may go down beyond it
    pub on_edge: bool,
    /// Where it meets a deeper one: the place, and which; none for the deepest of all
    pub end: Option<End>,
    /// Points that lie in it: those that the flood of its minimum reaches first
    pub points: usize,
    /// Points of its whole flood when it ends, of basins that ended in it too; for the deepest, all
    pub flooded: usize,
}

/// Where a basin ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct End {
    /// Place of the saddle
    pub saddle: usize,
    pub height: f64,
    /// The deeper basin, by its place in the list
    pub into: usize,
}

impl Basin {
    /// Height of the saddle above the minimum; none for the deepest.
    #[must_use]
    pub fn depth(&self) -> Option<f64> {
        self.end.map(|end| end.height - self.height)
    }
}

impl Surface<'_> {
    fn neighbours(&self, at: usize) -> impl Iterator<Item = usize> {
        let (columns, rows) = (self.columns as isize, (self.heights.len() / self.columns) as isize);
        let (i, j) = ((at as isize) / columns, (at as isize) % columns);
        let around = (-1..=1).flat_map(move |di| (-1..=1).map(move |dj| (di, dj)));
        around
            .filter(|step| *step != (0, 0))
            .map(move |(di, dj)| (i + di, j + dj))
            .filter(move |(i, j)| (0..rows).contains(i) && (0..columns).contains(j))
            .map(move |(i, j)| (i * columns + j) as usize)
    }

    fn is_edge(&self, at: usize) -> bool {
        let (i, j) = (at / self.columns, at % self.columns);
        let rows = self.heights.len() / self.columns;
        i == 0 || j == 0 || i + 1 == rows || j + 1 == self.columns
    }
}

/// All basins, by ascending minimum.
///
/// Points of equal height are taken in the order of their places, so a plateau is one minimum.
///
/// # Panics
/// If the rows are not whole, or a height is not finite.
#[must_use]
pub fn basins(surface: Surface<'_>) -> Vec<Basin> {
    let heights = surface.heights;
    assert!(heights.len().is_multiple_of(surface.columns), "whole rows");
    let mut order: Vec<(f64, usize)> =
        heights.iter().enumerate().filter_map(|(at, height)| Some(((*height)?, at))).collect();
    assert!(order.iter().all(|(height, _)| height.is_finite()));
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut found: Vec<Basin> = Vec::new();
    // The basin that a flooded point lies in, and the flood that a basin has become part of.
    let mut basin_of: Vec<Option<usize>> = vec![None; heights.len()];
    let mut flood_of: Vec<usize> = Vec::new();
    let mut flooded: Vec<usize> = Vec::new();
    for (height, at) in order {
        let mut around: Vec<(f64, usize)> = surface
            .neighbours(at)
            .filter_map(|other| Some((heights[other]?, basin_of[other]?)))
            .collect();
        around.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some((_, own)) = around.first().copied() else {
            basin_of[at] = Some(found.len());
            flood_of.push(found.len());
            flooded.push(1);
            let on_edge = surface.is_edge(at);
            found.push(Basin { minimum: at, height, on_edge, end: None, points: 1, flooded: 0 });
            continue;
        };
        basin_of[at] = Some(own);
        found[own].points += 1;
        // Ascending minima have ascending numbers: the smallest flood is the deepest.
        let mut floods: Vec<usize> =
            around.iter().map(|(_, basin)| root(&flood_of, *basin)).collect();
        floods.sort_unstable();
        floods.dedup();
        let deepest = floods[0];
        flooded[deepest] += 1;
        for ended in floods.into_iter().skip(1) {
            found[ended].end = Some(End { saddle: at, height, into: deepest });
            found[ended].flooded = flooded[ended];
            flooded[deepest] += flooded[ended];
            flood_of[ended] = deepest;
        }
    }
    // Floods that walls keep apart never end.
    for (i, basin) in found.iter_mut().enumerate().filter(|(_, basin)| basin.end.is_none()) {
        basin.flooded = flooded[i];
    }
    found
}

/// The flood that this basin is part of.
fn root(flood_of: &[usize], mut basin: usize) -> usize {
    while flood_of[basin] != basin {
        basin = flood_of[basin];
    }
    basin
}

/// How much of one surface a straight line in another explains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Number of points with both values
    pub points: usize,
    /// Squared correlation, in [0, 1]
    pub r_squared: f64,
    /// Of `y ≈ slope · x + constant`, least squares
    pub slope: f64,
}

/// `y` by a straight line in `x`; `None` with fewer than three points, or if either does not vary.
#[must_use]
pub fn fit(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Fit> {
    let pairs: Vec<(f64, f64)> = pairs.into_iter().collect();
    let n = pairs.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| pairs.iter().map(pick).sum::<f64>() / n;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for pair in &pairs {
        let (dx, dy) = (pair.0 - x, pair.1 - y);
        (xx, xy, yy) = (xx + dx * dx, xy + dx * dy, yy + dy * dy);
    }
    let usable = pairs.len() > 2 && xx > 0.0 && yy > 0.0 && (xx * yy).is_finite();
    usable.then(|| Fit {
        points: pairs.len(),
        r_squared: (xy * xy / (xx * yy)).min(1.0),
        slope: xy / xx,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_grid(rows: usize, columns: usize, height: impl Fn(f64, f64) -> f64) -> Vec<Option<f64>> {
        let at = |i: usize, of: usize| 4.0 * i as f64 / (of - 1) as f64 - 2.0;
        (0..rows * columns)
            .map(|k| Some(height(at(k / columns, rows), at(k % columns, columns))))
            .collect()
    }

    /// (x² − 1)² + y² + 0.1 x: minima near (∓1, 0) of about ∓0.1, a saddle near (0, 0) of about 1.
    #[test]
    fn a_double_well_has_two_basins_and_a_saddle() {
        let heights = on_grid(41, 41, |x, y| (x * x - 1.0).powi(2) + y * y + 0.1 * x);
        let found = basins(Surface { columns: 41, heights: &heights });
        assert_eq!(found.len(), 2);
        let place = |at: usize| (at / 41, at % 41);
        assert_eq!((place(found[0].minimum), place(found[1].minimum)), ((10, 20), (30, 20)));
        assert!((found[0].height + 0.1).abs() < 1e-12 && (found[1].height - 0.1).abs() < 1e-12);
        let end = found[1].end.unwrap();
        assert_eq!((end.into, found[0].end), (0, None));
        assert!((found[1].depth().unwrap() - 0.9).abs() < 0.01, "{:?}", found[1].depth());
        assert_eq!(place(end.saddle).1, 20);
        // Every point lies in a basin, about half in each; the deepest floods all.
        assert_eq!(found[0].points + found[1].points, 41 * 41);
        assert!(found[1].points > 700 && found[0].flooded == 41 * 41);
        assert!(found[1].flooded < found[1].points && !found[0].on_edge);
    }

    /// Three wells in a row: the shallowest ends in the middle one, that in the deepest.
    #[test]
    fn wells_merge_in_the_order_of_their_saddles() {
        let heights = [0.0, 5.0, 1.0, 3.0, 2.0].map(Some);
        let found = basins(Surface { columns: 5, heights: &heights });
        let ends: Vec<_> = found.iter().map(|b| b.end.map(|end| (end.height, end.into))).collect();
        assert_eq!(ends, [None, Some((5.0, 0)), Some((3.0, 1))]);
        assert_eq!(found.iter().map(|b| b.flooded).collect::<Vec<_>>(), [5, 3, 1]);
        assert!(found.iter().all(|basin| basin.on_edge));
    }

    #[test]
    fn walls_and_plateaus() {
        let apart = [Some(1.0), None, Some(0.5), Some(0.5)];
        let found = basins(Surface { columns: 4, heights: &apart });
        assert_eq!(
            found.iter().map(|b| (b.minimum, b.end, b.flooded)).collect::<Vec<_>>(),
            [(2, None, 2), (0, None, 1)]
        );
        assert!(basins(Surface { columns: 2, heights: &[None, None] }).is_empty());
    }

    #[test]
    fn a_line_explains_what_it_can() {
        let exact = fit((0..10).map(|i| (f64::from(i), 3.0 - 2.0 * f64::from(i)))).unwrap();
        assert!((exact.r_squared - 1.0).abs() < 1e-14 && (exact.slope + 2.0).abs() < 1e-14);
        // x and x² over −1, 0, 1 are uncorrelated.
        let none = fit([(-1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]).unwrap();
        assert_eq!((none.points, none.r_squared, none.slope), (3, 0.0, 0.0));
        assert_eq!(fit([(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(fit([(1.0, 1.0), (2.0, 2.0)]), None);
    }
}
