//! The closed sets of names that settings choose from. Each name is written the same on the
//! command line, in TOML files and in `run.json`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An enum whose variants have one spelling each: `Display`, `FromStr` and serde agree on it.
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        $name:ident, $kind:literal: $( $(#[$variant_meta:meta])* $variant:ident = $spelling:literal ),+ $(,)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant ),+ }

        impl $name {
            /// All of them, in the order in which help and documentation list them.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The one spelling of this name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $spelling ),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|known| known.name() == text).ok_or_else(|| {
                    $crate::error::Error::UnknownName {
                        kind: $kind,
                        found: text.to_owned(),
                        known: Self::ALL.iter().map(|known| known.name().to_owned()).collect(),
                    }
                })
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> ::std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> ::std::result::Result<Self, D::Error> {
                $crate::config::names::parse_string(d)
            }
        }
    };
}

/// Deserialise through `FromStr`, so that every source of settings gives the same message.
pub(crate) fn parse_string<'de, D: Deserializer<'de>, T: FromStr<Err = Error>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

pub(crate) use named_enum;

named_enum! {
    /// What the network learns: the label of the pair `(a, b)`, all arithmetic modulo p.
    Task, "task":
    /// `a + b`
    Add = "add",
    /// `a − b`
    Sub = "sub",
    /// `a · b`
    Mul = "mul",
    /// `a · b⁻¹`, for `b ≠ 0`; p must be prime
    Div = "div",
    /// `a² + b²`
    SumOfSquares = "x2+y2",
    /// `a² + ab + b²`
    Quadratic = "x2+xy+y2",
    /// `a³ + ab`
    Cubic = "x3+xy",
    /// One uniform label per pair, drawn once from the run's seed
    Random = "random",
}

named_enum! {
    /// Which network is trained; its formula stands in `model`.
    Architecture, "architecture":
    /// The one-layer transformer of arXiv:2301.05217
    Transformer = "transformer",
    /// The two-layer MLP on concatenated one-hot inputs of arXiv:2301.02679
    Mlp = "mlp",
}

named_enum! {
    /// What the logits of a transformer stand for.
    Outputs, "outputs":
    /// One logit per token, `=` included: p + 1 (the published runs)
    Tokens = "tokens",
    /// One logit per residue: p (the TransformerLens demonstration, and every mlp)
    Residues = "residues",
}

named_enum! {
    /// What becomes of the biases.
    Biases, "choice for biases":
    Trained = "trained",
    /// They stay what they are at step 0, without updates and without decay
    Frozen = "frozen",
    /// The network has none (every mlp)
    Absent = "absent",
}

named_enum! {
    /// The nonlinearity of the neurons.
    Activation, "activation":
    Relu = "relu",
    /// `x Φ(x)`, with the exact normal distribution function Φ
    Gelu = "gelu",
    /// `x²` (arXiv:2301.02679)
    Quadratic = "quadratic",
}

named_enum! {
    /// The optimiser; its update rule stands in `optim`.
    OptimizerKind, "optimizer":
    AdamW = "adamw",
    Sgd = "sgd",
}

named_enum! {
    /// For which checkpoints the optimiser state is kept.
    SaveOptimizer, "choice for save-optimizer":
    Never = "never",
    /// Only for the newest checkpoint, so that a run can be resumed
    Last = "last",
    All = "all",
}

/// How the pairs are divided into train and test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// `python:SEED`: CPython's `random.seed(SEED); random.shuffle(pairs)`, bit for bit.
    Python(u128),
    /// `rng:SEED`: a Fisher–Yates shuffle driven by ChaCha8.
    Rng(u64),
    /// `file:PATH`: one pair `a·p + b` per line; the first ⌊F·n⌋ are trained on.
    File(PathBuf),
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python(seed) => write!(f, "python:{seed}"),
            Self::Rng(seed) => write!(f, "rng:{seed}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem: String| {
            Error::setting("split", problem, "write python:SEED, rng:SEED or file:PATH")
        };
        let (rule, value) =
            text.split_once(':').ok_or_else(|| bad(format!("`{text}` has no `:`")))?;
        match rule {
            // CPython seeds with the absolute value.
            "python" => value
                .strip_prefix('-')
                .unwrap_or(value)
                .parse()
                .map(Self::Python)
                .map_err(|_| bad(format!("`{value}` is not a whole number"))),
            "rng" => value
                .parse()
                .map(Self::Rng)
                .map_err(|_| bad(format!("`{value}` is not a whole number from 0 to 2⁶⁴ − 1"))),
            "file" if !value.is_empty() => Ok(Self::File(value.into())),
            _ => Err(bad(format!("`{text}` names no rule"))),
        }
    }
}

/// The distribution, or the file, of the initial weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// `paper`: that of the architecture's paper, see `model::init`; biases zero.
    Paper,
    /// `transformer-lens`: σ = 0.8/√d_model for every weight; biases zero.
    TransformerLens,
    /// The tensors of this file, in the published or in the TransformerLens layout.
    File(PathBuf),
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paper => f.write_str("paper"),
            Self::TransformerLens => f.write_str("transformer-lens"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Init {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "paper" => Ok(Self::Paper),
            "transformer-lens" => Ok(Self::TransformerLens),
            _ if text.ends_with(".safetensors") => Ok(Self::File(text.into())),
            _ => Err(Error::UnknownName {
                kind: "init",
                found: text.into(),
                known: ["paper", "transformer-lens", "FILE.safetensors"].map(str::to_owned).into(),
            }),
        }
    }
}

/// Serde through `Display` and `FromStr`.
macro_rules! serde_as_string {
    ($($name:ty),+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                parse_string(d)
            }
        }
    )+ };
}
serde_as_string!(Split, Init, super::schedule::Schedule);
