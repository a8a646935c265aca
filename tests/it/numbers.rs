//! Numbers do not depend on what the environment says of threads, and hardly on the BLAS kernel.

#[cfg(feature = "openblas")]
use std::fs;

#[cfg(feature = "openblas")]
use groundswell::tables::{SingularValueRow, SpectrumRow, metadata};

use super::support::*;

#[test]
fn threads_of_blas_are_not_for_the_environment_to_choose() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, many) = (dir.path().join("plain"), dir.path().join("many"));
    analyze(&fixture("tiny"), &plain).exits(0);
    let mut command = command(GROUNDSWELL, args!["analyze", fixture("tiny"), "--out", &many]);
    command.env("OPENBLAS_NUM_THREADS", "64").env("OMP_NUM_THREADS", "64");
    Ran::from(command.output().unwrap()).exits(0);
    assert_same(&tree(&many), &tree(&plain));
}

/// Another kernel sums in another order: singular values differ by rounding, and the tables say which
/// kernel it was.
#[cfg(feature = "openblas")]
#[test]
fn another_kernel_gives_the_same_up_to_rounding() {
    let dir = tempfile::tempdir().unwrap();
    let tables = ["Haswell", "Prescott"].map(|kernel| {
        let out = dir.path().join(kernel);
        let args = args!["analyze", fixture("tiny"), "--out", &out, "--measures", "spectra"];
        let mut command = command(GROUNDSWELL, args);
        Ran::from(command.env("OPENBLAS_CORETYPE", kernel).output().unwrap()).exits(0);
        out
    });
    let kernel = |name: &str, table: &str| {
        let path = dir.path().join(name).join(table);
        metadata(&path, &fs::read(&path).unwrap()).unwrap()["kernel"].clone()
    };
    assert_eq!(kernel("Prescott", "spectra.parquet"), "Prescott");
    let [a, b] = tables.map(|out| rows::<SingularValueRow>(&out));
    assert_eq!(a.len(), b.len());
    let mut largest = 0.0;
    for (a, b) in a.iter().zip(&b) {
        if a.index == 0 {
            largest = a.sigma;
        }
        // Of a Gram matrix, small values keep fewer digits: 16 2⁻⁵² σ₁²/σ.
        let bound = 1e-12f64.max(16.0 * f64::EPSILON * largest / a.sigma) * largest;
        assert!((a.sigma - b.sigma).abs() <= bound, "{a:?} {b:?}");
    }
    assert!(rows::<SpectrumRow>(&dir.path().join("Prescott")).iter().any(|row| row.rank > Some(1)));
}
