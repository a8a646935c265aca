//! How the circuit is measured: key rules, protocols and precision, recorded and refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use groundswell::tables::{
    AblationRow, ActivationRow, CircuitRow, FourierRow, FrequencyRow, NeuronRow, ProgressRow,
    Status, metadata,
};

use super::support::*;

/// Analyse `fixtures/tiny` with more options.
fn tiny_with(out: &Path, options: &[&str]) -> Ran {
    let mut args = args!["analyze", fixture("tiny"), "--out", out];
    args.extend(options.iter().map(Into::into));
    groundswell(args)
}

fn recorded(out: &Path) -> BTreeMap<String, String> {
    let path = out.join("progress.parquet");
    metadata(&path, &fs::read(&path).unwrap()).unwrap()
}

/// The progress rows of `fixtures/tiny`, and what the file says of the choices.
fn progress(options: &[&str]) -> (Vec<ProgressRow>, BTreeMap<String, String>) {
    let out = tempfile::tempdir().unwrap();
    tiny_with(out.path(), options).exits(0);
    (rows(out.path()), recorded(out.path()))
}

#[test]
fn choices_are_recorded() {
    let (usual, about) = progress(&[]);
    let of = |about: &BTreeMap<String, String>| {
        ["protocol", "key_rule", "precision"].map(|name| about[name].clone())
    };
    assert_eq!(of(&about), ["sum_dirs", "w_l > 0.25", "f32"]);
    assert!(about["keys"].contains(r#""keys":"1,3","margin":"#), "{}", about["keys"]);

    let options = ["--protocol", "block3x3", "--keys", "list:2", "--precision", "f64"];
    let (other, about) = progress(&options);
    assert_eq!(of(&about), ["block3x3", "list:2", "f64"]);
    assert!(about["keys"].contains(r#""keys":"2","margin":null"#), "{}", about["keys"]);
    for (usual, other) in usual.iter().zip(&other) {
        assert_eq!(other.key_frequencies.as_deref(), Some("2"));
        assert_eq!((other.status, other.gini_w_l), (Status::Ok, usual.gini_w_l));
        assert_ne!(other.excluded_loss_train, usual.excluded_loss_train);
    }
}

/// On a network that found the algorithm, the control takes out next to nothing.
#[test]
fn protocols_are_different_measures() {
    let of = |protocol| progress(&["--protocol", protocol]).0.pop().unwrap();
    let [sums, differences, both, all] = ["sum_dirs", "diff_dirs", "block2x2", "block3x3"].map(of);
    let excluded = |row: &ProgressRow| row.excluded_loss_train.unwrap();
    assert!(excluded(&sums) > 1.5 * excluded(&differences), "{sums:?} {differences:?}");
    for (one, other) in [(&sums, &both), (&both, &all), (&differences, &both)] {
        assert!((excluded(one) - excluded(other)).abs() > 1e-6);
        assert_eq!(one.logit_fve, other.logit_fve, "the coefficients are those of the sums");
    }
}

#[test]
fn keys_by_every_rule() {
    let keys = |rule| -> Vec<Option<String>> {
        let (rows, _) = progress(&["--keys", rule]);
        rows.into_iter().map(|row| row.key_frequencies).collect()
    };
    let all = |keys: &str| vec![Some(keys.to_owned()); TINY_STEPS.len()];
    assert_eq!(keys("list:3,1"), all("1,3"));
    assert_eq!(keys("w_e"), all("1"));
    assert_eq!(keys("neurons"), all(""), "16 neurons are too few for three of a kind");
    let own = keys("per-checkpoint");
    assert_eq!(own.last().unwrap().as_deref(), Some("1,3"), "the last one's own are the run's");
    assert_eq!(own[0].as_deref(), Some("1,2,3"), "at first nothing stands out");
}

/// A small run of another task, trained in a moment.
fn trained(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let run = dir.join(name);
    let mut args = args!["--out", &run, "--modulus", "7", "--train-fraction", "0.6"];
    let small = ["--d-model=8", "--heads=2", "--d-mlp=16", "--steps=20", "--save-at=0"];
    args.extend(small.iter().chain(options).map(Into::into));
    train(args).exits(0);
    run
}

#[test]
fn keys_of_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    trained(&runs, "other", &["--seed=3"]);
    tiny(&runs);
    let out = dir.path().join("out");
    groundswell(args!["analyze", &runs, "--out", &out, "--keys", "from:tiny"]).exits(0);
    let found = rows::<ProgressRow>(&out);
    assert_eq!(found.len(), 2 + TINY_STEPS.len());
    assert!(found.iter().all(|row| row.key_frequencies.as_deref() == Some("1,3")), "{found:?}");

    let nobody = args!["analyze", &runs, "--out", dir.path().join("no"), "--keys", "from:nobody"];
    groundswell(nobody)
        .exits(2)
        .says("error[CL03]: keys: there is no run `nobody` in the archive")
        .mentions("its runs are other, tiny");
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    tiny_with(&out, &["--keys", "list:1,4"])
        .exits(2)
        .says("error[CL03]: keys: there is no frequency 4")
        .mentions("they go from 1 to 3");
    tiny_with(&out, &["--keys", "gap"]).exits(2).mentions("no rule for key frequencies");
    tiny_with(&out, &["--protocol", "sums"]).exits(2).mentions("unknown protocol `sums`");
    assert!(!out.exists());
}

/// Experiments are made of the checkpoints asked for, the last one if nobody asks.
#[test]
fn tables_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    tiny_with(&out, &["--measures", "ablations,circuits,activations"]).exits(0);
    assert_eq!(tables_in(&out), ["ablations", "activations", "circuits", "failures", "readouts"]);
    let found = rows::<AblationRow>(&out);
    assert!(found.iter().all(|row| row.step == 1200 && row.status == Status::Ok));
    let names: Vec<&str> = found.iter().map(|row| row.ablation.as_str()).collect();
    for name in ["none", "attention_zero", "mlp_skip_mean", "neurons_without_3", "w_l_keys"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let activations = rows::<ActivationRow>(&out);
    let of = |object: &str| activations.iter().filter(|row| row.object == object).count();
    assert_eq!((of("attention"), of("logits")), (2 * 49, 49));
    assert!(of("neuron") > 0 && of("neuron") % 49 == 0 && of("neuron") <= 4 * 49);

    let steps = |at: &str| -> Vec<i64> {
        let out = dir.path().join(at);
        tiny_with(&out, &["--measures", "circuits", "--at", at]).exits(0);
        let mut steps: Vec<i64> = rows::<CircuitRow>(&out).iter().map(|row| row.step).collect();
        steps.dedup();
        steps
    };
    assert_eq!(steps("first,100"), [0, 100]);
    assert_eq!(steps("all"), TINY_STEPS);
    tiny_with(&out, &["--measures", "circuits", "--at", "7"])
        .exits(2)
        .says("error[CL03]: at: no run saved step 7");
    tiny_with(&out, &["--at", "soon"]).exits(2).mentions("`soon` is no step");
}

/// Products are measured along discrete logarithms, over the pairs without a 0; polynomials have no
/// circuit, and say so.
#[test]
fn tasks_are_measured_as_far_as_they_go() {
    let dir = tempfile::tempdir().unwrap();
    for (task, circuit) in [("mul", true), ("div", true), ("sub", true), ("x2+xy+y2", false)] {
        let run = trained(&dir.path().join(task), "run", &["--task", task]);
        let out = dir.path().join(format!("tables of {task}"));
        analyze(&run, &out).exits(0);
        for row in rows::<ProgressRow>(&out) {
            assert!(row.train_loss.is_some() && row.sum_sq_weights.is_some(), "{task}: {row:?}");
            assert_eq!(row.excluded_loss_train.is_some(), circuit, "{task}");
            assert_eq!(row.restricted_loss_all.is_some(), circuit, "{task}");
            let expected = if circuit { Status::Ok } else { Status::NotPeriodic };
            assert_eq!(row.status, expected, "{task}");
        }
        let frequencies = rows::<FrequencyRow>(&out);
        assert!(frequencies.iter().all(|row| row.logit_coefficient.is_some() == circuit));
        // In ℤ_7 and in its multiplicative group alike there are three; the last of the latter has no
        // sine.
        let unpaired = task == "mul" || task == "div";
        let of_embedding: Vec<FourierRow> =
            rows(&out).into_iter().filter(|row: &FourierRow| row.object == "W_E").collect();
        assert_eq!(of_embedding.len(), 2 * 4, "{task}");
        for row in of_embedding {
            let sine = row.frequency > 0 && !(unpaired && row.frequency == 3);
            assert_eq!(row.sin_norm.is_some(), sine, "{task} {row:?}");
        }
        assert!(rows::<NeuronRow>(&out).iter().any(|row| row.fve.is_some()), "{task}");
    }
}
