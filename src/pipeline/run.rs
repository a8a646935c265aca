//! What all measures of one run share: its network, its pairs, and the key frequencies of its
//! final checkpoint.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::evaluation::Precision;
use super::places::{Place, Places};
use super::{keys, patience};
use crate::archive::{Archive, Header, Run, RunPattern};
use crate::claims::nulls::Permutations;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::fourier::{self, Transform};
use crate::model::Network;
use crate::progress::{Along, Group, KeyFrequencies, KeyRule, Protocol};
use crate::tasks::Dataset;
use crate::train;
use crate::weights::file_layout;

/// How the circuit is measured; recorded in the metadata of every table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    pub protocol: Protocol,
    pub keys: KeyRule,
    pub precision: Precision,
    /// Of which checkpoints the tables on request are made
    pub at: Places,
    /// For which checkpoints `shares` has the gradients and tangent kernels of the two parts
    pub kernel_at: Places,
    /// Of the labels, in table arrow
    pub labels: Permutations,
    /// In which runs; all that are trained on their own labels unless it says so
    pub labels_of: Option<RunPattern>,
}

impl Default for Choices {
    fn default() -> Self {
        let (protocol, precision) = (Protocol::SumDirs, Precision::F32);
        let at = Places::Some(vec![Place::Last]);
        let (keys, kernel_at, labels) = (KeyRule::default(), Places::NONE, Permutations::default());
        Self { protocol, keys, precision, at, kernel_at, labels, labels_of: None }
    }
}

impl Choices {
    /// Whether a run is compared with permuted labels.
    #[must_use]
    pub fn permutes_labels_of(&self, name: &str, is_permuted: bool) -> bool {
        self.labels.count > 0
            && self.labels_of.as_ref().map_or(!is_permuted, |pattern| pattern.is_match(name))
    }

    /// Make sure that a rule that names another run, or frequencies, fits the archive, and that steps
    /// are saved.
    ///
    /// # Errors
    /// [`Error::Setting`] if it does not.
    pub fn check(&self, archive: &Archive) -> Result<()> {
        for (option, places) in [("at", &self.at), ("kernel-at", &self.kernel_at)] {
            let Places::Some(places) = places else { continue };
            let saved = |step: u64| archive.runs.iter().any(|run| run.checkpoint(step).is_ok());
            for place in places {
                if let Place::Step(step) = place
                    && !saved(*step)
                {
                    let help = "`groundswell audit` lists the steps";
                    return Err(Error::setting(option, format!("no run saved step {step}"), help));
                }
            }
        }
        let refuse = |problem, help| Err(Error::setting("keys", problem, help));
        let runs = &archive.runs;
        match &self.keys {
            KeyRule::From(name) if runs.iter().all(|run| run.name != *name) => {
                let known: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
                let help = format!("its runs are {}", known.join(", "));
                refuse(format!("there is no run `{name}` in the archive"), help)
            }
            KeyRule::List(keys) => {
                let moduli = runs.iter().filter_map(|run| match &run.info {
                    Some(info) => Some(info.config.modulus),
                    None => run.facts.modulus,
                });
                let last = moduli.min().map(fourier::frequencies);
                match (keys.last(), last) {
                    (Some(key), Some(last)) if *key > last => refuse(
                        format!("there is no frequency {key}"),
                        format!("they go from 1 to {last}"),
                    ),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

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
    /// What is known of a run, from its `run.json` or from the facts that were given, measured in the
    /// usual way.
    ///
    /// # Errors
    /// As [`RunContext::new`].
    pub fn new(run: &Run) -> Result<Self> {
        Self::with(run, &Choices::default(), None)
    }

    /// The same, with these choices; `archive` has the other runs, for keys that come from one.
    ///
    /// # Errors
    /// As [`RunContext::new`].
    pub fn with(run: &Run, choices: &Choices, archive: Option<&Archive>) -> Result<Self> {
        let network = match &run.info {
            Some(info) => {
                let listed = info.train_pairs.as_deref();
                Ok(RunContext::new(run, &info.config, listed, choices, archive)?)
            }
            None => foreign(run, choices, archive)?,
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
fn foreign(
    run: &Run,
    choices: &Choices,
    archive: Option<&Archive>,
) -> Result<Result<RunContext, String>> {
    let missing = run.facts.missing();
    if !missing.is_empty() {
        return Ok(Err(format!("no run.json, and nothing says {}", missing.join(", "))));
    }
    let Some(network) = first_header(run).as_ref().and_then(file_layout::dimensions) else {
        return Ok(Err("its tensors are not those of a network that can be evaluated".into()));
    };
    let config = run.facts.config(network)?;
    let listed = train::listed_pairs(&config)?;
    RunContext::new(run, &config, listed.as_deref(), choices, archive).map(Ok)
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
    /// Where its weights are that training leaves alone
    pub frozen: Vec<Range<usize>>,
    pub data: Dataset,
    /// All labelled inputs, ascending.
    pub all: Vec<usize>,
    /// [`Dataset::unswapped`]
    pub unswapped: Vec<usize>,
    /// Sum of every input, for a task that adds in ℤ_p and is trained on its own labels.
    pub sums: Option<Vec<usize>>,
    /// The group of the task; ℤ_p for a task without a circuit.
    pub group: Group,
    /// Over the elements of the group.
    pub transform: Transform,
    /// Whether it was trained on permuted labels: its training losses are no losses of a circuit.
    pub permuted: bool,
    /// `None` where the task's labels are no character of a cyclic group.
    pub circuit: Option<Circuit>,
    /// Fixed once, from the final checkpoint, and applied to all earlier ones; `None` if the task
    /// is not periodic, or the final checkpoint cannot be used.
    pub keys: Option<KeyFrequencies>,
    /// Why there are no keys although the task is periodic.
    pub keys_missing: Option<Error>,
    /// [`Run::io_timeout`]
    pub io_timeout: Option<Duration>,
    pub choices: Choices,
    /// Its first and its last saved step.
    ends: Option<(u64, u64)>,
}

/// The inputs that the circuit of a task is about, by split, ascending: for sums all, for products the
/// pairs without a 0.
#[derive(Debug)]
pub struct Circuit {
    pub train: Vec<usize>,
    pub test: Vec<usize>,
    pub all: Vec<usize>,
    /// Whether these are all inputs that have a label
    pub whole: bool,
}

impl RunContext {
    /// Read the final checkpoint and fix the key frequencies.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Modulus`] if the run's settings describe no data set.
    pub fn new(
        run: &Run,
        config: &RunConfig,
        listed: Option<&[usize]>,
        choices: &Choices,
        archive: Option<&Archive>,
    ) -> Result<Self> {
        fourier::require_odd(config.modulus)?;
        let data = Dataset::new(config, listed)?;
        let own_group = Group::of(config.task, config.modulus);
        let circuit = own_group.as_ref().map(|group| Circuit {
            train: group.own(&data.train),
            test: group.own(&data.test),
            all: group.inputs(),
            whole: group.order() == config.modulus,
        });
        let group = own_group.unwrap_or_else(|| Group::additive(config.modulus));
        let sum_of = |input| Some(group.index(Along::Sum, group.pair(input)?));
        let adds = circuit.as_ref().is_some_and(|circuit| circuit.whole);
        let net = Network::new(config);
        let mut context = Self {
            name: run.name.clone(),
            frozen: net.frozen(config.biases),
            net,
            all: (0..data.labels.len()).filter(|input| data.labels[*input].is_some()).collect(),
            permuted: config.permute_labels.is_some(),
            sums: (adds && config.permute_labels.is_none())
                .then(|| (0..data.labels.len()).filter_map(sum_of).collect()),
            unswapped: data.unswapped(),
            data,
            transform: Transform::new(group.order()),
            group,
            circuit,
            keys: None,
            keys_missing: None,
            io_timeout: run.io_timeout,
            choices: choices.clone(),
            ends: ends(run),
        };
        if context.circuit.is_some() {
            match keys::fixed(run, &context, archive) {
                Ok(keys) => context.keys = Some(keys),
                Err(error) => context.keys_missing = Some(error),
            }
        }
        Ok(context)
    }

    /// Whether the tables on request are made of the checkpoint of this step.
    #[must_use]
    pub fn is_chosen(&self, step: u64) -> bool {
        self.choices.at.has(step, self.ends)
    }

    /// Whether `shares` looks at gradients and tangent kernels at the checkpoint of this step.
    #[must_use]
    pub fn has_kernel(&self, step: u64) -> bool {
        self.choices.kernel_at.has(step, self.ends)
    }

    /// Take the checkpoints that the run has now for all that it has.
    pub(super) fn end_with(&mut self, run: &Run) {
        self.ends = ends(run);
    }

    /// Modulus.
    #[must_use]
    pub fn p(&self) -> usize {
        self.data.p
    }

    /// The key frequencies of the run, if its task has any and they could be found.
    #[must_use]
    pub fn keys(&self) -> Option<&[usize]> {
        self.circuit.as_ref()?;
        self.keys.as_ref().map(|keys| keys.keys.as_slice())
    }

    /// The sum of every input and the keys, for a task that adds in ℤ_p: what landscapes project on.
    #[must_use]
    pub fn sum_circuit(&self) -> Option<(&[usize], &[usize])> {
        Some((self.sums.as_deref()?, self.keys()?))
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

/// The first and the last step of a run.
fn ends(run: &Run) -> Option<(u64, u64)> {
    let (first, last) = run.checkpoints.first().zip(run.checkpoints.last())?;
    Some((first.step, last.step))
}

/// `14,35,41`
#[must_use]
pub fn list(keys: &[usize]) -> String {
    keys.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
