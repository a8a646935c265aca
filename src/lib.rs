//! Groundswell: when, and how, did a network start to implement the algorithm it ended up with?
#![deny(unsafe_code)]

pub mod config;
pub mod error;
pub mod tables;

pub use error::{Error, Fault, Result};
