//! Landscapes: losses on lines and planes through weight space.
//!
//! Where the points are stands in [`crate::landscape`], what is evaluated at each in
//! [`super::measures::losses`]; here checkpoints are read, points are shared among threads, and rows
//! become tables.

pub mod align;
mod components;
pub mod curvature;
pub mod evaluate;
pub mod hessian;
pub mod kind;
pub mod lines;
pub mod place;
pub mod planes;
mod shapes;
mod shelf;

use std::collections::BTreeMap;

use serde_json::Value;

use super::patience;
use super::run::{RunContext, Subject};
use crate::archive::{Archive, CheckpointRef, Run};
use crate::error::Result;
use crate::params::Params;
use crate::tables::manifest::Manifest;
use crate::tables::{BarrierRow, CurvatureRow, InterpolationRow, PlanePointRow, Row, SurfaceRow};
use crate::weights;

/// What is known of these runs, by name; each is read once.
fn contexts<'a>(runs: impl Iterator<Item = &'a Run>) -> Result<BTreeMap<String, RunContext>> {
    let mut contexts = BTreeMap::new();
    for run in runs {
        if !contexts.contains_key(&run.name) {
            contexts.insert(run.name.clone(), Subject::new(run)?.into_network()?);
        }
    }
    Ok(contexts)
}

/// The weights of a checkpoint, as those of this run's network.
fn load(checkpoint: &CheckpointRef, context: &RunContext) -> Result<Params<f64>> {
    let checkpoint = patience::load_within(context.io_timeout, checkpoint)?;
    weights::of_network(&checkpoint, &context.net)
}

/// Tables with a line, a plane or a Hessian of checkpoints that the archive has others of now, each with one such.
#[must_use]
pub fn outdated(manifest: &Manifest, archive: &Archive) -> BTreeMap<&'static str, String> {
    type IsOutdated = fn(&Value, &Archive) -> bool;
    let all: [(&str, IsOutdated, &[&'static str]); 3] = [
        (lines::MEASURE, lines::is_outdated, &[InterpolationRow::TABLE, BarrierRow::TABLE]),
        (planes::MEASURE, planes::is_outdated, &[SurfaceRow::TABLE, PlanePointRow::TABLE]),
        (curvature::MEASURE, curvature::is_outdated, &[CurvatureRow::TABLE]),
    ];
    let mut found = BTreeMap::new();
    for (measure, is_outdated, tables) in all {
        let made_from = manifest.parameters.get(measure).and_then(Value::as_object);
        let one = made_from.into_iter().flatten().find(|(_, about)| is_outdated(about, archive));
        if let Some((name, _)) = one {
            found.extend(tables.iter().map(|table| (*table, name.clone())));
        }
    }
    found
}

/// Whether the manifest says of a line, a plane or a Hessian what would be said of it now: then its rows need not
/// be computed again. A checkpoint whose digest nobody wrote down may be another by now.
fn is_there(known: Option<&Value>, now: &Value) -> bool {
    fn is_sure(value: &Value) -> bool {
        let of = |(name, value): (&String, &Value)| {
            is_sure(value) && (name != "blake3" || value.is_string())
        };
        value.as_object().is_none_or(|fields| fields.iter().all(of))
    }
    known == Some(now) && is_sure(now)
}

/// Step as in the tables.
fn step_of(checkpoint: &CheckpointRef) -> i64 {
    i64::try_from(checkpoint.step).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The same words are not the same file where nobody wrote its digest down.
    #[test]
    fn what_may_have_changed_is_not_there() {
        let line = |digest: Option<&str>, points: usize| json!({ "from": { "step": 0, "blake3": digest }, "to": { "blake3": "b" }, "points": points });
        let known = line(Some("a"), 25);
        assert!(is_there(Some(&known), &line(Some("a"), 25)));
        assert!(!is_there(None, &known));
        assert!(!is_there(Some(&known), &line(Some("c"), 25)));
        assert!(!is_there(Some(&known), &line(Some("a"), 5)));
        let unsure = line(None, 25);
        assert!(!is_there(Some(&unsure), &unsure));
    }
}
