//! Saving beside the training: the trainer hands over copies, a thread of its own writes them.
//!
//! There are [`COPIES`] copies at most, so memory is bounded: a trainer that is faster than the disk
//! waits for one to become free. What has piled up while the disk was busy is saved together, with
//! one sync of each folder and log for all of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::archive::{MetricsRow, RunWriter, Save};
use crate::error::{Error, Result};
use crate::optim::Optimizer;
use crate::params::{Layout, Params};
use crate::weights;

/// Most steps that wait to be written.
const COPIES: usize = 8;

/// Values in memory per parameter: weights, gradient and two moments, three of them in each copy, and
/// the bytes of a group that is being written.
pub const VALUES: usize = 4 + 3 * COPIES + 3 * COPIES;

/// A step's weights and optimiser state.
#[derive(Debug, Default)]
struct Copy {
    weights: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    metrics: MetricsRow,
}

/// Hands steps to the thread that saves them.
#[derive(Debug)]
pub struct Saver {
    /// Closed to end the thread.
    full: Option<SyncSender<Copy>>,
    empty: Receiver<Copy>,
    thread: Option<JoinHandle<(RunWriter, Result<()>)>>,
    /// The last step that is saved, or on its way.
    last: Option<u64>,
    /// Time that the trainer has spent here.
    waited: Duration,
}

impl Saver {
    /// Start the thread.
    ///
    /// # Errors
    /// [`Error::Internal`] if the system refuses a thread.
    pub fn start(writer: RunWriter, layout: &Arc<Layout>) -> Result<Self> {
        let (full, to_save) = sync_channel::<Copy>(COPIES);
        let (give_back, empty) = channel();
        for _ in 0..COPIES {
            let _ = give_back.send(Copy::default()); // The other end is `empty`, just above.
        }
        let (last, names) = (writer.saved(), Names::new(layout));
        let write = move || write_all(writer, &names, &to_save, &give_back);
        let thread = thread::Builder::new().name("saver".into()).spawn(write);
        let thread = thread.map_err(|error| Error::Internal(format!("no thread: {error}")))?;
        Ok(Self { full: Some(full), empty, thread: Some(thread), last, waited: Duration::ZERO })
    }

    /// The last step that is saved, or on its way.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Time spent in [`Saver::save`] and [`Saver::finish`]: what saving costs the trainer.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Save a step, soon.
    ///
    /// # Errors
    /// What went wrong with an earlier step: see [`RunWriter::save`].
    pub fn save(
        &mut self,
        params: &Params<f32>,
        optimizer: &Optimizer<f32>,
        metrics: MetricsRow,
    ) -> Result<()> {
        let started = Instant::now();
        self.last = Some(metrics.step);
        let handed = self.empty.recv().ok().and_then(|mut copy| {
            replace(&mut copy.weights, &params.values);
            replace(&mut copy.m, &optimizer.m);
            replace(&mut copy.v, &optimizer.v);
            copy.metrics = metrics;
            self.full.as_ref()?.send(copy).ok()
        });
        self.waited += started.elapsed();
        if handed.is_some() {
            return Ok(());
        }
        // The thread has ended before its time.
        let ended = self.finish().map(|_| ());
        ended.and_then(|()| Err(Error::Internal("nothing takes steps to save".into())))
    }

    /// Wait until everything is saved, and end the thread.
    ///
    /// # Errors
    /// What went wrong: see [`RunWriter::save`].
    pub fn finish(&mut self) -> Result<RunWriter> {
        let started = Instant::now();
        drop(self.full.take());
        let ended = self.thread.take().map(JoinHandle::join);
        self.waited += started.elapsed();
        match ended {
            Some(Ok((writer, result))) => result.map(|()| writer),
            Some(Err(panic)) => Err(Error::from_panic(panic.as_ref())),
            None => Err(Error::Internal("saving has ended already".into())),
        }
    }
}

/// The thread's work: until there is no more to come, or a save fails.
fn write_all(
    mut writer: RunWriter,
    names: &Names,
    to_save: &Receiver<Copy>,
    give_back: &Sender<Copy>,
) -> (RunWriter, Result<()>) {
    while let Ok(first) = to_save.recv() {
        let mut group = vec![first];
        group.extend(to_save.try_iter());
        let tensors: Vec<_> =
            group.iter().map(|copy| names.tensors(&copy.weights, &copy.m, &copy.v)).collect();
        let saves: Vec<Save<'_>> = group
            .iter()
            .zip(&tensors)
            .map(|(copy, (weights, optimizer))| Save {
                weights,
                optimizer: Some(optimizer),
                metrics: &copy.metrics,
            })
            .collect();
        if let Err(error) = writer.save(&saves) {
            return (writer, Err(error));
        }
        for copy in group {
            let _ = give_back.send(copy); // A trainer that has ended needs no more.
        }
    }
    (writer, Ok(()))
}

/// Make `copy` the same as `values`, in the memory that it has.
fn replace(copy: &mut Vec<f32>, values: &[f32]) {
    copy.clear();
    copy.extend_from_slice(values);
}

/// Names and shapes of the tensors in checkpoints and optimiser states.
#[derive(Debug)]
pub struct Names {
    layout: Arc<Layout>,
    weights: Vec<String>,
    m: Vec<String>,
    v: Vec<String>,
}

impl Names {
    /// For weights of this layout.
    #[must_use]
    pub fn new(layout: &Arc<Layout>) -> Self {
        Self {
            layout: Arc::clone(layout),
            weights: weights::prefixed(layout, ""),
            m: weights::prefixed(layout, "m."),
            v: weights::prefixed(layout, "v."),
        }
    }

    /// Weights and optimiser state, ready to be saved; `v` is empty for SGD.
    #[must_use]
    pub fn tensors<'a>(&'a self, weights: &'a [f32], m: &'a [f32], v: &'a [f32]) -> Tensors<'a> {
        let of = |names: &'a [String], values| weights::to_tensors(&self.layout, names, values);
        let mut state = of(&self.m, m);
        if !v.is_empty() {
            state.extend(of(&self.v, v));
        }
        (of(&self.weights, weights), state)
    }
}

/// Tensors of the weights, and of the optimiser state.
type Tensors<'a> = (Vec<crate::archive::TensorRef<'a>>, Vec<crate::archive::TensorRef<'a>>);
