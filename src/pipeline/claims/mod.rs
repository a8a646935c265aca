//! The essay's claims, from tables that are there.
//!
//! What is compared with what stands in [`crate::claims`]; here tables become arrays, and numbers rows.

mod families;
mod one;
pub mod onset;
pub mod series;
mod tables;
pub mod verdicts;
mod weights;
