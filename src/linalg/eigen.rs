//! Eigenvalues and eigenvectors of symmetric matrices, guarded as in [`super::svd`].

use ndarray::{Array2, s};

use super::library;
use super::magnitude::largest_magnitude;
use super::svd::{NoSpectrum, check_size, exponent_of, times_power_of_two};

/// `A = V diag(values) Vᵀ`.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// Descending
    pub values: Vec<f64>,
    /// `[n, n]`, columns in the order of the values; the sign of each is LAPACK's
    pub vectors: Array2<f64>,
}

/// Eigenvalues and orthonormal eigenvectors of a symmetric matrix `[n, n]`, given in full.
///
/// Absolute error of a value about `2⁻⁵² max |value|`.
///
/// # Errors
/// Why there are none: as [`super::svd::singular_values`].
///
/// # Panics
/// If the matrix is not square.
pub fn symmetric(mut a: Array2<f64>) -> Result<Eigen, NoSpectrum> {
    let n = a.nrows();
    assert_eq!(n, a.ncols(), "a square matrix");
    check_size(n, n)?;
    let max = largest_magnitude(a.view());
    if !max.is_finite() {
        return Err(NoSpectrum::NonFinite);
    }
    let exponent = exponent_of(max);
    a.mapv_inplace(|value| times_power_of_two(value, -exponent));
    crate::blas::one_thread();
    let trace = a.diag().sum();
    let tolerance = 1e-12 * n as f64; // entries are at most 1
    let (mut values, vectors) = library::eigenvectors(a).ok_or(NoSpectrum::NoConvergence)?;
    values.reverse();
    let vectors = vectors.slice_move(s![.., ..;-1]);
    let finite = values.iter().chain(&vectors).all(|value| value.is_finite());
    if !finite || (values.iter().sum::<f64>() - trace).abs() > tolerance {
        return Err(NoSpectrum::NoConvergence);
    }
    values.iter_mut().for_each(|value| *value = times_power_of_two(*value, exponent));
    Ok(Eigen { values, vectors })
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_by_two() {
        let found = symmetric(array![[2.0, 1.0], [1.0, 2.0]]).unwrap();
        assert!((found.values[0] - 3.0).abs() < 1e-15 && (found.values[1] - 1.0).abs() < 1e-15);
        let ratio = found.vectors[[0, 0]] / found.vectors[[1, 0]];
        assert!((ratio - 1.0).abs() < 1e-15, "{found:?}");
    }

    #[test]
    fn nothing_unusable_reaches_lapack() {
        for bad in [f64::NAN, f64::INFINITY] {
            let found = symmetric(array![[1.0, bad], [bad, 1.0]]);
            assert_eq!(found, Err(NoSpectrum::NonFinite));
        }
        assert_eq!(symmetric(Array2::zeros((0, 0))), Err(NoSpectrum::Empty));
    }

    proptest! {
        #[test]
        fn it_is_a_decomposition(
            n in 1usize..12, seed in prop::collection::vec(-1.0..1.0f64, 144),
            exponent in prop::sample::select(vec![0, -1000, 1000]),
        ) {
            let half = Array2::from_shape_fn((n, n), |(i, j)| seed[i * 12 + j]);
            let a = &half + &half.t();
            let found = symmetric(a.mapv(|x| times_power_of_two(x, exponent))).unwrap();
            let values = ndarray::Array1::from_iter(
                found.values.iter().map(|x| times_power_of_two(*x, -exponent)));
            prop_assert!(values.as_slice().unwrap().windows(2).all(|pair| pair[0] >= pair[1]));
            let back = (&found.vectors * &values).dot(&found.vectors.t());
            for (x, y) in back.iter().zip(&a) {
                prop_assert!((x - y).abs() < 1e-13 * n as f64);
            }
        }
    }
}
