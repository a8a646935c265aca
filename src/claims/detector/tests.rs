use ndarray::{Array1, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::claims::nulls::below;
use crate::claims::rules::rules;
use crate::progress::{Group, LogitTable, Protocol};
use crate::tasks::shuffle::fisher_yates;

const SAVES: usize = 40;
const FREQUENCIES: usize = 28;

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// The numbers below n in random order.
fn shuffled(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    fisher_yates(&mut all, rng);
    all
}

fn judging() -> Detector {
    Detector::new(rules())
}

/// Statistics of a run and its twins without any difference: a norm (log-normal) and a coefficient,
/// each frequency an autoregressive process so that saves in a row depend on each other.
fn alike(runs: usize, seed: u64) -> [Vec<Array2<f64>>; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut one = |log: bool| {
        let mut values = Array2::zeros((SAVES, FREQUENCIES));
        for k in 0..FREQUENCIES {
            let mut x = normal(&mut rng);
            for save in 0..SAVES {
                x = 0.8 * x + 0.6 * normal(&mut rng);
                values[[save, k]] = if log { (0.3 * x).exp() } else { x };
            }
        }
        values
    };
    [true, false].map(|log| (0..runs).map(|_| one(log)).collect())
}

fn statistic<'a>(name: &'a str, log: bool, runs: &'a [Array2<f64>]) -> Statistic<'a> {
    let twins = runs[1..].iter().map(|run| run.view()).collect();
    Statistic { name, log, own: runs[0].view(), twins }
}

fn statistics([norms, coefficients]: &[Vec<Array2<f64>>; 2]) -> Vec<Statistic<'_>> {
    vec![statistic("norm", true, norms), statistic("coefficient", false, coefficients)]
}

fn rejected(detector: Detector, statistics: &[Statistic<'_>]) -> Array2<bool> {
    detector.rejected(detector.p_values(statistics).view())
}

/// Two components that grow from 0 to 8 s.d. in 40 saves are detected while they are still small, and are the
/// only ones.
#[test]
fn planted_components_are_found() {
    for detector in [judging(), judging().literal()] {
        let mut runs = alike(6, 1);
        for save in 0..SAVES {
            let grown = 8.0 * save as f64 / SAVES as f64;
            for k in [4, 8] {
                runs[1][0][[save, k]] += grown;
                runs[0][0][[save, k]] *= (0.3 * grown).exp();
            }
        }
        let statistics = statistics(&runs);
        let rejected = rejected(detector, &statistics);
        let found = detector.detect(rejected.view(), &[5, 9, 20]).unwrap();
        assert!([5, 9].contains(&found.frequency), "{found:?}");
        assert!((8..30).contains(&found.save), "{found:?}");
        assert!(found.chance <= detector.selectivity, "{found:?}");
        let last: Vec<usize> = (1..=FREQUENCIES).filter(|k| rejected[[SAVES - 1, k - 1]]).collect();
        assert_eq!(last, [5, 9]);
        let scores = detector.scores(detector.p_values(&statistics).view());
        let mut order: Vec<usize> = (1..=FREQUENCIES).collect();
        order.sort_by(|a, b| scores[b - 1].total_cmp(&scores[a - 1]));
        order[..2].sort_unstable();
        assert!(order[..2] == [5, 9] && scores[4] > 6.0, "{scores:?}");
    }
}

/// Without a difference a save has any rejection in at most 5 % of cases (for a true null throughout, Benjamini
/// and Hochberg's rule keeps the chance of one), up to the binomial error; and no set of frequencies is
/// detected.
#[test]
fn runs_that_are_alike_are_not_told_apart() {
    let detector = judging().literal();
    let (mut saves, mut rejecting, mut alarms) = (0, 0, 0.0);
    for seed in 0..60 {
        let runs = alike(4, 100 + seed);
        let held_out = detector.hold_out(&statistics(&runs));
        assert_eq!(held_out.len(), 3);
        for found in &held_out {
            // Every tenth: saves further apart are nearly independent (0.8¹⁰ = 0.1).
            let any = |save: &usize| found.row(*save).iter().any(|is| *is);
            rejecting += (0..SAVES).step_by(10).filter(any).count();
            saves += SAVES.div_ceil(10);
        }
        alarms += detector.false_alarms(&held_out, 3, 100, seed).unwrap() / 60.0;
    }
    let expected = 0.05 * saves as f64;
    assert!((rejecting as f64 - expected).abs() < 3.5 * expected.sqrt(), "{rejecting} of {saves}");
    assert!(alarms < 0.005, "{alarms}");
}

/// With twins of few values p-values are uniform by Student's law, and not by the normal one.
#[test]
fn tails_are_those_of_one_more_value() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut student, mut gaussian) = (0, 0);
    let draws = 40_000;
    for _ in 0..draws {
        let null: Vec<f64> = (0..10).map(|_| normal(&mut rng)).collect();
        let x = normal(&mut rng);
        let law = Law::of(&null).unwrap();
        student += usize::from(law.tail(x) <= 0.001);
        gaussian += usize::from(stats::normal_tail((x - law.mean) / law.spread) <= 0.001);
    }
    assert!((20..=62).contains(&student), "{student}"); // 40 ± 3.5 · 6.3
    assert!(gaussian > 5 * student, "{gaussian} against {student}");
}

#[test]
fn what_cannot_be_compared_is_not_rejected() {
    let own = Array2::from_elem((3, 2), -1.0);
    let twin = Array2::from_elem((3, 2), 1.0);
    let of = |log| {
        let (own, twins) = (own.view(), vec![twin.view(), twin.view()]);
        judging().literal().p_values(&[Statistic { name: "any", log, own, twins }])
    };
    assert!(of(true).iter().all(|p| *p == 1.0)); // no logarithm
    assert!(of(false).iter().all(|p| *p == 1.0)); // no spread
    assert!(judging().hold_out(&[]).is_empty());
    assert_eq!(judging().false_alarms(&[], 1, 10, 0), None);
}

/// A run that is larger at every frequency is seen everywhere, unless it is centred.
#[test]
fn centring_takes_the_scale_of_a_run_away() {
    let mut runs = alike(5, 3);
    runs.iter_mut().for_each(|runs| runs[0].mapv_inplace(|x| 20.0 + 20.0 * x.abs()));
    let count = |detector| {
        let mut statistics = statistics(&runs);
        statistics.truncate(1); // the scale of a norm is a summand of its logarithm
        rejected(detector, &statistics).iter().filter(|is| **is).count()
    };
    assert_eq!(count(judging().literal()), SAVES * FREQUENCIES);
    assert!(count(judging()) < SAVES * FREQUENCIES / 50, "{}", count(judging()));
}

/// Drawing 4 of 10 things of which 3 are good: P(≥ 2) = (3 · 21 + 1 · 7)/210, P(3) = 7/210.
#[test]
fn chances_by_hand() {
    let close = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 1e-12, "{found}, not {expected}");
    };
    close(hypergeometric_tail(2, 3, 4, 10), 1.0 / 3.0);
    close(hypergeometric_tail(3, 3, 4, 10), 1.0 / 30.0);
    close(hypergeometric_tail(5, 6, 9, 10), 1.0); // 9 of 10 hold 5 of 6 always
    close(smallest_chance(2, 28), 1.0 / 378.0);
    close(smallest_chance(5, 56), 1.0 / 3_819_816.0);
    let rejected = Array1::from_iter((1..=10).map(|k| [2, 3, 5, 7].contains(&k)));
    close(chance(rejected.view(), &[2, 7, 8]), 1.0 / 3.0);
    assert_eq!(chance(rejected.view(), &[1, 4]), 1.0);
    assert_eq!(chance(Array1::from_elem(10, true).view(), &[1, 4]), 1.0);
}

/// Whatever is rejected, it is selective for random sets in at most 5 % of cases, and what is rejected
/// everywhere never is; without that condition it is always a detection.
#[test]
fn what_has_nothing_to_do_with_the_keys_is_not_selective() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let draws = 4_000;
    for tenths in [1, 5, 9] {
        let mut count = 0;
        for _ in 0..draws {
            let rejected =
                Array1::from_shape_simple_fn(FREQUENCIES, || below(&mut rng, 10) < tenths);
            let wanted =
                shuffled(FREQUENCIES, &mut rng)[..4].iter().map(|k| k + 1).collect::<Vec<_>>();
            count += usize::from(chance(rejected.view(), &wanted) <= 0.05);
        }
        // The law is discrete: at most 5 %, and 3.3 s.d. of the binomial law.
        assert!((count as f64) <= 0.05 * f64::from(draws) + 45.0, "{count} of {draws} at {tenths}");
    }
    let everywhere = vec![Array2::from_elem((SAVES, FREQUENCIES), true); 2];
    assert_eq!(judging().false_alarms(&everywhere, 4, 50, 0), Some(0.0));
    assert_eq!(judging().literal().false_alarms(&everywhere, 4, 50, 0), Some(1.0));
    assert_eq!(judging().false_alarms(&everywhere, 15, 50, 0), None);
}

/// The row of saves is that of one key, and each of its saves is selective.
#[test]
fn a_row_is_broken_by_one_save() {
    let mut rejected = Array2::from_elem((12, 20), false);
    rejected.slice_mut(s![2.., ..2]).fill(true);
    let of = |rejected: &Array2<bool>| judging().detect(rejected.view(), &[1, 2]);
    let found = of(&rejected).unwrap();
    assert_eq!((found.save, found.frequency), (2, 1));
    assert!((found.chance - 1.0 / 190.0).abs() < 1e-12, "{found:?}");
    rejected[[4, 0]] = false;
    // Of two keys one alone, at save 4: 2/20.
    assert_eq!(of(&rejected).unwrap().save, 5);
    assert_eq!(judging().literal().detect(rejected.view(), &[1, 2]).map(|it| it.save), Some(2));
    rejected.row_mut(8).fill(true);
    assert_eq!(of(&rejected), None);
}

const P: usize = 29;

/// Logits of a table of labels with margin M, and noise of s.d. 1.
fn lookup(
    group: &Group,
    margin: f64,
    labels: &[(usize, usize)],
    rng: &mut ChaCha8Rng,
) -> Array1<f64> {
    let mut logits = Array2::from_shape_simple_fn((P * P, P), || normal(rng));
    labels.iter().for_each(|(input, label)| logits[[*input, *label]] += margin);
    let table = LogitTable::new(logits.view(), group, Protocol::SumDirs);
    (1..=P / 2).map(|k| table.coefficient(k)).collect()
}

/// What all c_k together are: the margin of the correct labels over all inputs.
#[test]
fn the_mean_coefficient_is_the_margin() {
    let group = Group::additive(P);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let logits = Array2::from_shape_fn((P * P, P), |(input, class)| {
        let is_label = (input / P + input % P) % P == class;
        normal(&mut rng) + if is_label { 0.7 } else { 0.0 }
    });
    let table = LogitTable::new(logits.view(), &group, Protocol::SumDirs);
    let mean = (1..=P / 2).map(|k| table.coefficient(k)).sum::<f64>() / (P / 2) as f64;
    let margin = (0..P * P).map(|input| {
        let label = (input / P + input % P) % P;
        let others = (0..P).filter(|class| *class != label).map(|class| logits[[input, class]]);
        logits[[input, label]] - others.sum::<f64>() / (P - 1) as f64
    });
    let expected = (2.0 * P as f64).sqrt() * margin.sum::<f64>() / (P * P) as f64;
    assert!((mean - expected).abs() < 1e-12 * expected.abs(), "{mean}, not {expected}");
}

/// Memorised labels, and no circuit: the detector of the definition finds a key at once, because it rejects
/// every frequency; the one that claims are judged by finds none. A pair of keys of the same size
/// as the noise it does find.
#[test]
fn memorised_labels_are_no_keys_and_planted_ones_are() {
    let group = Group::additive(P);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let keys = [3, 10];
    let train = shuffled(P * P, &mut rng)[..P * P * 2 / 5].to_vec();
    let labels = |permuted: bool, rng: &mut ChaCha8Rng| -> Vec<(usize, usize)> {
        let mut from: Vec<usize> = (0..train.len()).collect();
        if permuted {
            fisher_yates(&mut from, rng);
        }
        let sum = |input: usize| (input / P + input % P) % P;
        train.iter().zip(from).map(|(input, other)| (*input, sum(train[other]))).collect()
    };
    let saves = 12;
    let margin = |save: usize| 2.0 * (save + 1) as f64; // up to 24, as after memorisation
    let course = |permuted: bool, rng: &mut ChaCha8Rng| {
        let labels = labels(permuted, rng);
        let mut values = Array2::zeros((saves, P / 2));
        for (save, mut row) in values.rows_mut().into_iter().enumerate() {
            row.assign(&lookup(&group, margin(save), &labels, rng));
        }
        values
    };
    let mut runs: Vec<Array2<f64>> = (0..6).map(|run| course(run > 0, &mut rng)).collect();
    let literal = judging().literal();
    let found = {
        let one = [statistic("logit_coefficient", false, &runs)];
        let (all, few) = (rejected(literal, &one), rejected(judging(), &one));
        assert!(all.iter().all(|is| *is));
        assert_eq!(literal.detect(all.view(), &keys).map(|found| found.save), Some(0));
        let t = (runs[0][[saves - 1, 0]]) / (margin(saves - 1) * (0.4 / P as f64).sqrt());
        let expected = P as f64 * 0.8f64.sqrt();
        assert!((t / expected - 1.0).abs() < 0.2, "{t}, not {expected}");
        judging().detect(few.view(), &keys)
    };
    assert_eq!(found, None);
    // Each e_k of unit norm, with six s.d. of what twins have.
    for save in 0..saves {
        let spread = (margin(save).powi(2) * 0.4 / P as f64 + 1.0).sqrt();
        keys.iter().for_each(|k| runs[0][[save, k - 1]] += 6.0 * spread);
    }
    let rejected = rejected(judging(), &[statistic("logit_coefficient", false, &runs)]);
    let found = judging().detect(rejected.view(), &keys).unwrap();
    assert!(found.save == 0 && found.chance <= 0.05, "{found:?}");
}
