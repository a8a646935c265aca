//! The essay's claims, from tables that are there.
//!
//! What is compared with what stands in [`crate::claims`]; here tables become arrays, and numbers rows.

mod blind;
mod families;
mod one;
pub mod onset;
mod planes;
pub mod series;
mod tables;
pub mod verdicts;
mod weights;
