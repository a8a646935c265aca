//! The second architecture, the TransformerLens variant, and initial weights from files: what is
//! trained, what is resumed, what the tables say of it, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use groundswell::archive::{RunInfo, read};
use groundswell::config::{Architecture, Biases, Outputs};
use groundswell::tables::{FourierRow, FrequencyRow, NeuronRow, ProgressRow, SpectrumRow, Status};
use safetensors::tensor::{Dtype, TensorView};

use super::support::*;

/// A run that takes milliseconds; every optimiser state is kept.
fn small(out: &Path, options: &[&str]) -> Vec<OsString> {
    let common = args![
        "--out",
        out,
        "--modulus",
        "7",
        "--train-fraction",
        "0.6",
        "--d-mlp",
        "8",
        "--steps",
        "12",
        "--save-at",
        "0..:4",
        "--save-optimizer",
        "all"
    ];
    let options = options.iter().map(OsString::from).collect();
    [common, options].concat()
}

const TRANSFORMER: [&str; 4] = ["--d-model", "4", "--heads", "2"];
const MLP: [&str; 4] = ["--architecture", "mlp", "--activation", "quadratic"];
const LENS: [&str; 6] = ["--preset", "transformer-lens", "--d-model", "4", "--heads", "2"];

/// Take the last step back, as if the run had been killed before it.
fn unfinish(run: &Path) {
    let path = run.join("manifest.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("step_00000012")).collect();
    fs::write(&path, kept.join("\n") + "\n").unwrap();
    for folder in ["checkpoints", "optimizer"] {
        fs::remove_file(run.join(folder).join("step_00000012.safetensors")).unwrap();
    }
}

#[test]
fn every_network_has_one_archive_whatever_the_threads_and_interruptions() {
    for options in [&TRANSFORMER[..], &MLP, &LENS] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("1/run");
        train([small(&run, options), args!["--threads", "1"]].concat()).exits(0);
        let complete = tree(&run);
        let other = dir.path().join("2/run");
        train([small(&other, options), args!["--threads", "2"]].concat()).exits(0);
        assert_same(&tree(&other), &complete);
        unfinish(&run);
        let ran = train([small(&run, options), args!["--resume"]].concat()).exits(0);
        assert!(ran.stdout.contains("12 steps, 1 checkpoints saved"), "{}", ran.stdout);
        assert_same(&tree(&run), &complete);
    }
}

/// The tensors of a checkpoint, by name.
fn tensors(file: &Path) -> BTreeMap<String, read::Tensor> {
    let contents = read::load(file, None, false).unwrap();
    contents.tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
}

fn norm(tensor: &read::Tensor) -> f64 {
    tensor.values.iter().map(|w| w * w).sum::<f64>().sqrt()
}

#[test]
fn the_transformer_lens_variant_has_p_outputs_and_zero_biases() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(small(&run, &LENS)).exits(0);
    let (first, last) = (tensors(&checkpoint(&run, 0)), tensors(&checkpoint(&run, 12)));
    assert_eq!(last["unembed.W_U"].shape, [4, 7]);
    assert_eq!(last["embed.W_E"].shape, [4, 8]);
    for (name, tensor) in &last {
        let is_bias = name.contains(".b_");
        assert_eq!(tensor.values.iter().all(|w| w.to_bits() == 0), is_bias, "{name}");
        let moved = (norm(tensor) - norm(&first[name])).abs() > 1e-6;
        assert_eq!(moved, !is_bias, "{name}");
    }
    let m = tensors(&run.join("optimizer/step_00000012.safetensors"));
    assert!(m["m.blocks.0.mlp.b_in"].values.iter().all(|m| m.to_bits() == 0));

    let tables = dir.path().join("tables");
    analyze(&run, &tables).exits(0);
    for row in rows::<ProgressRow>(&tables) {
        assert_eq!(row.status, Status::Ok);
        assert!(row.train_loss.is_some() && row.gini_w_e.is_some() && row.gini_w_l.is_some());
    }
    // With p outputs, what was optimised is what is measured.
    let logged = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let logged: Vec<serde_json::Value> =
        logged.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (row, logged) in rows::<ProgressRow>(&tables).iter().zip(&logged) {
        let (measured, logged) = (row.train_loss.unwrap(), logged["train_loss"].as_f64().unwrap());
        assert!((measured - logged).abs() < 1e-5 * measured, "{measured} {logged}");
    }
}

#[test]
fn the_tables_of_an_mlp_hold_what_it_has() {
    for (activation, counted) in [("quadratic", false), ("relu", true)] {
        let dir = tempfile::tempdir().unwrap();
        let (run, tables) = (dir.path().join("run"), dir.path().join("tables"));
        train(small(&run, &["--architecture", "mlp", "--activation", activation])).exits(0);
        let last = tensors(&checkpoint(&run, 12));
        let shapes: Vec<(&str, &[usize])> =
            last.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())).collect();
        assert_eq!(shapes, [("mlp.W_in", &[8, 14][..]), ("mlp.W_out", &[7, 8])]);

        analyze(&run, &tables).exits(0);
        let progress = rows::<ProgressRow>(&tables);
        assert_eq!(progress.len(), 4);
        for row in &progress {
            assert_eq!((row.status, row.gini_w_e), (Status::Ok, None));
            let values = [row.train_loss, row.test_loss, row.restricted_loss_all, row.gini_w_l];
            assert!(
                values.iter().chain([&row.excluded_loss_train]).all(Option::is_some),
                "{row:?}"
            );
            assert!(row.key_frequencies.is_some());
        }
        let objects: BTreeSet<String> =
            rows::<FourierRow>(&tables).into_iter().map(|row| row.object).collect();
        assert_eq!(objects, ["W_L", "W_in.a", "W_in.b"].map(str::to_owned).into());
        let frequencies = rows::<FrequencyRow>(&tables);
        assert!(frequencies.iter().all(|row| row.neuron_count.is_some() == counted));
        assert!(frequencies.iter().all(|row| row.logit_coefficient.is_some()));
        let neurons = rows::<NeuronRow>(&tables);
        assert_eq!(neurons.len(), 4 * 8);
        assert!(neurons.iter().all(|row| row.status == Status::Ok && row.fve.is_some()));
        let spectra = rows::<SpectrumRow>(&tables);
        assert!(spectra.iter().all(|row| row.frobenius_sq.is_some()), "{spectra:?}");
        let line = args!["landscape", &run, "--out", &tables, "--from", "first", "--to", "last"];
        groundswell(line).exits(0);
    }
}

/// Settings of one architecture under another: refused where they are said, and put aside below.
#[test]
fn an_mlp_refuses_what_it_does_not_have() {
    for (options, problem) in [
        (&["--heads", "2"][..], "heads: an mlp has no attention heads"),
        (&["--d-model", "4"], "d-model: an mlp has no residual stream, hence no width of it"),
        (
            &["--outputs", "tokens"],
            "outputs: an mlp has no token `=`: its outputs are the residues",
        ),
        (&["--biases", "frozen"], "biases: an mlp has no biases"),
        (
            &["--init", "transformer-lens"],
            "init: an mlp has no weights of a TransformerLens network",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        train(small(&run, &[&MLP[..], options].concat()))
            .exits(2)
            .says(&format!("error[CL03]: {problem}"))
            .says("help: leave it out, or choose --architecture transformer");
        assert_eq!(tree(dir.path()), Tree::new());
    }
    let dir = tempfile::tempdir().unwrap();
    let (run, config) = (dir.path().join("run"), dir.path().join("run.toml"));
    fs::write(&config, "heads = 2\nd_model = 4\n").unwrap();
    train([small(&run, &MLP), args!["--config", &config]].concat()).exits(0);
    let written = RunInfo::read(&run.join("run.json")).unwrap().config;
    assert_eq!((written.heads, written.d_model), (None, None));
    assert_eq!((written.outputs, written.biases), (Outputs::Residues, Biases::Absent));
}

/// An archive from before these were settings is read as what it was.
#[test]
fn an_older_archive_is_a_transformer_with_trained_biases() {
    let text = fs::read_to_string(fixture("tiny/run.json")).unwrap();
    assert!(!text.contains("architecture") && !text.contains("outputs"), "{text}");
    let config = RunInfo::read(&fixture("tiny/run.json")).unwrap().config;
    assert_eq!((config.architecture, config.heads), (Architecture::Transformer, Some(2)));
    assert_eq!(
        (config.outputs, config.biases, config.classes()),
        (Outputs::Tokens, Biases::Trained, 8)
    );
}

/// A safetensors file of f32.
fn write(path: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| {
            (name.as_str(), values.iter().flat_map(|w| w.to_le_bytes()).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()]).unwrap();
        (name.as_str(), view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The tensors of a checkpoint in TransformerLens' layout, biases and buffers included.
fn lens(file: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let narrow = |values: Vec<f64>| values.iter().map(|w| *w as f32).collect::<Vec<f32>>();
    let mut found: BTreeMap<String, (Vec<usize>, Vec<f32>)> = tensors(file)
        .into_iter()
        .map(|(name, tensor)| {
            let (shape, values) = match name.rsplit('.').next().unwrap() {
                "W_E" | "W_in" | "W_out" => {
                    let theirs = tensor.values.view().reversed_axes();
                    (theirs.shape().to_vec(), theirs.iter().copied().collect())
                }
                "W_Q" | "W_K" | "W_V" => {
                    let theirs = tensor.values.view().permuted_axes(vec![0, 2, 1]);
                    (theirs.shape().to_vec(), theirs.iter().copied().collect())
                }
                "W_O" => {
                    let ours = tensor.values.to_shape((4, 2, 2)).unwrap(); // [d_model, heads, d_head]
                    let theirs = ours.view().permuted_axes([1, 2, 0]);
                    (theirs.shape().to_vec(), theirs.iter().copied().collect())
                }
                _ => (tensor.shape.clone(), tensor.values.iter().copied().collect::<Vec<f64>>()),
            };
            (name, (shape, narrow(values)))
        })
        .collect();
    for (name, shape) in
        [("attn.b_Q", vec![2, 2]), ("attn.b_O", vec![4]), ("attn.mask", vec![3, 3])]
    {
        let zeros = vec![0.0; shape.iter().product()];
        found.insert(format!("blocks.0.{name}"), (shape, zeros));
    }
    found
}

#[test]
fn both_layouts_of_an_init_file_train_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    train(small(&source, &TRANSFORMER)).exits(0);
    let published = checkpoint(&source, 12);
    let theirs = dir.path().join("theirs.safetensors");
    write(&theirs, &lens(&published));
    let mut archives = Vec::new();
    for (folder, init) in [("1", &published), ("2", &theirs)] {
        let run = dir.path().join(folder).join("run");
        let init = init.to_str().unwrap();
        // Biases that are not zero (they were trained) are kept, and stay where they are.
        train(small(&run, &[&TRANSFORMER[..], &["--init", init, "--biases", "frozen"]].concat()))
            .exits(0);
        let (before, after) = (tensors(&published), tensors(&checkpoint(&run, 12)));
        for name in ["blocks.0.mlp.b_in", "blocks.0.mlp.b_out"] {
            assert!(norm(&before[name]) > 0.0);
            assert_eq!(before[name].values, after[name].values);
        }
        let info = RunInfo::read(&run.join("run.json")).unwrap();
        assert_eq!(info.init_blake3, Some(read::digest(Path::new(init)).unwrap().1));
        let mut files = tree(&run);
        files.retain(|name, _| name.ends_with(".safetensors"));
        archives.push(files);
    }
    assert_same(&archives[1], &archives[0]);

    // Another file under the same name is another run.
    let run = dir.path().join("2/run");
    unfinish(&run);
    fs::copy(checkpoint(&source, 4), &theirs).unwrap();
    let init = theirs.to_str().unwrap();
    let options = [&TRANSFORMER[..], &["--init", init, "--biases", "frozen", "--resume"]].concat();
    train(small(&run, &options))
        .exits(12)
        .mentions("the weights in the init file are not those of the run");
}

#[test]
fn init_files_that_almost_fit_are_refused_with_names_and_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    train(small(&source, &TRANSFORMER)).exits(0);
    let file = dir.path().join("theirs.safetensors");
    let refused =
        |theirs: &BTreeMap<String, (Vec<usize>, Vec<f32>)>, network: &[&str], told: &str| {
            write(&file, theirs);
            let before = tree(dir.path());
            let path = file.to_str().unwrap();
            train(small(&dir.path().join("run"), &[network, &["--init", path]].concat()))
            .exits(4)
            .says(&format!("error[AR13]: {path}: not the weights of this network ({told}"))
            .says(
                "help: choose another file, or the settings that it belongs to: --architecture, \
                 --modulus, --d-model, --heads, --d-mlp, --outputs",
            );
            assert_same(&tree(dir.path()), &before);
        };
    let theirs = lens(&checkpoint(&source, 12));
    let residues = [&TRANSFORMER[..], &["--outputs", "residues"]].concat();
    let told = "TransformerLens layout): unembed.W_U is [4, 8], not [4, 7]";
    refused(&theirs, &residues, told);

    let mut wrong = theirs.clone();
    wrong.get_mut("blocks.0.attn.W_Q").unwrap().0 = vec![4, 2, 2];
    wrong.remove("pos_embed.W_pos");
    let told = "TransformerLens layout): pos_embed.W_pos [3, 4] is missing; \
                blocks.0.attn.W_Q is [4, 2, 2], not [2, 4, 2]";
    refused(&wrong, &TRANSFORMER, told);

    let mut biased = theirs.clone();
    biased.get_mut("blocks.0.attn.b_Q").unwrap().1[3] = 0.5;
    let told = "TransformerLens layout): blocks.0.attn.b_Q is not zero, \
                and the network has no such bias";
    refused(&biased, &TRANSFORMER, told);

    let only = theirs.into_iter().filter(|(name, _)| name == "embed.W_E").collect();
    let told = "published layout): mlp.W_in [8, 14] is missing; mlp.W_out [7, 8] is missing; \
                \"embed.W_E\" [8, 4] is none of it";
    refused(&only, &MLP, told);
}

#[test]
fn a_sweep_over_architectures_trains_each_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("sweep.toml"), dir.path().join("runs"));
    let settings = "[settings]\nmodulus = 7\ntrain_fraction = 0.6\nd_mlp = 8\nd_model = 4\nheads = 2\n\
                    steps = 6\nsave_at = '0..:3'\n";
    fs::write(&file, format!("{settings}[grid]\narchitecture = ['transformer', 'mlp']\n")).unwrap();
    train(args!["sweep", &file, "--out", &out]).exits(0);
    let config = |name: &str| RunInfo::read(&out.join(name).join("run.json")).unwrap().config;
    assert_eq!(config("architecture-transformer").d_model, Some(4));
    assert_eq!(config("architecture-mlp").d_model, None);
    let tables = dir.path().join("tables");
    analyze(&out, &tables).exits(0);
    assert_eq!(rows::<ProgressRow>(&tables).len(), 6);

    fs::write(&file, format!("{settings}[grid]\narchitecture = ['mlp']\nheads = [1, 2]\n"))
        .unwrap();
    let ran = train(args!["sweep", &file, "--out", dir.path().join("other")]).exits(2);
    ran.says("error[CL03]: heads: an mlp has no attention heads");
}
