//! The two leading principal components of a run's checkpoints, as directions in weight space.
//!
//! Memory: one block of parameters of all checkpoints (32 MB), the T×T inner products, and three
//! vectors of parameters.

use std::ops::Range;

use ndarray::Array2;

use super::load;
use crate::archive::{CheckpointRef, Slices};
use crate::dynamics::gram::Gram;
use crate::dynamics::random_walk;
use crate::dynamics::trajectory::{COMPONENTS, Weighting, trajectory};
use crate::error::{Error, Result};
use crate::params::Params;
use crate::pipeline::run::RunContext;

/// Memory for a block of parameters of all checkpoints, in f64.
const BLOCK_BYTES: usize = 32 << 20;

/// The mean of the checkpoints, and two unit vectors along which they vary most.
#[derive(Debug)]
pub struct Components {
    pub mean: Vec<f64>,
    pub directions: [Vec<f64>; 2],
    /// Shares of the variance, of the components and of a random walk seen at the same steps
    pub explained: [f64; COMPONENTS],
    pub random_walk: Option<[f64; COMPONENTS]>,
}

/// Where the parameters of a checkpoint come from, in the order of the network.
enum Source<'a> {
    /// Parts of the file
    Slices(Slices),
    /// A file in another layout is read as a whole each time
    Whole(&'a CheckpointRef),
}

impl Source<'_> {
    fn read(&self, range: Range<usize>, context: &RunContext) -> Result<Vec<f64>> {
        match self {
            Self::Slices(slices) => {
                let mut values = Vec::with_capacity(range.len());
                slices.read(range, &mut values)?;
                Ok(values)
            }
            Self::Whole(checkpoint) => {
                let whole: Params<f64> = load(checkpoint, context)?;
                Ok(whole.values[range].to_vec())
            }
        }
    }
}

/// The principal components of these checkpoints, of which the last is the origin of the inner
/// products; they are those of table `trajectory`.
///
/// ```text
/// θ̄ = Σ_t ω_t θ_t      u_i = Σ_t ω_t pc_i(t) θ_t / λ_i,   λ_i = Σ_t ω_t pc_i(t)²
/// ```
///
/// # Errors
/// What is wrong with a checkpoint; [`Error::Setting`] if they lie on a line, or are not finite.
pub fn components(checkpoints: &[&CheckpointRef], context: &RunContext) -> Result<Components> {
    let slots = context.net.layout().slots();
    let tensors = || slots.iter().map(|slot| (slot.name.as_str(), slot.shape.as_slice()));
    let sources: Vec<Source<'_>> = checkpoints
        .iter()
        .map(|checkpoint| match Slices::open(checkpoint, tensors()) {
            Ok(slices) => Source::Slices(slices),
            Err(_) => Source::Whole(checkpoint),
        })
        .collect();
    let points = sources.len();
    let total = context.net.layout().len();
    let width = (BLOCK_BYTES / 8 / points.max(1)).next_multiple_of(64).min(total);
    let blocks = || (0..total).step_by(width).map(|start| start..(start + width).min(total));
    let block = |range: Range<usize>| -> Result<Array2<f64>> {
        let mut x = Array2::zeros((points, range.len()));
        for (source, mut row) in sources.iter().zip(x.rows_mut()) {
            let values = source.read(range.clone(), context)?;
            row.iter_mut().zip(values).for_each(|(target, value)| *target = value);
        }
        Ok(x)
    };
    let mut gram = Gram::new(points);
    for range in blocks() {
        let mut x = block(range)?;
        let last = x.row(points - 1).to_owned();
        x -= &last;
        gram.panels_mut().iter_mut().for_each(|panel| panel.add(x.view()));
    }
    let steps: Vec<i64> = checkpoints.iter().map(|found| super::step_of(found)).collect();
    let weights = Weighting::Time.weights(&steps);
    let refused = |problem: String| Error::setting("plane", problem, "choose three checkpoints");
    let found = trajectory(|s, t| gram.get(s, t), &weights)
        .map_err(|reason| refused(format!("{}: no components: {reason:?}", context.name)))?;
    let lambda: [f64; 2] = std::array::from_fn(|i| {
        found.points.iter().zip(&weights).map(|(point, weight)| weight * point.pc[i].powi(2)).sum()
    });
    let (Some(explained), true) = (found.explained, lambda.iter().all(|lambda| *lambda > 0.0))
    else {
        return Err(refused(format!(
            "{}: its checkpoints lie on a line, so the directions are parallel: the angle between \
             them is 0°",
            context.name
        )));
    };
    let mut mean = vec![0.0; total];
    let mut directions = [vec![0.0; total], vec![0.0; total]];
    let factors = |i: usize| {
        let factors = found.points.iter().zip(&weights);
        factors.map(|(point, weight)| weight * point.pc[i] / lambda[i]).collect::<Vec<f64>>()
    };
    let factors = [factors(0), factors(1)];
    for range in blocks() {
        let x = block(range.clone())?;
        let sum = |factors: &[f64]| ndarray::ArrayView1::from(factors).dot(&x);
        let here = |target: &mut Vec<f64>, values: ndarray::Array1<f64>| {
            target[range.clone()].iter_mut().zip(values).for_each(|(target, x)| *target = x);
        };
        here(&mut mean, sum(&weights));
        let [first, second] = &mut directions;
        here(first, sum(&factors[0]));
        here(second, sum(&factors[1]));
    }
    let random_walk = random_walk::shares(&steps, Weighting::Time).ok().flatten();
    Ok(Components { mean, directions, explained, random_walk })
}
