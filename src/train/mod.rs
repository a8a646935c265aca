//! Training runs.
pub mod step;
