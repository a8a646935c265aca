//! Groundswell: when, and how, did a network start to implement the algorithm it ended up with?
#![deny(unsafe_code)]

pub mod blas;
pub mod config;
pub mod error;
pub mod linalg;
pub mod model;
pub mod params;
pub mod tasks;

pub use error::{Error, Fault, Result};
