use std::f64::consts::PI;

use proptest::prelude::*;

use super::*;
use crate::linalg::library;

fn lower(a: &Array2<f64>) -> Lower {
    let n = a.nrows();
    let stride = n.next_multiple_of(LANES);
    let mut entries = Aligned::zeros(stride * stride);
    for ((i, j), value) in a.indexed_iter().filter(|((i, j), _)| j <= i) {
        entries[i * stride + j] = *value;
    }
    Lower { n, stride, entries }
}

/// Within `c n ε max |λ|` of those expected, which are ascending.
fn check(a: &Array2<f64>, expected: &[f64], c: f64) {
    let found = Tridiagonal::new(lower(a)).eigenvalues().unwrap();
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let tolerance = c * a.nrows() as f64 * f64::EPSILON * largest;
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= tolerance, "{i} of {}: {x}, not {y}", a.nrows());
    }
}

/// The `r` leading eigenvectors: orthonormal, and `A U = U Λ` within `c n ε max |λ|`.
fn check_vectors(a: &Array2<f64>, r: usize, c: f64) {
    let reduced = Tridiagonal::new(lower(a));
    let values: Vec<f64> = reduced.eigenvalues().unwrap().into_iter().rev().collect();
    let largest = values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let u = reduced.eigenvectors(&values[..r]).expect("vectors");
    let n = a.nrows() as f64;
    for ((i, j), product) in u.t().dot(&u).indexed_iter() {
        let expected = f64::from(u8::from(i == j));
        assert!((product - expected).abs() < 1e-11, "{i} and {j} of {r}, {n}: {product}");
    }
    let scaled = &u * &ndarray::Array1::from(values[..r].to_vec());
    for off in &(a.dot(&u) - scaled) {
        assert!(off.abs() <= c * n * f64::EPSILON * largest, "{off} of {largest}, {n}");
    }
}

/// `(I − 2vvᵀ/vᵀv) A (I − 2vvᵀ/vᵀv)` for a vector without structure: the same eigenvalues.
fn turned(a: &Array2<f64>) -> Array2<f64> {
    let v = ndarray::Array1::from_shape_fn(a.nrows(), |i| 1.0 + ((i * 7) % 5) as f64);
    let eye = Array2::<f64>::eye(a.nrows());
    let column = v.view().insert_axis(ndarray::Axis(1));
    let reflection = eye - column.dot(&column.t()) * (2.0 / v.dot(&v));
    reflection.dot(a).dot(&reflection)
}

/// Second differences have the eigenvalues `2 − 2 cos(π k/(n+1))`; sizes around those of a vector and
/// of the shortest matrix that is swept for several eigenvalues at once.
#[test]
fn second_differences() {
    for n in (1..40).chain([63, 64, 65, 127, 128, 129]) {
        let a = Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        let angle = |k: usize| PI * k as f64 / (n + 1) as f64;
        let expected: Vec<f64> = (1..=n).map(|k| 2.0 - 2.0 * angle(k).cos()).collect();
        check(&a, &expected, 2.0);
        check(&turned(&a), &expected, 4.0);
        check_vectors(&a, n.div_ceil(2), 8.0);
        check_vectors(&turned(&a), n, 8.0);
    }
    assert_eq!(Tridiagonal::new(lower(&Array2::zeros((0, 0)))).eigenvalues(), Some(vec![]));
}

/// Where eigenvalues coincide, or the matrix falls apart: diagonals, few different values, rank one,
/// Wilkinson's W⁺ with pairs that agree to 15 digits, steps down to 2⁻⁶⁰ and beyond.
#[test]
fn coinciding_eigenvalues() {
    for n in [2, 5, 21, 41, 64, 100] {
        check(&Array2::zeros((n, n)), &vec![0.0; n], 1.0);
        check(&Array2::eye(n), &vec![1.0; n], 1.0);
        let of = |value: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..n).map(value).collect() };
        for mut values in [
            of(&|i| (i % 3) as f64),
            of(&|i| f64::from(u8::from(i == n / 2))),
            of(&|i| 2f64.powi(-(i as i32))),
            of(&|i| 2f64.powi(i as i32 - n as i32)),
            of(&|i| if i < n / 2 { 1.0 } else { 1e-9 * i as f64 }),
        ] {
            let a = Array2::from_diag(&ndarray::Array1::from(values.clone()));
            values.sort_by(f64::total_cmp);
            check(&a, &values, 1.0);
            check(&turned(&a), &values, 4.0);
            check_vectors(&a, n / 2, 8.0);
            check_vectors(&turned(&a), n / 3, 8.0);
        }
        let wilkinson = Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
            0 => (i as f64 - (n - 1) as f64 / 2.0).abs(),
            1 => 1.0,
            _ => 0.0,
        });
        check(&wilkinson, &library::eigenvalues(wilkinson.clone()).unwrap(), 2.0);
    }
}

proptest! {
    /// Against the library's routine, for symmetric matrices of either sign, steep ones included.
    #[test]
    fn they_are_those_of_the_library(
        n in 1usize..48, seed in prop::collection::vec(-1.0..1.0f64, 48 * 48), grade in 0i32..8,
        holes in prop::bool::ANY,
    ) {
        let half = Array2::from_shape_fn((n, n), |(i, j)| {
            let kept = !holes || (i * 7 + j * 3) % 4 == 0;
            seed[i * 48 + j] * 2f64.powi(-grade * i as i32) * f64::from(u8::from(kept))
        });
        let a = &half + &half.t();
        let expected = library::eigenvalues(a.clone()).unwrap();
        check(&a, &expected, 4.0);
        check_vectors(&a, n.div_ceil(2), 8.0);
    }
}
