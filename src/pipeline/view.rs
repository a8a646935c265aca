//! One checkpoint while it is measured: what several measures need is computed once.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use super::evaluation::{Evaluation, Precision, all_below};
use super::matrices::{MatrixValues, all_singular_values};
use super::run::{RunContext, Subject};
use crate::archive::{Checkpoint, CheckpointRef, Dtype, Tensor, is_unsupported};
use crate::circuits::{self, NeuronSpectrum};
use crate::error::{Error, Fault, Name, Result};
use crate::fourier::Norms;
use crate::params::Params;
use crate::progress::{CircuitLosses, KEY_THRESHOLD, KeyRule, LogitTable, key_frequencies};
use crate::tables::Status;
use crate::weights;

/// Products of two such weights can still be squared and summed.
pub(super) const LARGEST_WEIGHT: f64 = 1e75;

/// Such activations can be squared and summed. (NaN is not below it.)
pub(super) const LARGEST_ACTIVATION: f64 = 1e150;

/// A loaded checkpoint of a run.
pub struct View<'a> {
    pub run: &'a Subject,
    pub source: &'a CheckpointRef,
    /// Path relative to the archive.
    pub file: &'a str,
    pub checkpoint: Checkpoint,
    params: OnceCell<Option<Params<f64>>>,
    evaluation: OnceCell<Option<Evaluation>>,
    logit_table: OnceCell<Option<LogitTable<'a>>>,
    losses: OnceCell<Option<CircuitLosses>>,
    object_norms: OnceCell<Option<Vec<(String, Norms)>>>,
    neurons: OnceCell<Option<NeuronSpectrum>>,
    singular_values: OnceCell<Vec<MatrixValues>>,
    /// Matrices whose singular values did not come from the first driver
    pub svd_fallbacks: Cell<usize>,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Make sure that every tensor can be read and holds finite numbers.
///
/// # Errors
/// [`Error::Checkpoint`] with the first tensor that cannot, or does not.
pub(super) fn require_flawless(checkpoint: &Checkpoint) -> Result<()> {
    let fault = |fault| Err(Error::Checkpoint { path: checkpoint.path.clone(), fault });
    let name = |name: &String| Name(name.clone());
    let mut listed = checkpoint.header.tensors.iter();
    if let Some(tensor) = listed.find(|tensor| is_unsupported(tensor.dtype)) {
        let (tensor, dtype) = (name(&tensor.name), tensor.dtype.to_string());
        return fault(Fault::UnsupportedDtype { tensor, dtype });
    }
    let is_finite = |tensor: &&Tensor| tensor.values.iter().all(|value| value.is_finite());
    match checkpoint.tensors.iter().find(|tensor| !is_finite(tensor)) {
        Some(tensor) => fault(Fault::NonFinite { tensor: name(&tensor.name) }),
        None => Ok(()),
    }
}

impl<'a> View<'a> {
    /// Read a checkpoint, every byte of it against its digest.
    ///
    /// # Errors
    /// What is wrong with the file, or with the shapes of the network's tensors.
    pub fn load(run: &'a Subject, source: &'a CheckpointRef, file: &'a str) -> Result<Self> {
        Self::new(run, source, file, source.load(None)?)
    }

    /// The same of a checkpoint that was read already.
    ///
    /// # Errors
    /// What is wrong with the shapes of the network's tensors.
    pub fn new(
        run: &'a Subject,
        source: &'a CheckpointRef,
        file: &'a str,
        checkpoint: Checkpoint,
    ) -> Result<Self> {
        // Tensors of other shapes must fail here, not as a measure that means something else.
        if let Some(network) = &run.network {
            weights::check(&checkpoint, &network.net)?;
        }
        Ok(Self {
            run,
            source,
            file,
            checkpoint,
            params: OnceCell::new(),
            evaluation: OnceCell::new(),
            logit_table: OnceCell::new(),
            losses: OnceCell::new(),
            object_norms: OnceCell::new(),
            neurons: OnceCell::new(),
            singular_values: OnceCell::new(),
            svd_fallbacks: Cell::new(0),
        })
    }

    /// The run's network, if it is known.
    #[must_use]
    pub fn network(&self) -> Option<&'a RunContext> {
        self.run.network.as_ref()
    }

    /// Number of tensors that hold numbers in a type that is not read.
    #[must_use]
    pub fn unsupported(&self) -> usize {
        let tensors = self.checkpoint.header.tensors.iter();
        tensors.filter(|tensor| is_unsupported(tensor.dtype)).count()
    }

    /// Whether a tensor, if its run has no known network, is there in the shape that it has in the
    /// run's first checkpoint.
    #[must_use]
    pub fn change(&self, tensor: &str) -> Option<Status> {
        let expected = self.run.shapes.get(tensor)?;
        match self.checkpoint.header.tensor(tensor) {
            None => Some(Status::Missing),
            Some(found) => (found.shape != *expected).then_some(Status::ShapeChanged),
        }
    }

    /// Number of tensors of which [`View::change`] tells something.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.run.shapes.keys().filter(|tensor| self.change(tensor).is_some()).count()
    }

    /// Make sure that every tensor can be read and holds finite numbers.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with the first tensor that cannot, or does not.
    pub fn require_flawless(&self) -> Result<()> {
        require_flawless(&self.checkpoint)
    }

    /// Step as in the tables.
    #[must_use]
    pub fn step(&self) -> i64 {
        i64::try_from(self.source.step).unwrap_or(i64::MAX)
    }

    /// The weights; `None` if one of them is not finite, or so large that products of weights
    /// leave the range of f64.
    pub fn params(&self) -> Option<&Params<f64>> {
        let read = || {
            let params: Params<f64> =
                weights::of_network(&self.checkpoint, &self.network()?.net).ok()?;
            all_below(LARGEST_WEIGHT, &params.values).then_some(params)
        };
        self.params.get_or_init(read).as_ref()
    }

    /// Whether the network is evaluated in f32.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        let stored_wide = self.checkpoint.tensors.iter().any(|t| t.dtype == Dtype::F64);
        let wanted = self.network().is_some_and(|run| run.choices.precision == Precision::F32);
        wanted && !stored_wide
    }

    /// The network on all inputs; `None` without [`View::params`], or if the squares of its
    /// activations leave the range of f64.
    pub fn evaluation(&self) -> Option<&Evaluation> {
        let evaluate = || {
            let (run, params) = (self.network()?, self.params()?);
            let found =
                self.is_narrow().then(|| Evaluation::new(run, &params.cast::<f32>())).flatten();
            found.or_else(|| Evaluation::new(run, params))
        };
        self.evaluation.get_or_init(evaluate).as_ref()
    }

    /// Fourier norms of every object; `None` without [`View::params`].
    pub fn object_norms(&self) -> Option<&[(String, Norms)]> {
        let measure = || {
            let (run, params) = (self.network()?, self.params()?);
            Some(circuits::object_norms(&run.net, params, &run.transform, &run.group))
        };
        self.object_norms.get_or_init(measure).as_deref()
    }

    /// Fourier norms of the object of this name, if the network has it.
    pub fn norms_of(&self, object: &str) -> Option<&Norms> {
        self.object_norms()?.iter().find(|(name, _)| name == object).map(|(_, norms)| norms)
    }

    /// The key frequencies that apply to this checkpoint: those of its run, or its own under the rule
    /// `per-checkpoint`. `None` if the task is not periodic, or nothing fixes them.
    pub fn keys(&self) -> Option<Cow<'_, [usize]>> {
        let run = self.network()?;
        if run.choices.keys != KeyRule::PerCheckpoint {
            return run.keys().map(Cow::Borrowed);
        }
        let norms = self.norms_of("W_L").filter(|_| run.circuit.is_some())?;
        Some(Cow::Owned(key_frequencies(norms, KEY_THRESHOLD).keys))
    }

    /// Why there are no [`View::params`] or no [`View::evaluation`].
    #[must_use]
    pub fn unusable(&self) -> Status {
        let mut values = self.checkpoint.tensors.iter().flat_map(|tensor| &tensor.values);
        if values.all(|value| value.is_finite()) { Status::Overflow } else { Status::NonFinite }
    }

    /// The circuit's table of the logits; `None` without a circuit or an evaluation.
    pub fn logit_table(&self) -> Option<&LogitTable<'a>> {
        let sum_up = || {
            let run = self.network().filter(|run| run.circuit.is_some())?;
            let logits = self.evaluation()?.logits.view();
            Some(LogitTable::new(logits, &run.group, run.choices.protocol))
        };
        self.logit_table.get_or_init(sum_up).as_ref()
    }

    /// Every loss of the circuit; with no keys where nothing fixes them. `None` as for
    /// [`View::logit_table`].
    pub fn losses(&self) -> Option<&CircuitLosses> {
        let measure = || {
            let circuit = self.network()?.circuit.as_ref()?;
            let (logits, table) = (self.evaluation()?.logits.view(), self.logit_table()?);
            let keys = self.keys().unwrap_or_default();
            Some(CircuitLosses::new(logits, table, &keys, &circuit.train, &circuit.test))
        };
        self.losses.get_or_init(measure).as_ref()
    }

    /// What frequencies the neurons compute; `None` without an evaluation.
    pub fn neurons(&self) -> Option<&NeuronSpectrum> {
        let find = || {
            let group = &self.network()?.group;
            Some(self.evaluation()?.neurons.spectrum(group))
        };
        self.neurons.get_or_init(find).as_ref()
    }

    /// The network on all inputs, and nothing else.
    #[must_use]
    pub fn into_evaluation(self) -> Option<Evaluation> {
        self.evaluation.into_inner().flatten()
    }

    /// Singular values of every matrix, slice by slice for tensors with more than two axes.
    ///
    /// # Errors
    /// [`crate::Error::Internal`] if LAPACK did not end in time, again and again.
    pub fn singular_values(&self) -> Result<&[MatrixValues]> {
        if self.singular_values.get().is_none() {
            let found = all_singular_values(&self.checkpoint.tensors)?;
            let second = found.iter().filter(|(_, fallback)| *fallback).count();
            self.svd_fallbacks.set(second);
            let found = found.into_iter().map(|(values, _)| values).collect();
            let _ = self.singular_values.set(found);
        }
        Ok(self.singular_values.get().map_or(&[], Vec::as_slice))
    }
}
