//! Why a value is null, in the tables' column `status`.

use super::cell::{Cell, Dtype, Scalar, scalar};
use crate::config::names::named_enum;

/// The names and their meanings, from one list.
macro_rules! statuses {
    ($( #[doc = $meaning:literal] $variant:ident = $name:literal, )+) => {
        named_enum! {
            /// Whether a row is complete and, if not, why some of its values are null.
            Status, "status":
            $( #[doc = $meaning] $variant = $name ),+
        }

        impl Status {
            /// One line for the documentation of the tables.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => $meaning.trim_ascii_start() ),+ }
            }
        }
    };
}

statuses! {
    /// Measured; a value that is still null is undefined by its own definition.
    Ok = "ok",
    /// The tensor has no entries.
    Empty = "empty",
    /// The tensor has fewer than two axes.
    NotAMatrix = "not_a_matrix",
    /// An entry that the measure reads is NaN or infinite.
    NonFinite = "non_finite",
    /// The tensor is stored in a type that is not read, such as C64, F8, F6 or F4.
    UnsupportedDtype = "unsupported_dtype",
    /// The tensor has another shape than the run's settings or its first checkpoint imply; `spectra` measures it as it is.
    ShapeChanged = "shape_changed",
    /// A tensor that the measure needs or the run's first checkpoint has, or the final checkpoint that fixes the key frequencies, or a table that it is taken from, is missing.
    Missing = "missing",
    /// The file cannot be read, breaks the format, or is not the one that was saved: see `failures`.
    Unreadable = "unreadable",
    /// The matrix is beyond the limits of LAPACK or of the memory allowed.
    TooLarge = "too_large",
    /// A finite input gave a result beyond the range of f64.
    Overflow = "overflow",
    /// Neither of the two LAPACK drivers found the singular values.
    SvdNoConvergence = "svd_no_convergence",
    /// The singular values took longer than the time allowed for a matrix of this size.
    SvdTimeout = "svd_timeout",
    /// Too few singular values above the rounding noise for the power law (10) or for the Marchenko–Pastur law (8): only their columns are null.
    TooFewValues = "too_few_values",
    /// The labels are no sums in a cyclic group, nor products modulo a prime, or the training labels were permuted: the circuit measures are undefined.
    NotPeriodic = "not_periodic",
    /// Nothing says what the network learned, or its tensors are not those of a network that can be evaluated.
    UnknownNetwork = "unknown_network",
    /// The run has no key frequencies: it has found no final algorithm.
    NoKeys = "no_keys",
    /// The key frequencies, their harmonics and those of W_E leave too few others to compare with.
    TooFewFrequencies = "too_few_frequencies",
    /// Neither the moments of the optimiser nor the next step are saved.
    NoMoments = "no_moments",
    /// The archive has no run on permuted labels from the same initialisation.
    NoTwin = "no_twin",
    /// What the statistic is about was not reached, or not in enough saves.
    NotReached = "not_reached",
    /// The neuron's output does not vary over the inputs.
    Dead = "dead",
    /// The measure failed by a mistake of the program; the log has its message.
    InternalError = "internal_error",
}

impl Default for Status {
    /// The worst, so that a row nobody filled in cannot pass as measured.
    fn default() -> Self {
        Self::InternalError
    }
}

scalar!(Status, String, status => status.name(), held => held.parse().ok());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_survives_its_cell() {
        for &status in Status::ALL {
            assert_eq!(Status::from_cell(status.cell()), Some(status));
            assert!(status.meaning().ends_with('.'), "{status}: {}", status.meaning());
        }
        assert_eq!(Status::from_cell(Cell::String("fine")), None);
        assert_eq!(Status::DTYPE, Dtype::String);
    }
}
