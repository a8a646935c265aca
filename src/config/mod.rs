//! Every setting of a training run.
//!
//! [`Settings`] holds what one source says (the command line, a TOML file, a preset), so every
//! field is optional. [`Settings::or`] lays them over each other, [`Settings::resolve`] turns the
//! result into a [`RunConfig`], in which everything is known and checked.
//!
//! `d_model`, `heads`, `outputs` and `biases` belong to the transformer: an mlp has no residual stream
//! and no heads, its outputs are always the residues, and it has no biases. A source that chooses
//! another architecture puts aside what the sources below it say of these; whatever says them
//! together with, or over, that choice is refused.

mod check;
pub mod facts;
pub mod names;
pub mod schedule;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use facts::{Dimensions, Facts};
pub use names::{
    Activation, Architecture, Biases, Init, OptimizerKind, Outputs, SaveOptimizer, Split, Task,
};
pub use schedule::Schedule;

use crate::error::{Error, Result, nearest};

/// What one source of settings says. The doc-comments are the manual page, too.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What to learn: add, sub, mul, div, x2+y2, x2+xy+y2, x3+xy or random
    #[arg(long, value_name = "TASK", help_heading = "Task")]
    pub task: Option<Task>,
    /// The modulus p: an odd number (a prime for div)
    #[arg(long, value_name = "P", help_heading = "Task")]
    pub modulus: Option<usize>,
    /// Share of the pairs to train on, above 0 and at most 1
    #[arg(long, value_name = "F", help_heading = "Task")]
    pub train_fraction: Option<f64>,
    /// How to divide the pairs: python:SEED, rng:SEED or file:PATH
    #[arg(long, value_name = "RULE", help_heading = "Task")]
    pub split: Option<Split>,
    /// Permute the labels of the training pairs among them, by this seed
    #[arg(long, value_name = "SEED", help_heading = "Task")]
    pub permute_labels: Option<u64>,

    /// Which network: transformer (one layer), or mlp (two layers on one-hot inputs)
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub architecture: Option<Architecture>,
    /// Width of the residual stream (transformer)
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub d_model: Option<usize>,
    /// Number of attention heads; divides d_model (transformer)
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub heads: Option<usize>,
    /// Number of neurons
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub d_mlp: Option<usize>,
    /// Nonlinearity of the neurons: relu, gelu or quadratic
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub activation: Option<Activation>,
    /// What the logits stand for: tokens (p + 1, with `=`) or residues (p) (transformer)
    #[arg(long, value_name = "WHICH", help_heading = "Network")]
    pub outputs: Option<Outputs>,
    /// Whether biases are trained or frozen at their initial values (transformer)
    #[arg(long, value_name = "WHICH", help_heading = "Network")]
    pub biases: Option<Biases>,
    /// Seed of the initial weights (and of the labels of task random)
    #[arg(long, value_name = "SEED", help_heading = "Network")]
    pub seed: Option<u64>,
    /// Initial weights: paper, transformer-lens or FILE.safetensors
    #[arg(long, value_name = "INIT", help_heading = "Network")]
    pub init: Option<Init>,

    /// Optimiser: adamw or sgd
    #[arg(long, value_name = "NAME", help_heading = "Optimisation")]
    pub optimizer: Option<OptimizerKind>,
    /// Learning rate after the warm-up
    #[arg(long, value_name = "RATE", help_heading = "Optimisation")]
    pub lr: Option<f64>,
    /// Decoupled weight decay λ, applied to every parameter that is trained
    #[arg(long, value_name = "LAMBDA", help_heading = "Optimisation")]
    pub weight_decay: Option<f64>,
    /// Decay rate of the first moment (the momentum of sgd)
    #[arg(long, value_name = "BETA", help_heading = "Optimisation")]
    pub beta1: Option<f64>,
    /// Decay rate of the second moment
    #[arg(long, value_name = "BETA", help_heading = "Optimisation")]
    pub beta2: Option<f64>,
    /// Number of updates over which the learning rate rises from 0
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    pub warmup: Option<u64>,
    /// Number of updates
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    pub steps: Option<u64>,

    /// When to save: first..last:every, comma-separated; the last step always is
    #[arg(long, value_name = "SCHEDULE", help_heading = "Archive")]
    pub save_at: Option<Schedule>,
    /// For which checkpoints to keep the optimiser state: never, last or all
    #[arg(long, value_name = "WHICH", help_heading = "Archive")]
    pub save_optimizer: Option<SaveOptimizer>,
}

/// The settings in force of one run, complete and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    pub task: Task,
    pub modulus: usize,
    pub train_fraction: f64,
    pub split: Split,
    /// Of runs that memorise and have nothing else to learn
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permute_labels: Option<u64>,
    /// Archives from before there was a second architecture do not name it.
    #[serde(default = "transformer")]
    pub architecture: Architecture,
    /// Of the transformer only
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_model: Option<usize>,
    /// Of the transformer only
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    pub d_mlp: usize,
    pub activation: Activation,
    /// `tokens` in archives from before it was a setting
    #[serde(default = "tokens")]
    pub outputs: Outputs,
    /// `trained` in archives from before it was a setting
    #[serde(default = "trained")]
    pub biases: Biases,
    pub seed: u64,
    pub init: Init,
    pub optimizer: OptimizerKind,
    pub lr: f64,
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub warmup: u64,
    pub steps: u64,
    pub save_at: Schedule,
    pub save_optimizer: SaveOptimizer,
}

fn transformer() -> Architecture {
    Architecture::Transformer
}

fn tokens() -> Outputs {
    Outputs::Tokens
}

fn trained() -> Biases {
    Biases::Trained
}

/// A preset: its name, one line about it, and its settings in TOML.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    pub about: &'static str,
    toml: &'static str,
}

/// All presets. The first is what an option that is said nowhere falls back to.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "nanda2023",
        about: "the mainline run of arXiv:2301.05217: p = 113, 30 % of the pairs, 40,000 steps",
        toml: include_str!("presets/nanda2023.toml"),
    },
    Preset {
        name: "transformer-lens",
        about: "the TransformerLens demonstration: 113 outputs, no biases, no warm-up, 25,000 steps",
        toml: include_str!("presets/transformer-lens.toml"),
    },
    Preset {
        name: "demo",
        about: "a small run that memorises, then generalises, within a minute",
        toml: include_str!("presets/demo.toml"),
    },
];

impl Settings {
    /// The settings of a preset.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest preset.
    pub fn preset(name: &str) -> Result<Self> {
        let preset = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
            Error::UnknownName {
                kind: "preset",
                found: name.into(),
                known: PRESETS.iter().map(|preset| preset.name.to_owned()).collect(),
            }
        })?;
        Self::from_toml(preset.toml, Path::new(preset.name))
    }

    /// Settings from the text of a TOML file; `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] with line, column and, for an unknown key, the nearest one.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| toml_fault(&error, text, path, KEYS))
    }
}

/// Where a TOML text cannot be understood and, for an unknown key, the nearest of `known`.
pub(crate) fn toml_fault(
    error: &toml::de::Error,
    text: &str,
    path: &Path,
    known: &[&str],
) -> Error {
    let span = error.span().unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    let key = text.get(span).unwrap_or_default();
    let unknown = error.message().starts_with("unknown field");
    Error::ConfigFile {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        problem: if unknown {
            let hint = nearest(key, known.iter().copied());
            let hint = hint.map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
            format!("unknown key `{key}`{hint}")
        } else {
            error.message().lines().next().unwrap_or_default().to_owned()
        },
        help: format!("known keys: {}", known.join(", ")),
    }
}

/// Writes [`KEYS`], [`Settings::or`], [`Settings::resolve`] and [`RunConfig::differences`] for the
/// fields, which all four treat alike; `some` architectures do without those behind the semicolon.
macro_rules! for_each_setting {
    ($($field:ident),+; some: $($some:ident),+ $(,)?) => {
        /// The keys of a TOML file.
        pub const KEYS: &[&str] = &[$(stringify!($field),)+ $(stringify!($some)),+];

        impl Settings {
            /// These settings, and those of `other` where these say nothing. Where these choose
            /// another architecture, what `other` says about its own is put aside.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                let other = match self.architecture {
                    Some(chosen) => other.put_aside(chosen),
                    None => other,
                };
                Self {
                    $($field: self.$field.or(other.$field),)+
                    $($some: self.$some.or(other.$some)),+
                }
            }

            /// All settings in force, checked.
            ///
            /// # Errors
            /// [`Error::Setting`] or [`Error::Modulus`] for values that cannot be trained with.
            pub fn resolve(self) -> Result<RunConfig> {
                let settings = self.implied();
                $(let $field = settings.$field.ok_or_else(|| Error::setting(
                    stringify!($field), "is said nowhere", "give it, or a --preset",
                ))?;)+
                let config = RunConfig { $($field,)+ $($some: settings.$some),+ };
                config.check()?;
                Ok(config)
            }
        }

        impl RunConfig {
            /// `key: mine ≠ theirs` for every setting in which two runs differ.
            #[must_use]
            pub fn differences(&self, other: &Self) -> Vec<String> {
                let mut found = Vec::new();
                // Bit for bit: a float that differs at all gives another run.
                $(if format!("{:?}", self.$field) != format!("{:?}", other.$field) {
                    found.push(format!(
                        "{} is {} there, {} here", stringify!($field), other.$field, self.$field,
                    ));
                })+
                $(if self.$some != other.$some {
                    let said = |config: &Self| {
                        config.$some.map_or_else(|| "not said".to_owned(), |value| value.to_string())
                    };
                    found.push(format!(
                        "{} is {} there, {} here", stringify!($some), said(other), said(self),
                    ));
                })+
                found
            }
        }
    };
}
for_each_setting!(
    task,
    modulus,
    train_fraction,
    split,
    architecture,
    d_mlp,
    activation,
    outputs,
    biases,
    seed,
    init,
    optimizer,
    lr,
    weight_decay,
    beta1,
    beta2,
    warmup,
    steps,
    save_at,
    save_optimizer;
    some: d_model, heads, permute_labels,
);

impl Settings {
    /// Without what only another architecture than this has, if that is what these speak of.
    fn put_aside(mut self, chosen: Architecture) -> Self {
        if self.architecture.unwrap_or_else(transformer) != chosen {
            (self.d_model, self.heads, self.outputs, self.biases) = (None, None, None, None);
            self.init = self.init.filter(|init| *init != Init::TransformerLens);
        }
        self
    }

    /// With what an architecture leaves no choice about.
    fn implied(mut self) -> Self {
        if self.architecture == Some(Architecture::Mlp) {
            self.outputs = self.outputs.or(Some(Outputs::Residues));
            self.biases = self.biases.or(Some(Biases::Absent));
            self.init = self.init.or(Some(Init::Paper));
        }
        self
    }
}

impl RunConfig {
    /// Number of tokens of a transformer: the residues and `=`.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.modulus + 1
    }

    /// Number of logits.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self.outputs {
            Outputs::Tokens => self.vocab(),
            Outputs::Residues => self.modulus,
        }
    }
}

#[cfg(test)]
mod tests;
