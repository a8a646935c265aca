//! Groundswell: when, and how, did a network start to implement the algorithm it ended up with?
#![deny(unsafe_code)]

pub mod archive;
pub mod config;
pub mod durable;
pub mod error;

pub use error::{Error, Fault, Result};
