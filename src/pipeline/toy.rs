//! `groundswell toy`: the two-basins toy over models and sizes. Tables `toy` and `toy_slice`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use ndarray::{Array2, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::output::Output;
use super::{Observe, Summary, in_parallel};
use crate::error::{Error, Result};
use crate::landscape::toy::{Scale, Slice, State, Sum, Toy};
use crate::tables::{ToyRow, ToySliceRow};

/// Points on a side of a slice.
const SIDE: usize = 31;

/// Rows of a toy: so many steps, at equal ratios after the first.
const ROWS: usize = 200;

/// Which toys.
#[derive(Debug)]
pub struct Request<'a> {
    pub out: &'a Path,
    pub widths: &'a [usize],
    pub depths: &'a [usize],
    /// Of the weights, at least those of both circuits
    pub dimensions: &'a [usize],
    pub decay: f64,
    pub steps: usize,
    /// Of the random directions of the slices
    pub seed: u64,
    /// Number of threads; the tables do not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the work should stop
    pub stop: &'a AtomicUsize,
}

impl Request<'_> {
    /// Every combination that fits, with losses and with logits added.
    fn toys(&self) -> Result<Vec<Toy>> {
        let mut toys = Vec::new();
        let mut refused = None;
        for (&width, &depth) in
            self.widths.iter().flat_map(|w| self.depths.iter().map(move |d| (w, d)))
        {
            if !(1..=1000).contains(&width) || !(1..=10).contains(&depth) {
                let problem =
                    format!("width {width} and depth {depth} are not in 1..=1000, 1..=10");
                return Err(Error::setting("width", problem, "1 and 2 are usual"));
            }
            for &dimension in self.dimensions {
                if dimension < 2 * width * depth || dimension > 1_000_000 {
                    refused = Some((width, depth, dimension));
                    continue;
                }
                toys.extend(Sum::ALL.iter().map(|sum| {
                    let decay = self.decay;
                    Toy { sum: *sum, width, depth, dimension, decay, ..Toy::default() }
                }));
            }
        }
        match (toys.is_empty(), refused) {
            (true, Some((width, depth, dimension))) => {
                let least = 2 * width * depth;
                let problem = format!("{dimension} weights are not in {least}..=1000000");
                Err(Error::setting("dimension", problem, "two circuits of width × depth weights"))
            }
            (true, None) => Err(Error::setting("width", "no toy is asked for", "name a size")),
            (false, _) => Ok(toys),
        }
    }
}

/// Train every toy and write the tables.
///
/// # Errors
/// [`Error::Setting`]; [`Error::Write`], before any work; [`Error::Locked`]; [`Error::Interrupted`].
pub fn toy(request: &Request<'_>, observe: Observe<'_>) -> Result<Summary> {
    if !(0.0..=0.5).contains(&request.decay) {
        let problem = format!("{} is not in 0..=0.5", request.decay);
        return Err(Error::setting("decay", problem, "0.01 is usual"));
    }
    if !(10..=10_000_000).contains(&request.steps) {
        let problem = format!("{} is not in 10..=10000000", request.steps);
        return Err(Error::setting("steps", problem, "60000 is usual"));
    }
    let toys = request.toys()?;
    let mut output = Output::without_archive(request.out)?;
    let trained = in_parallel(&toys, request.threads, request.stop, observe, |toy| {
        Ok(train(toy, request.steps, request.seed))
    })?;
    let (mut rows, mut slices) = (Vec::new(), Vec::new());
    for (new_rows, new_slices) in trained {
        rows.extend(new_rows);
        slices.extend(new_slices);
    }
    let Toy { gain, start, classes, rate, .. } = Toy::default();
    let about = json!({
        "kappa": gain,
        "start": start,
        "q": classes,
        "lambda": request.decay,
        "step_length": rate,
        "steps": request.steps,
        "seed": request.seed,
        "generator": "ChaCha8",
    });
    let metadata = BTreeMap::from([("toy".to_owned(), about.to_string())]);
    let mut summary = Summary { computed: toys.len(), ..Summary::default() };
    let mut replacement = output.replace();
    replacement.table(rows, &metadata)?;
    replacement.table(slices, &metadata)?;
    summary.tables = replacement.commit([("toy".to_owned(), about)].into())?;
    Ok(summary)
}

/// The steps that have rows: 0, and up to the last at equal ratios.
fn recorded(steps: usize) -> Vec<usize> {
    let ratio = |i: usize| (steps as f64).powf(i as f64 / (ROWS - 1) as f64).round() as usize;
    let mut recorded: Vec<usize> = std::iter::once(0).chain((0..ROWS).map(ratio)).collect();
    recorded.dedup();
    recorded
}

fn setting(toy: &Toy) -> String {
    format!("width {}, depth {}, dimension {}", toy.width, toy.depth, toy.dimension)
}

/// Whether A has fitted.
fn a_has_fitted(toy: &Toy, state: &State) -> bool {
    toy.gain[0] * state.output[0] > toy.classes.ln()
}

fn train(toy: &Toy, steps: usize, seed: u64) -> (Vec<ToyRow>, Vec<ToySliceRow>) {
    let mut weights = toy.weights();
    let (mut rows, mut slices, mut regressed) = (Vec::new(), Vec::new(), Vec::new());
    let mut step = 0;
    for at in recorded(steps) {
        while step < at {
            toy.step(&mut weights);
            step += 1;
        }
        let state = toy.state(&weights);
        let slice = |scale| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            Slice::new(toy, &weights, SIDE, scale, &mut rng)
        };
        let [slice, plain] = [Scale::Filters, Scale::Whole].map(slice);
        let fitted = a_has_fitted(toy, &state);
        if fitted && slices.is_empty() {
            slices = slice_rows(toy, step, &slice);
        }
        if fitted && toy.gain[1] * state.output[1] < 1.0 {
            regressed.push([state.loss, state.output[1], state.drive[1]].map(f64::ln));
        }
        let finite = |value: f64| value.is_finite().then_some(value);
        let invariants = toy.invariants(&state, step);
        let (visible, plain) = (slice.visible(), plain.visible());
        rows.push(ToyRow {
            model: toy.sum.name().to_owned(),
            setting: setting(toy),
            step: step as i64,
            time: toy.rate * step as f64,
            total_loss: state.loss,
            loss_a: state.alone[0],
            loss_b: state.alone[1],
            output_a: state.output[0],
            output_b: state.output[1],
            rate_a: state.drive[0],
            rate_b: state.drive[1],
            invariant_a: finite(invariants[0]),
            invariant_b: finite(invariants[1]),
            share_b: toy.share_of_b(&state),
            visible_a: visible[0],
            visible_b: visible[1],
            plain_a: plain[0],
            plain_b: plain[1],
            slope_b: None,
        });
    }
    let slope = slope(&regressed);
    rows.iter_mut().for_each(|row| row.slope_b = slope);
    (rows, slices)
}

/// Coefficient of the first column in a least-squares fit of the third by the first two and a constant.
fn slope(rows: &[[f64; 3]]) -> Option<f64> {
    let n = rows.len() as f64;
    if rows.len() < 4 || !rows.iter().flatten().all(|value| value.is_finite()) {
        return None;
    }
    let mean: [f64; 3] = std::array::from_fn(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n);
    let products = Array2::from_shape_fn((3, 3), |(i, j)| {
        rows.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f64>()
    });
    let determinant = products[[0, 0]] * products[[1, 1]] - products[[0, 1]].powi(2);
    let right = array![products[[0, 2]], products[[1, 2]]];
    let found = (products[[1, 1]] * right[0] - products[[0, 1]] * right[1]) / determinant;
    (determinant > 1e-12 * products[[0, 0]] * products[[1, 1]] && found.is_finite())
        .then_some(found)
}

fn slice_rows(toy: &Toy, step: usize, slice: &Slice) -> Vec<ToySliceRow> {
    let at = |i: usize| 2.0 * i as f64 / (slice.side - 1) as f64 - 1.0;
    let points = slice.points.iter().enumerate();
    let rows = points.map(|(k, (loss, alone))| {
        let (i, j) = (k / slice.side, k % slice.side);
        ToySliceRow {
            model: toy.sum.name().to_owned(),
            setting: setting(toy),
            step: step as i64,
            i: i as i64,
            j: j as i64,
            x: at(i),
            y: at(j),
            total_loss: *loss,
            loss_a: alone[0],
            loss_b: alone[1],
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two models differ in one measurable: 0 with losses added, 1 with logits added.
    #[test]
    fn the_slope_tells_the_models_apart() {
        for (sum, expected) in [(Sum::Losses, 0.0), (Sum::Logits, 1.0)] {
            let (rows, slices) = train(&Toy { sum, ..Toy::default() }, 20_000, 0);
            let slope = rows[0].slope_b.unwrap();
            assert!((slope - expected).abs() < 0.1, "{sum}: {slope}");
            assert_eq!(slices.len(), SIDE * SIDE);
            assert!(rows.windows(2).all(|pair| pair[0].step < pair[1].step));
        }
    }

    #[test]
    fn a_plane_of_logarithms_has_its_slopes() {
        let rows: Vec<[f64; 3]> = (0..9)
            .map(|i| (f64::from(i % 3), f64::from(i * i % 5)))
            .map(|(x, y)| [x, y, 2.0 * x - y + 4.0])
            .collect();
        assert!((slope(&rows).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(slope(&rows[..3]), None);
        assert_eq!(slope(&[[1.0, 1.0, 1.0]; 9]), None);
    }

    #[test]
    fn steps_are_recorded_at_equal_ratios() {
        let found = recorded(1000);
        assert_eq!((found[0], found[1], found.last()), (0, 1, Some(&1000)));
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]) && found.len() > 80);
    }
}
