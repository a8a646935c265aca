//! Training runs: from settings to an archive.
//!
//! A run is decided by its settings alone: the same settings give the same bytes, for any number of
//! threads, interrupted or not. Step `t` means after `t` updates; what is logged at `t` belongs to
//! the weights saved at `t`.

pub mod saver;
pub mod step;
pub mod sweep;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::archive::{MetricsRow, RunInfo, RunWriter, Start};
use crate::config::{Init, RunConfig, Split};
use crate::error::{Error, Result};
use crate::linalg::Scalar;
use crate::model::folded::Folded;
use crate::model::init::{self, Scheme};
use crate::model::mlp::columns::Columns;
use crate::model::{Model, Network};
use crate::optim::Optimizer;
use crate::params::Params;
use crate::tasks::{Batch, Dataset};
use crate::weights::{self, InitFile};
use saver::{Names, Saver};
use step::{Engine, Pass, Threads};

/// What to do, besides the settings of the run.
#[derive(Debug)]
pub struct Request<'a> {
    pub config: &'a RunConfig,
    /// Folder of the run
    pub out: &'a Path,
    /// Continue an unfinished run
    pub resume: bool,
    /// Number of threads; the result does not depend on it
    pub threads: usize,
    /// Becomes the number of a signal when the run should stop
    pub stop: &'a AtomicUsize,
}

/// Where a run stands, told after every step.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub step: u64,
    pub train: Pass,
    /// Of the last saved step; none if every pair is trained on, or nothing was saved yet since a
    /// resumption
    pub test: Option<Pass>,
    /// Number of checkpoints that this process has handed to the saver; all are saved at the end
    pub saved: u64,
    /// Time that training has waited for saves
    pub waited: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It was complete before.
    AlreadyComplete,
    /// Its last step is saved.
    Complete(Report),
}

/// About how many bytes of memory a run takes: the engine's gradient sums and activations, copies of
/// weights and moments, the pairs.
#[must_use]
pub fn memory_of(config: &RunConfig) -> u64 {
    let (parameters, engine) = match Network::new(config) {
        Network::Transformer(net) => {
            (net.layout().len(), step::values::<f32, _>(&Folded::new(net)))
        }
        Network::Mlp(net) => (net.layout().len(), step::values::<f32, _>(&Columns::new(net))),
    };
    let pairs = config.modulus.pow(2);
    (4 * (saver::VALUES * parameters + engine) + 100 * pairs) as u64
}

/// Train a run and write its archive.
///
/// # Errors
/// [`Error::Interrupted`] after a signal, with everything saved; [`Error::NonFiniteLoss`] with the
/// last good checkpoint in place; what [`RunWriter`] says of the folder; [`Error::Setting`].
pub fn run(request: &Request<'_>, observe: &mut (dyn FnMut(&Report) + Send)) -> Result<Outcome> {
    match Network::new(request.config) {
        Network::Transformer(net) => {
            train(request, observe, &Network::Transformer(net.clone()), Folded::new(net))
        }
        Network::Mlp(net) => train(request, observe, &Network::Mlp(net.clone()), Columns::new(net)),
    }
}

/// The same, of the network `net` by its fast path `model`.
fn train<M: Model<f32>>(
    request: &Request<'_>,
    observe: &mut (dyn FnMut(&Report) + Send),
    net: &Network,
    model: M,
) -> Result<Outcome> {
    let config = request.config;
    let listed = listed_pairs(config)?;
    let data = Dataset::new(config, listed.as_deref())?;
    let (initial, init_blake3) = initial_weights(config, net)?;
    let blas = crate::linalg::require_sound()?;
    let stored = listed.map(|_| data.train.clone());
    let info = RunInfo { init_blake3, ..RunInfo::new(config.clone(), blas, stored) };
    let start = if request.resume {
        RunWriter::resume(request.out, &info)?
    } else {
        RunWriter::create(request.out, &info)?
    };
    let frozen = net.frozen(config.biases);
    let mut optimizer = Optimizer::new(config, net.layout().len()).freezing(&frozen);
    let (writer, params, first) = match start {
        Start::Complete => return Ok(Outcome::AlreadyComplete),
        Start::New(writer) => (writer, initial, 0),
        Start::Resumed { writer, weights: file, optimizer: state } => {
            optimizer.updates = file.step;
            optimizer.m = weights::from_checkpoint(&state, net.layout(), "m.")?.values.to_vec();
            if !optimizer.v.is_empty() {
                optimizer.v = weights::from_checkpoint(&state, net.layout(), "v.")?.values.to_vec();
            }
            let step = file.step;
            (writer, weights::from_checkpoint(&file, net.layout(), "")?, step)
        }
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(request.threads)
        .build()
        .map_err(|error| Error::Internal(format!("no threads: {error}")))?;
    let mut training = Training::new(config, model, &data, params, optimizer, writer)?;
    pool.install(|| training.go(first, request, observe)).map(Outcome::Complete)
}

/// The state of a run between steps.
struct Training<'a, M: Model<f32>> {
    config: &'a RunConfig,
    train: Batch,
    test: Batch,
    engine: Engine<f32, M>,
    params: Params<f32>,
    gradient: Params<f32>,
    optimizer: Optimizer<f32>,
    saver: Saver,
}

impl<'a, M: Model<f32>> Training<'a, M> {
    fn new(
        config: &'a RunConfig,
        model: M,
        data: &Dataset,
        params: Params<f32>,
        optimizer: Optimizer<f32>,
        writer: RunWriter,
    ) -> Result<Self> {
        // Neighbouring pairs share table rows: in lexicographic order they stay in the cache.
        let sorted = |indices: &[usize]| {
            let mut indices = indices.to_vec();
            indices.sort_unstable();
            data.batch(&indices)
        };
        let layout = params.layout();
        let saver = Saver::start(writer, layout)?;
        Ok(Self {
            config,
            train: sorted(&data.train),
            test: sorted(&data.test),
            gradient: Params::zeros(layout),
            engine: Engine::new(model),
            params,
            optimizer,
            saver,
        })
    }

    fn go(
        &mut self,
        first: u64,
        request: &Request<'_>,
        observe: &mut (dyn FnMut(&Report) + Send),
    ) -> Result<Report> {
        let steps = self.config.steps;
        let mut test = None;
        let mut saved = 0;
        for step in first.. {
            let train =
                self.engine.loss_and_gradient(&self.params, &self.train, &mut self.gradient);
            if !train.loss.is_finite() {
                let last_good = self.saver.finish()?.saved();
                return Err(Error::NonFiniteLoss { step, loss: train.loss, last_good });
            }
            self.optimizer.mask(&mut self.gradient.values);
            // After a resumption the first step is saved already.
            let due = self.config.save_at.contains(step, steps);
            if due && self.saver.last().is_none_or(|last| last < step) {
                test = self.evaluate_test();
                self.save(step, train, test)?;
                saved += 1;
            }
            if step == steps {
                self.saver.finish()?;
            }
            let report = Report { step, train, test, saved, waited: self.saver.waited() };
            observe(&report);
            if step == steps {
                return Ok(report);
            }
            let signal = request.stop.load(Ordering::Relaxed);
            if signal != 0 {
                self.park(step)?;
                return Err(Error::Interrupted {
                    signal: i32::try_from(signal).unwrap_or(2),
                    done: format!("step {step} of {steps} is saved"),
                    help: "run the same command again with --resume".into(),
                });
            }
            if self.saver.has_ended() {
                self.saver.finish()?;
            }
            self.optimizer.update(&mut self.params.values, &self.gradient.values, &Threads);
        }
        unreachable!("the last step returns")
    }

    fn evaluate_test(&mut self) -> Option<Pass> {
        (!self.test.pairs.is_empty()).then(|| self.engine.evaluate(&self.params, &self.test))
    }

    fn save(&mut self, step: u64, train: Pass, test: Option<Pass>) -> Result<()> {
        let norm = self.gradient.values.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
        let metrics = MetricsRow {
            step,
            train_loss: Some(train.loss),
            test_loss: test.map(|test| test.loss),
            train_accuracy: Some(train.accuracy),
            test_accuracy: test.map(|test| test.accuracy),
            learning_rate: Some(self.optimizer.learning_rate()),
            gradient_norm: Some(norm.sqrt()),
            tiny_second_moment: self.optimizer.tiny_second_moment(&self.gradient.values),
        };
        self.saver.save(&self.params, &self.optimizer, metrics)
    }

    /// Wait for the saves under way, and keep this step if it is none of them, so that nothing is
    /// computed twice after an interruption.
    fn park(&mut self, step: u64) -> Result<()> {
        let mut writer = self.saver.finish()?;
        if writer.saved() == Some(step) {
            return Ok(());
        }
        let names = Names::new(self.params.layout());
        let (m, v) = (&self.optimizer.m, &self.optimizer.v);
        let (weights, state) = names.tensors(&self.params.values, m, v);
        writer.park(step, &weights, &state)
    }
}

/// The weights of step 0, in `F`; and the digest of the file that they are from, if they are.
///
/// # Errors
/// [`Error::NotFound`], or what [`InitFile`] says of the file.
pub fn initial_weights<F: Scalar>(
    config: &RunConfig,
    net: &Network,
) -> Result<(Params<F>, Option<String>)> {
    let scheme = match &config.init {
        Init::Paper => Scheme::Paper,
        Init::TransformerLens => Scheme::TransformerLens,
        Init::File(path) => {
            must_exist(path, "init file")?;
            let file = InitFile::read(path)?;
            return Ok((file.weights(net)?, Some(file.blake3)));
        }
    };
    let drawn = match net {
        Network::Transformer(net) => init::random(net, scheme, config.seed),
        Network::Mlp(net) => init::random_mlp(net, config.seed),
    };
    Ok((drawn, None))
}

fn must_exist(path: &Path, kind: &'static str) -> Result<()> {
    if path.exists() { Ok(()) } else { Err(Error::NotFound { path: path.to_owned(), kind }) }
}

/// The pairs that a `file:PATH` split lists.
pub(crate) fn listed_pairs(config: &RunConfig) -> Result<Option<Vec<usize>>> {
    let Split::File(path) = &config.split else { return Ok(None) };
    must_exist(path, "split file")?;
    let text = fs::read_to_string(path).map_err(Error::read(path))?;
    let parse = |(line, text): (usize, &str)| {
        text.trim().parse().map_err(|_| Error::ConfigFile {
            path: path.clone(),
            line: line + 1,
            column: 1,
            problem: format!("`{}` is not a pair a·p + b", text.trim().escape_debug()),
            help: "list training pairs as a·p + b, one per line".into(),
        })
    };
    let lines = text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty());
    lines.map(parse).collect::<Result<_>>().map(Some)
}
