//! What the weights and neurons of a network compute, in the Fourier basis.
//!
//! Objects are returned with one column per element of the task's group, ready for
//! [`Transform::norms`]: in ℤ_p the residues, without the `=` row and class which the transformer may
//! have; in the multiplicative group the powers of its root, without 0.
//!
//! Pure: arrays in, arrays out.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §4.1–4.3 (embeddings, neurons, `W_L`) and
//! appendix C; for the MLP, whose weights meet the residues directly, Gromov (2023),
//! arXiv:2301.02679.

use ndarray::{Array2, ArrayView2, Axis, s};

use crate::fourier::{Norms, Transform};
use crate::linalg::matmul;
use crate::model::mlp::{self, Mlp};
use crate::model::{Network, POSITIONS, Transformer, names};
use crate::params::Params;
use crate::progress::Group;

mod ablations;
mod heads;
mod neurons;
mod readout;

pub use ablations::{Ablated, Stream};
pub use neurons::{
    CLEAR_FVE, NeuronFrequency, NeuronSpectrum, NeuronSums, by_two_dimensional_transform,
    clear_neurons,
};
pub use readout::{Circuit, Content, circuits, content, readout};

/// A weight object by name, with one column per element of the group.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// `W_E`, `W_U`, `W_L`, `W_neur.h` or `attn.h`; of an MLP `W_in.a`, `W_in.b` or `W_L`
    pub name: String,
    /// `[rows, n]`
    pub columns: Array2<f64>,
}

/// `W_L`, the map from neurons to logits, transposed: `[d_mlp, n]`, one column per class that is an
/// element of the group, in its order.
///
/// ```text
/// transformer:  W_L = W_Uᵀ W_out           mlp:  W_L = W_out
/// ```
///
/// What each neuron adds to the logits of each class.
#[must_use]
pub fn w_l(net: &Network, params: &Params<f64>, group: &Group) -> Array2<f64> {
    match net {
        Network::Transformer(_) => {
            let w_u = params.matrix(names::W_U).select(Axis(1), group.residues());
            matmul(params.matrix(names::W_OUT).t(), w_u.view())
        }
        Network::Mlp(_) => params.matrix(mlp::names::W_OUT).t().select(Axis(1), group.residues()),
    }
}

/// The direction of the residual stream along which a head scores tokens, `[1, d_model]`:
/// `rᵀ W_Q^hᵀ W_K^h`.
fn attention_direction(net: &Transformer, params: &Params<f64>, head: usize) -> Array2<f64> {
    let last =
        &params.matrix(names::W_E).column(net.p) + &params.matrix(names::W_POS).row(POSITIONS - 1);
    let last = last.view().insert_axis(Axis(1)); // [d_model, 1]
    let query = matmul(params.cube(names::W_Q).index_axis(Axis(0), head), last); // [d_head, 1]
    matmul(query.t(), params.cube(names::W_K).index_axis(Axis(0), head))
}

/// Every object of table `fourier`.
///
/// ```text
/// W_E [d_model, n] (tokens)     W_U [d_model, n] (classes)     W_L [d_mlp, n] (classes)
/// W_neur.h = W_in W_O^h W_V^h W_E [d_mlp, n] (tokens)
/// attn.h   = rᵀ W_Q^hᵀ W_K^h W_E [1, n],  r = W_E[:,=] + W_pos[2]   (before 1/√d_head)
///
/// of an MLP:   W_in.a = W_in[:, :p],  W_in.b = W_in[:, p:] [d_mlp, n] (residues)     W_L
/// ```
#[must_use]
pub fn objects(net: &Network, params: &Params<f64>, group: &Group) -> Vec<Object> {
    let w_l = Object { name: "W_L".into(), columns: w_l(net, params, group) };
    match net {
        Network::Transformer(net) => of_transformer(net, params, group, w_l),
        Network::Mlp(net) => of_mlp(net, params, group, w_l),
    }
}

fn of_mlp(net: &Mlp, params: &Params<f64>, group: &Group, w_l: Object) -> Vec<Object> {
    let w_in = params.matrix(mlp::names::W_IN);
    let half = |name: &str, columns: ArrayView2<'_, f64>| Object {
        name: name.into(),
        columns: columns.select(Axis(1), group.residues()),
    };
    vec![
        half("W_in.a", w_in.slice(s![.., ..net.p])),
        half("W_in.b", w_in.slice(s![.., net.p..])),
        w_l,
    ]
}

fn of_transformer(
    net: &Transformer,
    params: &Params<f64>,
    group: &Group,
    w_l: Object,
) -> Vec<Object> {
    let own = |name: &str| params.matrix(name).select(Axis(1), group.residues());
    let tokens = own(names::W_E); // [d_model, n]
    let mut objects = vec![
        Object { name: "W_E".into(), columns: tokens.clone() },
        Object { name: "W_U".into(), columns: own(names::W_U) },
        w_l,
    ];
    let (w_v, w_o) = (params.cube(names::W_V), params.matrix(names::W_O));
    for head in 0..net.heads {
        let part = head * net.d_head..(head + 1) * net.d_head;
        let values = matmul(w_v.index_axis(Axis(0), head), tokens.view()); // [d_head, n]
        let out = matmul(w_o.slice(s![.., part]), values.view()); // [d_model, n]
        let columns = matmul(params.matrix(names::W_IN), out.view());
        objects.push(Object { name: format!("W_neur.{head}"), columns });
    }
    for head in 0..net.heads {
        let columns = matmul(attention_direction(net, params, head).view(), tokens.view());
        objects.push(Object { name: format!("attn.{head}"), columns });
    }
    objects
}

/// Σθ² of every tensor, by name; their sum is that of the network.
#[must_use]
pub fn sums_of_squares(params: &Params<f64>) -> Vec<(&str, f64)> {
    let of_tensor = |values: &[f64]| values.iter().map(|w| w * w).sum();
    params.iter().map(|(slot, values)| (slot.name.as_str(), of_tensor(values))).collect()
}

/// The names of [`objects`], in their order.
#[must_use]
pub fn object_names(net: &Network) -> Vec<String> {
    match net {
        Network::Transformer(net) => {
            let of_heads = |name: &'static str| (0..net.heads).map(move |h| format!("{name}.{h}"));
            let weights = ["W_E", "W_U", "W_L"].map(str::to_owned).into_iter();
            weights.chain(of_heads("W_neur")).chain(of_heads("attn")).collect()
        }
        Network::Mlp(_) => ["W_in.a", "W_in.b", "W_L"].map(str::to_owned).to_vec(),
    }
}

/// Fourier norms of every object, without forming the large ones: a product of weights is transformed
/// by transforming its last factor, which has only d_model rows.
///
/// The same numbers as [`Transform::norms`] of each of [`objects`].
#[must_use]
pub fn object_norms(
    net: &Network,
    params: &Params<f64>,
    transform: &Transform,
    group: &Group,
) -> Vec<(String, Norms)> {
    let norms =
        |name: String, columns: ArrayView2<'_, f64>| (name, Norms::of_coefficients(columns));
    let Network::Transformer(net) = net else {
        let objects = objects(net, params, group).into_iter();
        return objects.map(|o| (o.name, transform.norms(o.columns.view()))).collect();
    };
    let own = |w: ArrayView2<'_, f64>| transform.rows(w.select(Axis(1), group.residues()).view());
    let (w_e, w_u) = (own(params.matrix(names::W_E)), own(params.matrix(names::W_U)));
    let w_l = matmul(params.matrix(names::W_OUT).t(), w_u.view());
    let mut found = vec![
        norms("W_E".into(), w_e.view()),
        norms("W_U".into(), w_u.view()),
        norms("W_L".into(), w_l.view()),
    ];
    let (w_in, w_v) = (params.matrix(names::W_IN), params.cube(names::W_V));
    let reads = matmul(w_in, params.matrix(names::W_O)); // [d_mlp, heads · d_head]
    for head in 0..net.heads {
        let part = head * net.d_head..(head + 1) * net.d_head;
        let values = matmul(w_v.index_axis(Axis(0), head), w_e.view()); // [d_head, n]
        let columns = matmul(reads.slice(s![.., part]), values.view());
        found.push(norms(format!("W_neur.{head}"), columns.view()));
    }
    for head in 0..net.heads {
        let scores = matmul(attention_direction(net, params, head).view(), w_e.view());
        found.push(norms(format!("attn.{head}"), scores.view()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Task};
    use crate::model::init::{self, Scheme};

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
        let (net, group) = (Network::Transformer(net), Group::additive(5));
        let found = objects(&net, &w, &group);
        let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["W_E", "W_U", "W_L", "W_neur.0", "W_neur.1", "attn.0", "attn.1"]);
        let squares = sums_of_squares(&w);
        let total: f64 = squares.iter().map(|(_, sum)| sum).sum();
        assert!((total - w.values.iter().map(|w| w * w).sum::<f64>()).abs() < 1e-12 * total);
        assert_eq!((squares.len(), squares[0].0), (11, "embed.W_E"));
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

        // The norms without the objects, in both groups.
        for task in [Task::Add, Task::Mul] {
            let group = Group::of(task, 5).unwrap();
            let transform = Transform::new(group.order());
            let norms = object_norms(&net, &w, &transform, &group);
            let found = objects(&net, &w, &group);
            assert_eq!(norms.len(), found.len());
            for ((name, norms), object) in norms.iter().zip(&found) {
                assert_eq!(*name, object.name);
                let expected = transform.norms(object.columns.view());
                let gap = (&norms.rows - &expected.rows).fold(0.0f64, |max, x| max.max(x.abs()));
                assert!(gap < 1e-12, "{name}: {gap:e}");
            }
        }
        assert_eq!(objects(&net, &w, &Group::of(Task::Mul, 5).unwrap())[0].columns.dim(), (6, 4));
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
        let found = objects(&Network::Mlp(net), &w, &Group::additive(5));
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
