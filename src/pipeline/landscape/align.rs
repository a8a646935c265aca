//! How the second checkpoint of a line is matched to the first.

use crate::config::names::named_enum;
use crate::error::Result;
use crate::model::Network;
use crate::params::Params;

named_enum! {
    /// How neurons and heads of the second checkpoint of a line are matched to those of the first.
    Alignment, "alignment":
    /// As they were saved
    None = "none",
}

impl Alignment {
    /// The weights of the second checkpoint, matched to those of the first.
    ///
    /// # Errors
    /// None yet.
    pub fn apply(
        self,
        _net: &Network,
        _first: &Params<f64>,
        second: Params<f64>,
    ) -> Result<Params<f64>> {
        Ok(second)
    }
}
