//! The parts of a training step and of an analysis at mainline size, on one thread.
//!
//! `cargo bench --bench micro`; peers and ratios are in `make bench-peers`.

use divan::Bencher;
use groundswell::circuits::NeuronSums;
use groundswell::config::{RunConfig, Settings};
use groundswell::linalg::{kernels, matmul, svd};
use groundswell::model::folded::Folded;
use groundswell::model::init::{self, Scheme};
use groundswell::model::{InTurn, Model, Transformer};
use groundswell::params::Params;
use groundswell::progress::{CircuitLosses, Group, LogitTable, Protocol};
use groundswell::tasks::{Batch, Dataset};
use ndarray::{Array2, Axis, s};

fn main() {
    groundswell::cli::kernel::choose(); // as the programs do
    divan::main();
}

fn mainline() -> (RunConfig, Transformer, Dataset) {
    let config = Settings::preset("nanda2023").and_then(Settings::resolve).expect("a preset");
    let data = Dataset::new(&config, None).expect("a preset");
    let net = Transformer::new(&config);
    (config, net, data)
}

fn train_batch(data: &Dataset) -> Batch {
    let mut train = data.train.clone();
    train.sort_unstable();
    data.batch(&train)
}

#[divan::bench(sample_count = 20)]
fn loss_and_gradient_of_3830_pairs_f32(bencher: Bencher<'_, '_>) {
    let (_, net, data) = mainline();
    let params = init::random::<f32>(&net, Scheme::Paper, 0);
    let (model, batch) = (Folded::new(net), train_batch(&data));
    bencher.bench_local(|| model.loss_and_gradient(&params, &batch));
}

#[divan::bench(sample_count = 20)]
fn matrix_products_alone_f32(bencher: Bencher<'_, '_>) {
    // What a step that computes neurons pair by pair needs: W_in and G, forward and backward twice.
    let (rows, d_model, d_mlp, classes) = (3830, 128, 512, 114);
    let mid = Array2::<f32>::ones((rows, d_model));
    let w_in = Array2::<f32>::ones((d_mlp, d_model));
    let hidden = Array2::<f32>::ones((rows, d_mlp));
    let fold = Array2::<f32>::ones((classes, d_mlp));
    let logits = Array2::<f32>::ones((rows, classes));
    bencher.bench_local(|| {
        divan::black_box(matmul(mid.view(), w_in.t()));
        divan::black_box(matmul(hidden.view(), fold.t()));
        divan::black_box(matmul(logits.view(), fold.view()));
        divan::black_box(matmul(logits.t(), hidden.view()));
        divan::black_box(matmul(hidden.view(), w_in.view()));
        divan::black_box(matmul(hidden.t(), mid.view()));
    });
}

/// The product that comes first in the backward pass, of gradients as they are in training and of subnormal
/// ones.
#[divan::bench(args = [1e-10, 1e-40], sample_count = 10)]
fn product_of_gradients_of_size(bencher: Bencher<'_, '_>, size: f32) {
    let d_logits = Array2::from_elem((3830, 114), size);
    let fold = Array2::<f32>::ones((114, 512));
    bencher.bench_local(|| matmul(d_logits.view(), fold.view()));
}

#[divan::bench]
fn cross_entropy_of_3830_rows(bencher: Bencher<'_, '_>) {
    let (_, net, data) = mainline();
    let batch = train_batch(&data);
    let params = init::random::<f32>(&net, Scheme::Paper, 0);
    let logits = Folded::new(net).evaluate(&params, &batch.pairs);
    bencher.with_inputs(|| logits.clone()).bench_local_values(|mut logits| {
        kernels::cross_entropy_backward(logits.view_mut(), &batch.labels, 1.0, &mut [0.0; 114])
    });
}

#[divan::bench(sample_count = 10)]
fn evaluation_of_all_pairs_f64(bencher: Bencher<'_, '_>) {
    let (_, net, _) = mainline();
    let params = init::random::<f64>(&net, Scheme::Paper, 0);
    let pairs: Vec<_> = (0..113 * 113).map(|i| [i / 113, i % 113]).collect();
    let model = Folded::new(net);
    bencher.bench_local(|| model.evaluate(&params, &pairs));
}

/// Logits of the real classes and neurons of the initial network.
fn grid() -> (Array2<f64>, Array2<f64>, Params<f64>) {
    let (_, net, _) = mainline();
    let params = init::random::<f64>(&net, Scheme::Paper, 0);
    let pairs: Vec<_> = (0..113 * 113).map(|i| [i / 113, i % 113]).collect();
    let model = Folded::new(net);
    let mut tables = Model::<f64>::new_tables(&model);
    let mut block = Model::<f64>::new_block(&model, pairs.len());
    model.prepare(&params, &mut tables, &InTurn);
    model.forward(&tables, &pairs, &mut block);
    let logits = model.logits(&mut block).slice(s![.., ..113]).to_owned();
    let neurons = Model::<f64>::neurons(&model, &block).to_owned();
    (logits, neurons, params)
}

#[divan::bench(sample_count = 10)]
fn every_loss_of_every_frequency(bencher: Bencher<'_, '_>) {
    let (logits, ..) = grid();
    let (_, _, data) = mainline();
    let group = Group::additive(113);
    let table = LogitTable::new(logits.view(), &group, Protocol::SumDirs);
    bencher.bench_local(|| {
        CircuitLosses::new(logits.view(), &table, &[14, 35], &data.train, &data.test)
    });
}

#[divan::bench(sample_count = 10)]
fn neuron_frequencies_of_512_neurons(bencher: Bencher<'_, '_>) {
    let (_, neurons, _) = grid();
    let group = Group::additive(113);
    bencher.bench_local(|| {
        let mut sums = NeuronSums::zeros(&group, 512);
        for (i, rows) in neurons.axis_chunks_iter(Axis(0), 3 * 113).enumerate() {
            sums.add(&group, 3 * i, rows);
        }
        sums.frequencies(&group)
    });
}

/// A matrix of full rank without structure.
fn wave(rows: usize, cols: usize) -> Array2<f64> {
    let entry = |(i, j): (usize, usize)| ((i * i + 3 * j * j + i * j) as f64).sin();
    Array2::from_shape_fn((rows, cols), entry)
}

#[divan::bench(args = [(114, 128), (128, 512), (512, 2048)], sample_count = 10)]
fn singular_values(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let w = wave(rows, cols);
    bencher.bench_local(|| svd::singular_values(w.view()));
}

#[divan::bench(args = [(114, 128), (128, 512), (512, 2048)], sample_count = 10)]
fn gram_singular_values(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let w = wave(rows, cols);
    bencher.bench_local(|| svd::gram_singular_values(w.view()));
}

#[divan::bench(args = [(114, 128), (128, 512), (512, 2048)], sample_count = 10)]
fn singular_vectors(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let w = wave(rows, cols);
    bencher.bench_local(|| svd::singular_vectors(w.view()));
}

/// A third of them, as `movement` needs.
#[divan::bench(args = [(114, 128), (128, 512), (512, 2048)], sample_count = 10)]
fn leading_vectors(bencher: Bencher<'_, '_>, (rows, cols): (usize, usize)) {
    let w = wave(rows, cols);
    bencher.bench_local(|| svd::leading_vectors(w.view(), |sigma| sigma.len() / 3));
}
