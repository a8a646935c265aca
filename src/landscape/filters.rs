//! Random directions at the scale of the weights: filter normalisation.
//!
//! A filter is the weights that feed one output. Scaled weights of a layer with ReLU are often the
//! same function, so a direction is only comparable with the weights filter by filter.
//!
//! | tensor | a filter is |
//! |---|---|
//! | `W_in`, `W_out`, `W_O` | a row |
//! | `W_Q`, `W_K`, `W_V` | a row within a head |
//! | `W_E` (a token), `W_U` (a class) | a column |
//! | `W_pos` (a position) | a row |
//! | `b_in`, `b_out` | the vector, by [`Vectors`] |
//!
//! Source: Li et al. (2018), arXiv:1712.09913, section 4, which sets vectors to zero.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::config::names::named_enum;
use crate::linalg::kernels::dot;
use crate::model::names;
use crate::params::{Layout, Slot};

named_enum! {
    /// What a random direction is on biases and other vectors.
    Vectors, "rule for vectors":
    /// Zero
    Zero = "zero",
    /// As long as the vector itself
    Norm = "norm",
}

/// Whether the filters of a matrix are its columns.
fn by_columns(name: &str) -> bool {
    [names::W_E, names::W_U].contains(&name)
}

/// Independent normal numbers in every entry, in the order of the layout, row-major.
pub fn gaussian(layout: &Layout, rng: &mut impl Rng) -> Vec<f64> {
    (0..layout.len()).map(|_| StandardNormal.sample(rng)).collect()
}

/// Scale every filter of a direction to the length of that filter of the weights:
/// `d_i ← d_i ‖w_i‖ / ‖d_i‖`, zero if `w_i = 0` (or `d_i = 0`).
///
/// # Panics
/// If the lengths are not those of the layout.
pub fn normalise(direction: &mut [f64], weights: &[f64], layout: &Layout, vectors: Vectors) {
    assert_eq!((direction.len(), weights.len()), (layout.len(), layout.len()));
    for slot in layout.slots() {
        let range = slot.offset..slot.offset + slot.len();
        let (direction, weights) = (&mut direction[range.clone()], &weights[range]);
        if slot.shape.len() < 2 && vectors == Vectors::Zero {
            direction.fill(0.0);
            continue;
        }
        for filter in filters(slot) {
            let norm = |values: &[f64]| {
                let picked: Vec<f64> = filter.clone().map(|i| values[i]).collect();
                dot(&picked, &picked).sqrt()
            };
            let (own, target) = (norm(direction), norm(weights));
            let scale = if own > 0.0 { target / own } else { 0.0 };
            filter.clone().for_each(|i| direction[i] *= scale);
        }
    }
}

/// The entries of each filter of a tensor, in the tensor's row-major values.
fn filters(slot: &Slot) -> Vec<std::iter::StepBy<std::ops::Range<usize>>> {
    let len = slot.len();
    let width = slot.shape.last().copied().unwrap_or(0).max(1);
    if slot.shape.len() > 1 && by_columns(&slot.name) {
        (0..width).map(|column| (column..len).step_by(width)).collect()
    } else {
        (0..len).step_by(width).map(|row| (row..row + width).step_by(1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::params::Params;

    /// Every row or column of a normalised direction is as long as that of the weights.
    #[test]
    fn filters_have_the_length_of_the_weights() {
        let layout = Layout::new([
            (names::W_E, vec![3, 5]),
            (names::W_Q, vec![2, 2, 3]),
            (names::W_IN, vec![4, 3]),
            (names::B_IN, vec![4]),
        ]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut weights = Params::from_values(&layout, &gaussian(&layout, &mut rng));
        weights.matrix_mut(names::W_IN).row_mut(2).fill(0.0);
        for vectors in [Vectors::Zero, Vectors::Norm] {
            let mut direction = gaussian(&layout, &mut rng);
            normalise(&mut direction, &weights.values, &layout, vectors);
            let direction = Params::from_values(&layout, &direction);
            let norm = |row: ndarray::ArrayView1<'_, f64>| row.dot(&row).sqrt();
            let same = |d: ndarray::ArrayView1<'_, f64>, w: ndarray::ArrayView1<'_, f64>| {
                assert!((norm(d) - norm(w)).abs() < 1e-14, "{d} {w}");
            };
            let columns = direction.matrix(names::W_E);
            for (d, w) in columns.columns().into_iter().zip(weights.matrix(names::W_E).columns()) {
                same(d, w);
            }
            let heads = direction.stacked(names::W_Q);
            for (d, w) in heads.rows().into_iter().zip(weights.stacked(names::W_Q).rows()) {
                same(d, w);
            }
            let rows = direction.matrix(names::W_IN);
            for (d, w) in rows.rows().into_iter().zip(weights.matrix(names::W_IN).rows()) {
                same(d, w);
            }
            match vectors {
                Vectors::Zero => assert_eq!(norm(direction.vector(names::B_IN)), 0.0),
                Vectors::Norm => same(direction.vector(names::B_IN), weights.vector(names::B_IN)),
            }
        }
    }

    /// The direction depends on the seed, and on nothing else; it is not a copy of the weights.
    #[test]
    fn a_seed_is_a_direction() {
        let layout = Layout::new([(names::W_IN, vec![8, 8])]);
        let draw = |seed: u64| gaussian(&layout, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(7), draw(7));
        let mean = draw(7).iter().zip(draw(8)).map(|(a, b)| a * b).sum::<f64>() / 64.0;
        assert!(mean.abs() < 0.5, "{mean}");
    }
}
