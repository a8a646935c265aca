//! The essay's claims as numbers, each with what it is compared with.
//!
//! Pure: arrays in, numbers out. The definitions stand in `docs/claims.md`.

pub mod arrow;
pub mod nulls;
