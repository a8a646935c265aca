//! The two implementations against central differences and against each other.

use proptest::prelude::*;

use super::columns::Columns;
use super::plain::OneHot;
use super::*;
use crate::config::{Architecture, Settings};
use crate::linalg::kernels::cross_entropy;
use crate::model::tests::{active, difference, worst_gradient_error};
use crate::model::{Model, init};
use crate::params::Params;
use crate::tasks::Batch;

fn network(p: usize, d_mlp: usize, activation: Activation) -> Mlp {
    let settings = Settings {
        architecture: Some(Architecture::Mlp),
        modulus: Some(p),
        d_mlp: Some(d_mlp),
        activation: Some(activation),
        ..Settings::default()
    };
    Mlp::new(&settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap())
}

/// Weights large enough that no part of the gradient is trivially small; and a batch with every
/// residue at both places, some pairs twice.
fn case(net: &Mlp, seed: u64) -> (Params<f64>, Batch) {
    let mut params: Params<f64> = init::random_mlp(net, seed);
    params.matrix_mut(names::W_IN).mapv_inplace(|w| w * (2.0 * net.p as f64).sqrt());
    params.matrix_mut(names::W_OUT).mapv_inplace(|w| w * (net.d_mlp as f64).sqrt());
    let p = net.p;
    let pairs: Vec<_> = (0..3 * p).map(|i| [i % p, (i * i + 1) % p]).collect();
    let pairs = [pairs, (0..p).map(|b| [0, b]).collect()].concat();
    let labels = pairs.iter().map(|[a, b]| (a + b) % p).collect();
    (params, Batch { pairs, labels })
}

/// Smooth nonlinearities: ReLU's kinks within the step would fake an error now and then.
#[test]
fn every_gradient_is_that_of_central_differences() {
    for activation in [Activation::Quadratic, Activation::Gelu] {
        let net = network(7, 12, activation);
        let (params, batch) = case(&net, 3);
        let plain = OneHot(net.clone());
        let (_, gradient) = plain.loss_and_gradient(&params, &batch);
        let error = worst_gradient_error(&plain, &params, &batch, &gradient);
        println!("{activation}: largest relative error {error:.2e}");
        assert!(error <= 1e-6, "{activation}: {error:e}");

        let columns = Columns::new(net);
        let (_, gradient) = columns.loss_and_gradient(&params, &batch);
        let error = worst_gradient_error(&columns, &params, &batch, &gradient);
        assert!(error <= 1e-6, "{activation}: {error:e}");
    }
}

#[test]
fn relu_gradients_are_those_of_central_differences() {
    let net = network(5, 8, Activation::Relu);
    let (params, batch) = case(&net, 11);
    let plain = OneHot(net);
    let (_, gradient) = plain.loss_and_gradient(&params, &batch);
    let error = worst_gradient_error(&plain, &params, &batch, &gradient);
    assert!(error <= 1e-6, "{error:e}");
}

/// The check can fail: a factor forgotten in one tensor alone is found in both.
#[test]
fn a_wrong_gradient_is_found() {
    let net = network(5, 8, Activation::Quadratic);
    let (params, batch) = case(&net, 3);
    let plain = OneHot(net);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Value and every gradient, f64 to 1e-10 and f32 to 1e-4, over random sizes.
    #[test]
    fn columns_are_the_one_hot_network(
        half in 1usize..10, d_mlp in 1usize..40, which in 0usize..3, seed in 0u64..1000,
    ) {
        let activation = Activation::ALL[which];
        let net = network(2 * half + 1, d_mlp, activation);
        let (params, batch) = case(&net, seed);
        let (plain, columns) = (OneHot(net.clone()), Columns::new(net));
        let (loss, gradient) = plain.loss_and_gradient(&params, &batch);
        let (fast_loss, fast_gradient) = columns.loss_and_gradient(&params, &batch);
        prop_assert!((fast_loss - loss).abs() <= 1e-10 * loss);
        prop_assert!(difference(&fast_gradient, &gradient) <= 1e-10);

        // f32 against f64 at the f32 weights; a ReLU at its kink has no gradient to compare.
        let narrow = params.cast::<f32>();
        let wide = narrow.cast::<f64>();
        let smooth = activation != Activation::Relu;
        prop_assume!(smooth || active(&plain, &wide, &batch) == active(&columns, &narrow, &batch));
        let (loss, gradient) = plain.loss_and_gradient(&wide, &batch);
        let (fast_loss, fast_gradient) = columns.loss_and_gradient(&narrow, &batch);
        prop_assert!((fast_loss - loss).abs() <= 1e-4 * loss);
        let error = difference(&fast_gradient, &gradient);
        prop_assert!(error <= 1e-4, "{:e}", error);
    }
}

/// E Σθ² = d_mlp · 2p / (2p) + p · d_mlp / d_mlp² = d_mlp + p/d_mlp, and the logits are so small
/// (variance 3/(p² d_mlp) for squares) that the loss is ln p.
#[test]
fn the_network_starts_where_theory_says() {
    let net = network(113, 512, Activation::Quadratic);
    let params: Params<f64> = init::random_mlp(&net, 0);
    let sum: f64 = params.values.iter().map(|w| w * w).sum();
    // Σ of N squares of σ has the standard deviation σ²√(2N): here 2.1.
    assert!((sum - (512.0 + 113.0 / 512.0)).abs() < 3.0 * 2.2, "{sum}");
    let pairs: Vec<_> = (0..113 * 113).map(|i| [i / 113, i % 113]).collect();
    let labels: Vec<_> = pairs.iter().map(|[a, b]| (a + b) % 113).collect();
    let logits = Columns::new(net).evaluate(&params, &pairs);
    let loss = cross_entropy(logits.view(), &labels, &mut [0.0; 113]).loss / 12_769.0;
    assert!((loss - 113.0f64.ln()).abs() < 1e-3, "{loss}");
}
