//! C6: whether the visible landscape hides the second algorithm.

use crate::claims::course::{Course, Gap, Outcome, short};
use crate::claims::rules::Rules;
use crate::claims::verdict::{Finding, Lack, Measured, Verdict};
use crate::landscape::basins::{Surface, basins, fit};

/// Where a plane's checkpoints are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Site {
    /// Through θ_0, θ_mem and θ_T, at these coordinates
    Three { start: [f64; 2], memorised: [f64; 2], end: [f64; 2] },
    /// Random directions from θ_mem, which is the origin
    Random,
}

/// The losses on a plane; a row of the grid after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    pub name: String,
    pub site: Site,
    pub columns: usize,
    pub at: Vec<[f64; 2]>,
    pub train: Vec<Option<f64>>,
    pub excluded: Vec<Option<f64>>,
    pub restricted: Vec<Option<f64>>,
}

/// What one plane says.
struct Seen {
    r_excluded: Option<f64>,
    r_restricted: Option<f64>,
    /// Minima that are no dents, not on the edge: of train and of restricted
    minima: [usize; 2],
    /// Whether too much of the train loss is unknown to say that there is no other minimum
    blind: bool,
    /// Restricted loss along the way from θ_mem to θ_T, per length of a direction
    slope: Option<f64>,
    /// Points near θ_mem with both losses
    points: usize,
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

impl Patch {
    fn centre(&self) -> [f64; 2] {
        match self.site {
            Site::Three { memorised, .. } => memorised,
            Site::Random => [0.0; 2],
        }
    }

    fn look(&self, rules: &Rules) -> Seen {
        let centre = self.centre();
        let reach = match self.site {
            Site::Three { start, end, .. } => distance(start, centre).min(distance(end, centre)),
            Site::Random => self.at.iter().map(|at| distance(*at, centre)).fold(0.0, f64::max),
        };
        let near: Vec<usize> = (0..self.at.len())
            .filter(|i| distance(self.at[*i], centre) <= rules.c6.near * reach)
            .collect();
        let pairs = |by: &[Option<f64>]| -> Vec<(f64, f64)> {
            near.iter().filter_map(|i| Some((by[*i]?, self.train[*i]?))).collect()
        };
        let of_excluded = pairs(&self.excluded);
        let points = of_excluded.len();
        let [train, restricted] = [&self.train, &self.restricted]
            .map(|heights| Minima::of(Surface { columns: self.columns, heights }, rules));
        let known = self.train.iter().flatten().count();
        let covered = known as f64 >= rules.nulls.coverage * self.train.len() as f64;
        let r_squared = |pairs: Vec<(f64, f64)>| fit(pairs).map(|fit| fit.r_squared);
        Seen {
            r_excluded: r_squared(of_excluded),
            r_restricted: r_squared(pairs(&self.restricted)),
            minima: [train.count, restricted.count],
            blind: train.cut_off || !covered,
            slope: self.slope(&near, rules.c6.least_points),
            points,
        }
    }

    /// Slope of restricted loss from θ_mem towards θ_T: of the plane through the near points that fits
    /// best, along the unit vector. `None` with fewer than `least` points.
    fn slope(&self, near: &[usize], least: usize) -> Option<f64> {
        let Site::Three { memorised, end, .. } = self.site else { return None };
        let length = distance(memorised, end);
        let points: Vec<[f64; 3]> = near
            .iter()
            .filter_map(|i| Some([self.at[*i][0], self.at[*i][1], self.restricted[*i]?]))
            .collect();
        let n = points.len() as f64;
        let mean: [f64; 3] = std::array::from_fn(|k| points.iter().map(|p| p[k]).sum::<f64>() / n);
        let product = |a: usize, b: usize| {
            points.iter().map(|p| (p[a] - mean[a]) * (p[b] - mean[b])).sum::<f64>()
        };
        let (xx, xy, yy) = (product(0, 0), product(0, 1), product(1, 1));
        let (xz, yz) = (product(0, 2), product(1, 2));
        let determinant = xx * yy - xy * xy;
        let gradient = [(yy * xz - xy * yz) / determinant, (xx * yz - xy * xz) / determinant];
        let along = (0..2).map(|k| gradient[k] * (end[k] - memorised[k]) / length).sum::<f64>();
        Some(along).filter(|slope| slope.is_finite() && points.len() >= least)
    }
}

/// The minima of a surface.
struct Minima {
    /// The deepest, and all that are no dents and not on the edge
    count: usize,
    /// Whether points without a value keep a part of the surface apart: what is lowest there may or may not be
    /// another minimum
    cut_off: bool,
}

impl Minima {
    fn of(surface: Surface<'_>, rules: &Rules) -> Self {
        let found = basins(surface);
        let others = || found.iter().skip(1);
        let deep = others()
            .filter(|basin| !basin.on_edge)
            .filter(|basin| basin.depth().is_some_and(|depth| depth > rules.c6.barrier));
        Self {
            count: found.len().min(1) + deep.count(),
            cut_off: others().any(|basin| basin.depth().is_none()),
        }
    }
}

/// C6: near θ_mem the train loss is the excluded one, it has no second minimum, and the restricted loss
/// slopes to θ_T.
///
/// # Errors
/// What is missing.
pub fn c6(rules: &Rules, course: &Course, patches: &[Patch]) -> Outcome {
    course.require_final()?;
    course.t_mem()?;
    let is_three = |patch: &Patch| matches!(patch.site, Site::Three { .. });
    let threes = patches.iter().filter(|patch| is_three(patch)).count();
    let randoms = patches.len() - threes;
    if patches.is_empty() {
        let reason =
            "table surface has no plane through θ_0, θ_mem, θ_T, and no random one at θ_mem";
        return Err(Gap(Lack::Missing, reason.into()));
    }
    let (mut parts, mut verdicts, mut headline, mut told) =
        (Vec::new(), Vec::new(), None, Vec::new());
    for patch in patches {
        let seen = patch.look(rules);
        let name = |statistic: &str| format!("{statistic} on {}", patch.name);
        let resembles = seen.r_excluded.is_some_and(|r| r > rules.c6.r_squared);
        let slopes = !is_three(patch) || seen.slope.is_some_and(|slope| slope < 0.0);
        let enough = seen.points >= rules.c6.least_points;
        let (verdict, why) = match (seen.minima[0], enough, resembles && slopes) {
            (0, ..) => (Verdict::Undecided, "the train loss is nowhere known"),
            // Where points are missing, a barrier may be the detour about them.
            _ if seen.blind => (Verdict::Undecided, "too little of the train loss is known"),
            (2.., ..) => (Verdict::Refutes, "two minima of train with a barrier"),
            (_, false, _) => (Verdict::Undecided, "too few points of the grid near θ_mem"),
            (_, _, true) => (Verdict::Supports, "one minimum, and it is that of excluded loss"),
            _ => (Verdict::Undecided, "one minimum, but not like excluded loss, or no slope"),
        };
        let row = Measured::number(name("r_squared_excluded"), seen.r_excluded);
        parts.push(row.judged(verdict, why));
        parts.push(Measured::number(name("r_squared_restricted"), seen.r_restricted));
        let [train, restricted] = seen.minima.map(|minima| minima as f64);
        parts.push(Measured::number(name("minima_train"), Some(train)));
        parts.push(Measured::number(name("minima_restricted"), Some(restricted)));
        if is_three(patch) {
            parts.push(Measured::number(name("slope_restricted_to_end"), seen.slope));
            headline = headline.or(seen.r_excluded);
        }
        told.push(format!("{}: {why}", patch.name));
        verdicts.push(verdict);
    }
    let complete = threes > 0 && randoms > 0;
    let verdict = if verdicts.contains(&Verdict::Refutes) {
        Verdict::Refutes
    } else if complete {
        Verdict::unanimous(&verdicts)
    } else {
        told.push("a plane through three checkpoints and a random one are both needed".into());
        Verdict::Undecided
    };
    let lack = (!complete && verdict == Verdict::Undecided).then_some(Lack::Missing);
    let r = headline.map_or_else(|| "unknown".into(), short);
    let reason = format!("r_squared_excluded near θ_mem {r}; {}", told.join("; "));
    Ok(Finding::new(verdict, headline, reason, parts).lack(lack))
}
