//! Tables `progress`, `frequencies`, `fourier` and `neurons`: the trigonometric circuit.

use ndarray::{ArrayView2, s};

use super::Measure;
use super::losses::{Losses, circuit_status};
use crate::circuits::{self, CLEAR_FVE, NeuronFrequency};
use crate::config::Activation;
use crate::error::Result;
use crate::fourier;
use crate::model::{Network, names};
use crate::params::Params;
use crate::pipeline::run::list;
use crate::pipeline::view::View;
use crate::progress;
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
    let (Some(params), Some(grid)) = (view.params(), view.grid()) else {
        return Ok(ProgressRow { status: view.unusable(), ..row });
    };
    let Losses { train_loss, test_loss, train_accuracy, test_accuracy } =
        Losses::new(run, grid.logits.view());
    let gini =
        |object: ArrayView2<'_, f64>| fourier::gini(&run.transform.norms(object).rows.to_vec());
    let gini_w_e = match &run.net {
        Network::Transformer(_) => gini(params.matrix(names::W_E).slice(s![.., ..run.p()])),
        Network::Mlp(_) => None, // no embedding
    };
    let row = ProgressRow {
        train_loss,
        test_loss,
        train_accuracy,
        test_accuracy,
        gini_w_e,
        gini_w_l: gini(circuits::w_l(&run.net, params).view()),
        sum_sq_weights: Some(params.values.iter().map(|w| w * w).sum()),
        status: circuit_status(run),
        ..row
    };
    let (Some((sums, keys)), Some(table)) = (run.circuit(), view.logit_table()?) else {
        return Ok(row);
    };
    let restricted = progress::restricted(table, keys);
    let excluded = progress::excluded(grid.logits.view(), table, keys, sums, &run.all);
    let (train, test) = (&run.data.train, &run.data.test);
    // Restricted losses belong to sum indices, excluded ones to inputs (all are labelled here).
    let by_sum = |inputs: &[usize]| inputs.iter().map(|input| sums[*input]).collect::<Vec<_>>();
    let (train_sums, test_sums) = (by_sum(train), by_sum(test));
    let (logit_fve, logit_fve_centred) =
        progress::variance_explained(grid.logits.view(), table, keys);
    Ok(ProgressRow {
        restricted_loss_all: restricted.mean_loss(&by_sum(&run.all)),
        restricted_loss_train: restricted.mean_loss(&train_sums),
        restricted_loss_test: restricted.mean_loss(&test_sums),
        restricted_accuracy_test: restricted.accuracy(&test_sums),
        excluded_loss_all: excluded.mean_loss(&run.all),
        excluded_loss_train: excluded.mean_loss(train),
        excluded_loss_test: excluded.mean_loss(test),
        logit_fve,
        logit_fve_centred,
        key_frequencies: Some(list(keys)),
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
        let norm = view.grid().map(|grid| grid.logits.iter().map(|x| x * x).sum::<f64>().sqrt());
        let every_sum: Vec<usize> = match &run.sums {
            Some(sums) => run.all.iter().map(|input| sums[*input]).collect(),
            None => Vec::new(),
        };
        let (table, neurons) = (view.logit_table()?, view.neurons()?);
        let rows = (1..=fourier::frequencies(run.p())).map(|k| {
            let row = FrequencyRow {
                run: run.name.clone(),
                step: view.step(),
                frequency: k as i64,
                is_key: run.keys.as_ref().is_some_and(|keys| keys.keys.contains(&k)),
                ..Default::default()
            };
            let (Some(sums), Some(grid), Some(table)) = (&run.sums, view.grid(), table) else {
                let status = if run.sums.is_none() { Status::NotPeriodic } else { view.unusable() };
                return FrequencyRow { status, ..row };
            };
            let coefficient = table.coefficient(k);
            let train = &run.data.train;
            let excluded = progress::excluded(grid.logits.view(), table, &[k], sums, train);
            let own = |neuron: &&Option<NeuronFrequency>| {
                neuron.is_some_and(|n| n.frequency == k && n.fve >= CLEAR_FVE)
            };
            FrequencyRow {
                logit_coefficient: Some(coefficient),
                logit_cosine: norm.filter(|norm| *norm > 0.0).map(|norm| coefficient / norm),
                excluded_loss_train: excluded.mean(),
                restricted_loss_all: progress::restricted(table, &[k]).mean_loss(&every_sum),
                neuron_count: neurons
                    .filter(|_| run.net.activation() != Activation::Quadratic)
                    .map(|all| all.iter().filter(own).count() as i64),
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
        // Without finite weights the names of the objects are still known: from weights of zero.
        let zeros = Params::zeros(run.net.layout());
        let params = view.params();
        let finite = |x: f64| params.is_some().then_some(x).filter(|x| x.is_finite());
        let mut rows = Vec::new();
        for object in circuits::objects(&run.net, params.unwrap_or(&zeros)) {
            let norms = run.transform.norms(object.columns.view());
            rows.extend((0..=norms.frequencies()).map(|k| FourierRow {
                run: run.name.clone(),
                step: view.step(),
                object: object.name.clone(),
                frequency: k as i64,
                cos_norm: finite(norms.cos(k)),
                sin_norm: norms.sin(k).and_then(finite),
                norm: finite(norms.norm(k)),
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
        let neurons = view.neurons()?;
        let rows = (0..run.net.d_mlp()).map(|neuron| {
            let found = neurons.map(|all| all[neuron]);
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
