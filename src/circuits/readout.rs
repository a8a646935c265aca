//! What a circuit of weights reads or writes, frequency by frequency.

use ndarray::{Array2, Axis, s};

use crate::fourier::{self, Norms, Transform};
use crate::linalg::matmul;
use crate::model::{Network, Transformer, names};
use crate::params::Params;
use crate::progress::Group;

/// A product of weights that the paper speaks of as one matrix.
#[derive(Debug, Clone)]
pub struct Circuit {
    /// `W_L`, `QK` or `OV`
    pub name: &'static str,
    /// 0 for `W_L`
    pub head: usize,
    pub matrix: Array2<f64>,
    /// Norms of its Fourier rows: over the classes that it writes, or the tokens that it reads
    pub norms: Norms,
}

/// `W_L`, and of each head what asks for which tokens, and what it makes of them.
///
/// ```text
/// W_L [n, d_mlp] (over classes)
/// QK_h = W_Q^hᵀ W_K^h [d_model, d_model],   OV_h = W_O^h W_V^h [d_model, d_model]
/// the Fourier rows of QK_h W_E and OV_h W_E are over tokens
/// ```
#[must_use]
pub fn circuits(
    net: &Network,
    params: &Params<f64>,
    transform: &Transform,
    group: &Group,
) -> Vec<Circuit> {
    let columns = super::w_l(net, params, group);
    let norms = transform.norms(columns.view());
    let matrix = columns.t().as_standard_layout().into_owned();
    let mut found = vec![Circuit { name: "W_L", head: 0, matrix, norms }];
    if let Network::Transformer(net) = net {
        found.extend(of_heads(net, params, transform, group));
    }
    found
}

fn of_heads(
    net: &Transformer,
    params: &Params<f64>,
    transform: &Transform,
    group: &Group,
) -> Vec<Circuit> {
    let tokens = params.matrix(names::W_E).select(Axis(1), group.residues());
    let w_e = transform.rows(tokens.view()); // [d_model, n]
    let head_of = |name: &str, head: usize| params.cube(name).index_axis_move(Axis(0), head);
    let mut found = Vec::new();
    for head in 0..net.heads {
        let (query, key) = (head_of(names::W_Q, head), head_of(names::W_K, head));
        let part = head * net.d_head..(head + 1) * net.d_head;
        let w_o = params.matrix(names::W_O);
        let of = [
            ("QK", matmul(query.t(), key)),
            ("OV", matmul(w_o.slice(s![.., part]), head_of(names::W_V, head))),
        ];
        found.extend(of.map(|(name, matrix)| {
            let read = matmul(matrix.view(), w_e.view());
            Circuit { name, head, norms: Norms::of_coefficients(read.view()), matrix }
        }));
    }
    found
}

/// How the energy of an object divides over frequencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Content {
    /// The frequency with the largest share, ties to the lowest
    pub frequency: usize,
    /// Its share of the energy without the constant
    pub frequency_share: f64,
    /// Share of the whole energy outside of the key rows, if there are keys
    pub residual_share: Option<f64>,
}

/// `None` for an object without anything but a constant.
#[must_use]
pub fn content(norms: &Norms, keys: Option<&[usize]>) -> Option<Content> {
    let energy = |k: usize| norms.norm(k).powi(2);
    let waves: f64 = (1..=norms.frequencies()).map(energy).sum();
    let whole = waves + energy(0);
    if waves <= f64::EPSILON * whole || !whole.is_finite() {
        return None;
    }
    let mut best = 1;
    for k in 2..=norms.frequencies() {
        if energy(k) > energy(best) {
            best = k;
        }
    }
    let of_keys = |keys: &[usize]| 1.0 - keys.iter().map(|k| energy(*k)).sum::<f64>() / whole;
    Some(Content {
        frequency: best,
        frequency_share: energy(best) / waves,
        residual_share: keys.map(of_keys),
    })
}

/// Paper table 1: how much of what a Fourier row of `W_L` reads off the neurons is the wave it writes.
///
/// ```text
/// f = F[row] W_L N over the inputs, centred:     ⟨f, u⟩² / ‖f‖²,   u = F[row][x + y] √(1/n)
/// ```
///
/// for the cosine and, where there is one, the sine row of frequency `k`. `None` for an `f` that does
/// not vary. `neurons` are `[p², d_mlp]`.
#[must_use]
pub fn readout(
    w_l: &Array2<f64>,
    neurons: &Array2<f64>,
    group: &Group,
    k: usize,
) -> Vec<Option<f64>> {
    let n = group.order();
    let inputs = group.inputs();
    let of_row = |row: usize| {
        let wave = group.basis().row(row).to_owned();
        let read = neurons.dot(&w_l.dot(&wave)); // [p²]
        let own: Vec<f64> = inputs.iter().map(|input| read[*input]).collect();
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        let energy: f64 = own.iter().map(|f| (f - mean).powi(2)).sum();
        let along: f64 = inputs
            .iter()
            .zip(&own)
            .map(|(input, f)| {
                let pair = group.pair(*input).expect("an input of the group");
                f * wave[group.index(crate::progress::Along::Sum, pair)] / (n as f64).sqrt()
            })
            .sum();
        let raw: f64 = own.iter().map(|f| f * f).sum();
        (energy > 1e-24 * raw).then(|| along * along / energy)
    };
    fourier::rows_of(n, k).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::config::{Settings, Task};
    use crate::model::init::{self, Scheme};

    #[test]
    fn heads_are_their_products() {
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
        let group = Group::of(Task::Add, 5).unwrap();
        let transform = Transform::new(5);
        let found = circuits(&Network::Transformer(net), &w, &transform, &group);
        let names: Vec<_> = found.iter().map(|c| (c.name, c.head)).collect();
        assert_eq!(names, [("W_L", 0), ("QK", 0), ("OV", 0), ("QK", 1), ("OV", 1)]);
        let (w_q, w_k, w_v) = (w.cube(names::W_Q), w.cube(names::W_K), w.cube(names::W_V));
        let (w_o, w_e) = (w.matrix(names::W_O), w.matrix(names::W_E));
        for (i, j) in (0..6).flat_map(|i| (0..6).map(move |j| (i, j))) {
            let qk: f64 = (0..3).map(|o| w_q[[1, o, i]] * w_k[[1, o, j]]).sum();
            let ov: f64 = (0..3).map(|o| w_o[[i, 3 + o]] * w_v[[1, o, j]]).sum();
            assert!((found[3].matrix[[i, j]] - qk).abs() < 1e-12);
            assert!((found[4].matrix[[i, j]] - ov).abs() < 1e-12);
        }
        let tokens = w_e.slice(s![.., ..5]);
        let expected = transform.norms(found[4].matrix.dot(&tokens).view());
        let gap = (&found[4].norms.rows - &expected.rows).fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(gap < 1e-12, "{gap:e}");
    }

    #[test]
    fn content_divides_the_energy() {
        let rows = ndarray::arr1(&[1.0, 3.0, 4.0, 5.0, 0.0]);
        let norms = Norms { rows };
        let found = content(&norms, Some(&[1])).unwrap();
        assert_eq!(found.frequency, 1, "ties go to the lowest");
        assert!((found.frequency_share - 0.5).abs() < 1e-12);
        assert!((found.residual_share.unwrap() - 26.0 / 51.0).abs() < 1e-12);
        assert_eq!(content(&norms, None).unwrap().residual_share, None);
        assert_eq!(content(&Norms { rows: ndarray::arr1(&[2.0, 0.0, 0.0]) }, None), None);
    }

    /// Neurons that hold the waves of the sum, and a constant that no share counts.
    #[test]
    fn a_readout_of_waves_is_all_wave() {
        let group = Group::additive(7);
        let w_l = Array2::from_shape_fn((2, 7), |(j, c)| {
            let angle = TAU * ((2 * c) % 7) as f64 / 7.0;
            if j == 0 { angle.cos() } else { angle.sin() }
        });
        let neurons = Array2::from_shape_fn((49, 2), |(i, j)| {
            let angle = TAU * ((2 * (i / 7 + i % 7)) % 7) as f64 / 7.0;
            3.0 + if j == 0 { angle.cos() } else { angle.sin() }
        });
        let found = readout(&w_l, &neurons, &group, 2);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|share| (share.unwrap() - 1.0).abs() < 1e-12), "{found:?}");
        assert!(
            readout(&w_l, &neurons, &group, 1).iter().all(|share| share.is_none_or(|s| s < 1e-9))
        );
    }
}
