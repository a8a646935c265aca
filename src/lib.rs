//! Groundswell: when, and how, did a network start to implement the algorithm it ended up with?
#![deny(unsafe_code)]
// Tests compare exact values on purpose.
#![cfg_attr(test, allow(clippy::float_cmp))]

pub mod archive;
pub mod blas;
pub mod circuits;
pub mod claims;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod durable;
pub mod dynamics;
pub mod error;
pub mod fourier;
pub mod landscape;
pub mod linalg;
pub mod model;
pub mod optim;
pub mod params;
pub mod pipeline;
pub mod progress;
pub mod spectra;
pub mod tables;
pub mod tasks;
pub mod train;
pub mod weights;

pub use error::{Error, Fault, Result};
