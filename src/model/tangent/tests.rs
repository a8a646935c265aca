//! Hessian-vector products against differences of the oracle's gradients.

use proptest::prelude::*;

use super::*;
use crate::config::{Activation, Outputs, RunConfig, Settings};
use crate::linalg::kernels;
use crate::model::folded::Folded;
use crate::model::init::{self, Scheme};
use crate::model::plain::Plain;
use crate::model::{InTurn, Transformer, names};
use crate::tasks::Batch;

fn config(p: usize, d_head: usize, heads: usize, d_mlp: usize, act: Activation) -> RunConfig {
    let settings = Settings {
        modulus: Some(p),
        d_model: Some(d_head * heads),
        heads: Some(heads),
        d_mlp: Some(d_mlp),
        activation: Some(act),
        ..Settings::default()
    };
    settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap()
}

/// Weights of order one in every tensor, a direction, and a batch with every token.
fn case(net: &Transformer, seed: u64) -> (Params<f64>, Params<f64>, Batch) {
    let draw = |seed: u64| {
        let mut params = init::random::<f64>(net, Scheme::Paper, seed);
        let noise = init::random::<f64>(net, Scheme::TransformerLens, seed + 1);
        params.vector_mut(names::B_IN).assign(&noise.matrix(names::W_IN).column(0));
        params.vector_mut(names::B_OUT).assign(&noise.matrix(names::W_OUT).column(0));
        params
    };
    let p = net.p;
    let pairs: Vec<_> = (0..2 * p).map(|i| [i % p, (i * i + 1) % p]).collect();
    let labels = pairs.iter().map(|[a, b]| (a + b) % p).collect();
    (draw(seed), draw(seed + 100), Batch { pairs, labels })
}

/// `H v` of the mean cross-entropy over all classes, in two blocks.
pub(in crate::model) fn hessian_product<F: Scalar, M: Tangent<F>>(
    model: &M,
    params: &Params<F>,
    v: &Params<F>,
    batch: &Batch,
) -> Params<F> {
    let (n, classes) = (batch.labels.len(), model.classes());
    let mut tables = model.new_tables();
    model.prepare(params, &mut tables, &InTurn);
    let mut sums = Params::zeros(model.sums_layout());
    let size = n.div_ceil(2);
    let blocks: Vec<_> = batch
        .pairs
        .chunks(size)
        .zip(batch.labels.chunks(size))
        .map(|(pairs, labels)| {
            let mut block = model.new_block(size + 3);
            model.forward(&tables, pairs, &mut block);
            let mut d_logits = model.logits(&mut block).to_owned();
            let terms = &mut vec![0.0; classes];
            kernels::cross_entropy_backward(d_logits.view_mut(), labels, 1.0 / n as f64, terms);
            let fixed = model.fix(&tables, pairs, block, d_logits.view(), &mut sums);
            (fixed, d_logits, labels)
        })
        .collect();
    let mut gradient = Params::zeros(model.layout());
    model.gradient(params, &mut tables, &sums, &mut gradient, &InTurn);

    let mut moving = model.new_tables();
    model.shift_tables(params, v, &tables, &mut moving, &InTurn);
    let mut shifted_sums = Params::zeros(model.sums_layout());
    for (fixed, d_logits, labels) in &blocks {
        let mut shifted = model.new_shifted(size + 1);
        model.shift_forward((&tables, &moving), fixed, &mut shifted);
        let mut logits = model.shifted_logits(fixed, &mut shifted);
        // softmax' = s (z' − s·z'), with s from the gradient (s − onehot)/n
        for ((mut z, d), label) in logits.rows_mut().into_iter().zip(d_logits.rows()).zip(*labels) {
            let mut softmax = d.mapv(|d| d * F::narrow(n as f64));
            softmax[*label] += F::one();
            let mean = softmax.dot(&z);
            z.zip_mut_with(&softmax, |z, s| *z = *s * (*z - mean) / F::narrow(n as f64));
        }
        model.shift_backward((&tables, &moving), fixed, &mut shifted, &mut shifted_sums);
    }
    let mut product = Params::zeros(model.layout());
    let both = (&sums, &shifted_sums);
    model.shift_gradient((params, v), (&tables, &mut moving), both, &mut product, &InTurn);
    product
}

/// `(g(θ + εv) − g(θ − εv)) / 2ε`, by a model whose gradient is proved elsewhere.
pub(in crate::model) fn difference_of_gradients<M: Model<f64>>(
    model: &M,
    params: &Params<f64>,
    v: &Params<f64>,
    batch: &Batch,
) -> Params<f64> {
    let step = 1e-5;
    let at = |sign: f64| {
        let mut moved = params.clone();
        for (theta, v) in moved.values.iter_mut().zip(v.values.iter()) {
            *theta += sign * step * v;
        }
        model.loss_and_gradient(&moved, batch).1
    };
    let (up, down) = (at(1.0), at(-1.0));
    let values: Vec<f64> =
        up.values.iter().zip(down.values.iter()).map(|(u, d)| (u - d) / (2.0 * step)).collect();
    Params::from_values(params.layout(), &values)
}

/// Largest difference, tensor by tensor, relative to the whole product's norm.
pub(in crate::model) fn distance<F: Scalar>(found: &Params<F>, expected: &Params<f64>) -> f64 {
    let whole = expected.values.iter().map(|x| x * x).sum::<f64>().sqrt();
    found
        .iter()
        .zip(expected.iter())
        .map(|((_, found), (_, expected))| {
            let square = |(x, y): (&F, &f64)| (x.widen() - y).powi(2);
            found.iter().zip(expected).map(square).sum::<f64>().sqrt() / whole
        })
        .fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// For smooth activations: H v is the difference of gradients, in f64 to 1e-8 and in f32 to
    /// 1e-3, over random sizes; and H is symmetric.
    #[test]
    fn products_are_differences_of_gradients(
        half in 1usize..6, d_head in 1usize..5, heads in 1usize..4, d_mlp in 1usize..20,
        quadratic: bool, residues: bool, seed in 0u64..1000,
    ) {
        let act = if quadratic { Activation::Quadratic } else { Activation::Gelu };
        let mut config = config(2 * half + 1, d_head, heads, d_mlp, act);
        config.outputs = if residues { Outputs::Residues } else { Outputs::Tokens };
        let net = Transformer::new(&config);
        let (params, v, batch) = case(&net, seed);
        let folded = Folded::new(net.clone());
        let found = hessian_product(&folded, &params, &v, &batch);
        let expected = difference_of_gradients(&Plain(net), &params, &v, &batch);
        let error = distance(&found, &expected);
        prop_assert!(error <= 1e-7, "{:e}", error);

        let (_, w, _) = case(folded.transformer(), seed + 7);
        let other = hessian_product(&folded, &params, &w, &batch);
        let dot = |a: &Params<f64>, b: &Params<f64>| -> f64 {
            a.values.iter().zip(b.values.iter()).map(|(a, b)| a * b).sum()
        };
        let (left, right) = (dot(&found, &w), dot(&v, &other));
        let scale = dot(&found, &found).sqrt() * dot(&w, &w).sqrt();
        prop_assert!((left - right).abs() <= 1e-12 * scale, "{} {}", left, right);

        let narrow = hessian_product(&folded, &params.cast::<f32>(), &v.cast::<f32>(), &batch);
        let error = distance(&narrow, &found);
        prop_assert!(error <= 1e-3, "f32: {:e}", error);
    }
}

/// With ReLU, where no neuron is at its kink.
#[test]
fn relu_products_are_differences_of_gradients() {
    let net = Transformer::new(&config(7, 4, 2, 16, Activation::Relu));
    let (params, v, batch) = case(&net, 5);
    let found = hessian_product(&Folded::new(net.clone()), &params, &v, &batch);
    let expected = difference_of_gradients(&Plain(net), &params, &v, &batch);
    let error = distance(&found, &expected);
    assert!(error <= 1e-7, "{error:e}");
}

/// The check can fail: a product without what the attention pattern contributes is found.
#[test]
fn a_wrong_product_is_found() {
    let net = Transformer::new(&config(7, 4, 2, 16, Activation::Gelu));
    let (params, v, batch) = case(&net, 5);
    let mut wrong = v.clone();
    wrong.cube_mut(names::W_Q).fill(0.0);
    let found = hessian_product(&Folded::new(net.clone()), &params, &wrong, &batch);
    let expected = difference_of_gradients(&Plain(net), &params, &v, &batch);
    let error = distance(&found, &expected);
    assert!(error > 1e-4, "{error:e}");
}
