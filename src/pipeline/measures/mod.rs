//! From a checkpoint to rows: one [`Measure`] per table.
//!
//! Nothing is computed here; a measure names the columns of what the mathematics returns, and gives
//! the reason where it returns nothing. What several measures need is computed once, by [`View`].

mod checkpoints;
mod circuit;
pub mod losses;
pub(super) mod spectra;

pub use checkpoints::Checkpoints;
pub use circuit::{FourierNorms, Frequencies, Neurons, Progress};
pub use spectra::{SingularValues, Spectra};

use std::collections::BTreeMap;

use super::output::Replacement;
use super::view::View;
use crate::config::names::named_enum;
use crate::error::Result;
use crate::tables::{
    CheckpointRow, FourierRow, FrequencyRow, MovementRow, NeuronRow, ProgressRow, Row,
    SingularValueRow, SpectrumRow, TrainingRow, TrajectoryRow,
};

/// A checkpoint in, rows out.
pub trait Measure: Sync {
    /// A line of the measure's table.
    type Row: Row + Send;

    /// The rows of one checkpoint, in any order.
    ///
    /// # Errors
    /// If the checkpoint cannot be measured at all. What is merely undefined is a null.
    fn rows(&self, view: &View<'_>) -> Result<Vec<Self::Row>>;
}

/// The one list of measures: what `analyze --measures` can name, the field of [`Rows`] that its rows
/// go to, and the measures that fill them.
macro_rules! measures {
    ($( $(#[$about:meta])* $kind:ident = $name:literal: $( $field:ident: $row:ty $(= $measure:expr)? ),+; )+) => {
        named_enum! {
            /// What `analyze` can measure; each name is that of its table.
            MeasureKind, "measure":
            $( $(#[$about])* $kind = $name ),+
        }

        impl MeasureKind {
            /// The tables of this measure.
            #[must_use]
            pub fn tables(self) -> &'static [&'static str] {
                match self { $( Self::$kind => &[$( <$row>::TABLE ),+] ),+ }
            }
        }

        /// Rows of all tables, of one checkpoint or of many.
        #[derive(Debug, Default)]
        pub struct Rows { $($( pub $field: Vec<$row>, )+)+ }

        impl Rows {
            /// The rows of these measures for one checkpoint.
            ///
            /// # Errors
            /// As [`Measure::rows`].
            pub fn of(view: &View<'_>, kinds: &[MeasureKind]) -> Result<Self> {
                let mut rows = Self::default();
                for kind in kinds {
                    match kind {
                        $( MeasureKind::$kind => { $($( rows.$field = $measure.rows(view)?; )?)+ } )+
                    }
                }
                Ok(rows)
            }

            /// Put the rows of `other` behind these.
            pub fn append(&mut self, mut other: Self) {
                $($( self.$field.append(&mut other.$field); )+)+
            }

            /// Hand the tables of these measures to an output, with the metadata of all and of
            /// each one's own.
            ///
            /// # Errors
            /// As [`Replacement::table`].
            pub fn write(
                self,
                kinds: &[MeasureKind],
                to: &mut Replacement<'_>,
                metadata: &BTreeMap<String, String>,
                own: impl Fn(MeasureKind) -> Option<(String, String)>,
            ) -> Result<()> {
                $( if kinds.contains(&MeasureKind::$kind) {
                    let mut metadata = metadata.clone();
                    metadata.extend(own(MeasureKind::$kind));
                    $( to.table(self.$field, &metadata)?; )+
                } )+
                Ok(())
            }
        }
    };
}

measures! {
    Checkpoints = "checkpoints": checkpoints: CheckpointRow = Checkpoints;
    /// From the run's log, not from its checkpoints
    Training = "training": training: TrainingRow;
    Progress = "progress": progress: ProgressRow = Progress;
    Frequencies = "frequencies": frequencies: FrequencyRow = Frequencies;
    Fourier = "fourier": fourier: FourierRow = FourierNorms;
    Neurons = "neurons": neurons: NeuronRow = Neurons;
    /// Brings `singular_values`
    Spectra = "spectra":
        spectra: SpectrumRow = Spectra, singular_values: SingularValueRow = SingularValues;
    /// Of each run as a whole, like `trajectory`
    Movement = "movement": movement: MovementRow;
    Trajectory = "trajectory": trajectory: TrajectoryRow;
}
