//! The key frequencies of a run, fixed once, by one of the rules.

use super::evaluation::Evaluation;
use super::patience;
use super::run::RunContext;
use crate::archive::{Archive, Run};
use crate::circuits;
use crate::config::Architecture;
use crate::error::{Error, Fault, Name, Result};
use crate::fourier;
use crate::model::Network;
use crate::params::Params;
use crate::progress::{KEY_THRESHOLD, KeyFrequencies, KeyRule, key_frequencies};
use crate::weights;

/// The keys of a run by the rule of its choices. Under `per-checkpoint` these are the ones of the
/// final checkpoint.
///
/// # Errors
/// What is wrong with the final checkpoint; [`Error::Setting`] for a rule that does not fit the run.
pub(super) fn fixed(
    run: &Run,
    context: &RunContext,
    archive: Option<&Archive>,
) -> Result<KeyFrequencies> {
    match &context.choices.keys {
        KeyRule::WL | KeyRule::PerCheckpoint => of_object(run, context, "W_L"),
        KeyRule::WE => of_object(run, context, "W_E"),
        KeyRule::Neurons => of_neurons(run, context),
        KeyRule::List(keys) => listed(keys, context),
        KeyRule::From(name) => {
            let runs = archive.map_or(&[][..], |archive| &archive.runs);
            let other = runs.iter().find(|other| other.name == *name).ok_or_else(|| {
                let known: Vec<&str> = runs.iter().map(|other| other.name.as_str()).collect();
                let help = format!("the runs are {}", known.join(", "));
                Error::setting("keys", format!("there is no run `{name}` in the archive"), help)
            })?;
            // Its weights must fit this run's network; a rule of its own it does not need.
            let found = of_object(other, context, "W_L")?;
            listed(&found.keys, context)
        }
    }
}

/// Keys that somebody else chose: without a margin.
fn listed(keys: &[usize], context: &RunContext) -> Result<KeyFrequencies> {
    let last = fourier::frequencies(context.group.order());
    if let Some(wrong) = keys.iter().find(|key| **key > last) {
        let problem = format!("{}: there is no frequency {wrong}", context.name);
        return Err(Error::setting("keys", problem, format!("they go from 1 to {last}")));
    }
    Ok(KeyFrequencies { keys: keys.to_vec(), margin: None, above_largest_gap: Vec::new() })
}

/// The weights of the final checkpoint.
fn final_weights(run: &Run, context: &RunContext) -> Result<Params<f64>> {
    let last = run.checkpoints.last().ok_or_else(|| Error::NothingUsable {
        path: run.dir.clone(),
        found: "0 checkpoints".into(),
    })?;
    let params: Params<f64> = weights::of_network(&patience::load(run, last)?, &context.net)?;
    if params.values.iter().all(|value| value.is_finite()) {
        return Ok(params);
    }
    let fault = Fault::NonFinite { tensor: Name("W_L".into()) };
    Err(Error::Checkpoint { path: last.path.clone(), fault })
}

fn of_object(run: &Run, context: &RunContext, object: &str) -> Result<KeyFrequencies> {
    let params = final_weights(run, context)?;
    let norms = circuits::object_norms(&context.net, &params, &context.transform, &context.group);
    let found = norms.iter().find(|(name, _)| name == object).ok_or_else(|| {
        let network = match context.net {
            Network::Transformer(_) => Architecture::Transformer,
            Network::Mlp(_) => Architecture::Mlp,
        };
        let problem = format!("{}: a network of architecture {network} has no {object}", run.name);
        Error::setting("keys", problem, "choose another rule, such as w_l")
    })?;
    Ok(key_frequencies(&found.1, KEY_THRESHOLD))
}

/// Frequencies with enough clear neurons in the final checkpoint.
fn of_neurons(run: &Run, context: &RunContext) -> Result<KeyFrequencies> {
    let params = final_weights(run, context)?;
    let evaluated = Evaluation::new(context, &params).ok_or_else(|| {
        let problem = format!("{}: its activations leave the range of f64", run.name);
        Error::setting("keys", problem, "choose another rule, such as w_l")
    })?;
    let last = fourier::frequencies(context.group.order());
    let counts = circuits::clear_neurons(&evaluated.neurons.frequencies(&context.group), last);
    Ok(KeyFrequencies::of_neuron_counts(&counts, context.net.d_mlp()))
}
