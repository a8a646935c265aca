//! `groundswell landscape --curvature`: what the spectra of Hessians look like in the tables.

use std::ffi::OsString;
use std::path::Path;

use groundswell::tables::{CurvatureRow, SpectralDensityRow, Status};

use super::support::*;

fn curvature(archive: &Path, out: &Path, options: &[&str]) -> Ran {
    let options = options.iter().map(OsString::from).collect();
    groundswell([args!["landscape", archive, "--out", out], options].concat())
}

#[test]
fn spectra_of_hessians_are_consistent() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let tiny = fixture("tiny");
    let options = ["--curvature", "50,last", "--loss", "train,excluded,restricted", "--top", "5"];
    let small = ["--probes", "3", "--lanczos", "12", "--threads"];
    curvature(&tiny, &out, &[&options[..], &small, &["1"]].concat()).exits(0);
    let (rows, density) = (rows::<CurvatureRow>(&out), rows::<SpectralDensityRow>(&out));
    assert_eq!((rows.len(), density.len()), (2 * 3 * 5, 2 * 3 * 3 * 12));
    for of_loss in rows.chunks(5) {
        let (first, loss, step) = (&of_loss[0], of_loss[0].loss.as_str(), of_loss[0].step);
        let values: Vec<f64> = of_loss.iter().map(|row| row.eigenvalue.unwrap()).collect();
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]) && values[0] > 0.0, "{values:?}");
        for row in of_loss {
            assert_eq!(row.status, Status::Ok);
            assert!(row.residual.unwrap() <= 1e-3 * values[0], "{row:?}");
        }
        let nodes: Vec<_> =
            density.iter().filter(|row| row.step == step && row.loss == loss).collect();
        for probe in nodes.chunks(12) {
            let weight: f64 = probe.iter().map(|row| row.weight).sum();
            assert!((weight - 1.0).abs() < 1e-12, "{weight}");
            // No node of a quadrature is beyond the largest eigenvalue.
            assert!(probe[11].node <= values[0] + first.residual.unwrap() + 1e-5 * values[0]);
        }
        // The first moment of the density is the trace, per weight.
        let moment: f64 = nodes.iter().map(|row| row.weight * row.node).sum::<f64>() / 3.0;
        let parameters = 17 * 16 * 2 + 16 + 2; // only a lower bound is needed
        let trace = first.trace.unwrap();
        assert!(
            moment.signum() == trace.signum() && trace.abs() > moment.abs() * parameters as f64
        );
        assert!(first.trace_standard_error.unwrap() > 0.0);
    }

    let again = dir.path().join("again");
    curvature(&tiny, &again, &[&options[..], &small, &["2"]].concat()).exits(0);
    assert_same(&tree(&again), &tree(&out));
}

#[test]
fn hessians_that_are_there_stay_until_they_would_be_others() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (tiny(dir.path()), dir.path().join("out"));
    let of = |step: &str, probes: &str| {
        let small = ["--top", "2", "--lanczos", "5", "--probes", probes, "--curvature", step];
        curvature(&archive, &out, &small).exits(0)
    };
    assert!(of("50", "2").stdout.contains("1 Hessians measured"));
    let first = tables_of(&out);
    assert!(of("50", "2").stdout.contains("nothing to do"));
    assert_same(&tables_of(&out), &first);
    let ran = of("50,last", "2");
    assert!(ran.stdout.contains("1 Hessians measured, 1 taken from before"), "{ran:?}");
    assert!(of("50,last", "3").stdout.contains("2 Hessians measured\n"));
    // A table that is not what was written is written anew.
    let whole = tables_of(&out);
    std::fs::remove_file(out.join("curvature.parquet")).unwrap();
    assert!(of("50,last", "3").stdout.contains("2 Hessians measured\n"));
    assert_same(&tables_of(&out), &whole);
}

#[test]
fn hessians_that_do_not_exist_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let (runs, out) = (dir.path().join("runs"), dir.path().join("out"));
    let size = args!["--modulus", "7", "--d-mlp", "12", "--steps", "10", "--save-at", "0,10"];
    let mlp = args!["--out", runs.join("mlp"), "--architecture", "mlp"];
    train([mlp, size].concat()).exits(0);
    curvature(&runs, &out, &["--curvature", "last"]).exits(0);
    let found = rows::<CurvatureRow>(&out);
    assert_eq!((found.len(), found[0].status), (1, Status::UnknownNetwork));
    assert_eq!((found[0].eigenvalue, found[0].trace), (None, None));

    let tiny = fixture("tiny");
    let of = |options: &[&str]| curvature(&tiny, &dir.path().join("no"), options).exits(2);
    of(&["--curvature", "20"]).mentions("nearest saved steps: 10, 50");
    of(&["--curvature", "50", "--top", "0"]).mentions("top: 0 is not in 1..=200");
    of(&["--curvature", "50", "--loss", "tran"])
        .mentions("unknown loss `tran`; did you mean `train`?");
    of(&["--loss", "train"]).mentions("--curvature");
}
