//! One mainline training step, as one JSON line: our side of `make bench-peers`.
//!
//! `cargo bench --bench mainline -- [--threads N] [--steps N]` prints the median time of a step, and
//! beside it two floors: the time of matrix products alone at the rate of the kernel in force,
//! measured in the same run on the same number of threads. `floor_ms` is for the products of a step
//! whose neurons are computed pair by pair, 2.85 GFLOP; `products_ms` for those that this step is made
//! of, 1.58 GFLOP (see `model::folded`). The kernel is the one that OpenBLAS chooses: where the programs
//! start themselves again with a better one, set OPENBLAS_CORETYPE.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use groundswell::blas;
use groundswell::config::Settings;
use groundswell::doctor::product_rate;
use groundswell::model::Transformer;
use groundswell::model::folded::Folded;
use groundswell::model::init::{self, Scheme};
use groundswell::optim::Optimizer;
use groundswell::params::Params;
use groundswell::tasks::Dataset;
use groundswell::train::step::{Engine, Threads};

/// Arithmetic of a step with `W_in` and `W_U W_out` per pair, forward once and backward twice.
const PAIR_BY_PAIR: f64 = 3.0 * 2.0 * 3830.0 * 512.0 * (128.0 + 114.0) / 1e9;

/// Arithmetic of this step's products: `G` per pair; then, for the weights alone, v, B, T and G.
const PRODUCTS: f64 = 3.0
    * 2.0
    * (3830.0 * 512.0 * 114.0
        + 227.0 * 128.0 * 128.0
        + 626.0 * 128.0 * 128.0
        + 227.0 * 128.0 * 626.0
        + 114.0 * 128.0 * 512.0)
    / 1e9;

fn option(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    groundswell::cli::kernel::choose(); // as the programs do
    let (threads, steps) = (option("--threads", 2), option("--steps", 50));
    let config = Settings::preset("nanda2023").and_then(Settings::resolve).expect("a preset");
    let data = Dataset::new(&config, None).expect("a preset");
    let net = Transformer::new(&config);
    let mut indices = data.train.clone();
    indices.sort_unstable();
    let train = data.batch(&indices);
    let mut params = init::random::<f32>(&net, Scheme::Paper, config.seed);
    let mut gradient = Params::zeros(net.layout());
    let mut optimizer = Optimizer::new(&config, params.values.len());
    let mut engine = Engine::new(Folded::new(net));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let mut times: Vec<f64> = pool.install(|| {
        let mut step = || {
            let started = Instant::now();
            engine.loss_and_gradient(&params, &train, &mut gradient);
            optimizer.update(&mut params.values, &gradient.values, &Threads);
            started.elapsed().as_secs_f64() * 1e3
        };
        for _ in 0..5 {
            step();
        }
        (0..steps).map(|_| step()).collect()
    });
    times.sort_by(f64::total_cmp);
    let rates: Vec<f64> = pool.broadcast(|_| product_rate()).into_iter().collect();
    let rate = rates.iter().sum::<f64>();
    let (floor, products) = (PAIR_BY_PAIR / rate * 1e3, PRODUCTS / rate * 1e3);
    let median = times[times.len() / 2];
    let info = blas::info();
    println!(
        "{{\"name\":\"groundswell\",\"ms_per_step_median\":{median:.3},\"ms_min\":{:.3},\
         \"floor_ms\":{floor:.3},\"products_ms\":{products:.3},\"gflops\":{rate:.1},\
         \"steps\":{steps},\"threads\":{threads},\"library\":\"{} {}\",\"kernel\":\"{}\"}}",
        times[0], info.library, info.version, info.kernel,
    );
}
