//! Tables `spectra` and `singular_values`, of any tensor with at least two axes.

use super::Measure;
use crate::archive::{Dtype, is_unsupported};
use crate::error::Result;
use crate::linalg::svd::NoSpectrum;
use crate::pipeline::matrices::MatrixValues;
use crate::pipeline::view::View;
use crate::spectra::{self, Path};
use crate::tables::{SingularValueRow, SpectrumRow, Status};

/// Table `spectra`.
#[derive(Debug)]
pub struct Spectra;

impl Measure for Spectra {
    type Row = SpectrumRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<SpectrumRow>> {
        let row = |tensor: &str| SpectrumRow {
            run: view.run.name.clone(),
            step: view.step(),
            tensor: tensor.to_owned(),
            ..Default::default()
        };
        let vectors = view.checkpoint.tensors.iter().filter(|tensor| tensor.shape.len() < 2);
        let mut rows: Vec<SpectrumRow> = vectors
            .map(|tensor| {
                let status = view.change(&tensor.name).unwrap_or(Status::NotAMatrix);
                SpectrumRow { status, ..row(&tensor.name) }
            })
            .collect();
        let unread = view.checkpoint.header.tensors.iter().filter(|t| is_unsupported(t.dtype));
        rows.extend(
            unread.map(|tensor| SpectrumRow {
                status: Status::UnsupportedDtype,
                ..row(&tensor.name)
            }),
        );
        let missing = view.run.shapes.keys().filter(|t| view.change(t) == Some(Status::Missing));
        rows.extend(missing.map(|tensor| SpectrumRow { status: Status::Missing, ..row(tensor) }));
        rows.extend(view.singular_values()?.iter().map(|matrix| {
            let found = measured(
                matrix,
                SpectrumRow {
                    batch_index: matrix.batch_index as i64,
                    rows: Some(matrix.rows as i64),
                    cols: Some(matrix.cols as i64),
                    ..row(&matrix.tensor)
                },
            );
            // The shape of a tensor that could be measured is what there is to tell of it.
            let told = matrix.sigma.is_ok().then(|| view.change(&matrix.tensor)).flatten();
            SpectrumRow { status: told.unwrap_or(found.status), ..found }
        }));
        Ok(rows)
    }
}

/// Table `singular_values`.
#[derive(Debug)]
pub struct SingularValues;

impl Measure for SingularValues {
    type Row = SingularValueRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<SingularValueRow>> {
        let mut rows = Vec::new();
        for matrix in view.singular_values()? {
            let sigma = matrix.sigma.iter().flatten().enumerate();
            rows.extend(sigma.map(|(index, sigma)| SingularValueRow {
                run: view.run.name.clone(),
                step: view.step(),
                tensor: matrix.tensor.clone(),
                batch_index: matrix.batch_index as i64,
                index: index as i64,
                sigma: *sigma,
            }));
        }
        Ok(rows)
    }
}

fn measured(matrix: &MatrixValues, row: SpectrumRow) -> SpectrumRow {
    let sigma = match &matrix.sigma {
        Ok(sigma) => sigma,
        Err(reason) => {
            let status = no_spectrum(*reason);
            return SpectrumRow { status, ..row };
        }
    };
    let eps = storage_eps(matrix.dtype);
    let found = spectra::spectrum(sigma, matrix.rows, matrix.cols, eps, storage_path(matrix.dtype));
    let enough = found.power_law.is_some() && found.marchenko_pastur.is_some();
    let count = |n: usize| Some(n as i64);
    SpectrumRow {
        frobenius_sq: found.frobenius_sq,
        spectral_norm: found.spectral_norm,
        stable_rank: found.stable_rank,
        effective_rank: found.effective_rank,
        participation_ratio: found.participation_ratio,
        rank: count(found.rank),
        condition: found.condition,
        nuclear: found.nuclear,
        alpha: found.power_law.map(|law| law.alpha),
        alpha_xmin: found.power_law.map(|law| law.xmin),
        n_tail: found.power_law.and_then(|law| count(law.n)),
        mp_edge: found.marchenko_pastur.map(|bulk| bulk.edge),
        n_spikes: found.marchenko_pastur.and_then(|bulk| count(bulk.n_spikes)),
        status: if !found.in_range {
            Status::Overflow
        } else if enough {
            Status::Ok
        } else {
            Status::TooFewValues
        },
        ..row
    }
}

/// Why there is no spectrum, as a status.
pub(in crate::pipeline) fn no_spectrum(reason: NoSpectrum) -> Status {
    match reason {
        NoSpectrum::Empty => Status::Empty,
        NoSpectrum::NonFinite => Status::NonFinite,
        NoSpectrum::TooLarge => Status::TooLarge,
        NoSpectrum::NoConvergence => Status::SvdNoConvergence,
        NoSpectrum::Timeout => Status::SvdTimeout,
    }
}

/// How singular values are computed: what was stored in 64 bits deserves the SVD; for narrower types
/// the Gram matrix is accurate below their rounding.
pub(in crate::pipeline) fn storage_path(dtype: Dtype) -> Path {
    if dtype == Dtype::F64 { Path::Svd } else { Path::Gram }
}

/// Rounding at 1 of a storage type.
pub(in crate::pipeline) fn storage_eps(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F64 => f64::EPSILON,
        Dtype::F16 => 2f64.powi(-10),
        Dtype::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}
