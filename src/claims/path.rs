//! Which part of the logits changed the loss between two saves: the integral along the straight line.
//!
//! ```text
//! delta_X = ∫₀¹ ⟨∂ℓ/∂L at (1−τ)L_s + τL_t, X_t − X_s⟩ dτ,   X ∈ {mean, L_K, L_R}
//! Σ_X delta_X = ℓ_t − ℓ_s
//! ```
//!
//! by Gauss and Legendre's rule. Nothing cancels: with `D_c = X_c − X_y`, differences to the label's,
//! ⟨∂ℓ/∂L, X⟩ = Σ_{c≠y} softmax_c D_c, and
//!
//! ```text
//! ℓ_t − ℓ_s = log1p( Σ_c softmax_c(L_s) expm1(D_c) ),   D of L_t − L_s
//! ```

use multiversion::multiversion;

use super::parts::{Gaps, Parts, exponentials};
use crate::linalg::kernels;

/// What the changes of the three parts did to a loss, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deltas {
    pub mean: f64,
    pub key: f64,
    pub rest: f64,
    /// ℓ_t − ℓ_s
    pub change: f64,
    /// Number of nodes of the rule
    pub nodes: usize,
}

/// Numbers of nodes that are tried, one after the other, until the sum is the change of the loss.
pub const NODES: [usize; 6] = [5, 10, 20, 40, 80, 160];

/// Largest distance of the sum from the change that is good enough, as a share of the change.
pub const CLOSURE: f64 = 0.01;

/// A change of the loss below this many nats has no [`Deltas::closure`].
pub const LEAST_CHANGE: f64 = 1e-12;

impl Deltas {
    /// Between two checkpoints, over these inputs; `None` if there are none.
    ///
    /// # Panics
    /// If an input is not one of the group's, or the two are of different networks.
    #[must_use]
    pub fn new(before: &Parts<'_>, now: &Parts<'_>, inputs: &[usize]) -> Option<Self> {
        if inputs.is_empty() {
            return None;
        }
        assert_eq!(before.classes(), now.classes());
        let mut change = None;
        let mut found = None;
        for nodes in NODES {
            let deltas = Self::with(before, now, inputs, nodes, change);
            change = Some(deltas.change);
            let enough = deltas.error() < CLOSURE * deltas.change.abs().max(LEAST_CHANGE);
            found = Some(deltas);
            if enough {
                break;
            }
        }
        found
    }

    /// The same with that many nodes; the change of the loss is computed where it is not known.
    fn with(
        before: &Parts<'_>,
        now: &Parts<'_>,
        inputs: &[usize],
        nodes: usize,
        change: Option<f64>,
    ) -> Self {
        let rule = gauss_legendre(nodes);
        let p = now.classes();
        let (mut from, mut to) = (Gaps::zeros(p), Gaps::zeros(p));
        let (mut start, mut whole, mut scratch) = (vec![0.0; p], vec![0.0; p], vec![0.0; p]);
        let (mut sums, mut difference) = ([0.0; 3], 0.0);
        for &input in inputs {
            before.at(input, &mut from);
            now.at(input, &mut to);
            differences(&from, &mut to, &mut start, &mut whole);
            let parts = [&to.mean[..], &to.key, &to.rest];
            for &(tau, weight) in &rule {
                let slopes = slopes(&start, &whole, parts, tau, &mut scratch);
                sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += weight * slope);
            }
            if change.is_none() {
                difference += change_of_loss(&start, &whole, from.label, &mut scratch);
            }
        }
        let [mean, key, rest] = sums.map(|sum| sum / inputs.len() as f64);
        let change = change.unwrap_or(difference / inputs.len() as f64);
        Self { mean, key, rest, change, nodes }
    }

    fn error(&self) -> f64 {
        (self.mean + self.key + self.rest - self.change).abs()
    }

    /// `|Σ delta − Δℓ|/|Δℓ|`; `None` if |Δℓ| is below [`LEAST_CHANGE`].
    #[must_use]
    pub fn closure(&self) -> Option<f64> {
        let change = self.change.abs();
        (change >= LEAST_CHANGE).then(|| self.error() / change)
    }
}

/// The change of each part in the place of `to`, the start, and the whole change.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn differences(from: &Gaps, to: &mut Gaps, start: &mut [f64], whole: &mut [f64]) {
    for (to, from) in
        [(&mut to.mean, &from.mean), (&mut to.key, &from.key), (&mut to.rest, &from.rest)]
    {
        to.iter_mut().zip(from).for_each(|(to, from)| *to -= from);
    }
    for c in 0..start.len() {
        start[c] = from.mean[c] + from.key[c] + from.rest[c];
        whole[c] = to.mean[c] + to.key[c] + to.rest[c];
    }
}

/// `⟨∂ℓ/∂L, X⟩` of the three changes X at `start + τ whole`, all of them differences to the label's.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn slopes(
    start: &[f64],
    whole: &[f64],
    parts: [&[f64]; 3],
    tau: f64,
    scratch: &mut [f64],
) -> [f64; 3] {
    for ((z, start), whole) in scratch.iter_mut().zip(start).zip(whole) {
        *z = start + tau * whole;
    }
    let (_, total) = exponentials(scratch);
    let [mean, key, rest] = parts;
    [
        kernels::dot(scratch, mean) / total,
        kernels::dot(scratch, key) / total,
        kernels::dot(scratch, rest) / total,
    ]
}

/// `ℓ(start + whole) − ℓ(start)`.
fn change_of_loss(start: &[f64], whole: &[f64], label: usize, scratch: &mut [f64]) -> f64 {
    // Beyond this the two losses differ by so much that nothing is lost in their difference, and the
    // exponentials might leave the range of f64.
    const SMALL: f64 = 1.0;
    if whole.iter().all(|d| d.abs() <= SMALL) {
        scratch.copy_from_slice(start);
        let (_, total) = exponentials(scratch);
        let sum: f64 = scratch.iter().zip(whole).map(|(e, d)| e * libm::expm1(*d)).sum();
        return (sum / total).ln_1p();
    }
    let loss = |z: &[f64]| {
        let (mut loss, mut correct) = ([0.0], [false]);
        kernels::row_losses(z, z.len(), &[label], &mut loss, &mut correct);
        loss[0]
    };
    scratch.iter_mut().zip(start).zip(whole).for_each(|((z, s), d)| *z = s + d);
    loss(scratch) - loss(start)
}

/// Nodes in 0..1 and weights of Gauss and Legendre's rule: exact for polynomials of degree `2n − 1`.
///
/// The nodes are the zeros of the Legendre polynomial P_n, by Newton's method from Tricomi's estimate.
#[must_use]
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let node = |i: usize| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..20 {
            // (j+1) P_{j+1} = (2j+1) x P_j − j P_{j−1}
            let (mut previous, mut value) = (1.0, x);
            for j in 1..n {
                let j = j as f64;
                let next = ((2.0 * j + 1.0) * x * value - j * previous) / (j + 1.0);
                (previous, value) = (value, next);
            }
            slope = n as f64 * (x * value - previous) / (x * x - 1.0);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        (0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(node).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::super::parts::tests::{cosine, noise};
    use super::*;
    use crate::progress::{Group, LogitTable, Protocol, RowLosses};

    fn deltas(before: &Array2<f64>, now: &Array2<f64>, p: usize, keys: &[usize]) -> Deltas {
        let group = Group::additive(p);
        let tables = [before, now].map(|x| LogitTable::new(x.view(), &group, Protocol::SumDirs));
        let before = Parts::new(before.view(), &tables[0], keys);
        let now = Parts::new(now.view(), &tables[1], keys);
        Deltas::new(&before, &now, &group.inputs()).unwrap()
    }

    fn loss(logits: &Array2<f64>, p: usize) -> f64 {
        let labels: Vec<usize> = (0..p * p).map(|input| (input / p + input % p) % p).collect();
        RowLosses::new(logits.view(), &labels).mean().unwrap()
    }

    #[test]
    fn the_rule_is_exact_for_polynomials() {
        for n in [1, 2, 5, 20, 160] {
            let rule = gauss_legendre(n);
            for degree in [0, 1, n, 2 * n - 1] {
                let degree = i32::try_from(degree).unwrap();
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(degree)).sum();
                let expected = 1.0 / f64::from(degree + 1);
                assert!((sum - expected).abs() < 1e-13, "{n} {degree}: {sum}");
            }
            assert!(rule.iter().all(|(x, w)| *x > 0.0 && *x < 1.0 && *w > 0.0));
        }
    }

    /// Only one part changes: the whole change is its own.
    #[test]
    fn the_part_that_changes_gets_all() {
        let p = 11;
        let before = noise(p, 2.0, 1);
        let mut of_mean = before.clone();
        of_mean.column_mut(3).mapv_inplace(|x| x + 1.5);
        for (now, part) in [
            (of_mean, 0),
            (&before + &(cosine(p, 2) * 3.0), 1),
            (&before + &(cosine(p, 4) * 3.0), 2),
        ] {
            let found = deltas(&before, &now, p, &[2]);
            let change = loss(&now, p) - loss(&before, p);
            assert!((found.change - change).abs() < 1e-13);
            for (i, delta) in [found.mean, found.key, found.rest].into_iter().enumerate() {
                let (expected, off) =
                    if i == part { (change, CLOSURE * change.abs()) } else { (0.0, 1e-12) };
                assert!((delta - expected).abs() < off, "{part}: {found:?}");
            }
        }
    }

    /// A path from confident and wrong to confident and right needs more than five nodes. What is found
    /// is the integral: that of the trapezoidal rule with a thousand intervals, by the textbook.
    #[test]
    fn more_nodes_are_taken_until_the_sum_is_the_change() {
        let p = 7;
        let before = cosine(p, 2) * -60.0 + cosine(p, 1) * 4.0;
        let now = cosine(p, 2) * 45.0 + cosine(p, 1) * 3.0 + noise(p, 1.0, 2);
        let found = deltas(&before, &now, p, &[2]);
        assert!(found.nodes > 5, "{found:?}");
        assert!(found.closure().unwrap() < CLOSURE);

        let group = Group::additive(p);
        let change = &now - &before;
        let table = LogitTable::new(change.view(), &group, Protocol::SumDirs);
        let part = table.component(&[2]);
        let slope = |tau: f64| {
            let at = &before + &(&change * tau);
            let of_input = |input: usize| {
                let pair = group.pair(input).unwrap();
                let mut d = vec![0.0; p];
                part.add_to(1.0, &group, pair, &mut d);
                let e: Vec<f64> = at.row(input).iter().map(|x| (x - 100.0).exp()).collect();
                let mean =
                    e.iter().zip(&d).map(|(e, d)| e * d).sum::<f64>() / e.iter().sum::<f64>();
                mean - d[group.label(pair)]
            };
            (0..p * p).map(of_input).sum::<f64>() / (p * p) as f64
        };
        let n = 1000;
        let inner: f64 = (1..n).map(|i| slope(f64::from(i) / f64::from(n))).sum();
        let key = (inner + 0.5 * (slope(0.0) + slope(1.0))) / f64::from(n);
        assert!((found.key - key).abs() < CLOSURE * found.change.abs(), "{} {key}", found.key);
    }

    /// Losses of 1e-17, whose difference would be a rounding: the change is that of the closed form.
    #[test]
    fn tiny_losses_have_a_change_with_digits() {
        let p = 7;
        let before = Array2::from_shape_fn((p * p, p), |(input, c)| {
            if (input / p + input % p) % p == c { 40.0 } else { 0.0 }
        });
        let now = before.mapv(|x| if x > 0.0 { x + 1e-6 } else { x });
        let found = deltas(&before, &now, p, &[2]);
        let expected = 6.0 * (-40.0f64).exp() * libm::expm1(-1e-6);
        assert!((found.change / expected - 1.0).abs() < 1e-6, "{:e}", found.change);
        assert_eq!(found.closure(), None);
    }

    proptest! {
        #[test]
        fn deltas_add_up_to_the_change(
            seed in 0u64..1000, scale in 0.01..10.0f64, step in 1e-6..20.0f64, wave in 0.0..20.0f64,
        ) {
            let p = 7;
            let before = noise(p, scale, seed) + cosine(p, 1) * wave;
            let now = &before + &noise(p, step, seed + 5000);
            let found = deltas(&before, &now, p, &[1]);
            prop_assert!((found.change - (loss(&now, p) - loss(&before, p))).abs() < 1e-12);
            let bound = CLOSURE * found.change.abs().max(LEAST_CHANGE);
            let sum = found.mean + found.key + found.rest;
            prop_assert!((sum - found.change).abs() < bound, "{:?}", found);
        }
    }
}
