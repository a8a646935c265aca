//! The essay's claims as numbers, each with what it is compared with.
//!
//! Pure: arrays in, numbers out. The definitions stand in `docs/claims.md`.

pub mod kernel;
pub mod nulls;
pub mod parts;
pub mod path;
pub mod shares;
pub mod switch;
