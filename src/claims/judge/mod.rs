//! One judge per claim: series in, a finding out.
//!
//! Each measures what `docs/claims.md` says, and compares it with the thresholds of the [`Rules`] and with
//! its nulls. What is missing gives a [`Gap`], never a verdict.
//!
//! [`Rules`]: super::rules::Rules
//! [`Gap`]: super::course::Gap

mod arrow;
mod circuit;
mod growth;
mod influence;
mod onsets;
mod paths;
mod sizes;
mod takeover;
mod together;
mod tools;
mod valley;
mod wells;

pub use arrow::{Rates, StepMean, c4a, c4b, c8};
pub use circuit::{AtDrop, OfSet, Overlaps, c5};
pub use growth::{c1, exponents};
pub use influence::{ShareSave, c2, c7, c12};
pub use onsets::{Curse, Deadline, Known, OfWalks, Origin, c3, origin};
pub use paths::{Line, c14};
pub use sizes::{Capacity, Kind, c10};
pub use takeover::c9;
pub use together::{All, all_runs, other_families};
pub use tools::{Detected, Seen, c13, curve};
pub use valley::{StepWidths, c11, radius};
pub use wells::{Patch, Site, c6};

#[cfg(test)]
mod tests;
