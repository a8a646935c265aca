//! The tasks: which pairs there are, their labels, and which of them are trained on.
//!
//! A pair `(a, b)` of residues modulo p is the input `[a, b, =]`; its label is again a residue.
//! Pairs stand in lexicographic order, index `a·p + b`, until a split shuffles them.
//!
//! Source: Power et al. (2022), arXiv:2201.02177, appendix A.1 (tasks); Nanda et al. (2023),
//! arXiv:2301.05217, §3 (the addition task, its inputs and split).

pub mod shuffle;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::{RunConfig, Split, Task};
use crate::error::{Error, Result};

/// Stream of the run's seed from which task `random` draws its labels; 0 is the initial weights.
const LABEL_STREAM: u64 = 1;

/// Stream of the seed of `permute_labels`.
const PERMUTATION_STREAM: u64 = 2;

/// All pairs of a task with their labels, divided into train and test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The modulus p.
    pub p: usize,
    /// Label of every pair of residues, by index `a·p + b`; `None` where the task has no such pair
    /// (division by zero).
    pub labels: Vec<Option<usize>>,
    /// Indices of the training pairs, in the order of the split.
    pub train: Vec<usize>,
    /// Indices of the test pairs, in the order of the split.
    pub test: Vec<usize>,
}

/// Pairs of tokens and their labels, as a network wants them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// `(a, b)` of each pair.
    pub pairs: Vec<[usize; 2]>,
    /// Its label.
    pub labels: Vec<usize>,
}

impl Dataset {
    /// The pairs, labels and split of a run. `listed` are the pairs that a `file:PATH` split lists
    /// (read by the caller; this module opens no files): the first ⌊F·n⌋ of them are trained on,
    /// all others are test pairs, in lexicographic order.
    ///
    /// # Errors
    /// [`Error::Setting`] if no pair is left to train on, or the listed pairs cannot be used.
    pub fn new(config: &RunConfig, listed: Option<&[usize]>) -> Result<Self> {
        let p = config.modulus;
        let mut labels = labels(config.task, p, config.seed);
        let mut order: Vec<usize> = (0..p * p).filter(|index| labels[*index].is_some()).collect();
        let n_train = train_count(config.train_fraction, order.len());
        if n_train == 0 {
            return Err(Error::setting(
                "train-fraction",
                format!("{} of {} pairs is no pair at all", config.train_fraction, order.len()),
                "pick a larger one",
            ));
        }
        match (&config.split, listed) {
            (Split::Python(seed), _) => shuffle::PythonRng::new(*seed).shuffle(&mut order),
            (Split::Rng(seed), _) => {
                shuffle::fisher_yates(&mut order, &mut ChaCha8Rng::seed_from_u64(*seed));
            }
            (Split::File(_), Some(listed)) => order = train_first(listed, n_train, &order)?,
            (Split::File(path), None) => {
                return Err(Error::setting(
                    "split",
                    format!("the pairs in {} were not read", path.display()),
                    "give the file that the run was trained with",
                ));
            }
        }
        let test = order.split_off(n_train);
        if let Some(seed) = config.permute_labels {
            permute(&mut labels, &order, seed);
        }
        Ok(Self { p, labels, train: order, test })
    }

    /// The pairs of these indices, with their labels.
    ///
    /// # Panics
    /// If an index has no label.
    #[must_use]
    pub fn batch(&self, indices: &[usize]) -> Batch {
        let label = |index: &usize| self.labels[*index].expect("a split holds labelled pairs only");
        Batch {
            pairs: indices.iter().map(|index| [index / self.p, index % self.p]).collect(),
            labels: indices.iter().map(label).collect(),
        }
    }

    /// The test pairs (a, b) whose swap (b, a) is no training pair with the same label: those that a
    /// memoriser does not get by being symmetric. In the order of `test`.
    #[must_use]
    pub fn unswapped(&self) -> Vec<usize> {
        let trained: std::collections::HashSet<usize> = self.train.iter().copied().collect();
        let is_known = |index: usize| {
            let swap = index % self.p * self.p + index / self.p;
            trained.contains(&swap) && self.labels[swap] == self.labels[index]
        };
        self.test.iter().copied().filter(|index| !is_known(*index)).collect()
    }
}

/// Permute the labels of these inputs among them: the same labels, and nothing left to generalise.
fn permute(labels: &mut [Option<usize>], inputs: &[usize], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(PERMUTATION_STREAM);
    let mut permuted: Vec<Option<usize>> = inputs.iter().map(|input| labels[*input]).collect();
    shuffle::fisher_yates(&mut permuted, &mut rng);
    inputs.iter().zip(permuted).for_each(|(input, label)| labels[*input] = label);
}

/// `⌊F n⌋`, the product rounded to f64 first, as Python's `int(F * n)`.
fn train_count(fraction: f64, pairs: usize) -> usize {
    ((fraction * pairs as f64).floor() as usize).min(pairs)
}

/// The first `n_train` listed pairs, checked to be pairs of the task, each once; then all others.
fn train_first(listed: &[usize], n_train: usize, known: &[usize]) -> Result<Vec<usize>> {
    let refuse = |problem: String| {
        let help = "list training pairs as a·p + b, one per line";
        Err(Error::setting("split", problem, help))
    };
    let mut seen = std::collections::HashSet::new();
    for (line, index) in listed.iter().enumerate() {
        if known.binary_search(index).is_err() {
            return refuse(format!("line {}: pair {index} is no pair of this task", line + 1));
        }
        if !seen.insert(*index) {
            return refuse(format!("line {}: pair {index} is listed twice", line + 1));
        }
    }
    if listed.len() < n_train {
        return refuse(format!("{} pairs are listed, {n_train} are trained on", listed.len()));
    }
    let mut order = listed[..n_train].to_vec();
    let train: std::collections::HashSet<usize> = order.iter().copied().collect();
    order.extend(known.iter().filter(|index| !train.contains(index)));
    Ok(order)
}

/// The label of every pair, by index `a·p + b`.
#[must_use]
pub fn labels(task: Task, p: usize, seed: u64) -> Vec<Option<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(LABEL_STREAM);
    let mut draw = || ((u128::from(rng.next_u64()) * p as u128) >> 64) as usize;
    (0..p * p)
        .map(|index| {
            let (a, b) = (index / p, index % p);
            match task {
                Task::Add => Some((a + b) % p),
                Task::Sub => Some((a + p - b) % p),
                Task::Mul => Some(a * b % p),
                // Fermat: b⁻¹ = b^(p−2) for prime p.
                Task::Div => (b != 0).then(|| a * power(b, p - 2, p) % p),
                Task::SumOfSquares => Some((a * a + b * b) % p),
                Task::Quadratic => Some((a * a + a * b + b * b) % p),
                Task::Cubic => Some((a * a % p * a + a * b) % p),
                Task::Random => Some(draw()),
            }
        })
        .collect()
}

/// `base^exponent mod p`.
fn power(mut base: usize, mut exponent: usize, p: usize) -> usize {
    let mut result = 1;
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = result * base % p;
        }
        base = base * base % p;
        exponent /= 2;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn dataset(toml: &str) -> Result<Dataset> {
        let settings = Settings::from_toml(toml, std::path::Path::new("test")).unwrap();
        Dataset::new(&settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap(), None)
    }

    /// The published split. From CPython 3.11:
    /// ```text
    /// pairs = [(a, b) for a in range(113) for b in range(113)]
    /// random.seed(s); random.shuffle(pairs); train = pairs[:int(0.3 * 113**2)]
    /// train[:3], train[-1], pairs[len(train)], sum(a * 113 + b for a, b in train)
    /// ```
    #[test]
    fn mainline_split_is_the_published_one() {
        for (seed, first, last, first_test, sum) in [
            (0, [[18, 34], [10, 83], [55, 28]], [65, 24], [50, 67], 24_672_933),
            (1, [[58, 58], [76, 57], [60, 23]], [25, 50], [89, 103], 24_321_622),
        ] {
            let data = dataset(&format!("split = 'python:{seed}'")).unwrap();
            let train = data.batch(&data.train);
            assert_eq!((train.pairs.len(), data.test.len()), (3830, 8939));
            assert_eq!(train.pairs[..3], first);
            assert_eq!(train.pairs[3829], last);
            assert_eq!(data.batch(&data.test).pairs[0], first_test);
            assert_eq!(data.train.iter().sum::<usize>(), sum);
        }
    }

    #[test]
    fn every_pair_is_in_exactly_one_part() {
        for toml in ["modulus = 7", "modulus = 7\nsplit = 'rng:5'", "task = 'div'\nmodulus = 7"] {
            let data = dataset(toml).unwrap();
            let mut all = [data.train.clone(), data.test.clone()].concat();
            all.sort_unstable();
            let known: Vec<usize> = (0..49).filter(|i| data.labels[*i].is_some()).collect();
            assert_eq!(all, known, "{toml}");
        }
    }

    /// By the pairs themselves; of the addition about 1 − F of the test pairs are left, of the subtraction,
    /// where swapping changes the label, all.
    #[test]
    fn unswapped_pairs_have_no_mirror_image_in_training() {
        let of = |task: &str| dataset(&format!("task = \"{task}\"\nmodulus = 31")).unwrap();
        let data = of("add");
        let trained = data.batch(&data.train).pairs;
        let found = data.unswapped();
        for index in &data.test {
            let [a, b] = [index / 31, index % 31];
            assert_eq!(found.contains(index), !trained.contains(&[b, a]), "{a} {b}");
        }
        let share = found.len() as f64 / data.test.len() as f64;
        assert!((share - 0.7).abs() < 0.06, "{share}");
        let data = of("sub");
        assert_eq!(data.unswapped(), data.test);
    }

    #[test]
    fn labels_satisfy_their_equations() {
        let p = 13;
        for (a, b) in (0..p).flat_map(|a| (0..p).map(move |b| (a, b))) {
            let label = |task| labels(task, p, 0)[a * p + b];
            assert_eq!(label(Task::Add), Some((a + b) % p));
            assert_eq!((label(Task::Sub).unwrap() + b) % p, a);
            assert_eq!(label(Task::Mul), Some(a * b % p));
            match label(Task::Div) {
                Some(quotient) => assert_eq!(quotient * b % p, a),
                None => assert_eq!(b, 0),
            }
            assert_eq!(label(Task::SumOfSquares), Some((a * a + b * b) % p));
            assert_eq!(label(Task::Quadratic), Some((a * a + a * b + b * b) % p));
            assert_eq!(label(Task::Cubic), Some((a * a * a + a * b) % p));
        }
    }

    #[test]
    fn random_labels_are_one_table_per_seed() {
        let table = labels(Task::Random, 31, 4);
        assert_eq!(table, labels(Task::Random, 31, 4));
        assert_ne!(table, labels(Task::Random, 31, 5));
        let mean = table.iter().flatten().sum::<usize>() as f64 / 961.0;
        assert!((mean - 15.0).abs() < 1.5, "mean label {mean}"); // s.d. of the mean: 0.29
    }

    #[test]
    fn permuted_labels_are_those_of_the_training_pairs_in_another_order() {
        let plain = dataset("modulus = 23").unwrap();
        let [one, other] =
            [0, 1].map(|seed| dataset(&format!("modulus = 23\npermute_labels = {seed}")).unwrap());
        assert_eq!((&one.train, &one.test), (&plain.train, &plain.test));
        let of = |data: &Dataset, inputs: &[usize]| data.batch(inputs).labels;
        assert_eq!(of(&one, &one.test), of(&plain, &plain.test));
        let sorted = |data: &Dataset| {
            let mut labels = of(data, &data.train);
            labels.sort_unstable();
            labels
        };
        assert_eq!(sorted(&one), sorted(&plain));
        let kept =
            of(&one, &one.train).into_iter().zip(of(&plain, &plain.train)).filter(|(a, b)| a == b);
        assert!(kept.count() < plain.train.len() / 5); // by chance 1 in 23
        assert_ne!(one.labels, other.labels);
    }

    #[test]
    fn a_fraction_without_a_pair_is_refused() {
        let error = dataset("modulus = 3\ntrain_fraction = 0.1").unwrap_err();
        assert!(error.to_string().contains("0.1 of 9 pairs is no pair"), "{error}");
    }

    #[test]
    fn listed_pairs_are_checked() {
        let known: Vec<usize> = (0..9).collect();
        let order = train_first(&[7, 2, 5], 2, &known).unwrap();
        assert_eq!(order, [7, 2, 0, 1, 3, 4, 5, 6, 8]);
        for (listed, problem) in [
            (vec![0, 0], "line 2: pair 0 is listed twice"),
            (vec![9], "line 1: pair 9 is no pair of this task"),
            (vec![1], "1 pairs are listed, 2 are trained on"),
        ] {
            let error = train_first(&listed, 2, &known).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
