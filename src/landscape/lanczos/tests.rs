//! Against matrices that are known.

use std::convert::Infallible;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::model::InTurn;

/// A symmetric matrix with these eigenvalues, in a random basis.
fn matrix(values: &[f64], rng: &mut ChaCha8Rng) -> Array2<f64> {
    let n = values.len();
    let noise = Array2::from_shape_simple_fn((n, n), || StandardNormal.sample(rng));
    let basis = eigen::symmetric(&noise + &noise.t()).unwrap().vectors;
    (&basis * &ndarray::Array1::from(values.to_vec())).dot(&basis.t())
}

fn product(a: &Array2<f64>) -> impl FnMut(&[f64]) -> Result<Vec<f64>, Infallible> + '_ {
    |v| Ok(a.dot(&ndarray::ArrayView1::from(v)).to_vec())
}

#[test]
fn the_largest_eigenvalues_are_the_matrix_s() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let values: Vec<f64> = (0..120).map(|i| 50.0 * 0.9f64.powi(i) - 2.0).collect();
    let a = matrix(&values, &mut rng);
    let start = rademacher(120, &mut rng);
    let found = top(&start, 10, (1e-10, 120), &mut product(&a), &InTurn).unwrap();
    assert_eq!(found.len(), 10);
    for (pair, expected) in found.iter().zip(&values) {
        assert!((pair.value - expected).abs() < 1e-10, "{} {expected}", pair.value);
        let v = ndarray::Array1::from(pair.vector.clone());
        let left = a.dot(&v) - pair.value * &v;
        let residual = left.dot(&left).sqrt();
        assert!(residual < 1e-8 && (residual - pair.residual).abs() < 1e-10, "{residual:e}");
        assert!((v.dot(&v) - 1.0).abs() < 1e-13);
    }
    // Stopped early, the residuals say so.
    let rough = top(&start, 10, (1e-10, 20), &mut product(&a), &InTurn).unwrap();
    let v = ndarray::Array1::from(rough[9].vector.clone());
    let left = a.dot(&v) - rough[9].value * &v;
    assert!((left.dot(&left).sqrt() / rough[9].residual - 1.0).abs() < 1e-6);
    assert!(rough[9].residual > 1e-3);
}

/// With signs as probes of a diagonal matrix, vᵀ Aᵏ v is exactly tr Aᵏ, so m steps give every
/// moment up to 2m − 1, and the trace without error.
#[test]
fn moments_of_the_quadrature_are_those_of_the_matrix() {
    let values: Vec<f64> = (0..40).map(|i| (f64::from(i) * 0.7).sin()).collect();
    let a = Array2::from_diag(&ndarray::Array1::from(values.clone()));
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let probes: Vec<Probe> = (0..3)
        .map(|_| {
            let start = rademacher(40, &mut rng);
            quadrature(&start, 5, &mut product(&a), &InTurn).unwrap()
        })
        .collect();
    for probe in &probes {
        assert!(probe.nodes.windows(2).all(|pair| pair[0].node < pair[1].node));
        for k in 0..=10 {
            let moment: f64 = probe.nodes.iter().map(|n| n.weight * n.node.powi(k)).sum();
            let expected = values.iter().map(|x| x.powi(k)).sum::<f64>() / 40.0;
            // Up to 2·5 − 1 = 9; the tenth is one too many.
            let close = (moment - expected).abs() < 1e-13;
            assert_eq!(close, k < 10, "moment {k}: {moment} {expected}");
        }
    }
    let (found, error) = trace(&probes);
    assert!((found - values.iter().sum::<f64>()).abs() < 1e-12 && error.unwrap() < 1e-12);
    assert_eq!(trace(&probes[..1]).1, None);
}

/// The spread of Hutchinson's estimates is that of the formula.
#[test]
fn the_standard_error_of_the_trace_is_the_formula_s() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let values: Vec<f64> = (0..30).map(f64::from).collect();
    let a = matrix(&values, &mut rng);
    let probes: Vec<Probe> = (0..400)
        .map(|_| {
            let start = rademacher(30, &mut rng);
            quadrature(&start, 1, &mut product(&a), &InTurn).unwrap()
        })
        .collect();
    let (found, error) = trace(&probes);
    let diagonal: f64 = a.diag().iter().map(|x| x * x).sum();
    let expected = (2.0 * ((&a * &a).sum() - diagonal) / 400.0).sqrt();
    let error = error.unwrap();
    assert!((error / expected - 1.0).abs() < 0.15, "{error} {expected}");
    assert!((found - a.diag().sum()).abs() < 4.0 * error);
}

/// An invariant subspace ends the recurrence; a matrix that is zero has eigenvalue 0.
#[test]
fn a_space_that_cannot_grow_is_complete() {
    let a = Array2::from_diag(&ndarray::array![3.0, 3.0, 1.0, 1.0]);
    let found = top(&[1.0; 4], 4, (0.0, 10), &mut product(&a), &InTurn).unwrap();
    assert_eq!(found.len(), 2, "each eigenvalue once: {found:?}");
    assert!((found[0].value - 3.0).abs() < 1e-14 && (found[1].value - 1.0).abs() < 1e-14);
    let zero = Array2::zeros((3, 3));
    let found = top(&[1.0; 3], 2, (0.0, 10), &mut product(&zero), &InTurn).unwrap();
    assert_eq!(found.iter().map(|pair| pair.value).collect::<Vec<_>>(), [0.0]);
    let bad = Array2::from_elem((3, 3), f64::NAN);
    let stopped = top(&[1.0; 3], 2, (0.0, 10), &mut product(&bad), &InTurn);
    assert!(matches!(stopped, Err(Stopped::Spectrum(NoSpectrum::NonFinite))));
}

/// Long vectors are worked on in chunks; the basis stays orthonormal.
#[test]
fn chunks_keep_the_basis_orthonormal() {
    let n = 2 * CHUNK + 77;
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut space = Krylov::new(&rademacher(n, &mut rng));
    let mut product = |v: &[f64]| -> Result<Vec<f64>, Infallible> {
        Ok(v.iter().enumerate().map(|(i, x)| x * (1.0 + (i % 101) as f64)).collect())
    };
    for _ in 0..30 {
        space.step(&mut product, &InTurn).unwrap();
    }
    for (i, a) in space.basis.iter().enumerate() {
        for (j, b) in space.basis.iter().enumerate() {
            let expected = if i == j { 1.0 } else { 0.0 };
            assert!((dot(a, b) - expected).abs() < 1e-12, "{i} {j} {}", dot(a, b));
        }
    }
}
