//! Rules of the claims that are read from a file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::claims::rules::{self, Rules};
use crate::error::{Error, Result};

/// Which rules the claims are judged by.
#[derive(Debug, clap::Args)]
pub struct RulesArgs {
    /// Other rules than those of the program, in the same form: src/claims/rules.toml
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub rules: Option<PathBuf>,
}

impl RulesArgs {
    /// Those of the file, or of the program.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Read`]; [`Error::ConfigFile`] for rules that cannot be understood.
    pub fn read(&self) -> Result<Cow<'static, Rules>> {
        self.rules.as_deref().map_or(Ok(Cow::Borrowed(rules::rules())), |path| {
            Rules::parse(&text(path)?, path).map(Cow::Owned)
        })
    }
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::NotFound { path: path.to_owned(), kind: "file of rules" }
        }
        _ => Error::read(path)(source),
    })
}
