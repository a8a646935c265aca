//! What the weights and neurons of a network compute, in the Fourier basis.
//!
//! Objects are returned with one column per residue, ready for [`fourier::Transform::norms`]; the
//! `=` row and class, which the transformer may have, are left out.
//!
//! Pure: arrays in, arrays out.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §4.1–4.3 (embeddings, neurons, `W_L`) and
//! appendix C; for the MLP, whose weights meet the residues directly, Gromov (2023),
//! arXiv:2301.02679.

use ndarray::{Array2, ArrayView2, Axis, s};

use crate::error::Result;
use crate::fourier;
use crate::linalg::matmul;
use crate::model::mlp::{self, Mlp};
use crate::model::{Network, POSITIONS, Transformer, names};
use crate::params::Params;

/// A weight object by name, `[n, p]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// `W_E`, `W_U`, `W_L`, `W_neur.h` or `attn.h`; of an MLP `W_in.a`, `W_in.b` or `W_L`
    pub name: String,
    /// One column per residue
    pub columns: Array2<f64>,
}

/// `W_L`, the map from neurons to logits, transposed: `[d_mlp, p]`, one column per residue class.
///
/// ```text
/// transformer:  W_L = W_U[:, :p]ᵀ W_out           mlp:  W_L = W_out
/// ```
///
/// What each neuron adds to the logits of each class.
#[must_use]
pub fn w_l(net: &Network, params: &Params<f64>) -> Array2<f64> {
    match net {
        Network::Transformer(net) => {
            let w_u = params.matrix(names::W_U);
            matmul(params.matrix(names::W_OUT).t(), w_u.slice(s![.., ..net.p]))
        }
        Network::Mlp(_) => params.matrix(mlp::names::W_OUT).t().as_standard_layout().into_owned(),
    }
}

/// Every object of table `fourier`.
///
/// ```text
/// W_E [d_model, p] (tokens)     W_U [d_model, p] (classes)     W_L [d_mlp, p] (classes)
/// W_neur.h = W_in W_O^h W_V^h W_E [d_mlp, p] (tokens)
/// attn.h   = rᵀ W_Q^hᵀ W_K^h W_E [1, p],  r = W_E[:,=] + W_pos[2]   (before 1/√d_head)
///
/// of an MLP:   W_in.a = W_in[:, :p],  W_in.b = W_in[:, p:] [d_mlp, p] (residues)     W_L
/// ```
#[must_use]
pub fn objects(net: &Network, params: &Params<f64>) -> Vec<Object> {
    let w_l = Object { name: "W_L".into(), columns: w_l(net, params) };
    match net {
        Network::Transformer(net) => of_transformer(net, params, w_l),
        Network::Mlp(net) => of_mlp(net, params, w_l),
    }
}

fn of_mlp(net: &Mlp, params: &Params<f64>, w_l: Object) -> Vec<Object> {
    let w_in = params.matrix(mlp::names::W_IN);
    let half = |name: &str, columns| Object { name: name.into(), columns };
    vec![
        half("W_in.a", w_in.slice(s![.., ..net.p]).to_owned()),
        half("W_in.b", w_in.slice(s![.., net.p..]).to_owned()),
        w_l,
    ]
}

fn of_transformer(net: &Transformer, params: &Params<f64>, w_l: Object) -> Vec<Object> {
    let w_e = params.matrix(names::W_E);
    let tokens = w_e.slice(s![.., ..net.p]); // [d_model, p]
    let w_u = params.matrix(names::W_U);
    let mut objects = vec![
        Object { name: "W_E".into(), columns: tokens.to_owned() },
        Object { name: "W_U".into(), columns: w_u.slice(s![.., ..net.p]).to_owned() },
        w_l,
    ];
    let (w_v, w_o) = (params.cube(names::W_V), params.matrix(names::W_O));
    for head in 0..net.heads {
        let part = head * net.d_head..(head + 1) * net.d_head;
        let values = matmul(w_v.index_axis(Axis(0), head), tokens); // [d_head, p]
        let out = matmul(w_o.slice(s![.., part]), values.view()); // [d_model, p]
        let columns = matmul(params.matrix(names::W_IN), out.view());
        objects.push(Object { name: format!("W_neur.{head}"), columns });
    }
    let last = &w_e.column(net.p) + &params.matrix(names::W_POS).row(POSITIONS - 1);
    let last = last.view().insert_axis(Axis(1)); // [d_model, 1]
    let (w_q, w_k) = (params.cube(names::W_Q), params.cube(names::W_K));
    for head in 0..net.heads {
        let query = matmul(w_q.index_axis(Axis(0), head), last); // [d_head, 1]
        let direction = matmul(query.t(), w_k.index_axis(Axis(0), head)); // [1, d_model]
        let columns = matmul(direction.view(), tokens);
        objects.push(Object { name: format!("attn.{head}"), columns });
    }
    objects
}

/// What frequency a neuron computes, and how well that describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeuronFrequency {
    /// The frequency that explains most, in `1..=(p − 1)/2`; ties go to the lowest
    pub frequency: usize,
    /// Share of the neuron's variance over inputs that it explains, 0 to 1
    pub fve: f64,
}

/// A neuron counts towards a frequency from this share on (the paper's 85 %).
pub const CLEAR_FVE: f64 = 0.85;

/// Frequency of every neuron; `None` for a dead one.
///
/// Each neuron's activations over all inputs `(a, b)`, centred, are transformed in both axes;
/// ```text
/// Ĝ = F G Fᵀ,      fve_k = Σ_{i,j ∈ {0, 2k−1, 2k}, (i,j) ≠ (0,0)} Ĝ[i,j]² / Σ G²
/// ```
/// the terms constant, linear and quadratic in the cosine and sine of frequency `k`. A neuron is
/// dead if its energy `Σ G²` is at most `p² (1e-6 · max |N|)²`, the maximum over all neurons.
///
/// - `neurons`: `[p², d_mlp]`, finite, activations after the nonlinearity, inputs `a·p + b`.
///
/// # Errors
/// [`crate::Error::Modulus`] if `p` is even or below 3.
pub fn neuron_frequencies(
    p: usize,
    neurons: ArrayView2<'_, f64>,
) -> Result<Vec<Option<NeuronFrequency>>> {
    // In groups, so that a group's activations and their transform stay near the cache.
    const GROUP: usize = 64;
    let basis = fourier::basis(p)?;
    let max = neurons.fold(0.0f64, |max, x| max.max(x.abs()));
    let dead = (p as f64 * 1e-6 * max).powi(2);
    let mut found = Vec::with_capacity(neurons.ncols());
    for group in neurons.axis_chunks_iter(Axis(1), GROUP) {
        let width = group.ncols();
        let mean = group.mean_axis(Axis(0)).expect("p² ≥ 9 inputs");
        let centred = &group - &mean; // [p², width]
        let energy = centred.map_axis(Axis(0), |column| column.dot(&column));
        let by_a = centred.into_shape_with_order((p, p * width)).expect("row-major");
        let rows = matmul(basis.view(), by_a.view()); // F G: [row over a, b · width]
        let rows = rows.into_shape_with_order((p, p, width)).expect("row-major");
        let constant = matmul(basis.view(), rows.index_axis(Axis(0), 0)); // Ĝ[0, ·]: [p, width]
        let mut best = vec![NeuronFrequency { frequency: 1, fve: f64::NEG_INFINITY }; width];
        for k in 1..=fourier::frequencies(p) {
            let wanted = [0, 2 * k - 1, 2 * k];
            let over_b = basis.select(Axis(0), &wanted); // [3, p]
            let mut explained = vec![0.0; width];
            let mut add = |block: ArrayView2<'_, f64>| {
                for row in block.rows() {
                    for (sum, x) in explained.iter_mut().zip(row) {
                        *sum += x * x;
                    }
                }
            };
            add(constant.slice(s![2 * k - 1..=2 * k, ..]));
            for row in [2 * k - 1, 2 * k] {
                add(matmul(over_b.view(), rows.index_axis(Axis(0), row)).view());
            }
            for ((best, explained), energy) in best.iter_mut().zip(&explained).zip(&energy) {
                let fve = explained / energy;
                if fve > best.fve {
                    *best = NeuronFrequency { frequency: k, fve };
                }
            }
        }
        found.extend(best.into_iter().zip(&energy).map(|(best, energy)| {
            // A dead neuron's share would be a quotient of roundings.
            (*energy > dead).then_some(best)
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::config::Settings;
    use crate::model::init::{self, Scheme};

    /// Activations that are exactly terms of one frequency, of two, constant, or zero.
    #[test]
    fn neurons_show_their_frequency() {
        let p = 11;
        let wave = |k: usize, x: usize| (TAU * ((k * x) % p) as f64 / p as f64).cos();
        let neurons = Array2::from_shape_fn((p * p, 6), |(input, neuron)| {
            let (a, b) = (input / p, input % p);
            match neuron {
                0 => wave(5, a) + wave(5, b) + 3.0,
                1 => wave(2, a + b),
                2 => 2.0 * wave(1, a) + wave(4, b), // energies 4 : 1
                3 => wave(3, a) * wave(3, b),
                4 => 7.0,
                _ => 0.0,
            }
        });
        let found = neuron_frequencies(p, neurons.view()).unwrap();
        for (neuron, (frequency, fve)) in
            [(5, 1.0), (2, 1.0), (1, 0.8), (3, 1.0)].iter().enumerate()
        {
            let neuron = found[neuron].unwrap();
            assert_eq!(neuron.frequency, *frequency);
            assert!((neuron.fve - fve).abs() < 1e-12, "{neuron:?}");
        }
        assert_eq!(found[4..], [None, None]);
    }

    /// Each object against its definition, entry by entry.
    #[test]
    fn objects_are_their_definitions() {
        let settings = Settings {
            modulus: Some(5),
            d_model: Some(6),
            heads: Some(2),
            d_mlp: Some(4),
            ..Settings::default()
        };
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let net = Transformer::new(&config);
        let w = init::random::<f64>(&net, Scheme::Paper, 0);
        let found = objects(&Network::Transformer(net), &w);
        let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["W_E", "W_U", "W_L", "W_neur.0", "W_neur.1", "attn.0", "attn.1"]);
        let tokens = 0..5;
        let (w_e, w_u) = (w.matrix(names::W_E), w.matrix(names::W_U));
        let (w_in, w_out, w_o) =
            (w.matrix(names::W_IN), w.matrix(names::W_OUT), w.matrix(names::W_O));
        let (w_q, w_k, w_v) = (w.cube(names::W_Q), w.cube(names::W_K), w.cube(names::W_V));
        for v in tokens {
            for n in 0..4 {
                let expected: f64 = (0..6).map(|j| w_u[[j, v]] * w_out[[j, n]]).sum();
                assert!((found[2].columns[[n, v]] - expected).abs() < 1e-12);
                let mut expected = 0.0;
                for (i, o) in (0..6).flat_map(|i| (0..3).map(move |o| (i, o))) {
                    let value: f64 = (0..6).map(|j| w_v[[1, o, j]] * w_e[[j, v]]).sum();
                    expected += w_in[[n, i]] * w_o[[i, 3 + o]] * value;
                }
                assert!((found[4].columns[[n, v]] - expected).abs() < 1e-12);
            }
            let mut expected = 0.0;
            for o in 0..3 {
                let last = |j| w_e[[j, 5]] + w.matrix(names::W_POS)[[2, j]];
                let query: f64 = (0..6).map(|j| w_q[[1, o, j]] * last(j)).sum();
                let key: f64 = (0..6).map(|j| w_k[[1, o, j]] * w_e[[j, v]]).sum();
                expected += query * key;
            }
            assert!((found[6].columns[[0, v]] - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn objects_of_an_mlp_are_its_columns() {
        let settings = Settings {
            architecture: Some(crate::config::Architecture::Mlp),
            modulus: Some(5),
            d_mlp: Some(4),
            ..Settings::default()
        };
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let net = Mlp::new(&config);
        let w = init::random_mlp::<f64>(&net, 0);
        let found = objects(&Network::Mlp(net), &w);
        let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["W_in.a", "W_in.b", "W_L"]);
        let (w_in, w_out) = (w.matrix(mlp::names::W_IN), w.matrix(mlp::names::W_OUT));
        for (n, v) in (0..4).flat_map(|n| (0..5).map(move |v| (n, v))) {
            let expected = [w_in[[n, v]], w_in[[n, 5 + v]], w_out[[v, n]]];
            let entries: Vec<f64> = found.iter().map(|object| object.columns[[n, v]]).collect();
            assert_eq!(entries, expected);
        }
    }
}
