//! From a checkpoint to rows: one function per table.
//!
//! Nothing is computed here; these functions name the columns of what the mathematics returns, and
//! give the reason where it returns nothing.

use ndarray::{Array2, ArrayView2, Axis};

use super::run::{RunContext, list};
use super::view::{Grid, View};
use crate::archive::{Dtype, Tensor, float_bytes};
use crate::circuits::{self, CLEAR_FVE, NeuronFrequency};
use crate::config::names::named_enum;
use crate::error::Result;
use crate::fourier;
use crate::linalg::svd::{self, NoSpectrum};
use crate::progress::{self, LogitTable, RowLosses};
use crate::spectra::{self, Path};
use crate::tables::{
    CheckpointRow, FourierRow, FrequencyRow, NeuronRow, ProgressRow, SingularValueRow, SpectrumRow,
    Status, TrainingRow,
};

named_enum! {
    /// What can be measured; each name is that of its table.
    MeasureKind, "measure":
    Checkpoints = "checkpoints",
    Training = "training",
    Progress = "progress",
    Frequencies = "frequencies",
    Fourier = "fourier",
    Neurons = "neurons",
    /// Brings `singular_values`
    Spectra = "spectra",
}

/// Rows of all tables, of one checkpoint or of many.
#[derive(Debug, Default)]
pub struct Rows {
    pub checkpoints: Vec<CheckpointRow>,
    pub training: Vec<TrainingRow>,
    pub progress: Vec<ProgressRow>,
    pub frequencies: Vec<FrequencyRow>,
    pub fourier: Vec<FourierRow>,
    pub neurons: Vec<NeuronRow>,
    pub spectra: Vec<SpectrumRow>,
    pub singular_values: Vec<SingularValueRow>,
}

impl Rows {
    /// Put the rows of `other` behind these.
    pub fn append(&mut self, mut other: Self) {
        self.checkpoints.append(&mut other.checkpoints);
        self.training.append(&mut other.training);
        self.progress.append(&mut other.progress);
        self.frequencies.append(&mut other.frequencies);
        self.fourier.append(&mut other.fourier);
        self.neurons.append(&mut other.neurons);
        self.spectra.append(&mut other.spectra);
        self.singular_values.append(&mut other.singular_values);
    }
}

/// All rows of these measures for one checkpoint.
///
/// # Errors
/// If LAPACK fails on a finite matrix.
pub fn measure(view: &View<'_>, kinds: &[MeasureKind]) -> Result<Rows> {
    let mut rows = Rows::default();
    let wanted = |kind| kinds.contains(&kind);
    let neurons = (wanted(MeasureKind::Neurons) || wanted(MeasureKind::Frequencies))
        .then(|| view.grid())
        .flatten()
        .map(|grid| circuits::neuron_frequencies(view.run.p(), grid.neurons.view()))
        .transpose()?;
    let table = (wanted(MeasureKind::Progress) || wanted(MeasureKind::Frequencies))
        .then(|| view.logit_table())
        .transpose()?
        .flatten();
    for kind in kinds {
        match kind {
            MeasureKind::Checkpoints => rows.checkpoints.push(checkpoint(view)),
            MeasureKind::Training => {} // from the run's log, not from its checkpoints
            MeasureKind::Progress => rows.progress.push(progress(view, table.as_ref())),
            MeasureKind::Frequencies => {
                rows.frequencies = frequencies(view, table.as_ref(), neurons.as_deref());
            }
            MeasureKind::Fourier => rows.fourier = fourier_norms(view),
            MeasureKind::Neurons => rows.neurons = neuron_rows(view, neurons.as_deref()),
            MeasureKind::Spectra => {
                for tensor in &view.checkpoint.tensors {
                    tensor_spectra(view, tensor, &mut rows)?;
                }
            }
        }
    }
    Ok(rows)
}

fn checkpoint(view: &View<'_>) -> CheckpointRow {
    let header = &view.checkpoint.header;
    let floats = || header.tensors.iter().filter(|tensor| float_bytes(tensor.dtype).is_some());
    let mut dtypes: Vec<String> = floats().map(|tensor| tensor.dtype.to_string()).collect();
    dtypes.sort();
    dtypes.dedup();
    let finite = view.checkpoint.tensors.iter().all(|t| t.values.iter().all(|x| x.is_finite()));
    let count = |n: usize| i64::try_from(n).ok();
    CheckpointRow {
        run: view.run.name.clone(),
        step: view.step(),
        file: view.file.to_owned(),
        bytes: i64::try_from(view.checkpoint.bytes).unwrap_or(i64::MAX),
        blake3: Some(view.checkpoint.blake3.clone()),
        dtype: Some(dtypes.join(",")),
        n_tensors: count(header.tensors.len()),
        n_params: count(floats().map(|tensor| tensor.shape.iter().product::<usize>()).sum()),
        duplicate_of: None, // known only when all are read
        status: if finite { Status::Ok } else { Status::NonFinite },
    }
}

/// Losses of one weight vector, by split; the common part of `progress` and `interpolation`.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    pub train_loss: Option<f64>,
    pub test_loss: Option<f64>,
    pub train_accuracy: Option<f64>,
    pub test_accuracy: Option<f64>,
}

impl Losses {
    /// Over the p real classes.
    #[must_use]
    pub fn new(run: &RunContext, logits: ArrayView2<'_, f64>) -> Self {
        let rows = RowLosses::new(logits, &run.labels());
        Self {
            train_loss: rows.mean_loss(&run.data.train),
            test_loss: rows.mean_loss(&run.data.test),
            train_accuracy: rows.accuracy(&run.data.train),
            test_accuracy: rows.accuracy(&run.data.test),
        }
    }
}

/// Why the circuit's columns of this run are null, if they are.
#[must_use]
pub fn circuit_status(run: &RunContext) -> Status {
    match (&run.sums, &run.keys) {
        (None, _) => Status::NotPeriodic,
        (Some(_), None) => Status::Missing,
        (Some(_), Some(_)) => Status::Ok,
    }
}

fn progress(view: &View<'_>, table: Option<&LogitTable>) -> ProgressRow {
    let run = view.run;
    let row = ProgressRow { run: run.name.clone(), step: view.step(), ..Default::default() };
    let (Some(params), Some(grid)) = (view.params(), view.grid()) else {
        return ProgressRow { status: Status::NonFinite, ..row };
    };
    let Losses { train_loss, test_loss, train_accuracy, test_accuracy } =
        Losses::new(run, grid.logits.view());
    let gini =
        |object: ArrayView2<'_, f64>| fourier::gini(&run.transform.norms(object).rows.to_vec());
    let w_e = params.matrix(crate::model::names::W_E);
    let w_e = w_e.slice(ndarray::s![.., ..run.p()]);
    let row = ProgressRow {
        train_loss,
        test_loss,
        train_accuracy,
        test_accuracy,
        gini_w_e: gini(w_e),
        gini_w_l: gini(circuits::w_l(&run.net, params).view()),
        sum_sq_weights: Some(params.values.iter().map(|w| w * w).sum()),
        status: circuit_status(run),
        ..row
    };
    let (Some((sums, keys)), Some(table)) = (run.circuit(), table) else { return row };
    let restricted = progress::restricted(table, keys);
    let excluded = progress::excluded(grid.logits.view(), table, keys, sums, &run.all);
    let (train, test) = (&run.data.train, &run.data.test);
    // Restricted losses belong to sum indices, excluded ones to inputs (all are labelled here).
    let by_sum = |inputs: &[usize]| inputs.iter().map(|input| sums[*input]).collect::<Vec<_>>();
    let (train_sums, test_sums) = (by_sum(train), by_sum(test));
    let (logit_fve, logit_fve_centred) =
        progress::variance_explained(grid.logits.view(), table, keys);
    ProgressRow {
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
    }
}

fn frequencies(
    view: &View<'_>,
    table: Option<&LogitTable>,
    neurons: Option<&[Option<NeuronFrequency>]>,
) -> Vec<FrequencyRow> {
    let run = view.run;
    let norm = view.grid().map(|grid| grid.logits.iter().map(|x| x * x).sum::<f64>().sqrt());
    let every_sum: Vec<usize> = match &run.sums {
        Some(sums) => run.all.iter().map(|input| sums[*input]).collect(),
        None => Vec::new(),
    };
    (1..=fourier::frequencies(run.p()))
        .map(|k| {
            let row = FrequencyRow {
                run: run.name.clone(),
                step: view.step(),
                frequency: k as i64,
                is_key: run.keys.as_ref().is_some_and(|keys| keys.keys.contains(&k)),
                ..Default::default()
            };
            let (Some(sums), Some(grid), Some(table)) = (&run.sums, view.grid(), table) else {
                let status =
                    if run.sums.is_none() { Status::NotPeriodic } else { Status::NonFinite };
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
                neuron_count: neurons.map(|all| all.iter().filter(own).count() as i64),
                status: circuit_status(run),
                ..row
            }
        })
        .collect()
}

fn fourier_norms(view: &View<'_>) -> Vec<FourierRow> {
    let run = view.run;
    // Without finite weights the names of the objects are still known: from weights of zero.
    let zeros = crate::params::Params::zeros(run.net.layout());
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
    rows
}

fn neuron_rows(view: &View<'_>, neurons: Option<&[Option<NeuronFrequency>]>) -> Vec<NeuronRow> {
    (0..view.run.net.d_mlp)
        .map(|neuron| {
            let found = neurons.map(|all| all[neuron]);
            let known = found.flatten();
            NeuronRow {
                run: view.run.name.clone(),
                step: view.step(),
                neuron: neuron as i64,
                frequency: known.map(|n| n.frequency as i64),
                fve: known.map(|n| n.fve),
                status: match found {
                    None => Status::NonFinite,
                    Some(None) => Status::Dead,
                    Some(Some(_)) => Status::Ok,
                },
            }
        })
        .collect()
}

/// Rounding at 1 of a storage type.
fn storage_eps(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F64 => f64::EPSILON,
        Dtype::F16 => 2f64.powi(-10),
        Dtype::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}

fn tensor_spectra(view: &View<'_>, tensor: &Tensor, rows: &mut Rows) -> Result<()> {
    let blank = SpectrumRow {
        run: view.run.name.clone(),
        step: view.step(),
        tensor: tensor.name.clone(),
        ..Default::default()
    };
    let [leading @ .., m, n] = tensor.shape.as_slice() else {
        rows.spectra.push(SpectrumRow { status: Status::NotAMatrix, ..blank });
        return Ok(());
    };
    let batch: usize = leading.iter().product();
    let values = tensor.values.view();
    let values = values.to_shape((batch, m * n)).expect("the sizes multiply");
    for (index, matrix) in values.axis_iter(Axis(0)).enumerate() {
        let matrix = matrix.to_shape((*m, *n)).expect("the sizes multiply");
        let row = SpectrumRow { batch_index: index as i64, ..blank.clone() };
        matrix_spectra(matrix.view(), tensor.dtype, row, rows)?;
    }
    Ok(())
}

fn matrix_spectra(
    matrix: ArrayView2<'_, f64>,
    dtype: Dtype,
    row: SpectrumRow,
    rows: &mut Rows,
) -> Result<()> {
    let (m, n) = matrix.dim();
    let row = SpectrumRow { rows: Some(m as i64), cols: Some(n as i64), ..row };
    let path = if dtype == Dtype::F64 { Path::Svd } else { Path::Gram };
    let sigma = match path {
        Path::Svd => svd::singular_values(matrix),
        Path::Gram => svd::gram_singular_values(matrix),
    };
    let sigma = match sigma? {
        Ok(sigma) => sigma,
        Err(reason) => {
            let status = match reason {
                NoSpectrum::Empty => Status::Empty,
                NoSpectrum::NonFinite => Status::NonFinite,
                NoSpectrum::TooLarge => Status::TooLarge,
            };
            rows.spectra.push(SpectrumRow { status, ..row });
            return Ok(());
        }
    };
    rows.singular_values.extend(sigma.iter().enumerate().map(|(index, sigma)| SingularValueRow {
        run: row.run.clone(),
        step: row.step,
        tensor: row.tensor.clone(),
        batch_index: row.batch_index,
        index: index as i64,
        sigma: *sigma,
    }));
    let found = spectra::spectrum(&sigma, m, n, storage_eps(dtype), path);
    let enough = found.power_law.is_some() && found.marchenko_pastur.is_some();
    let count = |n: usize| Some(n as i64);
    rows.spectra.push(SpectrumRow {
        frobenius_sq: finite(found.frobenius_sq),
        spectral_norm: finite(found.spectral_norm),
        stable_rank: found.stable_rank,
        effective_rank: found.effective_rank,
        participation_ratio: found.participation_ratio,
        rank: count(found.rank),
        condition: found.condition.and_then(finite),
        nuclear: finite(found.nuclear),
        alpha: found.power_law.map(|law| law.alpha),
        alpha_xmin: found.power_law.and_then(|law| finite(law.xmin)),
        n_tail: found.power_law.and_then(|law| count(law.n)),
        mp_edge: found.marchenko_pastur.and_then(|bulk| finite(bulk.edge)),
        n_spikes: found.marchenko_pastur.and_then(|bulk| count(bulk.n_spikes)),
        status: if finite(found.frobenius_sq).is_none() {
            Status::Overflow
        } else if enough {
            Status::Ok
        } else {
            Status::TooFewValues
        },
        ..row
    });
    Ok(())
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

/// What is evaluated at one point of a line: losses, and those of each algorithm alone.
#[derive(Debug, Clone, Default)]
pub struct PointLosses {
    pub plain: Losses,
    pub excluded_loss_train: Option<f64>,
    pub restricted_loss_all: Option<f64>,
}

/// All losses of one weight vector.
///
/// # Errors
/// [`crate::Error::Modulus`] for a network whose modulus has no Fourier basis.
pub fn point_losses(run: &RunContext, params: &crate::params::Params<f64>) -> Result<PointLosses> {
    let grid = Grid::new(run, params);
    let logits: &Array2<f64> = &grid.logits;
    if !logits.iter().all(|logit| logit.is_finite()) {
        return Ok(PointLosses::default());
    }
    let plain = Losses::new(run, logits.view());
    let Some((sums, keys)) = run.circuit() else {
        return Ok(PointLosses { plain, ..Default::default() });
    };
    let table = LogitTable::new(logits.view(), sums)?;
    let excluded = progress::excluded(logits.view(), &table, keys, sums, &run.data.train);
    let every_sum: Vec<usize> = run.all.iter().map(|input| sums[*input]).collect();
    Ok(PointLosses {
        plain,
        excluded_loss_train: excluded.mean(),
        restricted_loss_all: progress::restricted(&table, keys).mean_loss(&every_sum),
    })
}
