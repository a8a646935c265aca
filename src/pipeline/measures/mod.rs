//! From a checkpoint to rows: one [`Measure`] per table.
//!
//! Nothing is computed here; a measure names the columns of what the mathematics returns, and gives
//! the reason where it returns nothing. What several measures need is computed once, by [`View`].

mod checkpoints;
mod circuit;
pub mod losses;
mod spectra;

pub use checkpoints::Checkpoints;
pub use circuit::{FourierNorms, Frequencies, Neurons, Progress};
pub use spectra::{SingularValues, Spectra};

use super::view::View;
use crate::config::names::named_enum;
use crate::error::Result;
use crate::tables::{
    CheckpointRow, FourierRow, FrequencyRow, NeuronRow, ProgressRow, Row, SingularValueRow,
    SpectrumRow, TrainingRow,
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

named_enum! {
    /// What `analyze` can measure; each name is that of its table.
    MeasureKind, "measure":
    Checkpoints = "checkpoints",
    /// From the run's log, not from its checkpoints
    Training = "training",
    Progress = "progress",
    Frequencies = "frequencies",
    Fourier = "fourier",
    Neurons = "neurons",
    /// Brings `singular_values`
    Spectra = "spectra",
}

/// Rows of all tables, of one checkpoint or of many.
#[derive(Debug, Default)]
pub struct Rows {
    pub checkpoints: Vec<CheckpointRow>,
    pub training: Vec<TrainingRow>,
    pub progress: Vec<ProgressRow>,
    pub frequencies: Vec<FrequencyRow>,
    pub fourier: Vec<FourierRow>,
    pub neurons: Vec<NeuronRow>,
    pub spectra: Vec<SpectrumRow>,
    pub singular_values: Vec<SingularValueRow>,
}

impl Rows {
    /// The rows of these measures for one checkpoint.
    ///
    /// # Errors
    /// As [`Measure::rows`].
    pub fn of(view: &View<'_>, kinds: &[MeasureKind]) -> Result<Self> {
        let mut rows = Self::default();
        for kind in kinds {
            match kind {
                MeasureKind::Checkpoints => rows.checkpoints = Checkpoints.rows(view)?,
                MeasureKind::Training => {}
                MeasureKind::Progress => rows.progress = Progress.rows(view)?,
                MeasureKind::Frequencies => rows.frequencies = Frequencies.rows(view)?,
                MeasureKind::Fourier => rows.fourier = FourierNorms.rows(view)?,
                MeasureKind::Neurons => rows.neurons = Neurons.rows(view)?,
                MeasureKind::Spectra => {
                    rows.spectra = Spectra.rows(view)?;
                    rows.singular_values = SingularValues.rows(view)?;
                }
            }
        }
        Ok(rows)
    }

    /// Put the rows of `other` behind these.
    pub fn append(&mut self, mut other: Self) {
        self.checkpoints.append(&mut other.checkpoints);
        self.training.append(&mut other.training);
        self.progress.append(&mut other.progress);
        self.frequencies.append(&mut other.frequencies);
        self.fourier.append(&mut other.fourier);
        self.neurons.append(&mut other.neurons);
        self.spectra.append(&mut other.spectra);
        self.singular_values.append(&mut other.singular_values);
    }
}
