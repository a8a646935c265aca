//! The essay's claims as numbers, each with what it is compared with.
//!
//! Pure: arrays in, numbers out. The definitions stand in `docs/claims.md`.
//!
//! Conventions, fixed here:
//! - A series is `[save, frequency]`; index `k − 1` holds frequency `k`. Saves at which a statistic is
//!   not known for every frequency are left out before.
//! - Keys and other sets of frequencies are ascending lists of `k`, from 1.
//! - Random draws are seeded: ChaCha8, the seed an argument.

pub mod arrow;
pub mod course;
pub mod curse;
pub mod detector;
pub mod judge;
pub mod kernel;
pub mod nulls;
pub mod onset;
pub mod parts;
pub mod path;
pub mod phases;
pub mod rules;
pub mod shares;
pub mod stats;
pub mod switch;
pub mod verdict;
