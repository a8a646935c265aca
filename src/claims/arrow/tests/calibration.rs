//! How often the score of the mean over the mirrors is large where nothing lifts the sums over them.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::claims::stats::{deviation, mean};

/// Rates of the sums and of the mirrors with standard normal noise each, `common` times a number that all of
/// them share and `paired` times one that a wave shares with its mirror; the sums are lifted by `lift`.
fn rates(rng: &mut ChaCha8Rng, n: usize, common: f64, paired: f64, lift: f64) -> [Vec<f64>; 2] {
    let mut normal = || -> f64 { StandardNormal.sample(rng) };
    let shared = common * normal();
    let [mut sums, mut mirrors] = [Vec::new(), Vec::new()];
    for _ in 0..n {
        let both = shared + paired * normal();
        sums.push(both + normal() + lift);
        mirrors.push(both + normal());
    }
    [sums, mirrors]
}

/// Of 20,000 draws as many z are beyond 2 and 3 as the normal law says, within 3.3 s.d. of the binomial one,
/// for few and for many frequencies, independent or correlated. (Σz/√n of the single scores would be beyond 3
/// in 1.9 % of cases in place of 0.13 %.)
#[test]
fn exchangeable_rates_have_normal_scores() {
    let draws = 20_000;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (p, common, paired) in
        [(11, 0.0, 0.0), (11, 3.0, 0.0), (11, 0.0, 3.0), (113, 0.0, 0.0), (113, 3.0, 2.0)]
    {
        let group = Group::additive(p);
        let scores: Vec<f64> = (0..draws)
            .map(|_| {
                let [sums, mirrors] = rates(&mut rng, p / 2, common, paired, 0.0);
                mean_over_mirrors(&sums, &mirrors, &group).unwrap()
            })
            .collect();
        for bound in [2.0, 3.0] {
            let chance = normal_tail(bound);
            let expected = chance * f64::from(draws);
            let within = 3.3 * (expected * (1.0 - chance)).sqrt();
            for side in [1.0, -1.0] {
                let found = scores.iter().filter(|z| side * **z > bound).count() as f64;
                let place =
                    format!("{p} {common} {paired}: {found} beyond {bound}, not {expected}");
                assert!((found - expected).abs() < within, "{place}");
            }
        }
    }
}

/// Sums that are lifted by one s.d. of their noise over all frequencies together: 56 of them show it.
#[test]
fn an_arrow_to_all_frequencies_is_found() {
    let (p, mut rng) = (113, ChaCha8Rng::seed_from_u64(6));
    for _ in 0..100 {
        let [sums, mirrors] = rates(&mut rng, p / 2, 3.0, 2.0, 1.5);
        let z = mean_over_mirrors(&sums, &mirrors, &Group::additive(p)).unwrap();
        assert!(z > 3.0, "{z}");
    }
}

/// Gradients of 200 networks at initialisation, each under one permutation of its labels, which point to no
/// algorithm: the scores have mean 0 and s.d. 1, within 3.3 s.d. of what 200 draws tell. (Of one network they
/// hardly depend on the permutation: what the weights are decides them. Its steps are no independent draws.)
#[test]
fn permuted_labels_do_not_lift_the_sums() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let scores: Vec<f64> = (0..200)
        .map(|seed| {
            let mut case = case(Task::Add, 31, Activation::Relu, Outputs::Tokens, seed);
            case.params = init::random(case.model.transformer(), Scheme::Paper, seed);
            let mut labels = case.train.labels.clone();
            labels.shuffle(&mut rng);
            let mut point = case.point();
            let gradient = point.gradient_under(&labels);
            let Slopes { of_sum, of_mirror } = point.along(&gradient);
            // The update goes against the gradient.
            mean_over_mirrors(&of_mirror, &of_sum, &case.group).unwrap()
        })
        .collect();
    let (centre, spread) = (mean(&scores).unwrap(), deviation(&scores).unwrap());
    assert!(centre.abs() < 0.235 && (0.83..1.17).contains(&spread), "{centre} {spread}");
}
