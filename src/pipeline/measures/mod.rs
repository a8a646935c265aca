//! From a checkpoint to rows: one [`Measure`] per table.
//!
//! Nothing is computed here; a measure names the columns of what the mathematics returns, and gives
//! the reason where it returns nothing. What several measures need is computed once, by [`View`].

mod ablations;
mod checkpoints;
mod circuit;
pub mod losses;
pub(super) mod shares;
pub(super) mod spectra;

pub use ablations::{Ablations, Activations, Circuits, Readouts};
pub use checkpoints::Checkpoints;
pub use circuit::{FourierNorms, Frequencies, Neurons, Progress};
pub use spectra::{SingularValues, Spectra};

use std::collections::BTreeMap;

use super::view::View;
use crate::config::names::named_enum;
use crate::error::Result;
use crate::tables::{
    self, AblationRow, ActivationRow, ArrowRow, CheckpointRow, CircuitRow, FourierRow,
    FrequencyRow, Joinable, MovementRow, NeuronRow, ProgressRow, ReadoutRow, Row, SharesRow,
    SingularValueRow, SpectrumRow, TrainingRow, TrajectoryRow,
};

/// What a measure looks at to make rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One checkpoint
    Checkpoint,
    /// A checkpoint, those next to it, and the first and the last of its run
    Neighbours,
    /// A checkpoint and the one before it
    Previous,
    /// A whole run
    Run,
}

/// A table as bytes of a file.
#[derive(Debug)]
pub struct Encoded {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub rows: u64,
}

/// Encode a block of a table. What is said of a table as a whole is said where blocks are joined.
fn encode<R: Row>(rows: Vec<R>) -> Result<Encoded> {
    let count = rows.len() as u64;
    Ok(Encoded { name: R::TABLE, bytes: tables::encode(rows, &BTreeMap::new())?, rows: count })
}

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

            /// The same, with what joins their blocks.
            #[must_use]
            pub fn joinables(self) -> &'static [Joinable] {
                match self {
                    $( Self::$kind => {
                        const TABLES: &[Joinable] = &[$( Joinable::of::<$row>() ),+];
                        TABLES
                    } )+
                }
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

            /// Take out the rows of a measure, as the files of a block.
            ///
            /// # Errors
            /// As [`tables::encode`].
            pub fn encode(&mut self, kind: MeasureKind) -> Result<Vec<Encoded>> {
                Ok(match kind {
                    $( MeasureKind::$kind => {
                        vec![ $( encode(std::mem::take(&mut self.$field))? ),+ ]
                    } )+
                })
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
    /// On request, of the checkpoints asked for, like the next two
    Ablations = "ablations": ablations: AblationRow = Ablations;
    /// Brings `readouts`
    Circuits = "circuits": circuits: CircuitRow = Circuits, readouts: ReadoutRow = Readouts;
    Activations = "activations": activations: ActivationRow = Activations;
    /// Brings `singular_values`
    Spectra = "spectra":
        spectra: SpectrumRow = Spectra, singular_values: SingularValueRow = SingularValues;
    /// On request, of all checkpoints, each against the one before
    Shares = "shares": shares: SharesRow;
    /// Of checkpoints against their neighbours and the ends of their run
    Movement = "movement": movement: MovementRow;
    Trajectory = "trajectory": trajectory: TrajectoryRow;
    /// On request, of all checkpoints
    Arrow = "arrow": arrow: ArrowRow;
}

impl MeasureKind {
    /// What it looks at.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Training | Self::Trajectory => Scope::Run,
            Self::Movement | Self::Arrow => Scope::Neighbours,
            Self::Shares => Scope::Previous,
            _ => Scope::Checkpoint,
        }
    }

    /// To be raised when its numbers change: what was computed before goes stale.
    #[must_use]
    pub fn version(self) -> u32 {
        match self {
            // Since 2 with `neuron_share`; with `z_mirror_mean`; with kernels less their bias.
            Self::Frequencies | Self::Arrow | Self::Shares => 2,
            // Since 2 with `attention_linear`; with table `readouts`.
            Self::Ablations | Self::Circuits => 2,
            _ => 1,
        }
    }

    /// Whether the run's network and its key frequencies decide the rows, beside the weights.
    #[must_use]
    pub fn is_of_network(self) -> bool {
        let of_all = [Self::Progress, Self::Frequencies, Self::Fourier, Self::Neurons];
        of_all.contains(&self) || self.is_on_request()
    }

    /// Whether it is made only when it is named.
    #[must_use]
    pub fn is_on_request(self) -> bool {
        self.is_of_places() || matches!(self, Self::Arrow | Self::Shares)
    }

    /// Whether it is made of the checkpoints that `--at` names, and of no others.
    #[must_use]
    pub fn is_of_places(self) -> bool {
        matches!(self, Self::Ablations | Self::Circuits | Self::Activations)
    }
}
