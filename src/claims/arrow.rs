//! The arrow: how fast an update of the weights moves the logit coefficients.
//!
//! `c_k = ⟨L, e_k⟩` is linear in the logits. So its derivative along a direction v of the weights is
//! `⟨e_k, J v⟩`, and one derivative of the logits gives it for all k at once. The sums of the logits
//! over equal `s = a + b` are enough:
//!
//! ```text
//! ⟨∇c_k, v⟩ = √(2/n³) Σ_{s,c} cos(w_k(s − c)) M'[s,c],   M'[s,c] = Σ_{a+b≡s} (J v)[a,b,c]
//! ```
//!
//! The *mirror* of `e_k` is the same wave in `a − b`: `cos w_k(a−b−c)`, of the same norm, which no label
//! asks for. For a task that subtracts the two change places, and for a product `a` and `b` are
//! discrete logarithms, as in [`crate::progress`]. An unpaired frequency is its own mirror.
//!
//! Pure: arrays in, numbers out. Everything is f64: late in training the gradient is 1e-7 of what it
//! was.

use ndarray::{Array2, ArrayView2, Axis};

use super::stats::{normal_tail, student_tail, z};
use crate::fourier::{self, Transform};
use crate::linalg::{kernels, matmul};
use crate::model::folded::{Block, Folded, Pooled, Tables};
use crate::model::tangent::Tangent;
use crate::model::{InTurn, Model, names};
use crate::params::Params;
use crate::progress::{Along, Group};
use crate::tasks::Batch;

#[cfg(test)]
mod tests;

/// Pairs of a block of the training set.
const ROWS: usize = 256;

/// Second operands that are worked on with all first ones before the next: so many that their rows of the
/// network's tables stay in the cache.
const TILE: usize = 8;

/// A network at one weight vector, ready for gradients of the training loss and for derivatives of the
/// logit coefficients.
#[allow(missing_debug_implementations)] // workspace: nothing in it is worth printing
pub struct Point<'a> {
    model: &'a Folded,
    group: &'a Group,
    params: &'a Params<f64>,
    train: &'a Batch,
    tables: Tables<f64>,
    moving: Tables<f64>,
    /// Along the sums, then along the differences
    pooled: Pooled<f64>,
    /// The training pairs after the forward pass
    blocks: Vec<Block<f64>>,
    /// Way back, as far as the sums over the training pairs, of the training loss plus the mean logit of the
    /// labels, which is the mean of `ln Σ exp`. Made when it is asked for.
    unlabelled: Option<Params<f64>>,
}

/// One number for each frequency `k = 1..=n/2`, at index `k − 1`: of `c_k`, and of its mirror.
#[derive(Debug, Clone, PartialEq)]
pub struct Slopes {
    pub of_sum: Vec<f64>,
    pub of_mirror: Vec<f64>,
}

impl<'a> Point<'a> {
    /// Evaluate the network on the inputs of the group, and on the training pairs.
    #[must_use]
    pub fn new(
        model: &'a Folded,
        group: &'a Group,
        params: &'a Params<f64>,
        train: &'a Batch,
    ) -> Self {
        let (p, n) = (group.p(), group.order());
        let mut tables = Model::<f64>::new_tables(model);
        model.prepare(params, &mut tables, &InTurn);
        let mut inputs: Vec<_> = group.inputs_by_element().into_iter().enumerate().collect();
        inputs.sort_unstable_by_key(|(_, input)| (input % p / TILE, *input));
        let pairs: Vec<_> = inputs.iter().map(|(_, input)| [input / p, input % p]).collect();
        let along =
            |along| inputs.iter().map(|(i, _)| group.index(along, [i / n, i % n])).collect();
        let indices = vec![along(Along::Sum), along(Along::Difference)];
        let pooled = model.pool(&tables, &pairs, indices, n);
        let blocks = train.pairs.chunks(ROWS).map(|pairs| {
            let mut block = Model::<f64>::new_block(model, pairs.len());
            model.forward(&tables, pairs, &mut block);
            block
        });
        let blocks = blocks.collect();
        let moving = Model::<f64>::new_tables(model);
        let unlabelled = None;
        Self { model, group, params, train, tables, moving, pooled, blocks, unlabelled }
    }

    /// `c_k` and its mirror.
    #[must_use]
    pub fn coefficients(&self) -> Slopes {
        self.slopes(&self.pooled.logits)
    }

    /// Gradient of the mean cross-entropy of the training pairs over all classes, with their own labels.
    pub fn gradient(&mut self) -> Params<f64> {
        let sums = self.labelled();
        self.unfold(&sums)
    }

    /// The same with other labels for the pairs.
    ///
    /// The loss is `ln Σ exp` less the mean logit of the labels, and only that part is made anew: one entry in
    /// each row of the logits' gradient.
    ///
    /// # Panics
    /// If there is not one label for each pair.
    pub fn gradient_under(&mut self, labels: &[usize]) -> Params<f64> {
        assert_eq!(labels.len(), self.train.pairs.len(), "one label per pair");
        let mut sums = if let Some(sums) = &self.unlabelled {
            sums.clone()
        } else {
            let mut sums = self.labelled();
            self.add_labels(&self.train.labels, 1.0, &mut sums);
            self.unlabelled.insert(sums).clone()
        };
        self.add_labels(labels, -1.0, &mut sums);
        self.unfold(&sums)
    }

    /// Way back of the training loss, as far as the sums over the training pairs.
    fn labelled(&self) -> Params<f64> {
        let scale = 1.0 / self.train.labels.len() as f64;
        let mut terms = vec![0.0; Model::<f64>::classes(self.model)];
        let mut sums = Params::zeros(Model::<f64>::sums_layout(self.model));
        let pairs = self.train.pairs.chunks(ROWS).zip(self.train.labels.chunks(ROWS));
        for ((pairs, labels), block) in pairs.zip(&self.blocks) {
            let mut block = block.clone();
            let logits = self.model.logits(&mut block);
            kernels::cross_entropy_backward(logits, labels, scale, &mut terms);
            self.model.backward(&self.tables, pairs, &mut block, &mut sums);
        }
        sums
    }

    /// Add the way back of `factor` times the mean logit of the labels.
    fn add_labels(&self, labels: &[usize], factor: f64, sums: &mut Params<f64>) {
        let scale = factor / labels.len() as f64;
        let mut back = self.model.new_back(ROWS.min(labels.len()));
        let pairs = self.train.pairs.chunks(ROWS).zip(labels.chunks(ROWS));
        for ((pairs, labels), block) in pairs.zip(&self.blocks) {
            self.model.backward_of_labels(
                &self.tables,
                (pairs, labels),
                scale,
                block,
                &mut back,
                sums,
            );
        }
    }

    fn unfold(&mut self, sums: &Params<f64>) -> Params<f64> {
        let mut gradient = Params::zeros(self.params.layout());
        self.model.gradient(self.params, &mut self.tables, sums, &mut gradient, &InTurn);
        gradient
    }

    /// `⟨∇c_k, v⟩`, and the same of its mirror.
    pub fn along(&mut self, v: &Params<f64>) -> Slopes {
        let shifted = self.shifted(v, 2);
        self.slopes(&shifted)
    }

    /// `−⟨∇c_k, v⟩` alone.
    pub fn rates(&mut self, v: &Params<f64>) -> Vec<f64> {
        let [shifted] = self.shifted(v, 1).try_into().expect("one index");
        coefficients(self.group, shifted.view()).into_iter().map(|slope| 0.0 - slope).collect()
    }

    /// Derivatives of the pooled logits, along the first so many indices.
    fn shifted(&mut self, v: &Params<f64>, indices: usize) -> Vec<Array2<f64>> {
        self.model.shift_tables(self.params, v, &self.tables, &mut self.moving, &InTurn);
        self.model.shift_pooled((&self.tables, &self.moving), &self.pooled, indices)
    }

    fn slopes(&self, sums: &[Array2<f64>]) -> Slopes {
        let along = |sums: &Array2<f64>| coefficients(self.group, sums.view());
        Slopes { of_sum: along(&sums[0]), of_mirror: along(&sums[1]) }
    }
}

/// `√(2/n³) Σ_{s,c} cos(w_k(s − c)) M[s,c]` for every frequency, from sums `M [n, classes]`; 1 in the place
/// of 2 for an unpaired frequency. Other classes than elements of the group are left out.
fn coefficients(group: &Group, sums: ArrayView2<'_, f64>) -> Vec<f64> {
    let n = group.order();
    let own = sums.select(Axis(1), group.residues()); // [n, n]
    let transformed = matmul(group.basis(), own.view()); // [n, n]
    let of = |k| {
        let rows = fourier::rows_of(n, k);
        let weight = 1.0 / ((n * rows.len()) as f64).sqrt();
        let products = rows.map(|row| group.basis().row(row).dot(&transformed.row(row)));
        weight * products.sum::<f64>()
    };
    (1..=fourier::frequencies(n)).map(of).collect()
}

/// What one update does to `c_k`, per unit of learning rate, by cause; one number for each frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// `−⟨∇c_k, g⟩`
    pub ce: Vec<f64>,
    /// `−⟨∇c_k, step⟩`, where the optimiser's step is known
    pub adam: Option<Vec<f64>>,
    /// `−λ⟨∇c_k, θ⟩`, where λ is known
    pub decay: Option<Vec<f64>>,
    /// Their sum, and that of the mirrored coefficients
    pub total: Option<Vec<f64>>,
    pub mirror: Option<Vec<f64>>,
}

impl Rates {
    /// Along the gradient, the optimiser's step, and the decay λθ, all of which are subtracted.
    #[must_use]
    pub fn new(
        point: &mut Point<'_>,
        gradient: &Params<f64>,
        step: Option<&Params<f64>>,
        decay: Option<&Params<f64>>,
    ) -> Self {
        let mut along = |v: &Params<f64>| {
            let Slopes { of_sum, of_mirror } = point.along(v);
            let negated =
                |slopes: Vec<f64>| slopes.into_iter().map(|x| 0.0 - x).collect::<Vec<f64>>();
            [negated(of_sum), negated(of_mirror)]
        };
        let [ce, _] = along(gradient);
        let (adam, decay) = (step.map(&mut along), decay.map(&mut along));
        let both = |i: usize| {
            let (adam, decay) = (adam.as_ref()?, decay.as_ref()?);
            Some(adam[i].iter().zip(&decay[i]).map(|(a, d)| a + d).collect::<Vec<f64>>())
        };
        let (total, mirror) = (both(0), both(1));
        let own = |of: Option<[Vec<f64>; 2]>| of.map(|[of_sum, _]| of_sum);
        Self { ce, total, mirror, adam: own(adam), decay: own(decay) }
    }
}

/// Standard score of each frequency's rate among those of the `plain` ones; a frequency is never
/// compared with itself.
#[must_use]
pub fn among_plain(rates: &[f64], plain: &[usize]) -> Vec<Option<f64>> {
    let score = |k: usize| {
        let others = plain.iter().filter(|other| **other != k);
        let null: Vec<f64> = others.map(|other| rates[other - 1]).collect();
        z(rates[k - 1], &null)
    };
    (1..=rates.len()).map(score).collect()
}

/// Standard score of each frequency's rate among the mirrored rates of all paired frequencies.
#[must_use]
pub fn among_mirrors(rates: &[f64], mirror: &[f64], group: &Group) -> Vec<Option<f64>> {
    let null: Vec<f64> = paired(group).map(|k| mirror[k - 1]).collect();
    rates.iter().map(|rate| z(*rate, &null)).collect()
}

/// The frequencies that do not mirror themselves.
fn paired(group: &Group) -> impl Iterator<Item = usize> {
    let n = group.order();
    (1..=fourier::frequencies(n)).filter(move |k| fourier::rows_of(n, *k).len() == 2)
}

/// Standard score of the mean rate of all frequencies over that of their mirrors, by Student's paired t:
///
/// ```text
/// d_k = rate_k − mirror_k,    t = √n mean(d)/s(d),    P(Z ≥ z) = P(T_{n−1} ≥ t)
/// ```
///
/// with k the n paired frequencies and s their standard deviation, with n − 1. `None` for fewer than three,
/// or if all d are equal.
///
/// The law of z is the standard normal one if the differences are normal, of mean 0, equally wide, and not
/// correlated with each other. The rates themselves may be correlated: whatever moves all 2n of them alike,
/// or a wave together with its mirror, cancels in d. What moves the sums alone, all k together, does not
/// cancel: it is what the score is to find.
#[must_use]
pub fn mean_over_mirrors(rates: &[f64], mirror: &[f64], group: &Group) -> Option<f64> {
    let gaps: Vec<f64> = paired(group).map(|k| rates[k - 1] - mirror[k - 1]).collect();
    let n = gaps.len() as f64;
    let t = -z(0.0, &gaps)? * n.sqrt();
    Some(normal_score(t, n - 1.0))
}

/// The z that is as far out in the normal law as t in Student's, by bisection; at most 38, where tails leave
/// the range of f64.
fn normal_score(t: f64, freedom: f64) -> f64 {
    let tail = student_tail(t.abs(), freedom);
    let (mut low, mut high) = (0.0, 38.0);
    while high - low > 1e-12 {
        let middle = 0.5 * (low + high);
        if normal_tail(middle) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.copysign(t)
}

/// Standard score of each frequency's rate among its own rates under other labels.
#[must_use]
pub fn among_labels(rates: &[f64], permuted: &[Vec<f64>]) -> Vec<Option<f64>> {
    let score = |(i, rate): (usize, &f64)| {
        let null: Vec<f64> = permuted.iter().map(|rates| rates[i]).collect();
        z(*rate, &null)
    };
    rates.iter().enumerate().map(score).collect()
}

/// Standard score of the mean over all frequencies among its means under other labels: the rates of
/// one gradient are not independent of each other.
#[must_use]
pub fn mean_among_labels(rates: &[f64], permuted: &[Vec<f64>]) -> Option<f64> {
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let null: Vec<f64> = permuted.iter().map(|rates| mean(rates)).collect();
    z(mean(rates), &null)
}

/// A gradient seen through the two Fourier rows of one frequency in the embeddings: in `W_E` over the
/// tokens, in `W_U` over the classes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share {
    /// `‖Π_k g‖²/‖g‖²`; `None` if g is 0 in both
    pub share: Option<f64>,
    /// `‖Π_k g‖²`
    pub sq: f64,
    /// `−⟨Π_k g, Π_k(θ_T − θ)⟩` and `‖Π_k(θ_T − θ)‖²`, where θ_T is known
    pub dot_final: Option<f64>,
    pub distance_sq: Option<f64>,
}

/// The same for every frequency, from a gradient and the way `θ_T − θ` to the final weights. Only the
/// columns of the group's elements count, in `‖g‖²`, too.
#[must_use]
pub fn shares(
    transform: &Transform,
    group: &Group,
    gradient: &Params<f64>,
    way: Option<&Params<f64>>,
) -> Vec<Share> {
    let n = group.order();
    let embedded = |params: &Params<f64>| {
        [names::W_E, names::W_U].map(|name| {
            transform.rows(params.matrix(name).select(Axis(1), group.residues()).view())
        })
    };
    // Inner products of the Fourier coefficients, [n]
    let products = |a: &[Array2<f64>; 2], b: &[Array2<f64>; 2]| {
        let mut found = vec![0.0; n];
        for (a, b) in a.iter().zip(b) {
            for (a, b) in a.rows().into_iter().zip(b.rows()) {
                let terms = found.iter_mut().zip(a.iter().zip(b));
                terms.for_each(|(sum, (a, b))| *sum += a * b);
            }
        }
        found
    };
    let g = embedded(gradient);
    let energy = products(&g, &g);
    let total: f64 = energy.iter().sum();
    let way = way.map(embedded).map(|way| (products(&g, &way), products(&way, &way)));
    let of = |k| {
        let sum = |terms: &[f64]| terms[fourier::rows_of(n, k)].iter().sum::<f64>();
        let sq = sum(&energy);
        Share {
            share: (total > 0.0).then(|| sq / total),
            sq,
            dot_final: way.as_ref().map(|(dot, _)| 0.0 - sum(dot)),
            distance_sq: way.as_ref().map(|(_, distance)| sum(distance)),
        }
    };
    (1..=fourier::frequencies(n)).map(of).collect()
}
