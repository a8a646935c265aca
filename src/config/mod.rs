//! Every setting of a training run.
//!
//! [`Settings`] holds what one source says (the command line, a TOML file, a preset), so every
//! field is optional. [`Settings::or`] lays them over each other, [`Settings::resolve`] turns the
//! result into a [`RunConfig`], in which everything is known and checked.

pub mod facts;
pub mod names;
pub mod schedule;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use facts::{Dimensions, Facts};
pub use names::{Activation, Init, OptimizerKind, SaveOptimizer, Split, Task};
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

    /// Width of the residual stream
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub d_model: Option<usize>,
    /// Number of attention heads; divides d_model
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub heads: Option<usize>,
    /// Number of neurons
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub d_mlp: Option<usize>,
    /// Nonlinearity of the neurons: relu or gelu
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub activation: Option<Activation>,
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
    /// Decoupled weight decay λ, applied to every parameter
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
    pub d_model: usize,
    pub heads: usize,
    pub d_mlp: usize,
    pub activation: Activation,
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
/// fields, which all four treat alike.
macro_rules! for_each_setting {
    ($($field:ident),+ $(,)?) => {
        /// The keys of a TOML file.
        pub const KEYS: &[&str] = &[$(stringify!($field)),+];

        impl Settings {
            /// These settings, and those of `other` where these say nothing.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field)),+ }
            }

            /// All settings in force, checked.
            ///
            /// # Errors
            /// [`Error::Setting`] or [`Error::Modulus`] for values that cannot be trained with.
            pub fn resolve(self) -> Result<RunConfig> {
                $(let $field = self.$field.ok_or_else(|| Error::setting(
                    stringify!($field), "is said nowhere", "give it, or a --preset",
                ))?;)+
                let config = RunConfig { $($field),+ };
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
    d_model,
    heads,
    d_mlp,
    activation,
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
    save_optimizer,
);

impl RunConfig {
    /// Width of one head.
    #[must_use]
    pub fn d_head(&self) -> usize {
        self.d_model / self.heads
    }

    /// Number of tokens: the residues and `=`.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.modulus + 1
    }

    /// Every rule that one setting, or two together, must obey.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Modulus`].
    pub fn check(&self) -> Result<()> {
        let rule = |holds: bool, setting: &str, problem: String, help: &str| {
            if holds { Ok(()) } else { Err(Error::setting(setting, problem, help)) }
        };
        let p = self.modulus;
        if p < 3 || p.is_multiple_of(2) {
            return Err(Error::Modulus { p });
        }
        rule(
            p <= 2_000,
            "modulus",
            format!("{p} is above 2000; the p² inputs of p classes would take 64 GB and more"),
            "pick a smaller modulus",
        )?;
        rule(
            self.task != Task::Div || is_prime(p),
            "modulus",
            format!("task div needs a prime modulus, and {p} is not prime"),
            "pick a prime, such as 59 or 113",
        )?;
        rule(
            self.train_fraction > 0.0 && self.train_fraction <= 1.0,
            "train-fraction",
            format!("{} is not in (0, 1]", self.train_fraction),
            "0.3 trains on 30 % of the pairs",
        )?;
        for (name, value) in
            [("d-model", self.d_model), ("heads", self.heads), ("d-mlp", self.d_mlp)]
        {
            rule((1..=65_536).contains(&value), name, format!("{value} is not in 1..=65536"), "")?;
        }
        rule(
            self.d_model.is_multiple_of(self.heads),
            "heads",
            format!("{} heads do not divide d-model {}", self.heads, self.d_model),
            "d-model must be a multiple of heads",
        )?;
        for (name, value) in [("lr", self.lr), ("weight-decay", self.weight_decay)] {
            rule(
                value.is_finite() && value >= 0.0,
                name,
                format!("{value} is not a finite number of at least 0"),
                "",
            )?;
        }
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            rule((0.0..1.0).contains(&value), name, format!("{value} is not in [0, 1)"), "")?;
        }
        rule(self.steps > 0, "steps", "a run needs at least one step".into(), "")
    }
}

/// Trial division; moduli are small.
fn is_prime(n: usize) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> Error {
        let settings = Settings::from_toml(toml, Path::new("run.toml"));
        let preset = Settings::preset("nanda2023").unwrap();
        settings.and_then(|settings| settings.or(preset).resolve()).unwrap_err()
    }

    #[test]
    fn presets_are_complete() {
        for preset in PRESETS {
            let config = Settings::preset(preset.name).unwrap().resolve().unwrap();
            assert!(config.save_at.count(config.steps) >= 300, "{}", preset.name);
        }
    }

    #[test]
    fn options_override_the_file_and_the_file_the_preset() {
        let file = Settings::from_toml("modulus = 59\nlr = 0.01", Path::new("run.toml")).unwrap();
        let options = Settings { lr: Some(0.5), ..Settings::default() };
        let preset = Settings::preset("nanda2023").unwrap();
        let config = options.or(file).or(preset).resolve().unwrap();
        assert_eq!((config.lr, config.modulus, config.d_model), (0.5, 59, 128));
    }

    #[test]
    fn unknown_keys_are_placed_and_the_nearest_is_named() {
        let error = refused("modulus = 59\nweight_decy = 1.0\n");
        assert_eq!(
            error.to_string(),
            "run.toml:2:1: unknown key `weight_decy`; did you mean `weight_decay`?"
        );
    }

    #[test]
    fn values_of_the_wrong_type_or_name_are_placed() {
        assert!(refused("lr = \"fast\"").to_string().starts_with("run.toml:1:6: invalid type"));
        let message = refused("\n  task = \"ad\"").to_string();
        assert_eq!(message, "run.toml:2:10: unknown task `ad`; did you mean `add`?");
    }

    #[test]
    fn impossible_settings_are_refused_with_the_reason() {
        for (toml, reason) in [
            ("modulus = 112", "modulus p = 112 is not an odd number of at least 3"),
            ("task = 'div'\nmodulus = 111", "task div needs a prime modulus, and 111 is not prime"),
            ("train_fraction = 1.5", "train-fraction: 1.5 is not in (0, 1]"),
            ("train_fraction = 0.0", "train-fraction: 0 is not in (0, 1]"),
            ("heads = 3", "heads: 3 heads do not divide d-model 128"),
            ("lr = nan", "lr: NaN is not a finite number of at least 0"),
            ("beta2 = 1.0", "beta2: 1 is not in [0, 1)"),
        ] {
            let error = refused(toml);
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn run_config_survives_json() {
        let config = Settings::preset("nanda2023").unwrap().resolve().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), config);
    }
}
