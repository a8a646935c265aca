//! Table `arrow`: how the update from each checkpoint on moves the logit coefficients.
//!
//! The optimiser's step comes from its state, if that is saved with the checkpoint; else from the next
//! checkpoint, if that is one update later. In memory: for each run in work its final weights; for each
//! thread two checkpoints, a state, and the network on all inputs.

mod rows;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::comparison::Block;
use super::{Failure, attempt};
use crate::archive::{Archive, Checkpoint, CheckpointRef, Run};
use crate::circuits;
use crate::claims::nulls;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::model::{Network, Transformer};
use crate::optim::Optimizer;
use crate::params::Params;
use crate::pipeline::checkpoints::{checkpoint_failure, relative};
use crate::pipeline::evaluation::all_below;
use crate::pipeline::patience::patiently;
use crate::pipeline::run::{RunContext, Subject};
use crate::pipeline::store::journal::ReadFile;
use crate::pipeline::view::LARGEST_WEIGHT;
use crate::progress::{KEY_THRESHOLD, key_frequencies};
use crate::tables::{ArrowRow, Status};
use crate::tasks::Batch;
use crate::weights;
use rows::Around;

/// A run of which the updates are measured, block by block.
pub(in crate::pipeline) struct Arrows<'a> {
    archive: &'a Archive,
    run: &'a Run,
    subject: &'a Subject,
    io_timeout: Option<Duration>,
    /// Read by the first block, given up by the last
    last: Mutex<Option<Arc<Last>>>,
    blocks_left: AtomicUsize,
    /// The training labels, permuted
    permuted: OnceLock<Vec<Vec<usize>>>,
}

/// What a file holds, or why it cannot be used.
struct Loaded<T> {
    read: ReadFile,
    found: Result<T, Lost>,
}

/// Why a file cannot be used. One that merely holds unusable numbers is no failure.
#[derive(Clone)]
struct Lost {
    status: Status,
    failure: Option<Box<Failure>>,
}

/// The final checkpoint.
struct Last {
    weights: Loaded<Params<f64>>,
    /// The frequencies that keys are compared with; none without keys
    plain: Vec<usize>,
}

/// What a unit reads besides its rows.
#[derive(Default)]
struct Seen {
    files: Vec<ReadFile>,
    failures: Vec<Failure>,
    is_passing: bool,
}

impl Seen {
    /// Take up what was read; tell of a failure if nobody else does.
    fn take<T>(&mut self, loaded: Loaded<T>, tell: bool) -> Result<T, Lost> {
        self.files.push(loaded.read);
        if let Err(Lost { failure: Some(failure), .. }) = &loaded.found {
            self.is_passing |= failure.is_passing;
            if tell {
                self.failures.push(Failure::clone(failure));
            }
        }
        loaded.found
    }
}

impl<'a> Arrows<'a> {
    /// A run of which so many blocks are to be measured.
    pub(in crate::pipeline) fn new(
        archive: &'a Archive,
        run: &'a Run,
        subject: &'a Subject,
        io_timeout: Option<Duration>,
        blocks: usize,
    ) -> Self {
        let (last, blocks_left) = (Mutex::new(None), AtomicUsize::new(blocks));
        Self { archive, run, subject, io_timeout, last, blocks_left, permuted: OnceLock::new() }
    }

    /// The rows of these checkpoints; `None` once `stopped` says so.
    pub(in crate::pipeline) fn block(
        &self,
        range: Range<usize>,
        stopped: impl Fn() -> bool,
        observe: impl Fn(),
    ) -> Option<Block<ArrowRow>> {
        let block = match &self.subject.network {
            Some(context) => match (&context.net, &context.circuit) {
                (Network::Transformer(net), Some(_)) => {
                    self.measured(context, net, range, &stopped, &observe)?
                }
                (Network::Mlp(_), _) => {
                    self.blank(context, range, Status::UnknownNetwork, &observe)
                }
                (_, None) => self.blank(context, range, Status::NotPeriodic, &observe),
            },
            // How many frequencies there are, nobody knows.
            None => {
                range.for_each(|_| observe());
                Block::default()
            }
        };
        if self.blocks_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        Some(block)
    }

    /// Rows without a measure. What decides that is not in the checkpoints, so none is read.
    fn blank(
        &self,
        context: &RunContext,
        range: Range<usize>,
        status: Status,
        observe: &impl Fn(),
    ) -> Block<ArrowRow> {
        let checkpoints = self.run.checkpoints[range].iter().inspect(|_| observe());
        let rows = checkpoints.flat_map(|checkpoint| rows::blank(context, checkpoint.step, status));
        Block { rows: rows.collect(), ..Block::default() }
    }

    fn measured(
        &self,
        context: &RunContext,
        net: &Transformer,
        range: Range<usize>,
        stopped: &impl Fn() -> bool,
        observe: &impl Fn(),
    ) -> Option<Block<ArrowRow>> {
        let checkpoints = &self.run.checkpoints;
        let last = self.last(context)?;
        let around = Around::new(context, net, &last, stopped);
        let (mut seen, mut rows) = (Seen::default(), Vec::new());
        let mut now = seen.take(self.weights(context, &checkpoints[range.start]), true);
        for t in range.clone() {
            if stopped() {
                return None;
            }
            let (checkpoint, next) = (&checkpoints[t], checkpoints.get(t + 1));
            let is_own = range.contains(&(t + 1));
            let is_adjacent = next.is_some_and(|next| next.step == checkpoint.step + 1);
            let next = next.filter(|_| is_own || is_adjacent);
            let next = next.map(|next| seen.take(self.weights(context, next), is_own));
            match &now {
                Ok(weights) => {
                    let after = next.as_ref().filter(|_| is_adjacent);
                    let (optimizer, problem) = self.optimizer(checkpoint, context, &mut seen);
                    let labels =
                        around.permutes(checkpoint.step).then(|| self.permuted(&around.train));
                    let measure = || {
                        Ok(around.rows(checkpoint.step, weights, after, optimizer, problem, labels))
                    };
                    match attempt(self.archive, checkpoint, measure) {
                        Ok(found) => rows.extend(found?),
                        Err(failure) => seen.failures.push(failure),
                    }
                }
                Err(Lost { status, failure: None }) => {
                    rows.extend(rows::blank(context, checkpoint.step, *status));
                }
                Err(_) => {}
            }
            observe();
            now = next.unwrap_or(Err(Lost { status: Status::Missing, failure: None }));
        }
        seen.files.push(last.weights.read.clone());
        if let Err(Lost { failure: Some(failure), .. }) = &last.weights.found {
            seen.is_passing |= failure.is_passing;
        }
        let is_passing = seen.is_passing || seen.failures.iter().any(|failure| failure.is_passing);
        Some(Block { rows, files: seen.files, failures: seen.failures, is_passing })
    }

    /// The final checkpoint. (Nothing here may wait for other work of the pool: a thread that waits
    /// takes up other blocks, and would come here again.)
    fn last(&self, context: &RunContext) -> Option<Arc<Last>> {
        let mut known = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let weights = self.weights(context, self.run.checkpoints.last()?);
            let keys = context.keys().unwrap_or_default();
            let plain = match &weights.found {
                Ok(params) if !keys.is_empty() => {
                    nulls::plain_frequencies(keys, &in_w_e(context, params), context.group.order())
                }
                _ => Vec::new(),
            };
            *known = Some(Arc::new(Last { weights, plain }));
        }
        known.clone()
    }

    fn permuted(&self, train: &Batch) -> &[Vec<usize>] {
        self.permuted.get_or_init(|| {
            let count = self.subject.network.as_ref().map_or(0, |run| run.choices.labels.count);
            nulls::permuted_labels(&train.labels, count)
        })
    }

    /// The optimiser as it stands before its update from a checkpoint, or `None` if the archive does not
    /// say which one; and why its saved state cannot be used.
    fn optimizer(
        &self,
        checkpoint: &CheckpointRef,
        context: &RunContext,
        seen: &mut Seen,
    ) -> (Option<State>, Option<Status>) {
        let Some(info) = &self.run.info else { return (None, None) };
        let mut state = State::new(&info.config, context, checkpoint.step);
        if state.optimizer.is_without_memory() {
            state.is_known = true;
            return (Some(state), None);
        }
        let Some(file) = self.run.optimizer.iter().find(|file| file.step == checkpoint.step) else {
            return (Some(state), None);
        };
        let has_second = !state.optimizer.v.is_empty();
        let loaded = self.load(file, |checkpoint| {
            let of = |prefix: &str| -> Result<Vec<f64>> {
                let layout = context.net.layout();
                Ok(weights::from_checkpoint::<f64>(checkpoint, layout, prefix)?.values.to_vec())
            };
            let (m, v) = (of("m.")?, if has_second { of("v.")? } else { Vec::new() });
            let both = usable(&m).and_then(|()| usable(&v));
            Ok(both.map(|()| (m, v)))
        });
        // It is no checkpoint: a failure of its own, which does not say that a step is lost.
        let loaded = Loaded { found: loaded.found.map_err(without_step), ..loaded };
        match seen.take(loaded, true) {
            Ok((m, v)) => {
                (state.optimizer.m, state.optimizer.v, state.is_known) = (m, v, true);
                (Some(state), None)
            }
            Err(lost) => (Some(state), Some(lost.status)),
        }
    }

    fn weights(&self, context: &RunContext, file: &CheckpointRef) -> Loaded<Params<f64>> {
        self.load(file, |checkpoint| {
            let params: Params<f64> = weights::of_network(checkpoint, &context.net)?;
            Ok(usable(&params.values).map(|()| params))
        })
    }

    /// Read a file against its digest. The outer failure is of the file, the inner of its numbers.
    fn load<T>(
        &self,
        file: &CheckpointRef,
        decode: impl FnOnce(&Checkpoint) -> Result<Result<T, Status>>,
    ) -> Loaded<T> {
        let mut read = ReadFile {
            file: relative(&file.path, &self.archive.path),
            identity: file.identity(),
            blake3: None,
        };
        let found = attempt(self.archive, file, || {
            let source = file.clone();
            let loaded = patiently(&file.path, self.io_timeout, move || source.load(None))?;
            read.blake3 = Some(loaded.blake3.clone());
            decode(&loaded)
        });
        let found = match found {
            Ok(found) => found.map_err(|status| Lost { status, failure: None }),
            Err(failure) => {
                Err(Lost { status: Status::Unreadable, failure: Some(Box::new(failure)) })
            }
        };
        Loaded { read, found }
    }

    /// As if reading each of these checkpoints had failed with this error.
    pub(in crate::pipeline) fn refused(
        &self,
        range: Range<usize>,
        error: &Error,
    ) -> Block<ArrowRow> {
        let archive = &self.archive.path;
        let failures = self.run.checkpoints[range].iter().map(|file| Failure {
            row: checkpoint_failure(error, file, relative(&file.path, archive), archive),
            internal: false,
            is_passing: true,
        });
        Block { failures: failures.collect(), is_passing: true, ..Block::default() }
    }
}

/// An optimiser before an update.
struct State {
    optimizer: Optimizer<f64>,
    /// Whether its moments are known; its learning rate and decay are
    is_known: bool,
}

impl State {
    fn new(config: &RunConfig, context: &RunContext, step: u64) -> Self {
        let optimizer = Optimizer::new(config, context.net.layout().len());
        let mut optimizer = optimizer.freezing(&context.frozen);
        optimizer.updates = step;
        Self { optimizer, is_known: false }
    }
}

fn without_step(mut lost: Lost) -> Lost {
    if let Some(failure) = &mut lost.failure {
        failure.row.step = None;
    }
    lost
}

/// Whether products of such numbers stay in the range of f64.
fn usable(values: &[f64]) -> Result<(), Status> {
    if all_below(LARGEST_WEIGHT, values) {
        return Ok(());
    }
    let finite = values.iter().all(|value| value.is_finite());
    Err(if finite { Status::Overflow } else { Status::NonFinite })
}

/// The frequencies that pass the rule of keys in the embedding.
fn in_w_e(context: &RunContext, params: &Params<f64>) -> Vec<usize> {
    let all = circuits::object_norms(&context.net, params, &context.transform, &context.group);
    let found = all.iter().find(|(name, _)| name == "W_E");
    found.map_or_else(Vec::new, |(_, norms)| key_frequencies(norms, KEY_THRESHOLD).keys)
}
