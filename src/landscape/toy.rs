//! Two circuits that know nothing of each other, trained together: the two-basins toy.
//!
//! A circuit is a sum of products of weights, which an output either reads alone or together:
//!
//! ```text
//! o_i = Σ_u Π_l w_iul    (`width` units u, `depth` factors l)       i = A, B;   m_i = κ_i o_i
//! losses added   ℓ = f(m_A) + f(m_B)         logits added   ℓ = f(m_A + m_B)
//! f(m) = ln(1 + (q − 1) e^{−m})              plus (λ/2) ‖w‖² in both
//! ```
//!
//! `f` is the cross-entropy of one of `q` classes whose logit leads by `m`; `−f'` is the share of the
//! other classes, `p_err = (q − 1) e^{−m} / (1 + (q − 1) e^{−m})`. With losses added each circuit has its
//! own `p_err`; with logits added they share one, so a circuit that fits starves the other.
//!
//! From a balanced start (all weights of a circuit equal) with depth 2 and logits added, gradient flow
//! keeps one number the same for both, which is the test of the code:
//!
//! ```text
//! d ln o_i / dt = 2 (κ_i p_err − λ)   ⇒   [ln(o_i(t)/o_i(0)) + 2λt] / κ_i   is the same for i = A, B
//! ```
//!
//! Both grow at once while `κ_i p_err > λ`; at the end only the larger κ survives, at `p_err = λ/κ`.
//!
//! Source of the circuits: Varma et al. (2023), arXiv:2309.02390.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::config::names::named_enum;

named_enum! {
    /// What of the two circuits is added up.
    Sum, "model":
    /// `ℓ = f(m_A) + f(m_B)`
    Losses = "loss",
    /// `ℓ = f(m_A + m_B)`
    Logits = "logit",
}

/// Sizes and constants of a toy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Toy {
    pub sum: Sum,
    /// Units of a circuit, and factors of a unit
    pub width: usize,
    pub depth: usize,
    /// Number of weights; those beyond the circuits' do nothing
    pub dimension: usize,
    /// κ_A and κ_B: how much a circuit's output counts
    pub gain: [f64; 2],
    /// o_A and o_B at the start
    pub start: [f64; 2],
    /// q
    pub classes: f64,
    /// λ
    pub decay: f64,
    /// Step of gradient descent
    pub rate: f64,
}

impl Default for Toy {
    /// A starts ahead, B is worth more: A is learnt first, B wins.
    fn default() -> Self {
        Self {
            sum: Sum::Logits,
            width: 1,
            depth: 2,
            dimension: 16,
            gain: [1.0, 2.0],
            start: [1e-2, 1e-9],
            classes: 113.0,
            decay: 0.01,
            rate: 0.02,
        }
    }
}

/// Cross-entropy in nats, and p_err, of a lead `m`; without overflow.
fn cross_entropy(m: f64, classes: f64) -> (f64, f64) {
    let odds = (classes - 1.0).ln() - m;
    let p_err =
        if odds > 0.0 { 1.0 / (1.0 + (-odds).exp()) } else { odds.exp() / (1.0 + odds.exp()) };
    (odds.max(0.0) + (-odds.abs()).exp().ln_1p(), p_err)
}

/// What a toy does at some weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Without the decay
    pub loss: f64,
    /// Losses of each circuit alone, `f(m_i)`
    pub alone: [f64; 2],
    /// o_A and o_B
    pub output: [f64; 2],
    /// What drives each: its own with losses added, the common one with logits added
    pub p_err: [f64; 2],
    /// `−⟨∇o_i, ∇ℓ⟩`, without the decay: how fast gradient flow moves the output
    pub drive: [f64; 2],
}

impl Toy {
    /// Weights of a circuit.
    #[must_use]
    pub fn circuit_len(&self) -> usize {
        self.width * self.depth
    }

    /// Balanced weights that give the outputs of the start; the others are 0.
    ///
    /// # Panics
    /// If there are fewer dimensions than weights of both circuits.
    #[must_use]
    pub fn weights(&self) -> Vec<f64> {
        let len = self.circuit_len();
        assert!(2 * len <= self.dimension, "room for both circuits");
        let mut weights = vec![0.0; self.dimension];
        for (circuit, start) in weights.chunks_exact_mut(len).zip(self.start) {
            circuit.fill((start / self.width as f64).powf(1.0 / self.depth as f64));
        }
        weights
    }

    fn output(&self, circuit: &[f64]) -> f64 {
        circuit.chunks_exact(self.depth).map(|unit| unit.iter().product::<f64>()).sum()
    }

    /// `∂o/∂w` of a circuit.
    fn slopes(&self, circuit: &[f64]) -> Vec<f64> {
        let slope = |unit: &[f64], l: usize| -> f64 {
            unit.iter().enumerate().filter(|(k, _)| *k != l).map(|(_, w)| w).product()
        };
        let units = circuit.chunks_exact(self.depth);
        units.flat_map(|unit| (0..unit.len()).map(move |l| slope(unit, l))).collect()
    }

    /// The loss without the decay, and that of each circuit alone.
    #[must_use]
    pub fn losses(&self, weights: &[f64]) -> Height {
        let len = self.circuit_len();
        let m = [0, 1].map(|i| self.gain[i] * self.output(&weights[i * len..(i + 1) * len]));
        let alone = m.map(|m| cross_entropy(m, self.classes).0);
        let loss = match self.sum {
            Sum::Losses => alone[0] + alone[1],
            Sum::Logits => cross_entropy(m[0] + m[1], self.classes).0,
        };
        (loss, alone)
    }

    /// Everything about a point.
    #[must_use]
    pub fn state(&self, weights: &[f64]) -> State {
        let len = self.circuit_len();
        let circuits = [0, 1].map(|i| &weights[i * len..(i + 1) * len]);
        let output = circuits.map(|circuit| self.output(circuit));
        let m = [0, 1].map(|i| self.gain[i] * output[i]);
        let p_err = match self.sum {
            Sum::Losses => m.map(|m| cross_entropy(m, self.classes).1),
            Sum::Logits => [cross_entropy(m[0] + m[1], self.classes).1; 2],
        };
        let (loss, alone) = self.losses(weights);
        let drive = [0, 1].map(|i| {
            let square: f64 = self.slopes(circuits[i]).iter().map(|slope| slope * slope).sum();
            self.gain[i] * p_err[i] * square
        });
        State { loss, alone, output, p_err, drive }
    }

    /// One step of gradient descent on the loss with its decay.
    pub fn step(&self, weights: &mut [f64]) {
        let len = self.circuit_len();
        let p_err = self.state(weights).p_err;
        for i in 0..2 {
            let circuit = &mut weights[i * len..(i + 1) * len];
            let slopes = self.slopes(circuit);
            for (w, slope) in circuit.iter_mut().zip(slopes) {
                *w += self.rate * (self.gain[i] * p_err[i] * slope - self.decay * *w);
            }
        }
        weights[2 * len..].iter_mut().for_each(|w| *w -= self.rate * self.decay * *w);
    }

    /// `[ln(o_i(t)/o_i(0)) + 2λt] / κ_i`, t the steps times their length.
    #[must_use]
    pub fn invariants(&self, state: &State, step: usize) -> [f64; 2] {
        let time = self.rate * step as f64;
        [0, 1].map(|i| {
            ((state.output[i] / self.start[i]).ln() + 2.0 * self.decay * time) / self.gain[i]
        })
    }

    /// The part of the loss that B takes away, of what both take away: Shapley's, over two players.
    /// `None` at the start, when nothing is taken away.
    ///
    /// With losses added each is its own; with logits added `v(S) = f(Σ_{i∈S} m_i)`.
    #[must_use]
    pub fn share_of_b(&self, state: &State) -> Option<f64> {
        let none = cross_entropy(0.0, self.classes).0;
        let [a, b] = state.alone;
        let both = match self.sum {
            Sum::Losses => a + b - none,
            Sum::Logits => state.loss,
        };
        let of = |own: f64, other: f64| 0.5 * ((none - own) + (other - both));
        let total = none - both;
        (total > 0.01).then(|| of(b, a) / total)
    }
}

/// How long the directions of a slice are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Unit by unit as long as its weights: filter normalisation (arXiv:1712.09913)
    Filters,
    /// As long as all weights together, wherever that leads
    Whole,
}

/// The loss at a point, and that of each circuit alone.
pub type Height = (f64, [f64; 2]);

/// A square slice of the landscape along two random directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Points on a side, from −1 to 1
    pub side: usize,
    /// `[side, side]`
    pub points: Vec<Height>,
}

impl Slice {
    /// Evaluate a slice about some weights.
    ///
    /// # Panics
    /// With fewer than two points on a side.
    pub fn new(toy: &Toy, weights: &[f64], side: usize, scale: Scale, rng: &mut impl Rng) -> Self {
        assert!(side >= 2, "a slice has area");
        let [first, second] = [(); 2].map(|()| {
            let mut d: Vec<f64> = (0..weights.len()).map(|_| StandardNormal.sample(rng)).collect();
            match scale {
                Scale::Whole => rescale(&mut d, weights),
                Scale::Filters => {
                    let (units, others) = d.split_at_mut(2 * toy.circuit_len());
                    let filters = units.chunks_exact_mut(toy.depth);
                    filters.zip(weights.chunks_exact(toy.depth)).for_each(|(d, w)| rescale(d, w));
                    rescale(others, &weights[2 * toy.circuit_len()..]);
                }
            }
            d
        });
        let at = |i: usize| 2.0 * i as f64 / (side - 1) as f64 - 1.0;
        let point = |k: usize| {
            let (x, y) = (at(k / side), at(k % side));
            let moved = weights.iter().zip(first.iter().zip(&second));
            let moved: Vec<f64> = moved.map(|(w, (d, e))| w + x * d + y * e).collect();
            toy.losses(&moved)
        };
        Self { side, points: (0..side * side).map(point).collect() }
    }

    /// How much of the slice is each circuit's own loss: `1 − Var(ℓ − f(m_i)) / Var(ℓ)`, 1 if they are the
    /// same but for a constant, about 0 if that loss is flat, negative if it varies otherwise. `None` if the
    /// slice is flat.
    ///
    /// (Not a squared correlation: over a plane any two slopes are correlated, however small one is.)
    #[must_use]
    pub fn visible(&self) -> [Option<f64>; 2] {
        let n = self.points.len() as f64;
        let variance = |value: &dyn Fn(&Height) -> f64| {
            let mean = self.points.iter().map(value).sum::<f64>() / n;
            self.points.iter().map(|point| (value(point) - mean).powi(2)).sum::<f64>() / n
        };
        let whole = variance(&|point| point.0);
        let share = |i: usize| 1.0 - variance(&|point| point.0 - point.1[i]) / whole;
        [0, 1].map(|i| (whole > 0.0).then(|| share(i)).filter(|share| share.is_finite()))
    }
}

/// Make a direction as long as these weights.
fn rescale(direction: &mut [f64], weights: &[f64]) {
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let own = norm(direction);
    let scale = if own > 0.0 { norm(weights) / own } else { 0.0 };
    direction.iter_mut().for_each(|x| *x *= scale);
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn cross_entropy_is_the_textbook_s() {
        for m in [-3.0, 0.0, 2.0, 9.0] {
            let others = 112.0 * f64::exp(-m);
            let (loss, p_err) = cross_entropy(m, 113.0);
            assert!(
                (loss - others.ln_1p()).abs() < 1e-13
                    && (p_err - others / (1.0 + others)).abs() < 1e-15
            );
        }
        let (loss, p_err) = cross_entropy(800.0, 113.0);
        assert!((0.0..1e-300).contains(&loss) && p_err < 1e-300);
        assert!((cross_entropy(-800.0, 113.0).0 - 800.0 - 112.0f64.ln()).abs() < 1e-12);
    }

    /// Gradient descent steps against differences of the loss, for both sums, widths and depths.
    #[test]
    fn a_step_follows_the_gradient() {
        for (sum, width, depth) in [(Sum::Losses, 1, 2), (Sum::Logits, 2, 2), (Sum::Logits, 3, 3)] {
            let toy = Toy { sum, width, depth, dimension: 20, ..Toy::default() };
            let weights: Vec<f64> = (0..20).map(|i| 0.5 + 0.1 * f64::from(i % 7)).collect();
            let mut moved = weights.clone();
            toy.step(&mut moved);
            let whole = |w: &[f64]| {
                toy.losses(w).0 + 0.5 * toy.decay * w.iter().map(|w| w * w).sum::<f64>()
            };
            for i in 0..20 {
                let at = |h: f64| {
                    let mut w = weights.clone();
                    w[i] += h;
                    whole(&w)
                };
                let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                let found = (weights[i] - moved[i]) / toy.rate;
                assert!((found - slope).abs() < 1e-8, "{sum} {i}: {found} {slope}");
            }
        }
    }

    /// Largest difference of the two invariants, relative to their size, until B has won.
    fn broken(toy: &Toy, time: f64) -> f64 {
        let mut weights = toy.weights();
        let steps = (time / toy.rate).round() as usize;
        let mut worst = 0.0f64;
        for step in 1..=steps {
            toy.step(&mut weights);
            let [a, b] = toy.invariants(&toy.state(&weights), step);
            worst = worst.max((a - b).abs() / a.abs().max(1.0));
        }
        worst
    }

    /// The invariant of gradient flow: gradient descent breaks it in proportion to its step. With
    /// losses added there is none.
    #[test]
    fn logits_added_have_an_invariant() {
        for width in [1, 4] {
            let toy = Toy { width, ..Toy::default() };
            let [coarse, fine] = [0.02, 0.01].map(|rate| broken(&Toy { rate, ..toy }, 60.0));
            assert!(coarse < 0.02, "{coarse}");
            assert!((coarse / fine - 2.0).abs() < 0.1, "{coarse} {fine}");
        }
        let apart = Toy { sum: Sum::Losses, rate: 0.01, ..Toy::default() };
        assert!(broken(&apart, 60.0) > 0.5);
    }

    /// At the end only the larger κ is left, at p_err = λ/κ.
    #[test]
    fn the_larger_gain_survives() {
        let toy = Toy::default();
        let mut weights = toy.weights();
        (0..200_000).for_each(|_| toy.step(&mut weights));
        let state = toy.state(&weights);
        assert!(state.output[0] < 1e-6 && state.output[1] > 1.0, "{state:?}");
        assert!((state.p_err[1] / (toy.decay / toy.gain[1]) - 1.0).abs() < 1e-6, "{state:?}");
        assert!(toy.share_of_b(&state).unwrap() > 0.99);
    }

    /// The Shapley shares: equal players get equal parts; with losses added, each its own.
    #[test]
    fn shares_are_shapley_s() {
        let toy = Toy { gain: [1.0; 2], start: [2.0; 2], ..Toy::default() };
        let state = toy.state(&toy.weights());
        assert!((toy.share_of_b(&state).unwrap() - 0.5).abs() < 1e-12);
        let apart = Toy { sum: Sum::Losses, gain: [1.0; 2], start: [1.0, 3.0], ..toy };
        let state = apart.state(&apart.weights());
        let none = 113.0f64.ln();
        let expected = (none - state.alone[1]) / (2.0 * none - state.loss);
        assert!((apart.share_of_b(&state).unwrap() - expected).abs() < 1e-12);
        assert_eq!(Toy::default().share_of_b(&Toy::default().state(&[0.0; 16])), None);
    }

    /// While A decides the output, the slice is A's; what it shows of B is nothing, unless the directions
    /// are far longer than B's weights.
    #[test]
    fn the_visible_slice_is_the_leader_s() {
        let toy = Toy { start: [7.0, 1e-4], ..Toy::default() };
        let weights = toy.weights();
        let slice =
            |scale| Slice::new(&toy, &weights, 21, scale, &mut ChaCha8Rng::seed_from_u64(1));
        let filters = slice(Scale::Filters);
        assert_eq!(filters.points[220].0.to_bits(), toy.losses(&weights).0.to_bits());
        let [a, b] = filters.visible().map(Option::unwrap);
        assert!(a > 0.999 && b.abs() < 0.01, "{a} {b}");
        let [a_whole, b_whole] = slice(Scale::Whole).visible().map(Option::unwrap);
        assert!(a_whole < 0.99 && (b_whole - b).abs() > 0.01, "{a_whole} {b_whole}");
    }
}
