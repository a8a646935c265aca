//! What the network still does with a part of it replaced.
//!
//! The network is run in f64 on all p² inputs, at the last position, in the notation
//!
//! ```text
//! attention = W_O z     mid = x_= + attention     N = act(W_in mid + b_in)
//! mlp = W_out N + b_out     logits = (mid + mlp) W_U          (of an MLP: logits = W_out N)
//! ```
//!
//! and one of these is replaced before the rest is computed again. A mean is over all p² inputs.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §4.4.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use super::heads::Heads;
use super::neurons::{NeuronFrequency, NeuronSums};
use crate::fourier;
use crate::linalg::matmul;
use crate::model::mlp::columns::Columns;
use crate::model::mlp::{self, Mlp};
use crate::model::{InTurn, Model, Network, POSITIONS, Transformer, activation, names};
use crate::params::Params;
use crate::progress::{Component, Group, LogitTable, Protocol};

/// The parts of a network on all inputs.
#[derive(Debug)]
pub struct Stream {
    /// Of a transformer
    heads: Option<Heads>,
    /// What attention writes, `[p², d_model]`; of an MLP `[p², 0]`
    attention: Array2<f64>,
    /// `[p², d_mlp]`
    pub neurons: Array2<f64>,
}

/// A name of table `ablations`, and the logits `[p², p]` over the real classes.
pub type Ablated<'a> = (String, ArrayView2<'a, f64>);

impl Stream {
    /// Run a network.
    #[must_use]
    pub fn new(net: &Network, params: &Params<f64>) -> Self {
        match net {
            Network::Transformer(net) => Self::of_transformer(net, params),
            Network::Mlp(net) => Self::of_mlp(net, params),
        }
    }

    fn of_mlp(net: &Mlp, params: &Params<f64>) -> Self {
        let p = net.p;
        let model = Columns::new(net.clone());
        let pairs: Vec<_> = (0..p * p).map(|input| [input / p, input % p]).collect();
        let (mut tables, mut block) = (model.new_tables(), model.new_block(p * p));
        model.prepare(params, &mut tables, &InTurn);
        model.forward(&tables, &pairs, &mut block);
        let neurons = model.neurons(&block).to_owned();
        Self { heads: None, attention: Array2::zeros((p * p, 0)), neurons }
    }

    fn of_transformer(net: &Transformer, params: &Params<f64>) -> Self {
        let heads = Heads::new(net, params);
        let attention = heads.written(&heads.patterns, params);
        let mid = &attention + &last(net, params);
        Self { neurons: neurons_of(net, params, &mid), attention, heads: Some(heads) }
    }

    /// Weight that each head gives to a, `[p², heads]`; of an MLP `[p², 0]`.
    #[must_use]
    pub fn patterns(&self) -> Array2<f64> {
        let none = || Array2::zeros((self.neurons.nrows(), 0));
        self.heads.as_ref().map_or_else(none, Heads::on_a)
    }

    /// Frequency of every neuron, by the definition of table `neurons`.
    #[must_use]
    pub fn frequencies(&self, group: &Group) -> Vec<Option<NeuronFrequency>> {
        frequencies_of(&self.neurons, group)
    }

    /// What the patterns of the heads are waves of, as if they were neurons.
    #[must_use]
    pub fn pattern_frequencies(&self, group: &Group) -> Vec<Option<NeuronFrequency>> {
        frequencies_of(&self.patterns(), group)
    }

    /// Logits over the p real classes, `[p², p]`.
    #[must_use]
    pub fn logits(&self, net: &Network, params: &Params<f64>) -> Array2<f64> {
        self.logits_of(net, params, &self.neurons)
    }

    /// Call `found` with each ablation in turn. Without keys those that need them are left out.
    pub fn ablations(
        &self,
        net: &Network,
        params: &Params<f64>,
        group: &Group,
        keys: Option<&[usize]>,
        mut found: impl FnMut(Ablated<'_>),
    ) {
        let logits = self.logits(net, params);
        found(("none".into(), logits.view()));
        if let Network::Transformer(net) = net {
            self.of_parts(net, params, &mut found);
        }
        let mut of_neurons = |name: String, neurons: &Array2<f64>| {
            found((name, self.logits_of(net, params, neurons).view()));
        };
        let table = LogitTable::new(self.neurons.view(), group, Protocol::Block3x3);
        let quadratic = own_frequencies(&self.neurons, &table, &self.frequencies(group));
        of_neurons("neurons_quadratic".into(), &quadratic);
        let Some(keys) = keys else { return };
        for key in keys {
            let without = added(&self.neurons, -1.0, &table.component(&[*key]), group);
            of_neurons(format!("neurons_without_{key}"), &without);
        }
        let directions = key_directions(net, params, group, keys); // [rank, d_mlp]
        let along = matmul(matmul(self.neurons.view(), directions.t()).view(), directions.view());
        of_neurons("w_l_keys".into(), &along);
        of_neurons("w_l_complement".into(), &(&self.neurons - &along));
        for (name, protocol) in
            [("logits_sum_dirs", Protocol::SumDirs), ("logits_block3x3", Protocol::Block3x3)]
        {
            let table = LogitTable::new(logits.view(), group, protocol);
            let mean = Array2::zeros(logits.dim()) + table.mean();
            found((name.into(), added(&mean, 1.0, &table.component(keys), group).view()));
        }
    }

    /// Attention, MLP, and what skips them.
    fn of_parts(
        &self,
        net: &Transformer,
        params: &Params<f64>,
        found: &mut impl FnMut(Ablated<'_>),
    ) {
        let w_u = params.matrix(names::W_U);
        let w_u = w_u.slice(s![.., ..net.p]);
        let same = |row: &Array1<f64>| Array2::zeros(self.attention.dim()) + row;
        let zero = || Array2::<f64>::zeros(self.attention.dim());
        let mean = |x: &Array2<f64>| same(&x.mean_axis(Axis(0)).expect("p² inputs"));
        let start = same(&last(net, params));
        let mlp_of = |mid: &Array2<f64>| mlp_output(net, params, &neurons_of(net, params, mid));
        let mut found = |name: &str, mid: &Array2<f64>, mlp: &Array2<f64>| {
            found((name.into(), matmul((mid + mlp).view(), w_u).view()));
        };
        let heads = self.heads.as_ref().expect("of a transformer");
        for (name, mid) in [
            ("attention_zero", start.clone()),
            ("attention_mean", &start + &mean(&self.attention)),
            ("attention_linear", &start + &heads.written(&heads.linearised(), params)),
            ("attention_skip_zero", self.attention.clone()),
        ] {
            found(name, &mid, &mlp_of(&mid));
        }
        let mid = &start + &self.attention;
        let mlp = mlp_output(net, params, &self.neurons);
        found("mlp_zero", &mid, &zero());
        found("mlp_mean", &mid, &mean(&mlp));
        found("mlp_skip_zero", &zero(), &mlp);
        found("mlp_skip_mean", &mean(&mid), &mlp);
    }

    fn logits_of(&self, net: &Network, params: &Params<f64>, neurons: &Array2<f64>) -> Array2<f64> {
        match net {
            Network::Transformer(net) => {
                let post = &self.attention + &last(net, params) + mlp_output(net, params, neurons);
                matmul(post.view(), params.matrix(names::W_U).slice(s![.., ..net.p]))
            }
            Network::Mlp(_) => matmul(neurons.view(), params.matrix(mlp::names::W_OUT).t()),
        }
    }
}

/// The residual stream at `=` before the block, `[d_model]`.
fn last(net: &Transformer, params: &Params<f64>) -> Array1<f64> {
    &params.matrix(names::W_E).column(net.p) + &params.matrix(names::W_POS).row(POSITIONS - 1)
}

fn neurons_of(net: &Transformer, params: &Params<f64>, mid: &Array2<f64>) -> Array2<f64> {
    let mut neurons = matmul(mid.view(), params.matrix(names::W_IN).t());
    neurons += &params.vector(names::B_IN);
    let values = neurons.as_slice_mut().expect("row-major");
    let mut pre = vec![0.0; activation::scratch_len(net.activation, values.len())];
    activation::forward(net.activation, values, &mut pre);
    neurons
}

fn mlp_output(net: &Transformer, params: &Params<f64>, neurons: &Array2<f64>) -> Array2<f64> {
    debug_assert_eq!(neurons.ncols(), net.d_mlp);
    matmul(neurons.view(), params.matrix(names::W_OUT).t()) + params.vector(names::B_OUT)
}

fn frequencies_of(values: &Array2<f64>, group: &Group) -> Vec<Option<NeuronFrequency>> {
    let mut sums = NeuronSums::zeros(group, values.ncols());
    sums.add(group, 0, values.view());
    sums.frequencies(group)
}

/// Functions of the inputs, and a component of theirs added at the inputs of the group.
fn added(values: &Array2<f64>, scale: f64, component: &Component, group: &Group) -> Array2<f64> {
    let mut sum = values.clone();
    for input in group.inputs() {
        let mut row = sum.row_mut(input);
        let row = row.as_slice_mut().expect("row-major");
        component.add_to(scale, group, group.pair(input).expect("an input of the group"), row);
    }
    sum
}

/// Every neuron replaced by its mean and its terms of its own frequency; a dead one by its mean.
/// Inputs outside of the group stay as they are.
fn own_frequencies(
    neurons: &Array2<f64>,
    table: &LogitTable<'_>,
    frequencies: &[Option<NeuronFrequency>],
) -> Array2<f64> {
    let group = table.group();
    let mut found = neurons.clone();
    for input in group.inputs() {
        found.row_mut(input).assign(table.mean());
    }
    for k in 1..=fourier::frequencies(group.order()) {
        let is_own = |found: &Option<NeuronFrequency>| found.is_some_and(|f| f.frequency == k);
        let own: Vec<usize> =
            (0..frequencies.len()).filter(|neuron| is_own(&frequencies[*neuron])).collect();
        if own.is_empty() {
            continue;
        }
        let terms = added(&Array2::zeros(neurons.dim()), 1.0, &table.component(&[k]), group);
        for neuron in own {
            let mut column = found.column_mut(neuron);
            column += &terms.column(neuron);
        }
    }
    found
}

/// An orthonormal basis, `[rank, d_mlp]`, of what the key rows of `F W_L` span: by Gram and Schmidt,
/// twice, leaving out what is within 1e-10 of the span of those before.
fn key_directions(
    net: &Network,
    params: &Params<f64>,
    group: &Group,
    keys: &[usize],
) -> Array2<f64> {
    let w_l = super::w_l(net, params, group); // [d_mlp, n]
    let mut found: Vec<Array1<f64>> = Vec::new();
    for row in keys.iter().flat_map(|k| fourier::rows_of(group.order(), *k)) {
        let mut direction = w_l.dot(&group.basis().row(row));
        let before = direction.dot(&direction).sqrt();
        for _ in 0..2 {
            for other in &found {
                let along = direction.dot(other);
                direction.scaled_add(-along, other);
            }
        }
        let norm = direction.dot(&direction).sqrt();
        if norm > 1e-10 * before {
            found.push(direction / norm);
        }
    }
    Array2::from_shape_fn((found.len(), w_l.nrows()), |(i, j)| found[i][j])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Settings;
    use crate::model::init::{self, Scheme};
    use crate::model::plain::Plain;

    fn small() -> (Network, Params<f64>) {
        let settings = Settings {
            modulus: Some(7),
            d_model: Some(8),
            heads: Some(2),
            d_mlp: Some(12),
            ..Settings::default()
        };
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let net = Transformer::new(&config);
        let mut params = init::random::<f64>(&net, Scheme::Paper, 0);
        params.vector_mut(names::B_IN).fill(0.1);
        params.vector_mut(names::B_OUT).fill(-0.2);
        (Network::Transformer(net), params)
    }

    fn all(net: &Network, params: &Params<f64>, keys: &[usize]) -> BTreeMap<String, Array2<f64>> {
        let mut found = BTreeMap::new();
        let group = Group::additive(7);
        let stream = Stream::new(net, params);
        stream.ablations(net, params, &group, Some(keys), |(name, logits)| {
            found.insert(name, logits.to_owned());
        });
        found
    }

    fn gap(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
        x.iter().zip(y).fold(0.0, |max, (x, y)| (x - y).abs().max(max))
    }

    /// Each against the plain network with weights that do the same.
    #[test]
    fn ablations_are_networks_with_other_weights() {
        let (net, params) = small();
        let Network::Transformer(sizes) = &net else { unreachable!() };
        let pairs: Vec<_> = (0..49).map(|i| [i / 7, i % 7]).collect();
        let plain = |params: &Params<f64>| {
            Plain(sizes.clone()).evaluate(params, &pairs).slice(s![.., ..7]).to_owned()
        };
        let changed = |change: &dyn Fn(&mut Params<f64>)| {
            let mut params = params.clone();
            change(&mut params);
            plain(&params)
        };
        let found = all(&net, &params, &[1, 2, 3]);
        assert!(gap(&found["none"], &plain(&params)) < 1e-12);
        let without = changed(&|params| params.matrix_mut(names::W_O).fill(0.0));
        assert!(gap(&found["attention_zero"], &without) < 1e-12);
        let without = changed(&|params| {
            params.matrix_mut(names::W_OUT).fill(0.0);
            params.vector_mut(names::B_OUT).fill(0.0);
        });
        assert!(gap(&found["mlp_zero"], &without) < 1e-12);
        // The parts of the logits add up.
        let sum = &found["mlp_zero"] + &found["mlp_skip_zero"];
        assert!(gap(&found["none"], &sum) < 1e-12);
        let b_out = params.matrix_like(names::B_OUT).to_owned();
        let of_bias = matmul(b_out.view(), params.matrix(names::W_U).slice(s![.., ..7]));
        let sum =
            &found["w_l_keys"] + &found["w_l_complement"] - &found["mlp_zero"] - of_bias.row(0);
        assert!(gap(&found["none"], &sum) < 1e-12);
        // A mean changes no mean.
        for name in ["mlp_mean", "mlp_skip_mean"] {
            let means = |x: &Array2<f64>| x.mean_axis(Axis(0)).unwrap().insert_axis(Axis(0));
            assert!(gap(&means(&found["none"]), &means(&found[name])) < 1e-12, "{name}");
        }
        // All frequencies taken out of the neurons leave their means and mixed terms.
        assert_eq!(found.len(), 1 + 4 + 4 + 1 + 3 + 2 + 2);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert!(names.contains(&"neurons_without_3") && names.contains(&"attention_skip_zero"));
    }

    /// With small scores a softmax is almost affine in their difference; with W_Q = 0 it is constant.
    #[test]
    fn weak_attention_is_linear() {
        let (net, params) = small();
        let error = |scale: f64| {
            let mut params = params.clone();
            params.cube_mut(names::W_Q).mapv_inplace(|w| w * scale);
            let found = all(&net, &params, &[]);
            gap(&found["none"], &found["attention_linear"])
        };
        assert!(error(0.0) < 1e-14);
        let (strong, weak) = (error(1e-2), error(1e-3));
        assert!(strong > 1e-9 && weak < strong / 5.0, "{strong:e} {weak:e}");
    }

    /// Neurons that are quadratic waves already stay what they are; without their frequency they are
    /// constant.
    #[test]
    fn quadratic_neurons_are_their_own_projection() {
        let group = Group::additive(7);
        let wave = |k: usize, x: usize| (std::f64::consts::TAU * ((k * x) % 7) as f64 / 7.0).cos();
        let neurons = Array2::from_shape_fn((49, 2), |(i, j)| {
            let (a, b) = (i / 7, i % 7);
            let k = [2, 3][j];
            1.5 + wave(k, a) - 0.5 * wave(k, b) + 2.0 * wave(k, a) * wave(k, b)
        });
        let table = LogitTable::new(neurons.view(), &group, Protocol::Block3x3);
        let frequencies = frequencies_of(&neurons, &group);
        let found = own_frequencies(&neurons, &table, &frequencies);
        assert!(gap(&found, &neurons) < 1e-12);
        let without = added(&neurons, -1.0, &table.component(&[2]), &group);
        assert!(without.column(0).iter().all(|x| (x - 1.5).abs() < 1e-12));
        assert!(
            gap(&without.slice(s![.., 1..]).to_owned(), &neurons.slice(s![.., 1..]).to_owned())
                < 1e-12
        );
    }
}
