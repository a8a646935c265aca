//! How the second checkpoint of a line is matched to the first.

use crate::config::names::named_enum;
use crate::landscape::align::aligned;
use crate::model::Network;
use crate::params::Params;

named_enum! {
    /// How neurons and heads of the second checkpoint of a line are matched to those of the first.
    Alignment, "alignment":
    /// As they were saved
    None = "none",
    /// In the order that brings the weights closest
    Permuted = "permuted",
}

impl Alignment {
    /// The weights of the second checkpoint, matched to those of the first. Weights that are not
    /// finite stay as they are.
    #[must_use]
    pub fn apply(self, net: &Network, first: &Params<f64>, second: Params<f64>) -> Params<f64> {
        let finite = |params: &Params<f64>| params.values.iter().all(|value| value.abs() < 1e100);
        match self {
            Self::Permuted if finite(first) && finite(&second) => aligned(net, first, &second),
            Self::Permuted | Self::None => second,
        }
    }
}
