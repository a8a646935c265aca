//! Spectra of a folder of checkpoints, as one JSON line: our side of `make bench-peers`.
//!
//! `cargo bench --bench spectra -- FOLDER [--threads N] [--limit N] [--parts]` reads every
//! `*.safetensors` file of the folder, digest included, and computes what tables `spectra` and
//! `singular_values` hold, checkpoints side by side on the threads; then it encodes both tables.
//! `--parts` adds how the time of one thread divides.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use groundswell::archive::read;
use groundswell::blas;
use groundswell::linalg::svd::{self, PreparedGram};
use groundswell::spectra::{self, Spectrum};
use groundswell::tables::{self, SingularValueRow, SpectrumRow, Status};
use ndarray::{ArrayView2, Axis, Ix2};
use rayon::prelude::*;

/// Rounding at 1 of f32.
const EPS: f64 = 1.0 / 8_388_608.0;

fn option(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    groundswell::cli::kernel::choose(); // as the programs do
    let folder = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    let Some(folder) = folder else { return }; // `cargo bench` without arguments
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    paths.sort();
    paths.truncate(option("--limit", usize::MAX));
    let threads = option("--threads", 2);
    let blas = blas::require_one_thread().expect("one thread");
    if std::env::args().any(|arg| arg == "--parts") {
        return parts(&paths);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let started = Instant::now();
    let (spectra, values): (Vec<_>, Vec<_>) = pool.install(|| {
        let numbered: Vec<(usize, &PathBuf)> = paths.iter().enumerate().collect();
        numbered.into_par_iter().with_max_len(1).map(|(step, path)| rows(step, path)).unzip()
    });
    let spectra: Vec<SpectrumRow> = spectra.into_iter().flatten().collect();
    let values: Vec<SingularValueRow> = values.into_iter().flatten().collect();
    let (matrices, sum) =
        (spectra.len(), spectra.iter().filter_map(|row| row.frobenius_sq).sum::<f64>());
    let about = BTreeMap::new();
    let bytes = tables::encode(spectra, &about).expect("a table").len()
        + tables::encode(values, &about).expect("a table").len();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"name\":\"groundswell spectra\",\"seconds\":{seconds:.3},\
         \"seconds_per_checkpoint\":{:.6},\"checkpoints\":{},\"matrices\":{matrices},\
         \"frobenius_sq_sum\":{sum:.6},\"table_bytes\":{bytes},\"threads\":{threads},\
         \"kernel\":\"{}\"}}",
        seconds / paths.len() as f64,
        paths.len(),
        blas.kernel,
    );
}

/// Every matrix of a file, slice by slice.
fn matrices(path: &Path, mut of: impl FnMut(&str, usize, ArrayView2<'_, f64>)) {
    let contents = read::load(path, None, true).expect("a checkpoint");
    for tensor in &contents.tensors {
        let [.., rows, cols] = tensor.shape[..] else { continue };
        let batch = tensor.values.len() / (rows * cols);
        let values = tensor.values.to_shape((batch, rows, cols)).expect("the sizes multiply");
        for (index, matrix) in values.axis_iter(Axis(0)).enumerate() {
            let matrix = matrix.into_dimensionality::<Ix2>().expect("a matrix");
            of(&tensor.name, index, matrix);
        }
    }
}

fn spectrum(sigma: &[f64], (rows, cols): (usize, usize)) -> Spectrum {
    spectra::spectrum(sigma, rows, cols, EPS, spectra::Path::Gram)
}

fn rows(step: usize, path: &Path) -> (Vec<SpectrumRow>, Vec<SingularValueRow>) {
    let (mut spectra, mut values) = (Vec::new(), Vec::new());
    matrices(path, |tensor, batch_index, matrix| {
        let sigma = svd::gram_singular_values(matrix).expect("finite");
        let found = spectrum(&sigma, matrix.dim());
        let (law, bulk) = (found.power_law, found.marchenko_pastur);
        spectra.push(SpectrumRow {
            run: "bench".into(),
            step: step as i64,
            tensor: tensor.into(),
            batch_index: batch_index as i64,
            rows: Some(matrix.nrows() as i64),
            cols: Some(matrix.ncols() as i64),
            frobenius_sq: found.frobenius_sq,
            spectral_norm: found.spectral_norm,
            stable_rank: found.stable_rank,
            effective_rank: found.effective_rank,
            participation_ratio: found.participation_ratio,
            rank: Some(found.rank as i64),
            condition: found.condition,
            nuclear: found.nuclear,
            alpha: law.map(|law| law.alpha),
            alpha_xmin: law.map(|law| law.xmin),
            n_tail: law.map(|law| law.n as i64),
            mp_edge: bulk.map(|bulk| bulk.edge),
            n_spikes: bulk.map(|bulk| bulk.n_spikes as i64),
            status: Status::Ok,
        });
        values.extend(sigma.iter().enumerate().map(|(index, sigma)| SingularValueRow {
            run: "bench".into(),
            step: step as i64,
            tensor: tensor.into(),
            batch_index: batch_index as i64,
            index: index as i64,
            sigma: *sigma,
        }));
    });
    (spectra, values)
}

/// Milliseconds of one checkpoint by part, on one thread.
fn parts(paths: &[PathBuf]) {
    let [mut hash, mut read, mut gram, mut values, mut derive] = [0.0; 5];
    let ms = |started: Instant| started.elapsed().as_secs_f64() * 1e3;
    for path in paths {
        let started = Instant::now();
        read::digest(path).expect("a file");
        hash += ms(started);
        let started = Instant::now();
        let mut done = 0.0;
        matrices(path, |_, _, matrix| {
            let started = Instant::now();
            let prepared = PreparedGram::new(matrix).expect("finite");
            gram += ms(started);
            let at = Instant::now();
            let sigma = prepared.singular_values().expect("sound");
            values += ms(at);
            let at = Instant::now();
            std::hint::black_box(spectrum(&sigma, matrix.dim()));
            derive += ms(at);
            done += ms(started);
        });
        read += ms(started) - done;
    }
    let each = |total: f64| total / paths.len() as f64;
    println!(
        "{{\"hash_only\":{:.3},\"read_hash_widen\":{:.3},\"check_and_gram\":{:.3},\"values\":{:.3},\
         \"quantities\":{:.3}}}",
        each(hash),
        each(read),
        each(gram),
        each(values),
        each(derive)
    );
}
