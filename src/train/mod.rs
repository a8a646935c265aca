//! Training runs: from settings to an archive.
//!
//! A run is decided by its settings alone: the same settings give the same bytes, for any number of
//! threads, interrupted or not. Step `t` means after `t` updates; what is logged at `t` belongs to
//! the weights saved at `t`.

pub mod step;
pub mod sweep;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::archive::{Checkpoint, MetricsRow, RunInfo, RunWriter, Start, TensorRef, read};
use crate::blas;
use crate::config::{Init, RunConfig, Split};
use crate::error::{Error, Result};
use crate::model::Transformer;
use crate::model::folded::Folded;
use crate::model::init::{self, Scheme};
use crate::optim::Optimizer;
use crate::params::Params;
use crate::tasks::{Batch, Dataset};
use crate::weights;
use step::{Engine, Pass};

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
    /// Of the last saved step; none if every pair is trained on
    pub test: Option<Pass>,
    /// Number of checkpoints saved by this process
    pub saved: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It was complete before.
    AlreadyComplete,
    /// Its last step is saved.
    Complete(Report),
}

/// Train a run and write its archive.
///
/// # Errors
/// [`Error::Interrupted`] after a signal, with everything saved; [`Error::NonFiniteLoss`] with the
/// last good checkpoint in place; what [`RunWriter`] says of the folder; [`Error::Setting`].
pub fn run(request: &Request<'_>, observe: &mut (dyn FnMut(&Report) + Send)) -> Result<Outcome> {
    let config = request.config;
    let net = Transformer::new(config);
    let listed = listed_pairs(config)?;
    let data = Dataset::new(config, listed.as_deref())?;
    let initial = initial_weights(config, &net)?;
    let blas = blas::require_one_thread()?;
    let stored = listed.map(|_| data.train.clone());
    let info = RunInfo::new(config.clone(), blas, stored);
    let start = if request.resume {
        RunWriter::resume(request.out, &info)?
    } else {
        RunWriter::create(request.out, &info)?
    };
    let mut optimizer = Optimizer::new(config, net.layout().len());
    let (writer, params, first) = match start {
        Start::Complete => return Ok(Outcome::AlreadyComplete),
        Start::New(writer) => (writer, initial, 0),
        Start::Resumed { writer, weights: file, optimizer: state } => {
            optimizer.updates = file.step;
            optimizer.m = weights::from_checkpoint(&state, net.layout(), "m.")?.values;
            if !optimizer.v.is_empty() {
                optimizer.v = weights::from_checkpoint(&state, net.layout(), "v.")?.values;
            }
            let step = file.step;
            (writer, weights::from_checkpoint(&file, net.layout(), "")?, step)
        }
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(request.threads)
        .build()
        .map_err(|error| Error::Internal(format!("no threads: {error}")))?;
    let mut training = Training::new(config, net, &data, params, optimizer, writer);
    pool.install(|| training.go(first, request, observe)).map(Outcome::Complete)
}

/// The state of a run between steps.
struct Training<'a> {
    config: &'a RunConfig,
    train: Batch,
    test: Batch,
    engine: Engine<f32, Folded>,
    params: Params<f32>,
    gradient: Params<f32>,
    optimizer: Optimizer<f32>,
    writer: RunWriter,
    names: Names,
}

/// Tensor names in checkpoints and optimiser states.
struct Names {
    weights: Vec<String>,
    m: Vec<String>,
    v: Vec<String>,
}

impl<'a> Training<'a> {
    fn new(
        config: &'a RunConfig,
        net: Transformer,
        data: &Dataset,
        params: Params<f32>,
        optimizer: Optimizer<f32>,
        writer: RunWriter,
    ) -> Self {
        // Neighbouring pairs share table rows: in lexicographic order they stay in the cache.
        let sorted = |indices: &[usize]| {
            let mut indices = indices.to_vec();
            indices.sort_unstable();
            data.batch(&indices)
        };
        let layout = net.layout();
        let names = Names {
            weights: weights::prefixed(layout, ""),
            m: weights::prefixed(layout, "m."),
            v: weights::prefixed(layout, "v."),
        };
        Self {
            config,
            train: sorted(&data.train),
            test: sorted(&data.test),
            gradient: Params::zeros(layout),
            engine: Engine::new(Folded::new(net)),
            params,
            optimizer,
            writer,
            names,
        }
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
                let last_good = self.writer.saved();
                return Err(Error::NonFiniteLoss { step, loss: train.loss, last_good });
            }
            // After a resumption the first step is saved already.
            let due = self.config.save_at.contains(step, steps);
            if due && self.writer.saved().is_none_or(|saved| saved < step) {
                test = self.evaluate_test();
                self.save(step, train, test)?;
                saved += 1;
            }
            let report = Report { step, train, test, saved };
            observe(&report);
            if step == steps {
                return Ok(report);
            }
            let signal = request.stop.load(Ordering::Relaxed);
            if signal != 0 {
                if self.writer.saved() != Some(step) {
                    self.park(step)?;
                }
                return Err(Error::Interrupted {
                    signal: i32::try_from(signal).unwrap_or(2),
                    done: format!("step {step} of {steps} is saved"),
                    help: "run the same command again with --resume".into(),
                });
            }
            self.optimizer.update(&mut self.params.values, &self.gradient.values);
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
        let (weights, state) = tensors(&self.params, &self.optimizer, &self.names);
        self.writer.save(step, &weights, Some(&state), &metrics)
    }

    /// Keep an unscheduled step, so that nothing is computed twice after an interruption.
    fn park(&mut self, step: u64) -> Result<()> {
        let (weights, state) = tensors(&self.params, &self.optimizer, &self.names);
        self.writer.park(step, &weights, &state)
    }
}

/// Weights and optimiser state, ready to be saved.
fn tensors<'a>(
    params: &'a Params<f32>,
    optimizer: &'a Optimizer<f32>,
    names: &'a Names,
) -> (Vec<TensorRef<'a>>, Vec<TensorRef<'a>>) {
    let layout = params.layout();
    let mut state = weights::to_tensors(layout, &names.m, &optimizer.m);
    if !optimizer.v.is_empty() {
        state.extend(weights::to_tensors(layout, &names.v, &optimizer.v));
    }
    (weights::to_tensors(layout, &names.weights, &params.values), state)
}

fn initial_weights(config: &RunConfig, net: &Transformer) -> Result<Params<f32>> {
    match &config.init {
        Init::Paper => Ok(init::random(net, Scheme::Paper, config.seed)),
        Init::TransformerLens => Ok(init::random(net, Scheme::TransformerLens, config.seed)),
        Init::File(path) => {
            must_exist(path, "init file")?;
            let contents = read::load(path, None, false)?;
            let file = Checkpoint {
                step: 0,
                header: contents.header,
                tensors: contents.tensors,
                bytes: contents.bytes,
                blake3: String::new(),
                path: path.clone(),
            };
            weights::from_checkpoint(&file, net.layout(), "")
        }
    }
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
