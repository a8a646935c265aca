//! Singular values of all matrices of a checkpoint, decomposed beside the thread that waits for them.

use ndarray::{ArrayView2, Axis};

use super::measures::spectra::storage_path;
use super::watchdog;
use crate::archive::{Dtype, Tensor};
use crate::error::Result;
use crate::linalg::svd::{NoSpectrum, Prepared, PreparedGram, Values};
use crate::spectra::Path;

/// Singular values of one matrix of a checkpoint.
#[derive(Debug, Clone)]
pub struct MatrixValues {
    pub tensor: String,
    /// What it was stored in
    pub dtype: Dtype,
    /// Index along the leading axes of a tensor with more than two, row-major
    pub batch_index: usize,
    pub rows: usize,
    pub cols: usize,
    /// Descending; or why there are none
    pub sigma: Result<Vec<f64>, NoSpectrum>,
}

/// Memory for copies of matrices that are decomposed together, and for one more.
const COPIES: usize = 16 << 20;

/// A matrix on its way to be decomposed, or why it is not.
enum Waiting {
    Full(Prepared),
    Gram(PreparedGram),
    Refused(NoSpectrum),
}

impl Waiting {
    fn new(matrix: ArrayView2<'_, f64>, path: Path) -> Self {
        let prepared = match path {
            Path::Svd => Prepared::new(matrix).map(Self::Full),
            Path::Gram => PreparedGram::new(matrix).map(Self::Gram),
        };
        prepared.unwrap_or_else(Self::Refused)
    }

    fn dim(&self) -> (usize, usize) {
        match self {
            Self::Full(matrix) => matrix.dim(),
            Self::Gram(matrix) => matrix.dim(),
            Self::Refused(_) => (0, 0),
        }
    }

    fn decompose(&self) -> Result<Values, NoSpectrum> {
        match self {
            Self::Full(matrix) => matrix.singular_values(),
            Self::Gram(matrix) => {
                let sigma = matrix.singular_values().ok_or(NoSpectrum::NoConvergence)?;
                Ok(Values { sigma, fallback: false })
            }
            Self::Refused(reason) => Err(*reason),
        }
    }
}

/// Singular values of every matrix, and whether another driver than the first had to find them.
pub(super) fn all_singular_values(tensors: &[Tensor]) -> Result<Vec<(MatrixValues, bool)>> {
    let (mut found, mut waiting, mut bytes) = (Vec::new(), Vec::new(), 0);
    for tensor in tensors {
        let [leading @ .., rows, cols] = tensor.shape.as_slice() else { continue };
        let (rows, cols) = (*rows, *cols);
        let batch: usize = leading.iter().product();
        let (name, dtype, sigma) = (tensor.name.clone(), tensor.dtype, Err(NoSpectrum::Empty));
        let blank = MatrixValues { tensor: name, dtype, batch_index: 0, rows, cols, sigma };
        if tensor.values.is_empty() {
            // One row says so, however many matrices without entries the shape promises.
            found.push((blank, false));
            waiting.push(Waiting::Refused(NoSpectrum::Empty));
            continue;
        }
        let values = tensor.values.to_shape((batch, rows, cols)).expect("the sizes multiply");
        for (batch_index, matrix) in values.axis_iter(Axis(0)).enumerate() {
            found.push((MatrixValues { batch_index, ..blank.clone() }, false));
            waiting.push(Waiting::new(matrix, storage_path(dtype)));
            bytes += matrix.len() * size_of::<f64>();
            if bytes > COPIES {
                finish(&mut found, &mut waiting)?;
                bytes = 0;
            }
        }
    }
    finish(&mut found, &mut waiting)?;
    for (matrix, fallback) in &mut found {
        let by_gram = storage_path(matrix.dtype) == Path::Gram;
        if by_gram && matrix.sigma == Err(NoSpectrum::NoConvergence) {
            matrix.sigma = by_svd(tensors, matrix)?;
            *fallback = matrix.sigma.is_ok();
        }
    }
    Ok(found)
}

/// Decompose the matrices that wait, which are the last of those found.
fn finish(found: &mut [(MatrixValues, bool)], waiting: &mut Vec<Waiting>) -> Result<()> {
    let limit = |matrix: &Waiting| watchdog::time_limit(matrix.dim());
    let results = watchdog::each_in_time(std::mem::take(waiting), limit, Waiting::decompose)?;
    let first = found.len() - results.len();
    for (found, result) in found[first..].iter_mut().zip(results) {
        let values = result.unwrap_or(Err(NoSpectrum::Timeout));
        found.1 = values.as_ref().is_ok_and(|values| values.fallback);
        found.0.sigma = values.map(|values| values.sigma);
    }
    Ok(())
}

/// Singular values of a matrix whose Gram matrix has no sound eigenvalues.
fn by_svd(tensors: &[Tensor], of: &MatrixValues) -> Result<Result<Vec<f64>, NoSpectrum>> {
    let size = of.rows * of.cols;
    let values = tensors.iter().find(|tensor| tensor.name == of.tensor).and_then(|tensor| {
        let values = tensor.values.as_slice()?.get(of.batch_index * size..)?.get(..size)?;
        ArrayView2::from_shape((of.rows, of.cols), values).ok()
    });
    let Some(matrix) = values else { return Ok(Err(NoSpectrum::NoConvergence)) };
    let waiting = vec![Waiting::new(matrix, Path::Svd)];
    let limit = |matrix: &Waiting| watchdog::time_limit(matrix.dim());
    let found = watchdog::each_in_time(waiting, limit, Waiting::decompose)?.pop().flatten();
    Ok(found.unwrap_or(Err(NoSpectrum::Timeout)).map(|values| values.sigma))
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    /// What is never seen to happen: the way on to the SVD, for each slice of a batch.
    #[test]
    fn the_svd_follows_an_unsound_gram_matrix() {
        let entry = |i: IxDyn| (((i[0] * 12 + i[1] * 4 + i[2]) as f64).powi(2)).sin();
        let values = ArrayD::from_shape_fn(IxDyn(&[2, 3, 4]), entry);
        let (name, dtype, shape) = ("w".to_owned(), Dtype::F32, vec![2, 3, 4]);
        let tensors = [Tensor { name, dtype, shape, values }];
        let found = all_singular_values(&tensors).unwrap();
        assert_eq!(found.len(), 2);
        for (matrix, fallback) in found {
            assert!(!fallback);
            let (sigma, exact) =
                (matrix.sigma.as_ref().unwrap(), by_svd(&tensors, &matrix).unwrap());
            for (x, y) in sigma.iter().zip(exact.unwrap()) {
                assert!((x - y).abs() < 1e-12, "{} {x} {y}", matrix.batch_index);
            }
        }
    }
}
