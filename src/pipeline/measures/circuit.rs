//! Tables `progress`, `frequencies`, `fourier` and `neurons`: the trigonometric circuit.

use super::Measure;
use super::losses::{Losses, circuit_status, losses_of, over_both};
use crate::circuits;
use crate::config::Activation;
use crate::error::Result;
use crate::fourier;
use crate::pipeline::run::list;
use crate::pipeline::view::View;
use crate::tables::{FourierRow, FrequencyRow, NeuronRow, ProgressRow, Status};

/// Table `progress`.
#[derive(Debug)]
pub struct Progress;

impl Measure for Progress {
    type Row = ProgressRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<ProgressRow>> {
        Ok(vec![progress(view)?])
    }
}

/// The one row of a checkpoint.
fn progress(view: &View<'_>) -> Result<ProgressRow> {
    let row = ProgressRow { run: view.run.name.clone(), step: view.step(), ..Default::default() };
    let Some(run) = view.network() else {
        return Ok(ProgressRow { status: Status::UnknownNetwork, ..row });
    };
    let (Some(params), Some(evaluated)) = (view.params(), view.evaluation()) else {
        return Ok(ProgressRow { status: view.unusable(), ..row });
    };
    let Losses { train_loss, test_loss, train_accuracy, test_accuracy } =
        Losses::new(run, evaluated.logits.view(), view.losses());
    let unswapped = losses_of(evaluated.logits.view(), &run.labels(), &run.unswapped);
    let gini =
        |object: &str| fourier::gini(view.norms_of(object)?.rows.as_slice().expect("one row"));
    let row = ProgressRow {
        train_loss,
        test_loss,
        train_accuracy,
        test_accuracy,
        test_loss_unswapped: unswapped.mean(),
        test_accuracy_unswapped: unswapped.mean_accuracy(),
        gini_w_e: gini("W_E"),
        gini_w_l: gini("W_L"),
        sum_sq_weights: Some(params.values.iter().map(|w| w * w).sum()),
        status: circuit_status(run),
        ..row
    };
    let (Some(circuit), Some(keys), Some(table), Some(losses)) =
        (&run.circuit, view.keys(), view.logit_table(), view.losses())
    else {
        return Ok(row);
    };
    let (train, test) = (&losses.train, &losses.test);
    let both = |train, test| Some(over_both(circuit, train, test));
    let (logit_fve, logit_fve_centred) = table.variance_explained(&keys);
    if run.permuted {
        return Ok(ProgressRow {
            restricted_loss_test: test.restricted_loss,
            restricted_accuracy_test: test.restricted_accuracy,
            excluded_loss_test: test.excluded_loss,
            logit_fve,
            logit_fve_centred,
            key_frequencies: Some(list(&keys)),
            ..row
        });
    }
    Ok(ProgressRow {
        restricted_loss_all: both(train.restricted_loss, test.restricted_loss),
        restricted_loss_train: train.restricted_loss,
        restricted_loss_test: test.restricted_loss,
        restricted_accuracy_test: test.restricted_accuracy,
        excluded_loss_all: both(train.excluded_loss, test.excluded_loss),
        excluded_loss_train: train.excluded_loss,
        excluded_loss_test: test.excluded_loss,
        logit_fve,
        logit_fve_centred,
        key_frequencies: Some(list(&keys)),
        ..row
    })
}

/// Table `frequencies`.
#[derive(Debug)]
pub struct Frequencies;

impl Measure for Frequencies {
    type Row = FrequencyRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<FrequencyRow>> {
        let Some(run) = view.network() else { return Ok(Vec::new()) };
        let (table, losses) = (view.logit_table(), view.losses());
        let last = fourier::frequencies(run.group.order());
        let counts = view
            .neurons()
            .filter(|_| run.net.activation() != Activation::Quadratic)
            .map(|all| circuits::clear_neurons(&all.neurons, last));
        let shares = view.neurons().and_then(|all| all.shares.as_deref());
        let keys = view.keys();
        let rows = (1..=last).map(|k| {
            let row = FrequencyRow {
                run: run.name.clone(),
                step: view.step(),
                frequency: k as i64,
                is_key: keys.as_ref().is_some_and(|keys| keys.contains(&k)),
                ..Default::default()
            };
            let (Some(table), Some(losses)) = (table, losses) else {
                let status =
                    if run.circuit.is_none() { Status::NotPeriodic } else { view.unusable() };
                return FrequencyRow { status, ..row };
            };
            let (coefficient, norm) = (table.coefficient(k), table.norm());
            let single = (!run.permuted).then_some(&losses.single);
            FrequencyRow {
                logit_coefficient: Some(coefficient),
                logit_cosine: (norm > 0.0).then(|| coefficient / norm),
                excluded_loss_train: single.and_then(|losses| losses[k - 1].excluded_train),
                restricted_loss_all: single.and_then(|losses| losses[k - 1].restricted_all),
                neuron_count: counts.as_ref().map(|counts| counts[k - 1] as i64),
                neuron_share: shares.map(|shares| shares[k - 1]),
                status: circuit_status(run),
                ..row
            }
        });
        Ok(rows.collect())
    }
}

/// Table `fourier`.
#[derive(Debug)]
pub struct FourierNorms;

impl Measure for FourierNorms {
    type Row = FourierRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<FourierRow>> {
        let Some(run) = view.network() else { return Ok(Vec::new()) };
        let row = |object: &str, k: usize| FourierRow {
            run: run.name.clone(),
            step: view.step(),
            object: object.to_owned(),
            frequency: k as i64,
            ..FourierRow::default()
        };
        let Some(objects) = view.object_norms() else {
            // The names of the objects are known all the same.
            let last = fourier::frequencies(run.group.order());
            let names = circuits::object_names(&run.net).into_iter();
            return Ok(names
                .flat_map(|name| (0..=last).map(move |k| (name.clone(), k)))
                .map(|(name, k)| row(&name, k))
                .collect());
        };
        let finite = |x: f64| Some(x).filter(|x| x.is_finite());
        let mut rows = Vec::new();
        for (name, norms) in objects {
            rows.extend((0..=norms.frequencies()).map(|k| FourierRow {
                cos_norm: finite(norms.cos(k)),
                sin_norm: norms.sin(k).and_then(finite),
                norm: finite(norms.norm(k)),
                ..row(name, k)
            }));
        }
        Ok(rows)
    }
}

/// Table `neurons`.
#[derive(Debug)]
pub struct Neurons;

impl Measure for Neurons {
    type Row = NeuronRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<NeuronRow>> {
        let Some(run) = view.network() else { return Ok(Vec::new()) };
        let neurons = view.neurons();
        let rows = (0..run.net.d_mlp()).map(|neuron| {
            let found = neurons.map(|all| all.neurons[neuron]);
            let known = found.flatten();
            NeuronRow {
                run: view.run.name.clone(),
                step: view.step(),
                neuron: neuron as i64,
                frequency: known.map(|n| n.frequency as i64),
                fve: known.map(|n| n.fve),
                status: match found {
                    None => view.unusable(),
                    Some(None) => Status::Dead,
                    Some(Some(_)) => Status::Ok,
                },
            }
        });
        Ok(rows.collect())
    }
}
