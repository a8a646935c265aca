//! Which runs belong together: those that differ in their seed alone, and their twins on permuted labels.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::archive::{Archive, Run};
use crate::error::{Error, Result};

/// What may differ between runs of a family: chance, how long they ran, what was kept.
const CHANCE: [&str; 6] = ["seed", "split", "steps", "save_at", "save_optimizer", PERMUTED];

/// The setting of a run on permuted labels.
const PERMUTED: &str = "permute_labels";

/// The runs of an archive, by what they have in common.
#[derive(Debug)]
pub struct Families<'a> {
    runs: Vec<Member<'a>>,
}

/// A run, with the settings that name its family.
#[derive(Debug)]
struct Member<'a> {
    run: &'a Run,
    family: String,
    seed: String,
    permuted: bool,
}

impl<'a> Families<'a> {
    /// Sort the runs of an archive.
    ///
    /// # Errors
    /// [`Error::Internal`] if settings cannot be written as JSON; none are known.
    pub fn new(archive: &'a Archive) -> Result<Self> {
        let runs = archive.runs.iter().map(Member::new).collect::<Result<_>>()?;
        Ok(Self { runs })
    }

    fn member(&self, run: &Run) -> Option<&Member<'a>> {
        self.runs.iter().find(|member| member.run.name == run.name)
    }

    /// All runs but those on permuted labels, by name.
    pub fn judged(&self) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(|member| !member.permuted).map(|member| member.run)
    }

    /// All runs on permuted labels.
    pub fn permuted(&self) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(|member| member.permuted).map(|member| member.run)
    }

    /// The names of the runs that `all` is about: the largest family, the first of equal ones.
    #[must_use]
    pub fn main(&self) -> Vec<&'a str> {
        let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for member in self.runs.iter().filter(|member| !member.permuted) {
            families.entry(&member.family).or_default().push(&member.run.name);
        }
        let largest = families.values().map(Vec::len).max().unwrap_or(0);
        let mut largest: Vec<Vec<&str>> =
            families.into_values().filter(|runs| runs.len() == largest).collect();
        largest.sort();
        largest.into_iter().next().unwrap_or_default()
    }

    /// The other judged runs of a run's family.
    #[must_use]
    pub fn siblings(&self, run: &Run) -> Vec<&'a Run> {
        self.like(run, false)
    }

    /// The runs on permuted labels with a run's settings, from any initialisation.
    #[must_use]
    pub fn twins(&self, run: &Run) -> Vec<&'a Run> {
        self.like(run, true)
    }

    /// The one of them from the same initialisation.
    #[must_use]
    pub fn twin(&self, run: &Run) -> Option<&'a Run> {
        let seed = &self.member(run)?.seed;
        let mut twins = self.twins(run).into_iter();
        twins.find(|twin| self.member(twin).is_some_and(|twin| twin.seed == *seed))
    }

    fn like(&self, run: &Run, permuted: bool) -> Vec<&'a Run> {
        let Some(own) = self.member(run) else { return Vec::new() };
        let alike = self.runs.iter().filter(|other| {
            other.family == own.family && other.permuted == permuted && other.run.name != run.name
        });
        alike.map(|member| member.run).collect()
    }
}

impl<'a> Member<'a> {
    fn new(run: &'a Run) -> Result<Self> {
        let Some(info) = &run.info else {
            // A run of another program: what was said of all such runs.
            let family = format!("{:?}", run.facts);
            return Ok(Self { run, family, seed: run.name.clone(), permuted: false });
        };
        let internal = |error| Error::Internal(format!("settings as JSON: {error}"));
        let settings = serde_json::to_value(&info.config).map_err(internal)?;
        let (family, seed, permuted) = sorted(settings);
        Ok(Self { run, family, seed, permuted })
    }
}

/// What names a family, its member, and whether its labels are permuted.
fn sorted(mut settings: Value) -> (String, String, bool) {
    let permuted = settings.get(PERMUTED).is_some_and(|seed| !seed.is_null());
    let seed = format!("{} {}", settings["seed"], settings["split"]);
    if let Value::Object(settings) = &mut settings {
        CHANCE.iter().for_each(|name| drop(settings.remove(*name)));
    }
    (settings.to_string(), seed, permuted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_twin_differs_in_its_labels_alone() {
        let run = json!({ "modulus": 59, "seed": 1, "split": "python:0", "steps": 500 });
        let mut twin = run.clone();
        (twin["permute_labels"], twin["steps"]) = (json!(7), json!(300));
        let mut sibling = run.clone();
        sibling["seed"] = json!(2);
        let mut stranger = run.clone();
        stranger["modulus"] = json!(61);
        let [run, twin, sibling, stranger] = [run, twin, sibling, stranger].map(sorted);
        assert_eq!((&run.0, &run.1, run.2), (&twin.0, &twin.1, false));
        assert!(twin.2 && !sibling.2);
        assert!(run.0 == sibling.0 && run.1 != sibling.1 && run.0 != stranger.0);
        let null = json!({ "modulus": 59, "permute_labels": null });
        assert!(!sorted(null).2);
    }
}
