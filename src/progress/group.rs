//! The cyclic group in which a task adds.
//!
//! Multiplication modulo a prime p is addition of exponents: the residues but 0 are the powers of a
//! primitive root, and form a cyclic group of order p − 1. So the circuit of `mul` and `div` is that of
//! `add` and `sub`, read along discrete logarithms, over the pairs without a 0.

use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, ArrayView2};

use crate::config::Task;
use crate::config::names::named_enum;
use crate::error::{Error, Result};
use crate::fourier;

/// Which pairs of elements the circuit of a task is about, and what their sums are.
///
/// Elements are `x = 0..n`, residues stand for them: all p residues, each for itself, in ℤ_p; in the
/// multiplicative group `gˣ mod p` with the smallest primitive root g, n = p − 1, and 0 for none.
#[derive(Debug, Clone)]
pub struct Group {
    p: usize,
    /// Residue of each element, `[n]`
    residues: Vec<usize>,
    /// Element of each residue, `[p]`
    elements: Vec<Option<usize>>,
    /// Whether the label is `x − y` instead of `x + y`
    subtracts: bool,
    /// F, `[n, n]`
    basis: Array2<f64>,
}

/// Along which index of a pair of elements `(x, y)` functions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// The element of the label: `x + y`, or `x − y` for subtraction and division
    Sum,
    /// The other one of the two
    Difference,
    /// `x`
    First,
    /// `y`
    Second,
}

impl Along {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sum, Self::Difference, Self::First, Self::Second];
}

named_enum! {
    /// Onto which functions of the inputs, class by class, `P_K` projects.
    Protocol, "protocol":
    /// cos and sin of w_k(x + y): rank 2 per key, what the published code computes
    SumDirs = "sum_dirs",
    /// cos and sin of w_k(x − y): a control
    DiffDirs = "diff_dirs",
    /// Both, which are the products {cos, sin}² of x and y: rank 4
    Block2x2 = "block2x2",
    /// {1, cos, sin}² without (1, 1), which adds the waves of x and of y alone: rank 8
    Block3x3 = "block3x3",
}

impl Protocol {
    /// The indices along which the waves of a key are taken.
    #[must_use]
    pub fn along(self) -> &'static [Along] {
        match self {
            Self::SumDirs => &[Along::Sum],
            Self::DiffDirs => &[Along::Difference],
            Self::Block2x2 => &[Along::Sum, Along::Difference],
            Self::Block3x3 => &Along::ALL,
        }
    }
}

impl Group {
    /// ℤ_p itself, whatever the task: for what is transformed over residues.
    #[must_use]
    pub fn additive(p: usize) -> Self {
        let residues: Vec<usize> = (0..p).collect();
        let elements = residues.iter().copied().map(Some).collect();
        Self::over(p, residues, elements)
    }

    fn over(p: usize, residues: Vec<usize>, elements: Vec<Option<usize>>) -> Self {
        let basis = fourier::basis(residues.len());
        Self { p, residues, elements, subtracts: false, basis }
    }

    /// The Fourier basis over the elements, `[n, n]`.
    #[must_use]
    pub fn basis(&self) -> ArrayView2<'_, f64> {
        self.basis.view()
    }

    /// The group of a task; `None` where its labels are no character of a cyclic group: polynomials,
    /// random labels, and products modulo a number without a primitive root or that is not prime.
    #[must_use]
    pub fn of(task: Task, p: usize) -> Option<Self> {
        match task {
            Task::Add => Some(Self::additive(p)),
            Task::Sub => Some(Self { subtracts: true, ..Self::additive(p) }),
            Task::Mul => Self::multiplicative(p),
            Task::Div => Some(Self { subtracts: true, ..Self::multiplicative(p)? }),
            Task::SumOfSquares | Task::Quadratic | Task::Cubic | Task::Random => None,
        }
    }

    fn multiplicative(p: usize) -> Option<Self> {
        let powers = |g: usize| {
            let mut powers = vec![1];
            while let Some(next) = powers.last().map(|x| x * g % p).filter(|next| *next > 1) {
                powers.push(next);
                if powers.len() >= p {
                    break; // p is not prime: the powers run in a circle without 1
                }
            }
            powers
        };
        let residues = (1..p).map(powers).find(|powers| powers.len() == p - 1)?;
        let mut elements = vec![None; p];
        for (x, residue) in residues.iter().enumerate() {
            elements[*residue] = Some(x);
        }
        Some(Self::over(p, residues, elements))
    }

    /// Number of elements n.
    #[must_use]
    pub fn order(&self) -> usize {
        self.residues.len()
    }

    /// Number of residues p, which is the number of real classes.
    #[must_use]
    pub fn p(&self) -> usize {
        self.p
    }

    /// Residue of each element, `[n]`.
    #[must_use]
    pub fn residues(&self) -> &[usize] {
        &self.residues
    }

    /// The elements of an input `a·p + b`; `None` if one of its residues stands for none.
    #[must_use]
    pub fn pair(&self, input: usize) -> Option<[usize; 2]> {
        Some([self.elements[input / self.p]?, self.elements[input % self.p]?])
    }

    /// The input `a·p + b` of a pair of elements.
    #[must_use]
    pub fn input(&self, [x, y]: [usize; 2]) -> usize {
        self.residues[x] * self.p + self.residues[y]
    }

    /// The index of a pair of elements along which a function is taken.
    #[must_use]
    pub fn index(&self, along: Along, [x, y]: [usize; 2]) -> usize {
        let n = self.order();
        match along {
            Along::First => x,
            Along::Second => y,
            Along::Sum if !self.subtracts => (x + y) % n,
            Along::Difference if self.subtracts => (x + y) % n,
            Along::Sum | Along::Difference => (x + n - y) % n,
        }
    }

    /// The label of a pair of elements.
    #[must_use]
    pub fn label(&self, pair: [usize; 2]) -> usize {
        self.residues[self.index(Along::Sum, pair)]
    }

    /// Those of these inputs that the circuit is about, ascending.
    #[must_use]
    pub fn own(&self, inputs: &[usize]) -> Vec<usize> {
        let mut own: Vec<usize> =
            inputs.iter().copied().filter(|input| self.pair(*input).is_some()).collect();
        own.sort_unstable();
        own
    }

    /// The inputs of all pairs of elements `(x, y)`, by `x·n + y`.
    #[must_use]
    pub fn inputs_by_element(&self) -> Vec<usize> {
        let n = self.order();
        (0..n * n).map(|pair| self.input([pair / n, pair % n])).collect()
    }

    /// All inputs that the circuit is about, ascending: n² of them.
    #[must_use]
    pub fn inputs(&self) -> Vec<usize> {
        self.own(&(0..self.p * self.p).collect::<Vec<_>>())
    }
}

/// How the key frequencies of a run are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyRule {
    /// `w_l`: those whose norm in `W_L` exceeds a quarter of the largest
    #[default]
    WL,
    /// `neurons`: those of at least `max(3, 0.01 d_mlp)` clear neurons
    Neurons,
    /// `w_e`: as `w_l`, of the embedding
    WE,
    /// `list:14,35`
    List(Vec<usize>),
    /// `from:RUN`: those that `w_l` finds in the final checkpoint of another run of the archive
    From(String),
    /// `per-checkpoint`: `w_l` anew at each checkpoint, for diagnosis
    PerCheckpoint,
}

impl KeyRule {
    /// The rule with its threshold: `w_l > 0.25`.
    #[must_use]
    pub fn described(&self, threshold: f64) -> String {
        match self {
            Self::WL | Self::WE | Self::PerCheckpoint => format!("{self} > {threshold}"),
            Self::Neurons => format!("{self} >= max(3, 0.01 d_mlp)"),
            Self::List(_) => self.to_string(),
            Self::From(_) => format!("{self}, w_l > {threshold}"),
        }
    }
}

impl fmt::Display for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WL => f.write_str("w_l"),
            Self::Neurons => f.write_str("neurons"),
            Self::WE => f.write_str("w_e"),
            Self::List(keys) => {
                let keys: Vec<String> = keys.iter().map(usize::to_string).collect();
                write!(f, "list:{}", keys.join(","))
            }
            Self::From(run) => write!(f, "from:{run}"),
            Self::PerCheckpoint => f.write_str("per-checkpoint"),
        }
    }
}

impl FromStr for KeyRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem: String| {
            let help = "write w_l, neurons, w_e, list:14,35, from:RUN or per-checkpoint";
            Error::setting("keys", problem, help)
        };
        if let Some(list) = text.strip_prefix("list:") {
            let mut keys = Vec::new();
            for word in list.split(',').filter(|word| !word.is_empty()) {
                let key = word.trim().parse().ok().filter(|key| *key > 0);
                keys.push(key.ok_or_else(|| bad(format!("`{word}` is no frequency")))?);
            }
            keys.sort_unstable();
            keys.dedup();
            return Ok(Self::List(keys));
        }
        if let Some(run) = text.strip_prefix("from:").filter(|run| !run.is_empty()) {
            return Ok(Self::From(run.to_owned()));
        }
        match text {
            "w_l" => Ok(Self::WL),
            "neurons" => Ok(Self::Neurons),
            "w_e" => Ok(Self::WE),
            "per-checkpoint" => Ok(Self::PerCheckpoint),
            _ => Err(bad(format!("`{text}` is no rule for key frequencies"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    /// The label of a pair is that of the task, whatever the group.
    #[test]
    fn groups_give_the_labels_of_their_tasks() {
        for (task, order) in [(Task::Add, 13), (Task::Sub, 13), (Task::Mul, 12), (Task::Div, 12)] {
            let (group, labels) = (Group::of(task, 13).unwrap(), tasks::labels(task, 13, 0));
            assert_eq!(group.order(), order, "{task}");
            assert_eq!(group.inputs().len(), order * order);
            for input in group.inputs() {
                let pair = group.pair(input).unwrap();
                assert_eq!(group.input(pair), input);
                assert_eq!(Some(group.label(pair)), labels[input], "{task} {pair:?}");
            }
        }
        let mul = Group::of(Task::Mul, 7).unwrap();
        assert_eq!(mul.residues(), [1, 3, 2, 6, 4, 5], "powers of the primitive root 3");
        assert_eq!((mul.pair(3), mul.pair(7 + 3)), (None, Some([0, 1])), "0 is no power");
        for p in [9, 15, 21] {
            assert!(Group::of(Task::Mul, p).is_none(), "{p} is not prime");
        }
        assert!(Group::of(Task::Quadratic, 13).is_none());
    }

    #[test]
    fn key_rules_are_read_as_they_are_written() {
        for text in ["w_l", "neurons", "w_e", "list:2,14", "from:other", "per-checkpoint"] {
            assert_eq!(text.parse::<KeyRule>().unwrap().to_string(), text);
        }
        assert_eq!("list:14,2,14".parse::<KeyRule>().unwrap(), KeyRule::List(vec![2, 14]));
        for (text, problem) in [
            ("list:0", "keys: `0` is no frequency"),
            ("list:2,x", "keys: `x` is no frequency"),
            ("from:", "keys: `from:` is no rule for key frequencies"),
            ("gap", "keys: `gap` is no rule for key frequencies"),
        ] {
            assert_eq!(text.parse::<KeyRule>().unwrap_err().to_string(), problem);
        }
    }
}
