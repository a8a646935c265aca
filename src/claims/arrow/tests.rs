//! Rates against differences, against backward passes, and against closed forms.

mod calibration;

use proptest::prelude::*;

use super::*;
use crate::config::{Activation, Outputs, RunConfig, Settings, Task};
use crate::model::Transformer;
use crate::model::init::{self, Scheme};
use crate::model::plain::Plain;
use crate::optim::Optimizer;
use crate::progress::{LogitTable, Protocol};
use crate::tasks::Dataset;

fn config(task: Task, p: usize, activation: Activation, outputs: Outputs) -> RunConfig {
    let settings = Settings {
        task: Some(task),
        modulus: Some(p),
        d_model: Some(8),
        heads: Some(2),
        d_mlp: Some(12),
        activation: Some(activation),
        outputs: Some(outputs),
        ..Settings::default()
    };
    settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap()
}

/// A network with weights of order one in every tensor, and its task.
struct Case {
    config: RunConfig,
    model: Folded,
    group: Group,
    train: Batch,
    params: Params<f64>,
}

fn weights(net: &Transformer, seed: u64) -> Params<f64> {
    let mut params = init::random::<f64>(net, Scheme::Paper, seed);
    let noise = init::random::<f64>(net, Scheme::TransformerLens, seed + 1);
    params.vector_mut(names::B_IN).assign(&noise.matrix(names::W_IN).column(0));
    params.vector_mut(names::B_OUT).assign(&noise.matrix(names::W_OUT).column(0));
    params
}

fn case(task: Task, p: usize, activation: Activation, outputs: Outputs, seed: u64) -> Case {
    let config = config(task, p, activation, outputs);
    let net = Transformer::new(&config);
    let data = Dataset::new(&config, None).unwrap();
    Case {
        group: Group::of(task, p).unwrap(),
        train: data.batch(&data.train),
        params: weights(&net, seed),
        model: Folded::new(net),
        config,
    }
}

impl Case {
    fn point(&self) -> Point<'_> {
        Point::new(&self.model, &self.group, &self.params, &self.train)
    }

    /// The coefficients of this group by the oracles: every logit, and the table of `progress`.
    fn oracle(&self, group: &Group, params: &Params<f64>) -> Vec<f64> {
        let p = group.p();
        let pairs: Vec<_> = (0..p * p).map(|input| [input / p, input % p]).collect();
        let logits = Plain(self.model.transformer().clone()).evaluate(params, &pairs);
        let real = logits.slice(ndarray::s![.., ..p]);
        let table = LogitTable::new(real, group, Protocol::SumDirs);
        (1..=fourier::frequencies(group.order())).map(|k| table.coefficient(k)).collect()
    }

    /// The same task with sums and differences in each other's place.
    fn mirrored(&self) -> Group {
        let task = match self.config.task {
            Task::Add => Task::Sub,
            Task::Sub => Task::Add,
            Task::Mul => Task::Div,
            _ => Task::Mul,
        };
        Group::of(task, self.group.p()).unwrap()
    }

    /// `(c(θ + εv) − c(θ − εv))/2ε` by the oracle.
    fn difference(&self, group: &Group, v: &Params<f64>) -> Vec<f64> {
        let step = 1e-5;
        let at = |sign: f64| {
            let mut moved = self.params.clone();
            let terms = moved.values.iter_mut().zip(v.values.iter());
            terms.for_each(|(theta, v)| *theta += sign * step * v);
            self.oracle(group, &moved)
        };
        let (up, down) = (at(1.0), at(-1.0));
        up.iter().zip(&down).map(|(up, down)| (up - down) / (2.0 * step)).collect()
    }
}

/// Distance relative to the length of what is expected.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt() / norm
}

const TASKS: [Task; 4] = [Task::Add, Task::Sub, Task::Mul, Task::Div];

/// From sums of logits, or from all logits, of every task with a group, even ones among them.
#[test]
fn coefficients_are_those_of_the_logits() {
    for task in TASKS {
        let case = case(task, 11, Activation::Relu, Outputs::Tokens, 3);
        let found = case.point().coefficients();
        let expected = case.oracle(&case.group, &case.params);
        assert!(error(&found.of_sum, &expected) < 1e-13, "{task}");
        let expected = case.oracle(&case.mirrored(), &case.params);
        assert!(error(&found.of_mirror, &expected) < 1e-13, "{task}: mirror");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Slopes are differences of the oracle's coefficients, and so are the mirrored ones.
    #[test]
    fn slopes_are_differences(
        half in 1usize..6, task in 0usize..2, gelu: bool, residues: bool, seed in 0u64..1000,
    ) {
        let act = if gelu { Activation::Gelu } else { Activation::Quadratic };
        let outputs = if residues { Outputs::Residues } else { Outputs::Tokens };
        let case = case(TASKS[task], 2 * half + 1, act, outputs, seed);
        let v = weights(case.model.transformer(), seed + 50);
        let found = case.point().along(&v);
        let distance = error(&found.of_sum, &case.difference(&case.group, &v));
        prop_assert!(distance < 1e-6, "{:e}", distance);
        let distance = error(&found.of_mirror, &case.difference(&case.mirrored(), &v));
        prop_assert!(distance < 1e-6, "mirror: {:e}", distance);
    }
}

/// With ReLU, where no neuron is at its kink; and the check can fail: without the part of any one
/// tensor the slopes are others.
#[test]
fn every_tensor_moves_the_coefficients() {
    let case = case(Task::Add, 11, Activation::Relu, Outputs::Tokens, 5);
    let v = weights(case.model.transformer(), 60);
    let expected = case.difference(&case.group, &v);
    let mut point = case.point();
    let distance = error(&point.along(&v).of_sum, &expected);
    assert!(distance < 1e-6, "{distance:e}");
    // The last bias moves the logits of all inputs alike, and no coefficient sees that.
    for slot in v.layout().slots().iter().filter(|slot| slot.name != names::B_OUT) {
        let mut part = v.clone();
        part.values[slot.offset..slot.offset + slot.len()].fill(0.0);
        let distance = error(&point.along(&part).of_sum, &expected);
        assert!(distance > 1e-5, "{}: {distance:e}", slot.name);
    }
}

/// `⟨∇c_k, v⟩` with the gradient of a backward pass, whose cotangent is e_k itself, by the plain network:
/// no direction enters it.
#[test]
fn slopes_are_products_with_gradients() {
    let case = case(Task::Add, 7, Activation::Relu, Outputs::Tokens, 8);
    let (p, model) = (7, Plain(case.model.transformer().clone()));
    let pairs: Vec<_> = (0..p * p).map(|input| [input / p, input % p]).collect();
    let v = weights(case.model.transformer(), 70);
    let found = case.point().along(&v);
    for (sign, found) in [(1, found.of_sum), (p - 1, found.of_mirror)] {
        for k in 1..=p / 2 {
            let mut tables = Model::<f64>::new_tables(&model);
            let mut block = Model::<f64>::new_block(&model, pairs.len());
            model.prepare(&case.params, &mut tables, &InTurn);
            model.forward(&tables, &pairs, &mut block);
            let wave = |a: usize, b: usize, c: usize| {
                let turns = (k * (a + sign * b + (p - 1) * c)) % p;
                let angle = std::f64::consts::TAU * turns as f64 / p as f64;
                (2.0 / (p * p * p) as f64).sqrt() * angle.cos()
            };
            let mut cotangent = model.logits(&mut block);
            for ((i, c), d) in cotangent.indexed_iter_mut() {
                *d = if c < p { wave(i / p, i % p, c) } else { 0.0 };
            }
            let mut sums = Params::zeros(Model::<f64>::sums_layout(&model));
            model.backward(&tables, &pairs, &mut block, &mut sums);
            let mut gradient = Params::zeros(Model::<f64>::layout(&model));
            model.gradient(&case.params, &mut tables, &sums, &mut gradient, &InTurn);
            let terms = gradient.values.iter().zip(v.values.iter());
            let expected: f64 = terms.map(|(g, v)| g * v).sum();
            let gap = (found[k - 1] - expected).abs();
            assert!(gap < 1e-12 * expected.abs().max(1.0), "{k}: {} {expected}", found[k - 1]);
        }
    }
}

/// The gradient is that of one block, with the run's labels and, one after the other, with others.
#[test]
fn gradients_are_those_of_the_training_loss() {
    for activation in [Activation::Relu, Activation::Gelu] {
        let case = case(Task::Add, 31, activation, Outputs::Tokens, 2);
        assert!(case.train.pairs.len() > ROWS, "more than one block");
        let mut point = case.point();
        let plain = Plain(case.model.transformer().clone());
        let expected = plain.loss_and_gradient(&case.params, &case.train).1;
        assert!(error(&point.gradient().values, &expected.values) < 1e-12);
        for shift in [5, 0, 11] {
            let labels: Vec<usize> = case.train.labels.iter().map(|y| (y + shift) % 31).collect();
            let batch = Batch { labels: labels.clone(), ..case.train.clone() };
            let expected = plain.loss_and_gradient(&case.params, &batch).1;
            let found = point.gradient_under(&labels);
            assert!(error(&found.values, &expected.values) < 1e-12, "{shift}");
            let along = Rates::new(&mut point, &found, None, None).ce;
            assert_eq!(point.rates(&found), along);
        }
    }
}

/// At constant logits the data point equally at every frequency, by √(2/p³), whatever the split
/// (1.17732762e-3 at p = 113).
#[test]
fn constant_logits_feel_every_frequency_alike() {
    let p = 113;
    let group = Group::additive(p);
    for fraction in [3, 7] {
        let train: Vec<usize> = (0..p * p).filter(|input| (input * 7919) % 10 < fraction).collect();
        let labels: Vec<usize> = train.iter().map(|input| (input / p + input % p) % p).collect();
        let mut d = Array2::zeros((train.len(), p));
        let scale = 1.0 / train.len() as f64;
        kernels::cross_entropy_backward(d.view_mut(), &labels, scale, &mut vec![0.0; p]);
        let mut sums = Array2::zeros((p, p));
        for (row, s) in d.rows().into_iter().zip(&labels) {
            let mut sum = sums.row_mut(*s);
            sum -= &row;
        }
        for found in coefficients(&group, sums.view()) {
            assert!((found - 1.177_327_62e-3).abs() < 5e-12, "{found:e}");
            assert!((found * (p as f64).powf(1.5) / 2.0f64.sqrt() - 1.0).abs() < 1e-12);
        }
    }
}

/// `(c(t+1) − c(t))/η` is the total rate up to O(η), for both optimisers, with moments that are full; and
/// the rates are what the step and the decay say one by one.
#[test]
fn an_update_moves_the_coefficients_at_their_rates() {
    for (toml, tolerance) in [
        ("optimizer = 'sgd'\nbeta1 = 0.0\nwarmup = 0\nlr = 1e-8", 1e-4),
        ("optimizer = 'sgd'\nbeta1 = 0.9\nwarmup = 0\nlr = 1e-8", 1e-4),
        ("optimizer = 'adamw'\nwarmup = 0\nlr = 1e-8", 1e-4),
    ] {
        let mut case = case(Task::Add, 11, Activation::Gelu, Outputs::Tokens, 4);
        let settings = Settings::from_toml(toml, std::path::Path::new("test")).unwrap();
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let len = case.params.values.len();
        let mut optimizer = Optimizer::<f64>::new(&config, len);
        for update in 0..3 {
            let mut point = case.point();
            let gradient = point.gradient();
            let of = |values: Vec<f64>| Params::from_values(case.params.layout(), &values);
            let step = of(optimizer.step(&gradient.values));
            let decay = of(optimizer.decay(&case.params.values));
            let rates = Rates::new(&mut point, &gradient, Some(&step), Some(&decay));
            let before = case.oracle(&case.group, &case.params);
            let eta = optimizer.learning_rate();
            let mut after = case.params.clone();
            optimizer.update(&mut after.values, &gradient.values, &InTurn);
            let after_coefficients = case.oracle(&case.group, &after);
            let found: Vec<f64> =
                after_coefficients.iter().zip(&before).map(|(a, b)| (a - b) / eta).collect();
            let total = rates.total.unwrap();
            let distance = error(&found, &total);
            assert!(distance < tolerance, "{toml} {update}: {distance:e}");
            let parts = rates.adam.as_ref().unwrap().iter().zip(rates.decay.as_ref().unwrap());
            let sum: Vec<f64> = parts.map(|(a, d)| a + d).collect();
            assert_eq!(sum, total);
            if toml.contains("beta1 = 0.0") {
                assert_eq!(rates.adam.as_ref(), Some(&rates.ce), "the gradient is the step");
            }
            drop(point);
            case.params = after;
        }
    }
}

#[test]
fn without_a_step_there_is_no_total() {
    let case = case(Task::Add, 7, Activation::Relu, Outputs::Tokens, 1);
    let mut point = case.point();
    let gradient = point.gradient();
    let decay = case.params.clone();
    let rates = Rates::new(&mut point, &gradient, None, Some(&decay));
    assert_eq!((&rates.adam, &rates.total, &rates.mirror), (&None, &None, &None));
    assert!(rates.decay.is_some() && rates.ce.iter().all(|rate| *rate != 0.0));
}

/// Rates 1..=6: compared with plain frequencies, mirrors and labels, in numbers worked out by hand.
#[test]
fn scores_are_those_of_their_nulls() {
    let rates = [1.0, 2.0, 3.0, 4.0, 5.0, 60.0];
    let close = |found: Option<f64>, expected: f64| {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
    };
    // 6 against 1, 2, 3, 4: mean 5/2, s.d. √(5/3). 1 against 2, 3, 4: mean 3, s.d. 1.
    let found = among_plain(&rates, &[1, 2, 3, 4]);
    close(found[5], 57.5 / (5.0f64 / 3.0).sqrt());
    close(found[4], 2.5 / (5.0f64 / 3.0).sqrt());
    close(found[0], -2.0);
    // Among three, one of them has but two others.
    let found = among_plain(&rates, &[1, 2, 3]);
    assert_eq!(found[0], None);
    close(found[5], 58.0);
    assert_eq!(among_plain(&rates, &[]), [None; 6]);

    // The unpaired frequency of a group of order 10 mirrors itself, and is left out.
    let group = Group::of(Task::Mul, 11).unwrap();
    let found = among_mirrors(&rates[..5], &[1.0, 2.0, 3.0, 4.0, 1e9], &group);
    close(found[4], 2.5 / (5.0f64 / 3.0).sqrt());
    // Differences 1, 2, 3, 6 of the four others: t = 2 · 3/√(14/3), with 3 degrees.
    let mirror = [0.0, 0.0, 0.0, -2.0, 1e9];
    let t = 6.0 / (14.0f64 / 3.0).sqrt();
    let found = mean_over_mirrors(&rates[..5], &mirror, &group);
    close(found.map(normal_tail), student_tail(t, 3.0));
    let swapped = mean_over_mirrors(&mirror, &rates[..5], &group);
    close(swapped, -found.unwrap());
    assert_eq!(mean_over_mirrors(&rates[..5], &rates[..5], &group), None, "no spread");
    let sharp = [1.0, 1.0 + 1e-12, 1.0 - 1e-12, 1.0, 0.0];
    let largest = mean_over_mirrors(&sharp, &[0.0; 5], &group).unwrap();
    assert!((10.0..=38.0).contains(&largest), "{largest}");

    let permuted: Vec<Vec<f64>> = [1.0, 2.0, 3.0].map(|x| vec![x, 7.0]).to_vec();
    let found = among_labels(&[5.0, 8.0], &permuted);
    close(found[0], 3.0);
    assert_eq!(found[1], None, "no spread");
}

/// A gradient that is one wave in W_E and another in W_U; shares add up to 1 less the constant's.
#[test]
fn shares_are_those_of_waves() {
    let p = 7;
    let net = Transformer::new(&config(Task::Add, p, Activation::Relu, Outputs::Tokens));
    let (group, transform) = (Group::additive(p), Transform::new(p));
    let angle = |k: usize, x: usize| std::f64::consts::TAU * (k * x) as f64 / p as f64;
    let mut gradient = Params::<f64>::zeros(net.layout());
    for x in 0..p {
        gradient.matrix_mut(names::W_E)[[2, x]] = 3.0 * angle(1, x).cos();
        gradient.matrix_mut(names::W_U)[[4, x]] = angle(3, x).sin();
    }
    // `=`, and other tensors, do not count.
    gradient.matrix_mut(names::W_E)[[2, p]] = 100.0;
    gradient.matrix_mut(names::W_IN).fill(1.0);
    let mut way = Params::<f64>::zeros(net.layout());
    way.matrix_mut(names::W_E).row_mut(2).assign(&gradient.matrix(names::W_E).row(2));
    way.values.iter_mut().for_each(|w| *w *= -0.5);
    let found = shares(&transform, &group, &gradient, Some(&way));
    // Σ_x cos² = p/2.
    let expected = [(0.9, 31.5, 15.75, 7.875), (0.0, 0.0, 0.0, 0.0), (0.1, 3.5, 0.0, 0.0)];
    for (found, (share, sq, dot, distance)) in found.iter().zip(expected) {
        let gaps = [
            found.share.unwrap() - share,
            found.sq - sq,
            found.dot_final.unwrap() - dot,
            found.distance_sq.unwrap() - distance,
        ];
        assert!(gaps.iter().all(|gap| gap.abs() < 1e-12), "{found:?}");
    }
    let nothing = shares(&transform, &group, &Params::zeros(net.layout()), None);
    let blank = Share { share: None, sq: 0.0, dot_final: None, distance_sq: None };
    assert_eq!(nothing, [blank; 3]);

    // All frequencies and the constant make the whole.
    let any = weights(&net, 9);
    let sum: f64 = shares(&transform, &group, &any, None).iter().map(|s| s.share.unwrap()).sum();
    let own = |name: &str| any.matrix(name).slice(ndarray::s![.., ..p]).to_owned();
    let parts = [own(names::W_E), own(names::W_U)];
    let total: f64 = parts.iter().flat_map(|w| w.iter()).map(|x| x * x).sum();
    let rows =
        parts.iter().flat_map(|w| w.rows().into_iter().map(|row| row.sum()).collect::<Vec<_>>());
    let constant: f64 = rows.map(|sum| sum * sum / p as f64).sum();
    assert!((sum - (1.0 - constant / total)).abs() < 1e-12);
}
