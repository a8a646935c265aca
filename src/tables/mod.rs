//! Result tables: typed rows in, Parquet bytes out, and back.
//!
//! A table is one row type. `table!` writes its struct, its schema and its documentation
//! from one list, so that a column cannot mean one thing in the code and another in the file.
//!
//! Conventions, fixed here and relied on by every reader of the tables:
//! - Plain types only: int64, float64, string and bool. Every reader knows them.
//! - Undefined is null, never NaN or Inf (readers disagree on how those compare), with a
//!   [`Status`] where a whole row can be undefined.
//! - Rows are sorted by the key of their table, text by its UTF-8 bytes; a key occurs once.
//! - The same rows give the same bytes: no clock, host, path or thread count gets in.
//! - Every file carries a checksum of its own, and no table is read without checking it.
//!
//! Bytes only: the engines read the archive, and commit these bytes under a final name.

mod ablations;
mod archive;
mod cell;
mod circuit;
mod claims;
mod decode;
mod dynamics;
mod encode;
mod join;
mod landscape;
pub mod manifest;
mod row;
pub mod schema;
mod seal;
mod spectra;
mod status;
#[cfg(test)]
mod tests;
mod toy;

pub use ablations::{AblationRow, ActivationRow, CircuitRow, ReadoutRow};
pub use archive::{CheckpointRow, FailureRow, TrainingRow};
pub use cell::{Cell, Dtype, Scalar};
pub use circuit::{FourierRow, FrequencyRow, NeuronRow, ProgressRow};
pub use claims::{ArrowRow, ClaimRow, OnsetRow, SharesRow};
pub use decode::{decode, metadata, read, read_bytes};
pub use dynamics::{MovementRow, TrajectoryRow};
pub use encode::encode;
pub use join::{Block, Blocks, Joinable, Joined, join};
pub use landscape::{
    BarrierRow, BasinRow, CurvatureRow, InterpolationRow, PlanePointRow, ResemblanceRow,
    SpectralDensityRow, SurfaceRow,
};
pub use manifest::Manifest;
pub use row::{Column, Field, Row};
pub use schema::TableSchema;
pub use spectra::{SingularValueRow, SpectrumRow};
pub use status::Status;
pub use toy::{ToyRow, ToySliceRow};
