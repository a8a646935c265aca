//! The blind detector on real runs: a planted circuit is seen at once, one of shuffled labels never.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use groundswell::archive::write::to_bytes;
use groundswell::claims::course::Series;
use groundswell::claims::detector::{Detector, Statistic};
use groundswell::claims::rules::rules;
use groundswell::config::{RunConfig, Settings};
use groundswell::model::init::{Scheme, random};
use groundswell::model::{Transformer, names};
use groundswell::params::Params;
use groundswell::pipeline::claims::series::{FrequencyStatistic, Sources};
use groundswell::pipeline::output::Output;
use groundswell::weights::{prefixed, to_tensors};
use ndarray::{Array1, ArrayView1};

use super::support::*;

const P: usize = 31;
const KEYS: [usize; 2] = [5, 9];

/// Of what is planted into the embedding, the neurons and the unembedding. A token's random vector has the length 1.
const SIZE: f64 = 0.3;

const SETTINGS: &str = "\
modulus = 31
train_fraction = 0.5
d_model = 64
heads = 4
d_mlp = 128
steps = 300
save_at = '0..100:5,100..:20'
";

const TWINS: [&str; 5] = ["twin-1", "twin-2", "twin-3", "twin-4", "twin-5"];

/// `y + SIZE · x`, in f32 as weights are kept.
fn add(to: &mut f32, x: f64) {
    *to += (SIZE * x) as f32;
}

fn unit(vector: ArrayView1<'_, f64>) -> Array1<f64> {
    &vector / vector.dot(&vector).sqrt()
}

/// Random weights, to which a weak circuit for a + b is added. For every key k with w = 2πk/p, in four
/// coordinates of the residual stream of its own:
/// ```text
/// W_E   cos wa and sin wa in two of them
/// W_in  a neuron of phase φ reads cos φ (cos wa + cos wb) + sin φ (sin wa + sin wb)
///                                = 2 cos w(a−b)/2 · cos(w(a+b)/2 − φ), as attention passes it on
/// W_out what the nonlinearity makes of it, in phase 2φ, is cos w(a+b) and sin w(a+b): in the two others
/// W_U   which these are read from as cos wc and sin wc
/// ```
fn planted(config: &RunConfig) -> Params<f32> {
    let net = Transformer::new(config);
    let mut params = random::<f32>(&net, Scheme::Paper, config.seed);
    let wide: Params<f64> = params.cast();
    // What equal attention to a and b makes of a token's vector, but for its size.
    let path = wide.matrix(names::W_O).dot(&wide.stacked(names::W_V)); // [d_model, d_model]
    for (place, k) in KEYS.into_iter().enumerate() {
        let [x, y, cos_sum, sin_sum] = std::array::from_fn(|i| 4 * place + i);
        for token in 0..P {
            let (sin, cos) = (TAU * (k * token) as f64 / P as f64).sin_cos();
            let mut w_e = params.matrix_mut(names::W_E);
            add(&mut w_e[[x, token]], cos);
            add(&mut w_e[[y, token]], sin);
            let mut w_u = params.matrix_mut(names::W_U);
            add(&mut w_u[[cos_sum, token]], cos);
            add(&mut w_u[[sin_sum, token]], sin);
        }
        let of_x = unit(path.column(x));
        let of_y = path.column(y).to_owned();
        let of_y = unit((&of_y - &(&of_x * of_x.dot(&of_y))).view());
        for neuron in (place..net.d_mlp).step_by(KEYS.len()) {
            let phase = TAU * neuron as f64 / net.d_mlp as f64;
            let reads = &of_x * phase.cos() + &of_y * phase.sin();
            let mut w_in = params.matrix_mut(names::W_IN);
            w_in.row_mut(neuron).iter_mut().zip(&reads).for_each(|(to, x)| add(to, *x));
            let mut w_out = params.matrix_mut(names::W_OUT);
            add(&mut w_out[[cos_sum, neuron]], (2.0 * phase).cos());
            add(&mut w_out[[sin_sum, neuron]], (2.0 * phase).sin());
        }
    }
    params
}

/// Train: `planted` from the circuit, `bare` from the same weights without it, and runs on shuffled labels from
/// other weights.
fn train_all(dir: &Path) -> std::path::PathBuf {
    let settings = Settings::from_toml(SETTINGS, Path::new("settings")).unwrap();
    let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
    let params = planted(&config);
    let names = prefixed(params.layout(), "");
    let tensors = to_tensors(params.layout(), &names, &params.values);
    let init = dir.join("planted.safetensors");
    fs::write(&init, to_bytes(&tensors, &BTreeMap::new()).unwrap()).unwrap();
    let mut sweep =
        format!("[settings]\n{SETTINGS}\n[[run]]\nname = 'planted'\ninit = '{}'\n", init.display());
    sweep += "[[run]]\nname = 'bare'\nsteps = 1\n";
    for (seed, name) in (1..).zip(TWINS) {
        sweep += &format!("[[run]]\nname = '{name}'\nseed = {seed}\npermute_labels = {seed}\n");
    }
    let (file, archive) = (dir.join("sweep.toml"), dir.join("runs"));
    fs::write(&file, sweep).unwrap();
    train(args!["sweep", &file, "--out", &archive, "--threads", "2"]).exits(0);
    archive
}

/// What the detector looks at, of `own` beside the twins.
struct Compared(Vec<(FrequencyStatistic, Series, Vec<Series>)>);

impl Compared {
    fn new(sources: &Sources, own: &str) -> Self {
        let of = |run: &str, statistic| sources.series(run, statistic).unwrap();
        let all = FrequencyStatistic::ALL.iter().filter(|it| **it != FrequencyStatistic::RateTotal);
        let of_all = |statistic: &FrequencyStatistic| {
            (*statistic, of(own, *statistic), TWINS.map(|twin| of(twin, *statistic)).into())
        };
        Self(all.map(of_all).collect())
    }

    fn statistics(&self) -> Vec<Statistic<'_>> {
        let all = self.0.iter().map(|(statistic, own, twins)| Statistic {
            name: statistic.name(),
            log: statistic.is_positive(),
            own: own.values.view(),
            twins: twins.iter().map(|twin| twin.values.view()).collect(),
        });
        all.collect()
    }
}

#[test]
fn a_planted_circuit_is_seen_at_once_and_shuffled_labels_never() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, out) = (train_all(dir.path()), dir.path().join("tables"));
    let measures = "checkpoints,progress,frequencies,fourier";
    groundswell(args!["analyze", &archive, "--out", &out, "--measures", measures]).exits(0);
    let sources = Sources::read(&Output::open(&out, &archive).unwrap()).unwrap();

    // It is weak, and there: the network does not know a sum, and the coefficients are raised.
    let first = sources.progress.iter().find(|row| row.run == "planted" && row.step == 0).unwrap();
    assert!(first.test_accuracy.unwrap() < 0.1 && first.logit_fve.unwrap() < 0.01, "{first:?}");
    let coefficient = |run, k: usize| {
        sources.series(run, FrequencyStatistic::LogitCoefficient).unwrap().values[[0, k - 1]]
    };
    let of_twins = TWINS.iter().flat_map(|twin| (1..=P / 2).map(|k| coefficient(twin, k)));
    let largest = of_twins.fold(coefficient("bare", KEYS[0]), f64::max);
    for k in KEYS {
        assert!(
            coefficient("planted", k) > 2.0 * largest,
            "{k}: {} {largest}",
            coefficient("planted", k)
        );
        assert!(coefficient("bare", k) <= largest);
    }

    let detector = Detector::new(rules());
    let compared = Compared::new(&sources, "planted");
    let steps = &compared.0[0].1.steps;
    assert_eq!((steps[0], steps.len()), (0, 31));
    let rejected = detector.rejected(detector.p_values(&compared.statistics()).view());
    let found = detector.detect(rejected.view(), &KEYS).unwrap();
    assert!(found.save == 0 && found.chance <= 0.05, "{found:?}");

    // Each run on shuffled labels against the others: they memorise, and no pair of frequencies is seen in any of them.
    let memorised = |twin: &str| {
        let last = sources.progress.iter().rfind(|row| row.run == twin).unwrap();
        last.train_accuracy.unwrap() > 0.9
    };
    assert!(TWINS.iter().all(|twin| memorised(twin)));
    let held_out = detector.hold_out(&compared.statistics());
    assert_eq!(held_out.len(), TWINS.len());
    for twin in &held_out {
        assert_eq!(detector.detect(twin.view(), &KEYS), None);
    }
    assert_eq!(detector.false_alarms(&held_out, KEYS.len(), 105, 0), Some(0.0));
}
