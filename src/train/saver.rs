//! Saving beside the training: the trainer hands over snapshots, a thread of its own writes them.
//!
//! There are `SNAPSHOTS` at most, so memory is bounded: a trainer that is faster than the disk
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
const SNAPSHOTS: usize = 8;

/// Values in memory per parameter: weights, gradient and two moments, three of them in each snapshot
/// and in the bytes of the step that is being written.
pub const VALUES: usize = 4 + 3 * SNAPSHOTS + 3;

/// A step's weights and optimiser state.
#[derive(Debug, Default)]
struct Snapshot {
    weights: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    metrics: MetricsRow,
}

/// Hands steps to the thread that saves them.
#[derive(Debug)]
pub struct Saver {
    /// Closed to end the thread.
    full: Option<SyncSender<Snapshot>>,
    empty: Receiver<Snapshot>,
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
        let (full, to_save) = sync_channel::<Snapshot>(SNAPSHOTS);
        let (give_back, empty) = channel();
        for _ in 0..SNAPSHOTS {
            let _ = give_back.send(Snapshot::default()); // The other end is `empty`, just above.
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

    /// Whether the thread has ended before its time: [`Saver::finish`] says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
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
        let handed = self.empty.recv().ok().and_then(|mut snapshot| {
            replace(&mut snapshot.weights, &params.values);
            replace(&mut snapshot.m, &optimizer.m);
            replace(&mut snapshot.v, &optimizer.v);
            snapshot.metrics = metrics;
            self.full.as_ref()?.send(snapshot).ok()
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

impl Drop for Saver {
    /// What was handed over is saved, and the run's lock is free when the trainer is gone.
    fn drop(&mut self) {
        drop(self.full.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // The error that brought the trainer here is the one to tell.
        }
    }
}

/// The thread's work: until there is no more to come, or a save fails.
fn write_all(
    mut writer: RunWriter,
    names: &Names,
    to_save: &Receiver<Snapshot>,
    give_back: &Sender<Snapshot>,
) -> (RunWriter, Result<()>) {
    while let Ok(first) = to_save.recv() {
        let mut group = vec![first];
        group.extend(to_save.try_iter());
        let tensors: Vec<_> = group
            .iter()
            .map(|snapshot| names.tensors(&snapshot.weights, &snapshot.m, &snapshot.v))
            .collect();
        let saves: Vec<Save<'_>> = group
            .iter()
            .zip(&tensors)
            .map(|(snapshot, (weights, optimizer))| Save {
                weights,
                optimizer: Some(optimizer),
                metrics: &snapshot.metrics,
            })
            .collect();
        if let Err(error) = writer.save(&saves) {
            return (writer, Err(error));
        }
        for snapshot in group {
            let _ = give_back.send(snapshot); // A trainer that has ended needs no more.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Run, Start, sample};
    use crate::optim::Optimizer;

    fn metrics(step: u64) -> MetricsRow {
        MetricsRow { step, ..MetricsRow::default() }
    }

    fn start(run: &std::path::Path) -> (Saver, Params<f32>, Optimizer<f32>) {
        let info = sample::info();
        let layout = Layout::new([("w", vec![3])]);
        let Start::New(writer) = RunWriter::create(run, &info).unwrap() else { panic!("not new") };
        let saver = Saver::start(writer, &layout).unwrap();
        (saver, Params::zeros(&layout), Optimizer::new(&info.config, 3))
    }

    /// More steps than snapshots, handed over without a pause: all arrive, in order, whole.
    #[test]
    fn what_is_handed_over_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let (mut saver, mut params, optimizer) = start(&run);
        let steps = 3 * SNAPSHOTS as u64;
        for step in 0..steps {
            params.values.fill(step as f32);
            saver.save(&params, &optimizer, metrics(step)).unwrap();
            assert_eq!(saver.last(), Some(step));
        }
        assert_eq!(saver.finish().unwrap().saved(), Some(steps - 1));
        let saved = Run::open(&run).unwrap();
        assert_eq!(saved.checkpoints.len() as u64, steps);
        for (step, checkpoint) in saved.checkpoints.iter().enumerate() {
            let loaded = checkpoint.load(None).unwrap();
            let values = &loaded.tensor("w").unwrap().values;
            assert!(values.iter().all(|value| *value == step as f64), "step {step}");
        }
    }

    /// A trainer that is dropped, as by a panic, leaves no thread, no lock and no step behind.
    #[test]
    fn dropping_finishes() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let (mut saver, params, optimizer) = start(&run);
        saver.save(&params, &optimizer, metrics(0)).unwrap();
        drop(saver);
        assert_eq!(Run::open(&run).unwrap().checkpoints.len(), 1);
        assert!(
            RunWriter::resume(&run, &sample::info())
                .is_ok_and(|start| { matches!(start, Start::Resumed { .. }) })
        );
    }

    /// A disk that fails is noticed without another save.
    #[test]
    fn a_failure_is_told_soon() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let (mut saver, params, optimizer) = start(&run);
        std::fs::rename(run.join("checkpoints"), run.join("away")).unwrap();
        saver.save(&params, &optimizer, metrics(0)).unwrap();
        let started = Instant::now();
        while !saver.has_ended() {
            assert!(started.elapsed() < Duration::from_secs(60), "the thread goes on");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(saver.finish().unwrap_err().code(), "CR05");
    }
}
