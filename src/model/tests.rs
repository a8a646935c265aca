//! The two implementations against central differences and against each other.

use proptest::prelude::*;

use super::folded::Folded;
use super::init::{self, Scheme};
use super::plain::Plain;
use super::*;
use crate::config::{Outputs, Settings};
use crate::linalg::kernels::cross_entropy;

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

/// Weights with every entry of order 1/√d, biases included, so that no part of the gradient is
/// trivially zero; and a batch with every token at both positions, some pairs twice.
fn case(config: &RunConfig, seed: u64) -> (Transformer, Params<f64>, Batch) {
    let net = Transformer::new(config);
    let mut params = init::random(&net, Scheme::Paper, seed);
    let noise = init::random::<f64>(&net, Scheme::TransformerLens, seed + 1);
    params.vector_mut(names::B_IN).assign(&noise.matrix(names::W_IN).column(0));
    params.vector_mut(names::B_OUT).assign(&noise.matrix(names::W_OUT).column(0));
    let p = config.modulus;
    let some = (0..2 * p).map(|i| [i % p, (i * i + 1) % p]);
    let pairs: Vec<_> = some.chain((0..p).map(|b| [0, b])).collect();
    let labels = pairs.iter().map(|[a, b]| (a + b) % p).collect();
    (net, params, Batch { pairs, labels })
}

/// Largest `|analytic − numeric| / max(|numeric|, floor)` over all parameters, by central
/// differences with step 1e-5: truncation 1e-10, rounding 1e-11 relative to a loss of order 1; the
/// floor keeps gradients near zero from dividing rounding by nothing.
pub(super) fn worst_gradient_error<M: Model<f64>>(
    model: &M,
    params: &Params<f64>,
    batch: &Batch,
    gradient: &Params<f64>,
) -> f64 {
    let loss = |params: &Params<f64>| {
        let logits = model.evaluate(params, &batch.pairs);
        let terms = &mut vec![0.0; model.classes()];
        cross_entropy(logits.view(), &batch.labels, terms).loss / batch.labels.len() as f64
    };
    let step = 1e-5;
    let floor = 1e-3 * gradient.values.iter().fold(0.0f64, |max, g| max.max(g.abs()));
    let mut shifted = params.clone();
    (0..params.values.len())
        .map(|i| {
            shifted.values[i] = params.values[i] + step;
            let up = loss(&shifted);
            shifted.values[i] = params.values[i] - step;
            let down = loss(&shifted);
            shifted.values[i] = params.values[i];
            let numeric = (up - down) / (2.0 * step);
            (gradient.values[i] - numeric).abs() / numeric.abs().max(floor)
        })
        .fold(0.0, f64::max)
}

/// GELU, whose slope is smooth: ReLU's kinks within the step would fake an error now and then.
#[test]
fn every_gradient_is_that_of_central_differences() {
    let (net, params, batch) = case(&config(7, 4, 2, 12, Activation::Gelu), 3);
    let plain = Plain(net.clone());
    let (_, gradient) = plain.loss_and_gradient(&params, &batch);
    let error = worst_gradient_error(&plain, &params, &batch, &gradient);
    println!("largest relative error over {} parameters: {error:.2e}", params.values.len());
    assert!(error <= 1e-6, "{error:e}");

    let folded = Folded::new(net);
    let (_, gradient) = folded.loss_and_gradient(&params, &batch);
    let error = worst_gradient_error(&folded, &params, &batch, &gradient);
    assert!(error <= 1e-6, "{error:e}");
}

#[test]
fn relu_gradients_are_those_of_central_differences() {
    let (net, params, batch) = case(&config(5, 3, 2, 8, Activation::Relu), 11);
    let plain = Plain(net);
    let (_, gradient) = plain.loss_and_gradient(&params, &batch);
    let error = worst_gradient_error(&plain, &params, &batch, &gradient);
    assert!(error <= 1e-6, "{error:e}");
}

/// The check can fail: a factor forgotten in one tensor alone is found in every one of them.
#[test]
fn a_wrong_gradient_is_found() {
    let (net, params, batch) = case(&config(5, 3, 2, 8, Activation::Gelu), 3);
    let plain = Plain(net);
    let (_, gradient) = plain.loss_and_gradient(&params, &batch);
    for slot in plain.0.layout().slots() {
        let mut wrong = gradient.clone();
        for value in &mut wrong.values[slot.offset..slot.offset + slot.len()] {
            *value *= 1.001;
        }
        let error = worst_gradient_error(&plain, &params, &batch, &wrong);
        assert!(error > 1e-4, "a gradient of {} off by 0.1 % passed: {error:e}", slot.name);
    }
}

/// Largest difference of two gradients, tensor by tensor, relative to the tensor's norm; but not to
/// less than a tenth of the whole gradient's. Where a tensor's gradient is a small remainder of
/// large terms, rounding belongs to the terms.
pub(super) fn difference<F: Scalar>(found: &Params<F>, expected: &Params<f64>) -> f64 {
    let whole = expected.values.iter().map(|x| x * x).sum::<f64>().sqrt();
    found
        .iter()
        .zip(expected.iter())
        .map(|((_, found), (_, expected))| {
            let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
            let square = |(x, y): (&F, &f64)| (x.widen() - y).powi(2);
            found.iter().zip(expected).map(square).sum::<f64>().sqrt() / norm.max(0.1 * whole)
        })
        .fold(0.0, f64::max)
}

/// Which neurons are above 0, for every pair.
pub(super) fn active<F: Scalar, M: Model<F>>(
    model: &M,
    params: &Params<F>,
    batch: &Batch,
) -> Vec<bool> {
    let (mut tables, mut block) = (model.new_tables(), model.new_block(batch.pairs.len()));
    model.prepare(params, &mut tables, &InTurn);
    model.forward(&tables, &batch.pairs, &mut block);
    model.neurons(&block).iter().map(|h| *h > F::zero()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Value and every gradient, f64 to 1e-10 and f32 to 1e-4, over random sizes.
    #[test]
    fn folded_is_the_plain_network(
        half in 1usize..8, d_head in 1usize..6, heads in 1usize..4, d_mlp in 1usize..24,
        which in 0usize..3, residues: bool, seed in 0u64..1000,
    ) {
        let act = Activation::ALL[which];
        let smooth = act != Activation::Relu;
        let mut config = config(2 * half + 1, d_head, heads, d_mlp, act);
        config.outputs = if residues { Outputs::Residues } else { Outputs::Tokens };
        let (net, params, batch) = case(&config, seed);
        prop_assert_eq!(net.classes, 2 * half + 1 + usize::from(!residues));
        let (plain, folded) = (Plain(net.clone()), Folded::new(net));
        let (loss, gradient) = plain.loss_and_gradient(&params, &batch);
        let (fast_loss, fast_gradient) = folded.loss_and_gradient(&params, &batch);
        prop_assert!((fast_loss - loss).abs() <= 1e-10 * loss);
        prop_assert!(difference(&fast_gradient, &gradient) <= 1e-10);

        // f32 against f64 at the f32 weights. A ReLU so near its kink that rounding decides on which
        // side it is has no gradient to compare.
        let narrow = params.cast::<f32>();
        let wide = narrow.cast::<f64>();
        prop_assume!(smooth || active(&plain, &wide, &batch) == active(&folded, &narrow, &batch));
        let (loss, gradient) = plain.loss_and_gradient(&narrow.cast::<f64>(), &batch);
        let (fast_loss, fast_gradient) = folded.loss_and_gradient(&narrow, &batch);
        prop_assert!((fast_loss - loss).abs() <= 1e-4 * loss);
        let error = difference(&fast_gradient, &gradient);
        prop_assert!(error <= 1e-4, "{:e}", error);
    }
}

/// E Σθ² of the mainline's initial weights is 1781 ± 5.3, and the loss over 114 classes is
/// ln 114 + 4/114 = 4.77 ± 0.02 (closed forms from the standard deviations).
#[test]
fn mainline_starts_where_theory_says() {
    let config = Settings::preset("nanda2023").unwrap().resolve().unwrap();
    let net = Transformer::new(&config);
    let params = init::random::<f32>(&net, Scheme::Paper, 0);
    assert_eq!(params.values.len(), 226_816);
    let sum: f64 = params.values.iter().map(|w| f64::from(*w).powi(2)).sum();
    assert!((sum - 1781.0).abs() < 3.0 * 5.3, "{sum}");
    let pairs: Vec<_> = (0..113 * 113).map(|i| [i / 113, i % 113]).collect();
    let labels: Vec<_> = pairs.iter().map(|[a, b]| (a + b) % 113).collect();
    let logits = Folded::new(net).evaluate(&params, &pairs);
    let loss = cross_entropy(logits.view(), &labels, &mut [0.0; 114]).loss / 12_769.0;
    assert!((loss - 4.77).abs() < 0.02 + 0.02, "{loss}");
}

/// The TransformerLens variant, by the same closed forms: E Σθ² = 1130.2 (every weight has variance
/// 0.64/128, and there are no biases to add), and the loss over 113 classes is ln 113 + 0.007.
#[test]
fn the_transformer_lens_variant_starts_where_theory_says() {
    let config = Settings::preset("transformer-lens").unwrap().resolve().unwrap();
    let net = Transformer::new(&config);
    let params = init::random::<f32>(&net, Scheme::TransformerLens, 0);
    let sum: f64 = params.values.iter().map(|w| f64::from(*w).powi(2)).sum();
    let weights = params.values.len() - 512 - 128;
    let sigma = 0.64 / 128.0 * (2.0 * weights as f64).sqrt();
    assert!((sum - 1130.2).abs() < 3.0 * sigma, "{sum}");
    let pairs: Vec<_> = (0..113 * 113).map(|i| [i / 113, i % 113]).collect();
    let labels: Vec<_> = pairs.iter().map(|[a, b]| (a + b) % 113).collect();
    let frozen = Network::Transformer(net.clone()).frozen(config.biases);
    assert_eq!(frozen.iter().map(ExactSizeIterator::len).sum::<usize>(), 512 + 128);
    assert!(frozen.iter().cloned().flatten().all(|i| params.values[i].to_bits() == 0));
    let logits = Folded::new(net).evaluate(&params, &pairs);
    assert_eq!(logits.ncols(), 113);
    let loss = cross_entropy(logits.view(), &labels, &mut [0.0; 113]).loss / 12_769.0;
    assert!((loss - (113.0f64.ln() + 0.007)).abs() < 0.01, "{loss}");
}
