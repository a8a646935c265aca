//! A measure of your own, from its formula to its table, in one file.
//!
//! ```text
//! cargo run --release --example add_a_measure [ARCHIVE]
//! ```
//!
//! To make it part of the project instead, see CONTRIBUTING.md: the same three pieces, each at its
//! place.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use groundswell::Result;
use groundswell::model::names;
use groundswell::pipeline::checkpoints::measure_archive;
use groundswell::pipeline::measures::Measure;
use groundswell::pipeline::view::View;
use groundswell::tables;
use ndarray::{ArrayView2, Axis};

/// The pure function: mean cosine between the embeddings of neighbouring residues.
///
/// ```text
/// C = (1/p) Σ_a  w_a · w_{a+1} / (‖w_a‖ ‖w_{a+1}‖),   w_a = W_E[:, a],   a modulo p
/// ```
///
/// - `w_e`: `[d_model, p]`, one column per residue.
/// - In [−1, 1]; 1 for a single slow wave, near 0 for random vectors. `None` if a column is zero.
fn neighbour_cosine(w_e: ArrayView2<'_, f64>) -> Option<f64> {
    let p = w_e.ncols();
    let norms = w_e.map_axis(Axis(0), |column| column.dot(&column).sqrt());
    let cosine = |a: usize| {
        let b = (a + 1) % p;
        w_e.column(a).dot(&w_e.column(b)) / (norms[a] * norms[b])
    };
    let all_nonzero = norms.iter().all(|norm| *norm > 0.0);
    all_nonzero.then(|| (0..p).map(cosine).sum::<f64>() / p as f64)
}

groundswell::table! {
    /// How much neighbouring residues resemble each other.
    struct NeighbourRow, table "neighbours", version 1, key [run, step];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Mean cosine between the embeddings of a and a + 1; null if an embedding is zero.
    neighbour_cosine: Option<f64>,
}

/// The adapter: a checkpoint in, rows out.
struct Neighbours;

impl Measure for Neighbours {
    type Row = NeighbourRow;

    fn rows(&self, view: &View<'_>) -> Result<Vec<NeighbourRow>> {
        let value = view.network().zip(view.params()).and_then(|(run, params)| {
            let w_e = params.matrix(names::W_E);
            neighbour_cosine(w_e.slice(ndarray::s![.., ..run.p()])) // without `=`
        });
        let run = view.run.name.clone();
        Ok(vec![NeighbourRow { run, step: view.step(), neighbour_cosine: value }])
    }
}

fn main() -> Result<()> {
    // A closed form first: equal columns have cosine 1, alternating ones −1 but for the seam.
    let waves = ndarray::array![[1.0, -1.0, 1.0], [0.0, 0.0, 0.0]];
    assert_eq!(neighbour_cosine(waves.view()), Some(-1.0 / 3.0));

    let archive = std::env::args_os().nth(1).unwrap_or_else(|| "fixtures/tiny".into());
    let (rows, failures) = measure_archive(archive.as_ref(), &Neighbours, 2)?;
    for row in &rows {
        println!("{} step {:>5}: {:?}", row.run, row.step, row.neighbour_cosine);
    }
    let bytes = tables::encode(rows, &BTreeMap::new())?; // sorted, checked, Parquet
    println!("neighbours.parquet: {} bytes, {} failures", bytes.len(), failures.len());
    Ok(())
}
