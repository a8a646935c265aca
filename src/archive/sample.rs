//! Small runs and files for the tests of this module.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Data, MetricsRow, RunInfo, RunWriter, Save, Start, TensorRef};
use crate::config::{SaveOptimizer, Settings};

/// A run of four steps, saved at 0, 1, 2 and 4.
pub fn info() -> RunInfo {
    let toml = "modulus = 5\nsteps = 4\nsave_at = \"0..2\"";
    let settings = Settings::from_toml(toml, Path::new("sample")).unwrap();
    let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
    let blas = crate::blas::BlasInfo {
        library: "OpenBLAS".into(),
        version: "0.3.21".into(),
        kernel: "Zen".into(),
    };
    RunInfo::new(config, blas, None)
}

pub fn info_keeping(keep: SaveOptimizer) -> RunInfo {
    let mut info = info();
    info.config.save_optimizer = keep;
    info
}

/// The steps that [`info`] saves.
pub const STEPS: [u64; 4] = [0, 1, 2, 4];

pub fn metrics(step: u64) -> MetricsRow {
    let (train_loss, test_loss) = (Some(0.1 / (step as f64 + 1.0)), Some(1e-7));
    MetricsRow { step, train_loss, test_loss, ..MetricsRow::default() }
}

/// Save `step`; the content of the files depends on the step only.
pub fn save(writer: &mut RunWriter, step: u64) {
    save_together(writer, &[step]);
}

/// Save several steps at once.
pub fn save_together(writer: &mut RunWriter, steps: &[u64]) {
    let metrics: Vec<MetricsRow> = steps.iter().map(|step| metrics(*step)).collect();
    let contents: Vec<([f32; 3], [f64; 1])> = steps
        .iter()
        .map(|step| *step as f32)
        .map(|at| ([at, -at, 0.5], [f64::from(at) * 0.1]))
        .collect();
    let tensors: Vec<_> = contents
        .iter()
        .map(|(w_e, moment)| {
            let weights = [
                TensorRef { name: "embed.W_E", shape: &[3, 1], data: Data::F32(w_e) },
                TensorRef { name: "unembed.W_U", shape: &[1], data: Data::F32(&[1.25]) },
            ];
            let data = Data::F64(moment);
            (weights, [TensorRef { name: "embed.W_E.m", shape: &[1], data }])
        })
        .collect();
    let saves = tensors.iter().zip(&metrics).map(|((weights, state), metrics)| Save {
        weights,
        optimizer: Some(state),
        metrics,
    });
    writer.save(&saves.collect::<Vec<_>>()).unwrap();
}

/// Save all of [`STEPS`] that are not saved yet.
pub fn finish(writer: &mut RunWriter) {
    let saved = writer.saved();
    for step in STEPS.into_iter().filter(|step| saved.is_none_or(|saved| *step > saved)) {
        save(writer, step);
    }
}

/// The writer of a run that was just begun.
pub fn begin(dir: &Path, info: &RunInfo) -> RunWriter {
    match RunWriter::create(dir, info).unwrap() {
        Start::New(writer) => writer,
        other => panic!("not new: {other:?}"),
    }
}

/// A complete run in `dir`.
pub fn run(dir: &Path, info: &RunInfo) {
    finish(&mut begin(dir, info));
}

/// A safetensors file with this header and this number of zero bytes of data.
pub fn file(header: &str, data: usize) -> Vec<u8> {
    raw_file(header.as_bytes(), data)
}

pub fn raw_file(header: &[u8], data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header, &vec![0; data]].concat()
}

/// Every file below `dir` but the lock, by path.
pub fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with(".lock") {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Make `dir` hold exactly these files and the folders of a run.
pub fn plant(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
