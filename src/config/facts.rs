//! What an archive of another program does not say of its networks.
//!
//! By options of the command line, or by an `archive.toml` beside the checkpoints:
//!
//! ```text
//! task = "add"
//! modulus = 113
//! train_fraction = 0.3
//! split = "python:0"
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::{Activation, Outputs, Split, Task};
use super::{RunConfig, Settings, toml_fault};
use crate::error::{Error, Result};

/// The name of the file with facts.
pub const FACTS_FILE: &str = "archive.toml";

/// Above the options in the manual.
const HEADING: &str = "Facts that an archive of another program does not state";

const KEYS: &[&str] = &["task", "modulus", "train_fraction", "split", "activation"];

/// What one source says; the doc-comments are the manual page, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// What the networks learned, as in training: add, sub, mul, div, x2+y2, …
    #[arg(long, value_name = "TASK", help_heading = HEADING)]
    pub task: Option<Task>,
    /// The modulus p
    #[arg(long, value_name = "P", help_heading = HEADING)]
    pub modulus: Option<usize>,
    /// Share of the pairs that were trained on, above 0 and at most 1
    #[arg(long, value_name = "F", help_heading = HEADING)]
    pub train_fraction: Option<f64>,
    /// How the pairs were divided: python:SEED, rng:SEED or file:PATH
    #[arg(long, value_name = "RULE", help_heading = HEADING)]
    pub split: Option<Split>,
    /// Nonlinearity of the neurons, relu or gelu [default: relu]
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub activation: Option<Activation>,
}

/// The part of a network's settings that is read off its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    pub d_model: usize,
    pub heads: usize,
    pub d_mlp: usize,
    pub outputs: Outputs,
}

impl Facts {
    /// Read an `archive.toml`; nothing, if there is none. The path of a `file:PATH` split counts
    /// from the folder of the `archive.toml`.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::ConfigFile`] with the place of the fault.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            result => result.map_err(Error::read(path))?,
        };
        Self::from_toml(&text, path)
    }

    /// Facts from the text of an `archive.toml`.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] with the place of the fault.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        let facts: Self =
            toml::from_str(text).map_err(|error| toml_fault(&error, text, path, KEYS))?;
        let beside = |split| match split {
            Split::File(file) => Split::File(path.parent().unwrap_or(Path::new("")).join(file)),
            other => other,
        };
        Ok(Self { split: facts.split.map(beside), ..facts })
    }

    /// These facts, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            task: self.task.or(other.task),
            modulus: self.modulus.or(other.modulus),
            train_fraction: self.train_fraction.or(other.train_fraction),
            split: self.split.or(other.split),
            activation: self.activation.or(other.activation),
        }
    }

    /// The options that are still to be given before networks can be evaluated.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let said = [
            ("--task", self.task.is_some()),
            ("--modulus", self.modulus.is_some()),
            ("--train-fraction", self.train_fraction.is_some()),
            ("--split", self.split.is_some()),
        ];
        said.iter().filter(|(_, said)| !said).map(|(name, _)| *name).collect()
    }

    /// Make sure that there can be such a run, as far as the facts tell.
    ///
    /// # Errors
    /// As [`Facts::config`].
    pub fn check(&self) -> Result<()> {
        if self.missing().is_empty() {
            let smallest = Dimensions { d_model: 1, heads: 1, d_mlp: 1, outputs: Outputs::Tokens };
            self.config(smallest)?;
        }
        Ok(())
    }

    /// The settings of a run with these facts and a network of these dimensions. How it was
    /// trained is not known: what no analysis reads stands as in the first preset.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Modulus`] for facts that no network can have.
    pub fn config(&self, network: Dimensions) -> Result<RunConfig> {
        if self.task == Some(Task::Random) {
            return Err(Error::setting(
                "task",
                "the labels of a random task stand in no archive of another program",
                "leave the facts out: what needs no labels is measured",
            ));
        }
        let Self { task, modulus, train_fraction, ref split, activation } = *self;
        let known = Settings {
            task,
            modulus,
            train_fraction,
            split: split.clone(),
            d_model: Some(network.d_model),
            heads: Some(network.heads),
            d_mlp: Some(network.d_mlp),
            outputs: Some(network.outputs),
            activation: activation.or(Some(Activation::Relu)),
            ..Settings::default()
        };
        known.or(Settings::preset(super::PRESETS[0].name)?).resolve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_and_laid_over_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FACTS_FILE);
        assert_eq!(Facts::read(&path).unwrap(), Facts::default());
        std::fs::write(&path, "task = \"add\"\nmodulus = 7\nsplit = \"file:pairs.txt\"\n").unwrap();
        let facts = Facts::read(&path).unwrap();
        assert_eq!(facts.split, Some(Split::File(dir.path().join("pairs.txt"))));
        assert_eq!(facts.missing(), ["--train-fraction"]);
        let options = Facts { modulus: Some(5), train_fraction: Some(0.5), ..Facts::default() };
        let all = options.or(facts);
        assert_eq!((all.modulus, all.task, all.missing().len()), (Some(5), Some(Task::Add), 0));
        let network = Dimensions { d_model: 8, heads: 2, d_mlp: 16, outputs: Outputs::Residues };
        let config = all.config(network).unwrap();
        assert_eq!(
            (config.modulus, config.d_model, config.heads, config.d_mlp),
            (5, Some(8), Some(2), 16)
        );
        let random = Facts { task: Some(Task::Random), ..all };
        assert_eq!(random.config(network).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn faults_are_placed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FACTS_FILE);
        std::fs::write(&path, "task = \"add\"\nmoduls = 7\n").unwrap();
        let error = Facts::read(&path).unwrap_err();
        let expected =
            format!("{}:2:1: unknown key `moduls`; did you mean `modulus`?", path.display());
        assert_eq!((error.to_string(), error.exit_code()), (expected, 2));
    }
}
