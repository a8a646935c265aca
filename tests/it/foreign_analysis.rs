//! What is measured of archives of other programs: the weights of any model, and the network where
//! somebody says what it learned.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use groundswell::archive::write::to_bytes;
use groundswell::archive::{Data, TensorRef, read};
use groundswell::tables::{
    CheckpointRow, FailureRow, FourierRow, ProgressRow, SingularValueRow, SpectrumRow, Status,
};
use ndarray::IxDyn;

use super::foreign::{archive, audit, model, put, told};
use super::support::*;

/// Weight-only tables work on any model; what needs a network is null, or absent, with a reason.
#[test]
fn a_model_that_nobody_knows_is_measured_by_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let root = archive(dir.path(), &["step1.safetensors", "step2.safetensors"]);
    let out = dir.path().join("out");
    let warning = " WARN archive: only the weights are measured: no run.json, and nothing says \
                   --task, --modulus, --train-fraction, --split";
    analyze(&root, &out).exits(0).says(warning);
    assert_eq!(tables_in(&out), analysis_tables());
    let checkpoints = rows::<CheckpointRow>(&out);
    let row = &checkpoints[1];
    assert_eq!(
        (row.run.as_str(), row.step, row.file.as_str()),
        ("archive", 2, "step2.safetensors")
    );
    assert_eq!(
        (row.dtype.as_deref(), row.n_tensors, row.n_params),
        (Some("F32"), Some(3), Some(27))
    );
    assert_eq!((row.blake3.as_ref().map(String::len), row.status), (Some(64), Status::Ok));

    let spectra = rows::<SpectrumRow>(&out);
    let shown: Vec<_> =
        spectra.iter().map(|r| (r.step, r.tensor.as_str(), r.batch_index)).collect();
    let of = |step| {
        [
            (step, "layer.bias", 0),
            (step, "layer.heads", 0),
            (step, "layer.heads", 1),
            (step, "layer.weight", 0),
        ]
    };
    assert_eq!(shown, [of(1), of(2)].concat(), "a row for each leading slice");
    assert_eq!(rows::<SingularValueRow>(&out).len(), 2 * (2 + 2 + 3));
    let progress = rows::<ProgressRow>(&out);
    let blank = |step| ProgressRow {
        run: "archive".into(),
        step,
        status: Status::UnknownNetwork,
        ..ProgressRow::default()
    };
    assert_eq!(progress, [blank(1), blank(2)]);
    assert_eq!(rows::<FourierRow>(&out), []);

    let line = args!["landscape", &root, "--out", &out, "--from", "first", "--to", "last"];
    groundswell(line).exits(2).says(
        "error[CL03]: task: archive: no run.json, and nothing says --task, --modulus, \
         --train-fraction, --split",
    );
}

/// The checkpoints of `fixtures/tiny` alone, as another program might have left them.
fn tiny_alone(dir: &Path) -> PathBuf {
    let (run, root) = (tiny(&dir.join("source")), dir.join("tiny"));
    for step in TINY_STEPS {
        put(
            root.join(format!("step{step}/model.safetensors")),
            &fs::read(checkpoint(&run, step)).unwrap(),
        );
    }
    root
}

/// With the facts that a `run.json` holds, the same rows come out, whoever states them.
#[test]
fn facts_by_options_or_by_archive_toml() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    analyze(&fixture("tiny"), &own).exits(0);
    let root = tiny_alone(dir.path());
    let with_options = dir.path().join("options");
    let facts = ["--task=add", "--modulus=7", "--train-fraction=0.6", "--split=python:0"];
    let mut args = args!["analyze", &root, "--out", &with_options];
    args.extend(facts.iter().map(Into::into));
    groundswell(args).exits(0);
    let toml = "task = \"add\"\nmodulus = 7\ntrain_fraction = 0.6\nsplit = \"python:0\"\n";
    put(root.join("archive.toml"), toml.as_bytes());
    let with_toml = dir.path().join("toml");
    analyze(&root, &with_toml).exits(0);
    for out in [&with_options, &with_toml] {
        assert_eq!(rows::<ProgressRow>(out), rows::<ProgressRow>(&own));
        assert_eq!(rows::<FourierRow>(out), rows::<FourierRow>(&own));
        assert_eq!(rows::<SpectrumRow>(out), rows::<SpectrumRow>(&own));
    }
    let line = args!["landscape", &root, "--out", &with_toml, "--from", "first", "--to", "last"];
    groundswell(line).exits(0);

    let even = args!["analyze", &root, "--out", dir.path().join("even"), "--modulus", "8"];
    groundswell(even)
        .exits(2)
        .says("error[CL03]: modulus p = 8 is not an odd number of at least 3");
    assert!(!dir.path().join("even").exists());

    put(root.join("archive.toml"), b"task = \"add\"\nmoduls = 7\n");
    analyze(&root, &dir.path().join("bad")).exits(2).says(&format!(
        "error[CL03]: {}:2:1: unknown key `moduls`; did you mean `modulus`?",
        root.join("archive.toml").display()
    ));
}

/// Names and shapes that change between steps, where a network is expected, and where none is.
#[test]
fn ar13_names_and_shapes_that_change() {
    let dir = tempfile::tempdir().unwrap();
    let root = tiny_alone(dir.path());
    put(root.join("step20/model.safetensors"), &model(5));
    let out = dir.path().join("out");
    let facts = ["--task=add", "--modulus=7", "--train-fraction=0.6", "--split=python:0"];
    let mut args = args!["analyze", &root, "--out", &out];
    args.extend(facts.iter().map(Into::into));
    groundswell(args).exits(3);
    let failures = rows::<FailureRow>(&out);
    assert_eq!((failures.len(), failures[0].code.as_str()), (1, "AR13"), "{failures:?}");
    let listed = rows::<CheckpointRow>(&out);
    assert_eq!(listed.iter().find(|row| row.step == 20).unwrap().status, Status::Missing);

    let (code, report) = audit(&root, &[]);
    let at = "step20/model.safetensors";
    let expected = [
        ["AR13", at, "tensor \"blocks.0.attn.W_K\" and 10 others: each is missing"],
        ["AR13", at, "tensor \"layer.bias\" and 2 others: each is in no other step"],
    ];
    assert_eq!(told(&report, "changed"), expected);
    assert_eq!(code, 4);
}

/// The same where nobody knows a network: told against the first checkpoint of the run, and whatever is
/// there is measured all the same.
#[test]
fn ar13_names_and_shapes_that_change_in_a_model_that_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let root =
        archive(dir.path(), &["step1.safetensors", "step2.safetensors", "step3.safetensors"]);
    let (weight, bias) = ([1.0, 2.0, 3.0, 4.0], [0.5; 3]);
    let tensors = [
        TensorRef { name: "layer.weight", shape: &[2, 2], data: Data::F32(&weight) },
        TensorRef { name: "layer.bias", shape: &[3], data: Data::F32(&bias) },
        TensorRef { name: "head", shape: &[1, 2], data: Data::F32(&weight[..2]) },
    ];
    put(root.join("step2.safetensors"), &to_bytes(&tensors, &BTreeMap::new()).unwrap());
    let out = dir.path().join("out");
    analyze(&root, &out).exits(3).says(
        " WARN 2 tensors are stored in types that are not read, such as C64 or F8, or are missing or \
         of another shape than in their run's first checkpoint: see `status` in spectra",
    );
    let spectra = rows::<SpectrumRow>(&out);
    let shown: Vec<_> = spectra
        .iter()
        .filter(|row| row.step == 2)
        .map(|row| (row.tensor.as_str(), row.rows, row.frobenius_sq.map(f64::round), row.status))
        .collect();
    assert_eq!(
        shown,
        [
            ("head", Some(1), Some(5.0), Status::TooFewValues),
            ("layer.bias", None, None, Status::NotAMatrix),
            ("layer.heads", None, None, Status::Missing),
            ("layer.weight", Some(2), Some(30.0), Status::ShapeChanged),
        ]
    );
    let alone = dir.path().join("alone");
    fs::remove_file(root.join("step2.safetensors")).unwrap();
    analyze(&root, &alone).exits(0);
    let others: Vec<_> = spectra.into_iter().filter(|row| row.step != 2).collect();
    assert_eq!(others, rows::<SpectrumRow>(&alone), "the others are as without it");
}

/// AR18: embedding and unembedding of a model are one tensor, which is saved once, under one name.
#[test]
fn ar18_tied_tensors_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let embed: Vec<f32> = (0..10).map(|i| (i * i) as f32).collect();
    let tensors = [TensorRef { name: "embed", shape: &[5, 2], data: Data::F32(&embed) }];
    let bytes = to_bytes(&tensors, &BTreeMap::new()).unwrap();
    for step in [1, 2] {
        let shard = "model-00001-of-00001.safetensors";
        put(root.join(format!("checkpoint-{step}/{shard}")), &bytes);
        let index =
            format!(r#"{{"metadata":{{"total_size":40}},"weight_map":{{"embed":"{shard}"}}}}"#);
        let path = root.join(format!("checkpoint-{step}/model.safetensors.index.json"));
        put(path, index.as_bytes());
    }
    let out = dir.path().join("out");
    analyze(&root, &out).exits(0);
    let counts: Vec<_> =
        rows::<CheckpointRow>(&out).iter().map(|r| (r.n_tensors, r.n_params)).collect();
    assert_eq!(counts, [(Some(1), Some(10)); 2]);
    let spectra = rows::<SpectrumRow>(&out);
    let shown: Vec<_> = spectra.iter().map(|row| (row.step, row.tensor.as_str())).collect();
    assert_eq!(shown, [(1, "embed"), (2, "embed")]);
    let (code, report) = audit(&root, &[]);
    assert_eq!((code, told(&report, "changed"), told(&report, "unreadable")), (0, vec![], vec![]));
}

/// A checkpoint of `fixtures/tiny` as TransformerLens arranges it, with its other biases, zero.
fn in_transformer_lens_layout(checkpoint: &Path) -> Vec<u8> {
    let contents = read::load(checkpoint, None, false).unwrap();
    let (heads, d_head) = (2, contents.header.tensor("blocks.0.attn.W_Q").unwrap().shape[1]);
    let mut tensors: Vec<(String, Vec<usize>, Vec<f64>)> = Vec::new();
    for tensor in &contents.tensors {
        let short = tensor.name.rsplit('.').next().unwrap();
        let values = tensor.values.view();
        let turned = match short {
            "W_E" | "W_in" | "W_out" => values.reversed_axes(),
            "W_Q" | "W_K" | "W_V" => values.permuted_axes(IxDyn(&[0, 2, 1])),
            "W_O" => {
                let d_model = tensor.shape[0];
                let by_head = values.into_shape_with_order(IxDyn(&[d_model, heads, d_head]));
                by_head.unwrap().permuted_axes(IxDyn(&[1, 2, 0]))
            }
            _ => values,
        };
        let shape = turned.shape().to_vec();
        tensors.push((tensor.name.clone(), shape, turned.iter().copied().collect()));
    }
    tensors.push(("unembed.b_U".into(), vec![8], vec![0.0; 8]));
    tensors.push(("blocks.0.attn.mask".into(), vec![3, 3], vec![1.0; 9]));
    let refs: Vec<TensorRef<'_>> = tensors
        .iter()
        .map(|(name, shape, values)| TensorRef { name, shape, data: Data::F64(values) })
        .collect();
    to_bytes(&refs, &BTreeMap::new()).unwrap()
}

/// Heads of another width make another network: its weights are measured, and nothing is pretended.
#[test]
fn heads_of_another_width_are_no_network_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("wide");
    let values = [0.5f64; 128];
    let shapes: [(&str, &[usize]); 5] = [
        ("embed.W_E", &[8, 8]),
        ("blocks.0.attn.W_Q", &[2, 2, 8]), // 2 · 2 is not 8
        ("blocks.0.attn.W_O", &[8, 4]),
        ("blocks.0.mlp.W_in", &[16, 8]),
        ("unembed.W_U", &[8, 8]),
    ];
    let tensors = shapes.map(|(name, shape)| {
        let data = Data::F64(&values[..shape.iter().product()]);
        TensorRef { name, shape, data }
    });
    put(root.join("step1.safetensors"), &to_bytes(&tensors, &BTreeMap::new()).unwrap());
    let out = dir.path().join("out");
    let mut args = args!["analyze", &root, "--out", &out];
    let facts = ["--task=add", "--modulus=7", "--train-fraction=0.6", "--split=python:0"];
    args.extend(facts.map(Into::into));
    let problem = "its tensors are not those of a network that can be evaluated";
    groundswell(args).exits(0).mentions(problem);
    assert_eq!(rows::<ProgressRow>(&out)[0].status, Status::UnknownNetwork);
    assert_eq!(rows::<SpectrumRow>(&out).len(), 6);
}

/// The network is the same, however a file arranges it: so are its losses and its circuits. What is
/// almost right is refused with the names and shapes that are not.
#[test]
fn the_layout_of_transformer_lens_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    // The other files hold f64, which is evaluated in f64.
    groundswell(args!["analyze", fixture("tiny"), "--out", &own, "--precision", "f64"]).exits(0);
    let (run, root) = (tiny(&dir.path().join("source")), dir.path().join("lens"));
    for step in TINY_STEPS {
        let bytes = in_transformer_lens_layout(&checkpoint(&run, step));
        put(root.join(format!("step{step}.safetensors")), &bytes);
    }
    let facts = ["--task=add", "--modulus=7", "--train-fraction=0.6", "--split=python:0"];
    let analyze_with_facts = |out: &Path| {
        let mut args = args!["analyze", &root, "--out", out];
        args.extend(facts.iter().map(Into::into));
        groundswell(args)
    };
    let lens = dir.path().join("tables");
    analyze_with_facts(&lens).exits(0);
    let named = |rows: Vec<ProgressRow>| {
        rows.into_iter().map(|row| ProgressRow { run: String::new(), ..row }).collect::<Vec<_>>()
    };
    let expected = named(rows::<ProgressRow>(&own));
    assert!(expected.iter().all(|row| row.status == Status::Ok), "{expected:?}");
    assert_eq!(named(rows::<ProgressRow>(&lens)), expected);
    let norms = |rows: Vec<FourierRow>| {
        rows.into_iter().map(|row| FourierRow { run: String::new(), ..row }).collect::<Vec<_>>()
    };
    assert_eq!(norms(rows::<FourierRow>(&lens)), norms(rows::<FourierRow>(&own)));

    // One checkpoint with a bias that the network cannot carry.
    let path = root.join("step50.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let mask_and_bias = bytes.len() - 9 * 8 - 8 * 8;
    bytes[mask_and_bias..mask_and_bias + 8].copy_from_slice(&0.5f64.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let out = dir.path().join("refused");
    analyze_with_facts(&out).exits(3);
    let failures = rows::<FailureRow>(&out);
    assert_eq!((failures.len(), failures[0].code.as_str()), (1, "AR13"));
    let message = &failures[0].message;
    let problem = "unembed.b_U is not zero, and the network has no such bias";
    assert!(message.contains(problem), "{message}");
}
