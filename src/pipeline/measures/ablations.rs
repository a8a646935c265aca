//! Tables `ablations`, `circuits`, `readouts` and `activations`: experiments on the checkpoints asked for.

use ndarray::Axis;

use super::Measure;
use super::losses::circuit_status;
use super::spectra::{no_spectrum, storage_path};
use crate::archive::Dtype;
use crate::circuits::{self, CLEAR_FVE, Content, NeuronFrequency, Stream};
use crate::error::Result;
use crate::fourier;
use crate::linalg::matmul;
use crate::linalg::svd::{NoSpectrum, PreparedGram};
use crate::pipeline::run::RunContext;
use crate::pipeline::view::View;
use crate::pipeline::watchdog;
use crate::progress::RowLosses;
use crate::spectra;
use crate::tables::{AblationRow, ActivationRow, CircuitRow, ReadoutRow, Status};

/// The network of a checkpoint, if it is one of those asked for.
fn asked<'a>(view: &View<'a>) -> Option<&'a RunContext> {
    view.network().filter(|run| run.is_chosen(view.source.step))
}

/// Table `ablations`.
#[derive(Debug)]
pub struct Ablations;

impl Measure for Ablations {
    type Row = AblationRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<AblationRow>> {
        let Some(run) = asked(view) else { return Ok(Vec::new()) };
        let row = |ablation: String| AblationRow {
            run: run.name.clone(),
            step: view.step(),
            ablation,
            status: circuit_status(run),
            ..Default::default()
        };
        let (Some(params), Some(_)) = (view.params(), view.evaluation()) else {
            return Ok(vec![AblationRow { status: view.unusable(), ..row("none".into()) }]);
        };
        let labels = run.labels();
        let all = [run.data.train.as_slice(), &run.data.test].concat();
        let keys = view.keys();
        let mut rows = Vec::new();
        let stream = Stream::new(&run.net, params);
        stream.ablations(&run.net, params, &run.group, keys.as_deref(), |(name, logits)| {
            let losses = RowLosses::new(logits, &labels);
            let finite = |loss: Option<f64>| loss.filter(|loss| loss.is_finite());
            rows.push(AblationRow {
                loss_all: finite(losses.mean_loss(&all)),
                loss_train: finite(losses.mean_loss(&run.data.train)),
                loss_test: finite(losses.mean_loss(&run.data.test)),
                accuracy_all: losses.accuracy(&all),
                accuracy_train: losses.accuracy(&run.data.train),
                accuracy_test: losses.accuracy(&run.data.test),
                ..row(name)
            });
        });
        Ok(rows)
    }
}

/// Table `circuits`.
#[derive(Debug)]
pub struct Circuits;

impl Measure for Circuits {
    type Row = CircuitRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<CircuitRow>> {
        let Some(run) = asked(view) else { return Ok(Vec::new()) };
        let row = |object: &str, head: usize| CircuitRow {
            run: run.name.clone(),
            step: view.step(),
            object: object.to_owned(),
            head: head as i64,
            status: Status::Ok,
            ..Default::default()
        };
        let (Some(params), Some(_)) = (view.params(), view.evaluation()) else {
            return Ok(vec![CircuitRow { status: view.unusable(), ..row("W_L", 0) }]);
        };
        let keys = view.keys();
        let content = |norms| circuits::content(norms, keys.as_deref());
        let found = circuits::circuits(&run.net, params, &run.transform, &run.group);
        let dtype = view.checkpoint.tensors.first().map_or(Dtype::F32, |tensor| tensor.dtype);
        let prepared = found.iter().map(|circuit| PreparedGram::new(circuit.matrix.view()));
        let limit = |matrix: &Result<PreparedGram, NoSpectrum>| {
            watchdog::time_limit(matrix.as_ref().map_or((0, 0), PreparedGram::dim))
        };
        let decompose = |matrix: &Result<PreparedGram, NoSpectrum>| {
            let values = matrix.as_ref().map_err(|reason| *reason)?.singular_values();
            values.ok_or(NoSpectrum::NoConvergence)
        };
        let sigmas = watchdog::each_in_time(prepared.collect(), limit, decompose)?;
        let mut rows = Vec::new();
        for (circuit, sigma) in found.iter().zip(sigmas) {
            let blank = with(content(&circuit.norms), row(circuit.name, circuit.head));
            rows.push(match sigma.unwrap_or(Err(NoSpectrum::Timeout)) {
                Err(reason) => CircuitRow { status: no_spectrum(reason), ..blank },
                Ok(sigma) => {
                    let (m, n) = circuit.matrix.dim();
                    let (eps, path) =
                        (super::spectra::storage_eps(dtype), storage_path(Dtype::F32));
                    let found = spectra::spectrum(&sigma, m, n, eps, path);
                    CircuitRow {
                        rank: Some(found.rank as i64),
                        frobenius_sq: found.frobenius_sq,
                        spectral_norm: found.spectral_norm,
                        stable_rank: found.stable_rank,
                        effective_rank: found.effective_rank,
                        ..blank
                    }
                }
            });
        }
        for (name, norms) in view.object_norms().unwrap_or_default() {
            let Some(head) = name.strip_prefix("attn.").and_then(|head| head.parse().ok()) else {
                continue;
            };
            rows.push(with(content(norms), row("score", head)));
        }
        let patterns = Stream::new(&run.net, params).pattern_frequencies(&run.group);
        for (head, found) in patterns.iter().enumerate() {
            rows.push(CircuitRow {
                frequency: found.map(|found| found.frequency as i64),
                frequency_share: found.map(|found| found.fve),
                status: if found.is_some() { Status::Ok } else { Status::Dead },
                ..row("pattern", head)
            });
        }
        Ok(rows)
    }
}

/// Table `readouts`.
#[derive(Debug)]
pub struct Readouts;

impl Measure for Readouts {
    type Row = ReadoutRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<ReadoutRow>> {
        let Some(run) = asked(view) else { return Ok(Vec::new()) };
        let (Some(params), Some(_)) = (view.params(), view.evaluation()) else {
            return Ok(Vec::new()); // table `circuits` says why
        };
        let neurons = Stream::new(&run.net, params).neurons;
        let w_l = circuits::w_l(&run.net, params, &run.group);
        let keys = view.keys();
        let row = |k: usize| {
            let shares = circuits::readout(&w_l, &neurons, &run.group, k);
            let share = |i: usize| shares.get(i).copied().flatten();
            ReadoutRow {
                run: run.name.clone(),
                step: view.step(),
                frequency: k as i64,
                is_key: keys.as_ref().is_some_and(|keys| keys.contains(&k)),
                cos_share: share(0),
                sin_share: share(1),
            }
        };
        Ok((1..=fourier::frequencies(run.group.order())).map(row).collect())
    }
}

fn with(content: Option<Content>, row: CircuitRow) -> CircuitRow {
    CircuitRow {
        frequency: content.map(|content| content.frequency as i64),
        frequency_share: content.map(|content| content.frequency_share),
        residual_share: content.and_then(|content| content.residual_share),
        ..row
    }
}

/// Table `activations`.
#[derive(Debug)]
pub struct Activations;

impl Measure for Activations {
    type Row = ActivationRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<ActivationRow>> {
        let Some(run) = asked(view) else { return Ok(Vec::new()) };
        let (Some(params), Some(_)) = (view.params(), view.evaluation()) else {
            return Ok(Vec::new());
        };
        let (p, n) = (run.p(), run.group.order());
        let mut rows = Vec::new();
        let mut add = |object: &str, index: usize, [i, j]: [usize; 2], value: f64| {
            rows.push(ActivationRow {
                run: run.name.clone(),
                step: view.step(),
                object: object.to_owned(),
                index: index as i64,
                i: i as i64,
                j: j as i64,
                value: Some(value).filter(|value| value.is_finite()),
            });
        };
        let stream = Stream::new(&run.net, params);
        for (head, pattern) in stream.patterns().columns().into_iter().enumerate() {
            for (input, value) in pattern.iter().enumerate() {
                add("attention", head, [input / p, input % p], *value);
            }
        }
        for neuron in clearest(&stream.frequencies(&run.group), n / 2) {
            for (input, value) in stream.neurons.column(neuron).iter().enumerate() {
                add("neuron", neuron, [input / p, input % p], *value);
            }
        }
        let logits =
            stream.logits(&run.net, params).select(Axis(0), &run.group.inputs_by_element());
        let by_x = logits.into_shape_with_order((n, n * p)).expect("n² inputs");
        let over_x = matmul(run.group.basis(), by_x.view());
        let over_x = over_x.into_shape_with_order((n, n, p)).expect("n² inputs");
        for (i, of_row) in over_x.axis_iter(Axis(0)).enumerate() {
            for (j, row) in matmul(run.group.basis(), of_row).rows().into_iter().enumerate() {
                add("logits", 0, [i, j], row.dot(&row).sqrt());
            }
        }
        Ok(rows)
    }
}

/// The clearest neuron of each of the four frequencies with most clear neurons; of any frequency,
/// where none is clear.
fn clearest(neurons: &[Option<NeuronFrequency>], last: usize) -> Vec<usize> {
    const MOST: usize = 4;
    let counts = circuits::clear_neurons(neurons, last);
    let mut order: Vec<usize> = (1..=last).collect();
    order.sort_by_key(|k| std::cmp::Reverse(counts[k - 1]));
    let share = |k: usize, neuron: &Option<NeuronFrequency>| {
        neuron.filter(|found| found.frequency == k).map(|found| found.fve)
    };
    let best = |k: usize| {
        let own = neurons.iter().enumerate().filter_map(|(i, n)| Some((i, share(k, n)?)));
        own.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    };
    let found = order.into_iter().filter_map(best);
    let (clear, other): (Vec<_>, Vec<_>) = found.partition(|(_, fve)| *fve >= CLEAR_FVE);
    let chosen = if clear.is_empty() { other } else { clear };
    chosen.into_iter().take(MOST).map(|(neuron, _)| neuron).collect()
}
