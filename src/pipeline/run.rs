//! What all measures of one run share: its network, its pairs, and the key frequencies of its
//! final checkpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use ndarray::ArrayView2;

use super::patience;
use crate::archive::{Header, Run};
use crate::circuits;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::fourier::Transform;
use crate::model::Network;
use crate::progress::{self, Direction, KEY_THRESHOLD, KeyFrequencies};
use crate::tasks::Dataset;
use crate::train;
use crate::weights::{self, file_layout};

/// One run, ready to be measured: its weights always, its network where it is known.
#[derive(Debug)]
pub struct Subject {
    pub name: String,
    /// `None` for a run of another program of which nobody says what it learned, or whose tensors
    /// are not those of a network that can be evaluated.
    pub network: Option<RunContext>,
    /// Why there is no network.
    pub unknown: Option<String>,
    /// Without a network: names and shapes in its first checkpoint that can be read, which the others
    /// are expected to have, too.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

impl Subject {
    /// What is known of a run, from its `run.json` or from the facts that were given.
    ///
    /// # Errors
    /// As [`RunContext::new`].
    pub fn new(run: &Run) -> Result<Self> {
        let network = match &run.info {
            Some(info) => Ok(RunContext::new(run, &info.config, info.train_pairs.as_deref())?),
            None => foreign(run)?,
        };
        let (network, unknown) = match network {
            Ok(network) => (Some(network), None),
            Err(reason) => (None, Some(reason)),
        };
        let shapes = if network.is_none() { first_shapes(run) } else { BTreeMap::new() };
        Ok(Self { name: run.name.clone(), network, unknown, shapes })
    }

    /// The network.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is not known.
    pub fn into_network(self) -> Result<RunContext> {
        let unknown = self.unknown.unwrap_or_default();
        self.network.ok_or_else(|| {
            let help = "--task, --modulus, --train-fraction and --split say what it learned";
            Error::setting("task", format!("{}: {unknown}", self.name), help)
        })
    }
}

/// The network of a run of another program; or why it is not known.
fn foreign(run: &Run) -> Result<Result<RunContext, String>> {
    let missing = run.facts.missing();
    if !missing.is_empty() {
        return Ok(Err(format!("no run.json, and nothing says {}", missing.join(", "))));
    }
    let Some(network) = first_header(run).as_ref().and_then(file_layout::dimensions) else {
        return Ok(Err("its tensors are not those of a network that can be evaluated".into()));
    };
    let config = run.facts.config(network)?;
    let listed = train::listed_pairs(&config)?;
    RunContext::new(run, &config, listed.as_deref()).map(Ok)
}

/// The header of the first checkpoint that has one.
fn first_header(run: &Run) -> Option<Header> {
    run.checkpoints.iter().find_map(|checkpoint| patience::header(run, checkpoint).ok())
}

fn first_shapes(run: &Run) -> BTreeMap<String, Vec<usize>> {
    let tensors = first_header(run).into_iter().flat_map(|header| header.tensors);
    tensors.map(|tensor| (tensor.name, tensor.shape)).collect()
}

/// One run whose network is known, ready to be evaluated.
#[derive(Debug)]
pub struct RunContext {
    pub name: String,
    pub net: Network,
    pub data: Dataset,
    /// All labelled inputs, ascending.
    pub all: Vec<usize>,
    pub transform: Transform,
    /// Sum index of every input; `None` where the task has no circuit in ℤ_p.
    pub sums: Option<Vec<usize>>,
    /// Fixed once, from the final checkpoint, and applied to all earlier ones; `None` if the task
    /// is not periodic, or the final checkpoint cannot be used.
    pub keys: Option<KeyFrequencies>,
    /// Why there are no keys although the task is periodic.
    pub keys_missing: Option<Error>,
    /// [`Run::io_timeout`]
    pub io_timeout: Option<Duration>,
}

impl RunContext {
    /// Read the final checkpoint and fix the key frequencies.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Modulus`] if the run's settings describe no data set.
    pub fn new(run: &Run, config: &RunConfig, listed: Option<&[usize]>) -> Result<Self> {
        let data = Dataset::new(config, listed)?;
        let net = Network::new(config);
        let transform = Transform::new(config.modulus)?;
        let direction = Direction::of(config.task);
        let keys = direction.map(|_| final_keys(run, &net, &transform)).transpose();
        let (keys, keys_missing) = match keys {
            Ok(keys) => (keys, None),
            Err(error) => (None, Some(error)),
        };
        Ok(Self {
            name: run.name.clone(),
            all: (0..data.labels.len()).filter(|input| data.labels[*input].is_some()).collect(),
            net,
            data,
            transform,
            sums: direction.map(|direction| direction.indices(config.modulus)),
            keys,
            keys_missing,
            io_timeout: run.io_timeout,
        })
    }

    /// Modulus.
    #[must_use]
    pub fn p(&self) -> usize {
        self.data.p
    }

    /// The circuit to project on: sum indices and keys, if there is one.
    #[must_use]
    pub fn circuit(&self) -> Option<(&[usize], &[usize])> {
        Some((self.sums.as_deref()?, &self.keys.as_ref()?.keys))
    }

    /// Label of every input; 0 where there is none (such inputs are in no split).
    #[must_use]
    pub fn labels(&self) -> Vec<usize> {
        self.data.labels.iter().map(|label| label.unwrap_or(0)).collect()
    }

    /// A word of warning if the keys do not stand out.
    #[must_use]
    pub fn key_warning(&self) -> Option<String> {
        if let Some(error) = &self.keys_missing {
            return Some(format!("{}: no key frequencies: {error}", self.name));
        }
        let keys = self.keys.as_ref()?;
        match keys.margin {
            Some(margin) if margin < 1.5 => Some(format!(
                "{}: the key frequencies {} do not stand out (smallest norm {margin:.2} times the \
                 largest other; above the largest gap: {}); has the run generalised?",
                self.name,
                list(&keys.keys),
                list(&keys.above_largest_gap),
            )),
            _ => None,
        }
    }
}

/// `14,35,41`
#[must_use]
pub fn list(keys: &[usize]) -> String {
    keys.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn final_keys(run: &Run, net: &Network, transform: &Transform) -> Result<KeyFrequencies> {
    let last = run.checkpoints.last().ok_or_else(|| Error::NothingUsable {
        path: run.dir.clone(),
        found: "0 checkpoints".into(),
    })?;
    let checkpoint = patience::load(run, last)?;
    let params = weights::of_network(&checkpoint, net)?;
    let w_l = circuits::w_l(net, &params);
    if !w_l.iter().all(|value: &f64| value.is_finite()) {
        let fault = crate::Fault::NonFinite { tensor: crate::error::Name("W_L".into()) };
        return Err(Error::Checkpoint { path: last.path.clone(), fault });
    }
    let view: ArrayView2<'_, f64> = w_l.view();
    Ok(progress::key_frequencies(&transform.norms(view), KEY_THRESHOLD))
}
