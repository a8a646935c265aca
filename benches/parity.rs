//! The train losses from an init file, as JSON: our side of `benches/peers/parity_check.py`.
//!
//! `cargo bench --bench parity -- --init FILE --dtype f64 --steps 200 --out losses.json` with any
//! setting of `groundswell-train` besides. Entry u is the loss before update u, as PyTorch's side
//! writes it. The engine and the optimiser are those of training, in f64 or in f32.

use std::path::PathBuf;

use clap::Parser;
use groundswell::config::{PRESETS, RunConfig, Settings};
use groundswell::linalg::Scalar;
use groundswell::model::folded::Folded;
use groundswell::model::mlp::columns::Columns;
use groundswell::model::{Model, Network};
use groundswell::optim::Optimizer;
use groundswell::params::Params;
use groundswell::tasks::Dataset;
use groundswell::train::initial_weights;
use groundswell::train::step::{Engine, Threads};

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, value_parser = ["f32", "f64"], default_value = "f64")]
    dtype: String,
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value = PRESETS[0].name)]
    preset: String,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[command(flatten)]
    settings: Settings,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    groundswell::cli::kernel::choose(); // as the programs do
    let args = Args::parse();
    let config = args.settings.clone().or(Settings::preset(&args.preset)?).resolve()?;
    groundswell::linalg::require_sound()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
    let losses = pool.install(|| match args.dtype.as_str() {
        "f32" => of_network::<f32>(&config),
        _ => of_network::<f64>(&config),
    })?;
    std::fs::write(&args.out, serde_json::to_vec(&losses)?)?;
    Ok(())
}

fn of_network<F: Scalar>(config: &RunConfig) -> groundswell::Result<Vec<f64>> {
    let net = Network::new(config);
    let (params, _) = initial_weights::<F>(config, &net)?;
    let optimizer = Optimizer::new(config, params.values.len());
    let optimizer = optimizer.freezing(&net.frozen(config.biases));
    match net {
        Network::Transformer(net) => losses(config, Folded::new(net), params, optimizer),
        Network::Mlp(net) => losses(config, Columns::new(net), params, optimizer),
    }
}

fn losses<F: Scalar, M: Model<F>>(
    config: &RunConfig,
    model: M,
    mut params: Params<F>,
    mut optimizer: Optimizer<F>,
) -> groundswell::Result<Vec<f64>> {
    let data = Dataset::new(config, None)?;
    let mut indices = data.train.clone();
    indices.sort_unstable(); // as in training
    let batch = data.batch(&indices);
    let mut gradient = Params::zeros(params.layout());
    let mut engine = Engine::new(model);
    let step = |_| {
        let pass = engine.loss_and_gradient(&params, &batch, &mut gradient);
        optimizer.update(&mut params.values, &gradient.values, &Threads);
        pass.loss
    };
    Ok((0..config.steps).map(step).collect())
}
