//! Matching the neurons and heads of one network to those of another.
//!
//! The order of neurons is arbitrary: permuting the rows of `W_in` and `b_in` and the columns of `W_out`
//! together changes no output; nor does permuting heads. So weights of different seeds are compared in
//! the order that brings them closest:
//!
//! ```text
//! π = argmax_π Σ_i ⟨a_i, b_π(i)⟩,   a_i all weights of neuron (or head) i;   then ‖θ_a − πθ_b‖ is smallest
//! ```
//!
//! Neurons and heads meet in the residual stream alone, which stays as it is, so each assignment is
//! exact on its own. What stays different: any rotation of the residual stream is free, too, and is not
//! undone.
//!
//! Source: Ainsworth, Hayase & Srinivasa (2023), arXiv:2209.04836 (weight matching).

use ndarray::{Array2, ArrayView2, Axis, s};
use pathfinding::matrix::Matrix;
use pathfinding::prelude::kuhn_munkres;

use crate::linalg::matmul;
use crate::model::{Network, mlp, names};
use crate::params::Params;

/// For every neuron (or head) of the first network, which one of the second it gets.
pub type Permutation = Vec<usize>;

/// The permutation that maximises the sum of these inner products, `[first, second]`.
///
/// # Panics
/// If the matrix is not square, or not finite.
#[must_use]
pub fn assignment(products: ArrayView2<'_, f64>) -> Permutation {
    let n = products.nrows();
    assert!(n == products.ncols() && products.iter().all(|x| x.is_finite()));
    let largest = products.fold(0.0f64, |max, x| max.max(x.abs()));
    if largest <= 0.0 {
        return (0..n).collect();
    }
    // Whole numbers, which can be ordered and compared exactly: to 1e-12 of the largest.
    let whole = products.mapv(|x| (x / largest * 1e12).round() as i64);
    let weights = Matrix::from_fn(n, n, |(i, j)| whole[[i, j]]);
    kuhn_munkres(&weights).1
}

/// The second network with its neurons and heads in the order that fits the first.
///
/// # Panics
/// If the weights are not those of the network, or not finite.
#[must_use]
pub fn aligned(net: &Network, first: &Params<f64>, second: &Params<f64>) -> Params<f64> {
    let mut found = second.clone();
    match net {
        Network::Transformer(_) => {
            let inner = |a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>| matmul(a, b.t());
            let of = |name: &str| (first.matrix(name), second.matrix(name));
            let (w_in, w_out) = (of(names::W_IN), of(names::W_OUT));
            let columns = |name: &str| {
                let column =
                    |params: &Params<f64>| params.vector(name).insert_axis(Axis(1)).to_owned();
                (column(first), column(second))
            };
            let b_in = columns(names::B_IN);
            let products = inner(w_in.0, w_in.1)
                + inner(w_out.0.t(), w_out.1.t())
                + inner(b_in.0.view(), b_in.1.view());
            let neurons = assignment(products.view());
            found.matrix_mut(names::W_IN).assign(&w_in.1.select(Axis(0), &neurons));
            found.matrix_mut(names::W_OUT).assign(&w_out.1.select(Axis(1), &neurons));
            let b_in = second.vector(names::B_IN).select(Axis(0), &neurons);
            found.vector_mut(names::B_IN).assign(&b_in);

            let (heads, d_head, _) = first.cube(names::W_Q).dim();
            let part = |head: usize| s![.., head * d_head..(head + 1) * d_head];
            let w_o = of(names::W_O);
            let products = Array2::from_shape_fn((heads, heads), |(i, j)| {
                let cubes = [names::W_Q, names::W_K, names::W_V].map(|name| {
                    let (a, b) = (first.cube(name), second.cube(name));
                    (&a.index_axis(Axis(0), i) * &b.index_axis(Axis(0), j)).sum()
                });
                let out = (&w_o.0.slice(part(i)) * &w_o.1.slice(part(j))).sum();
                cubes.iter().sum::<f64>() + out
            });
            for (to, from) in assignment(products.view()).into_iter().enumerate() {
                for name in [names::W_Q, names::W_K, names::W_V] {
                    let cube = second.cube(name);
                    let mut target = found.cube_mut(name);
                    target.index_axis_mut(Axis(0), to).assign(&cube.index_axis(Axis(0), from));
                }
                let mut target = found.matrix_mut(names::W_O);
                target.slice_mut(part(to)).assign(&w_o.1.slice(part(from)));
            }
        }
        Network::Mlp(_) => {
            let of = |name: &str| (first.matrix(name), second.matrix(name));
            let (w_in, w_out) = (of(mlp::names::W_IN), of(mlp::names::W_OUT));
            let products = matmul(w_in.0, w_in.1.t()) + matmul(w_out.0.t(), w_out.1);
            let neurons = assignment(products.view());
            found.matrix_mut(mlp::names::W_IN).assign(&w_in.1.select(Axis(0), &neurons));
            found.matrix_mut(mlp::names::W_OUT).assign(&w_out.1.select(Axis(1), &neurons));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Settings;
    use crate::model::folded::Folded;
    use crate::model::init::{self, Scheme};
    use crate::model::{Model, Transformer};

    fn distance(a: &Params<f64>, b: &Params<f64>) -> f64 {
        a.values.iter().zip(b.values.iter()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    /// A network whose neurons and heads were shuffled comes back, bit for bit; two seeds come closer;
    /// and the function stays the same.
    #[test]
    fn a_shuffled_network_comes_back() {
        let settings = Settings {
            modulus: Some(7),
            d_model: Some(12),
            heads: Some(4),
            d_mlp: Some(10),
            ..Settings::default()
        };
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let net = Transformer::new(&config);
        let network = Network::Transformer(net.clone());
        let mut first = init::random::<f64>(&net, Scheme::Paper, 1);
        first.vector_mut(names::B_IN).iter_mut().enumerate().for_each(|(i, b)| *b = i as f64);
        let mut shuffled = first.clone();
        let neurons = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7];
        let heads = [2, 0, 3, 1];
        for (to, from) in neurons.into_iter().enumerate() {
            let row = first.matrix(names::W_IN).row(from).to_owned();
            shuffled.matrix_mut(names::W_IN).row_mut(to).assign(&row);
            shuffled.vector_mut(names::B_IN)[to] = first.vector(names::B_IN)[from];
            let column = first.matrix(names::W_OUT).column(from).to_owned();
            shuffled.matrix_mut(names::W_OUT).column_mut(to).assign(&column);
        }
        for (to, from) in heads.into_iter().enumerate() {
            for name in [names::W_Q, names::W_K, names::W_V] {
                let head = first.cube(name).index_axis(Axis(0), from).to_owned();
                shuffled.cube_mut(name).index_axis_mut(Axis(0), to).assign(&head);
            }
            for i in 0..3 {
                let column = first.matrix(names::W_O).column(3 * from + i).to_owned();
                shuffled.matrix_mut(names::W_O).column_mut(3 * to + i).assign(&column);
            }
        }
        assert!(distance(&first, &shuffled) > 1.0);
        assert_eq!(aligned(&network, &first, &shuffled).values, first.values);

        let second = init::random::<f64>(&net, Scheme::Paper, 2);
        let closer = aligned(&network, &first, &second);
        assert!(distance(&first, &closer) < distance(&first, &second) - 0.1);
        let pairs: Vec<_> = (0..49).map(|i| [i / 7, i % 7]).collect();
        let model = Folded::new(net);
        let (before, after) = (model.evaluate(&second, &pairs), model.evaluate(&closer, &pairs));
        let worst = (&before - &after).fold(0.0f64, |max, x| max.max(x.abs()));
        assert!(worst < 1e-12, "{worst:e}");
    }

    proptest! {
        /// Against all permutations.
        #[test]
        fn the_assignment_is_the_best_of_all(values in prop::collection::vec(-1.0..1.0f64, 25)) {
            let products = Array2::from_shape_vec((5, 5), values).unwrap();
            let total = |order: &[usize]| order.iter().enumerate().map(|(i, j)| products[[i, *j]]).sum::<f64>();
            let found = assignment(products.view());
            let mut best = f64::NEG_INFINITY;
            let mut order: Vec<usize> = (0..5).collect();
            permutations(&mut order, 0, &mut |order| best = best.max(total(order)));
            prop_assert!((total(&found) - best).abs() < 1e-10, "{found:?}");
        }
    }

    fn permutations(order: &mut [usize], from: usize, see: &mut impl FnMut(&[usize])) {
        if from == order.len() {
            return see(order);
        }
        for i in from..order.len() {
            order.swap(from, i);
            permutations(order, from + 1, see);
            order.swap(from, i);
        }
    }
}
