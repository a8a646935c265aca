//! What the settings of a run must obey.

use super::{Architecture, Biases, Init, Outputs, RunConfig, Task};
use crate::error::{Error, Result};

impl RunConfig {
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
        let width = |name: &str, value: usize| {
            rule((1..=65_536).contains(&value), name, format!("{value} is not in 1..=65536"), "")
        };
        width("d-mlp", self.d_mlp)?;
        match self.architecture {
            Architecture::Transformer => {
                let said = |name: &str, value: Option<usize>| {
                    let help = "give it, or a --preset";
                    value.ok_or_else(|| Error::setting(name, "is said nowhere", help))
                };
                let (d_model, heads) = (said("d-model", self.d_model)?, said("heads", self.heads)?);
                width("d-model", d_model)?;
                width("heads", heads)?;
                rule(
                    d_model.is_multiple_of(heads),
                    "heads",
                    format!("{heads} heads do not divide d-model {d_model}"),
                    "d-model must be a multiple of heads",
                )?;
                rule(
                    self.biases != Biases::Absent,
                    "biases",
                    "a transformer has biases, so they cannot be absent".into(),
                    "`frozen` keeps them at their initial values, zero unless --init brings others",
                )?;
            }
            Architecture::Mlp => {
                let help = "leave it out, or choose --architecture transformer";
                let problem = |what: &str| format!("an mlp {what}");
                let none =
                    |name: &str, said: bool, what: &str| rule(!said, name, problem(what), help);
                none(
                    "d-model",
                    self.d_model.is_some(),
                    "has no residual stream, hence no width of it",
                )?;
                none("heads", self.heads.is_some(), "has no attention heads")?;
                let tokens = self.outputs == Outputs::Tokens;
                none("outputs", tokens, "has no token `=`: its outputs are the residues")?;
                none("biases", self.biases != Biases::Absent, "has no biases")?;
                let lens = self.init == Init::TransformerLens;
                none("init", lens, "has no weights of a TransformerLens network")?;
            }
        }
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
