//! Which part of the logits the loss owes its fall to: Shapley's shares of the key frequencies and of
//! the rest.
//!
//! ```text
//! v(S) = CE(mean + Σ_{X∈S} L_X),   S ⊆ {K, R}
//! shapley_key = ½[(v(∅) − v(K)) + (v(R) − v(KR))]      shapley_rest = ½[(v(∅) − v(R)) + (v(K) − v(KR))]
//! interaction = v(KR) − v(K) − v(R) + v(∅)
//! ```
//!
//! The shares are the mean gain of a player over both orders of joining; they add up to v(∅) − v(KR).
//!
//! Source: Shapley (1953), *A value for n-person games*.

use super::parts::{Gaps, Parts};
use crate::linalg::kernels;

/// Mean losses of the four coalitions over some inputs, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coalitions {
    /// v(∅): CE(mean)
    pub none: f64,
    /// v(K): CE(mean + L_K), the restricted loss
    pub key: f64,
    /// v(R): CE(mean + L_R), the excluded loss
    pub rest: f64,
    /// v(KR): CE(L)
    pub both: f64,
}

/// A share is a quotient of roundings, or of nothing, where the whole is at most this many nats.
pub const LEAST_GAIN: f64 = 0.01;

impl Coalitions {
    /// Over these inputs; `None` if there are none.
    ///
    /// # Panics
    /// If an input is not one of the group's.
    #[must_use]
    pub fn new(parts: &Parts<'_>, inputs: &[usize]) -> Option<Self> {
        let p = parts.classes();
        let mut gaps = Gaps::zeros(p);
        let mut rows = vec![0.0; 4 * p];
        let (mut sums, mut losses, mut correct) = ([0.0; 4], [0.0; 4], [false; 4]);
        for &input in inputs {
            parts.at(input, &mut gaps);
            let parts = gaps.mean.iter().zip(&gaps.key).zip(&gaps.rest);
            for (c, ((mean, key), rest)) in parts.enumerate() {
                rows[c] = *mean;
                rows[p + c] = mean + key;
                rows[2 * p + c] = mean + rest;
                rows[3 * p + c] = mean + key + rest;
            }
            kernels::row_losses(&rows, p, &[gaps.label; 4], &mut losses, &mut correct);
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        }
        let [none, key, rest, both] = sums.map(|sum| sum / inputs.len() as f64);
        (!inputs.is_empty()).then_some(Self { none, key, rest, both })
    }

    /// Shapley's share of the key frequencies, in nats.
    #[must_use]
    pub fn shapley_key(&self) -> f64 {
        0.5 * ((self.none - self.key) + (self.rest - self.both))
    }

    /// Shapley's share of the rest, in nats.
    #[must_use]
    pub fn shapley_rest(&self) -> f64 {
        0.5 * ((self.none - self.rest) + (self.key - self.both))
    }

    /// `shapley_key` over the sum of both; `None` if the sum is at most [`LEAST_GAIN`].
    #[must_use]
    pub fn share_key(&self) -> Option<f64> {
        let whole = self.shapley_key() + self.shapley_rest();
        (whole > LEAST_GAIN).then(|| self.shapley_key() / whole)
    }

    /// v(KR) − v(K) − v(R) + v(∅), in nats: 0 if the gain of each does not depend on the other.
    #[must_use]
    pub fn interaction(&self) -> f64 {
        (self.both - self.key) + (self.none - self.rest)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::super::parts::tests::{cosine, noise};
    use super::*;
    use crate::config::Task;
    use crate::progress::{CircuitLosses, Group, LogitTable, Protocol, RowLosses};

    fn coalitions(logits: &Array2<f64>, group: &Group, keys: &[usize]) -> Coalitions {
        let table = LogitTable::new(logits.view(), group, Protocol::SumDirs);
        Coalitions::new(&Parts::new(logits.view(), &table, keys), &group.inputs()).unwrap()
    }

    /// Three of the four values are measures of `progress`; CE(mean) is that of the mean's rows.
    #[test]
    fn coalitions_are_the_losses_of_progress() {
        let p = 11;
        for task in [Task::Add, Task::Div] {
            let group = Group::of(task, p).unwrap();
            for (protocol, scale) in [(Protocol::SumDirs, 30.0), (Protocol::Block3x3, 2.0)] {
                let logits = noise(p, 1.0, 3) + cosine(p, 2) * scale;
                let table = LogitTable::new(logits.view(), &group, protocol);
                let inputs = group.inputs();
                let (train, test) = inputs.split_at(40);
                let parts = Parts::new(logits.view(), &table, &[2, 5]);
                let known = CircuitLosses::one_by_one(logits.view(), &table, &[2, 5], train, test);
                for (inputs, known) in [(train, known.train), (test, known.test)] {
                    let found = Coalitions::new(&parts, inputs).unwrap();
                    let labels: Vec<usize> = inputs
                        .iter()
                        .map(|input| group.label(group.pair(*input).unwrap()))
                        .collect();
                    let means = Array2::from_shape_fn((inputs.len(), p), |(_, c)| table.mean()[c]);
                    let none = RowLosses::new(means.view(), &labels).mean();
                    for (found, expected) in [
                        (found.both, known.loss),
                        (found.key, known.restricted_loss),
                        (found.rest, known.excluded_loss),
                        (found.none, none),
                    ] {
                        let expected = expected.unwrap();
                        assert!((found - expected).abs() < 1e-12 * (1.0 + expected), "{found}");
                    }
                }
            }
        }
        let group = Group::additive(p);
        let logits = noise(p, 1.0, 3);
        let table = LogitTable::new(logits.view(), &group, Protocol::SumDirs);
        assert_eq!(Coalitions::new(&Parts::new(logits.view(), &table, &[1]), &[]), None);
    }

    /// Nothing but key frequencies: all of the fall is theirs, to the bit of rounding. Other frequencies
    /// alone: none of it.
    #[test]
    fn a_trigonometric_network_owes_all_to_its_keys() {
        let p = 23;
        let group = Group::additive(p);
        let logits = cosine(p, 4) * 7.0 + cosine(p, 9) * 5.0;
        let found = coalitions(&logits, &group, &[4, 9]);
        assert!((found.none - (p as f64).ln()).abs() < 1e-12, "constant logits");
        assert!((found.share_key().unwrap() - 1.0).abs() < 1e-12);
        assert!(found.interaction().abs() < 1e-12);
        let found = coalitions(&logits, &group, &[1, 2]);
        assert!(found.share_key().unwrap().abs() < 1e-12);
    }

    /// A table that knows some labels and nothing else, and noise: K gets little more than the share of
    /// their energy that it has by chance, 2|K| of p² directions of the inputs.
    #[test]
    fn a_random_network_owes_hardly_anything_to_its_keys() {
        let p = 23;
        let group = Group::additive(p);
        let mut table = noise(p, 0.5, 6);
        let known: Vec<usize> = group.inputs().into_iter().step_by(10).collect();
        for input in &known {
            table[[*input, (input / p + input % p) % p]] += 8.0;
        }
        let split = LogitTable::new(table.view(), &group, Protocol::SumDirs);
        let found = Coalitions::new(&Parts::new(table.view(), &split, &[4, 9]), &known).unwrap();
        assert!(found.both < 0.05 && found.none > 2.5, "{found:?}");
        assert!(found.share_key().unwrap().abs() < 0.1, "{found:?}");

        let noise = noise(p, 3.0, 7);
        let found = coalitions(&noise, &group, &[4, 9]);
        assert_eq!(found.share_key(), None, "noise does not lower the loss");
        let gain = noise.mapv(|x| x * x).mean().unwrap();
        // Of −⟨∂ℓ/∂L, L_K⟩, about 4/529 of the change that the whole of the noise makes.
        assert!(found.shapley_key().abs() < 0.05 * gain, "{}", found.shapley_key());
    }

    proptest! {
        /// The two shares are all that was gained, each frequency's loss falls or not.
        #[test]
        fn shares_add_up(seed in 0u64..1000, scale in 0.01..40.0f64, wave in 0.0..20.0f64) {
            let p = 7;
            let group = Group::additive(p);
            let logits = noise(p, scale, seed) + cosine(p, 2) * wave;
            let found = coalitions(&logits, &group, &[2]);
            let labels: Vec<usize> = (0..p * p).map(|input| (input / p + input % p) % p).collect();
            let table = LogitTable::new(logits.view(), &group, Protocol::SumDirs);
            let means = Array2::from_shape_fn((p * p, p), |(_, c)| table.mean()[c]);
            let gain = RowLosses::new(means.view(), &labels).mean().unwrap()
                - RowLosses::new(logits.view(), &labels).mean().unwrap();
            prop_assert!((found.shapley_key() + found.shapley_rest() - gain).abs() < 1e-9);
            // A swap of the players swaps the shares and leaves the interaction.
            let swapped = Coalitions { key: found.rest, rest: found.key, ..found };
            prop_assert!((swapped.shapley_rest() - found.shapley_key()).abs() < 1e-12);
            prop_assert!((swapped.interaction() - found.interaction()).abs() < 1e-12);
        }
    }
}
