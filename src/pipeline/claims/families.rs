//! Which runs belong together: those that differ in their seed alone, and their twins on permuted labels.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::archive::{Archive, Run};
use crate::error::{Error, Result};

/// What may differ between runs of a family: chance, how long they ran, what was kept.
const CHANCE: [&str; 6] = ["seed", "split", "steps", CADENCE, "save_optimizer", PERMUTED];

/// The size of the network.
const SIZE: [&str; 3] = ["d_model", "heads", "d_mlp"];

/// The size of the data.
const DATA: &str = "train_fraction";

/// The setting that says when a run saves.
const CADENCE: &str = "save_at";

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
    /// What it has in common with the runs of other sizes
    any_size: String,
    size: String,
    cadence: String,
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

    /// The names of the runs that `all` is about: the largest family of one cadence, the first of equal ones.
    /// Several numbers count saves.
    #[must_use]
    pub fn main(&self) -> Vec<&'a str> {
        let mut families: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for member in self.runs.iter().filter(|member| !member.permuted) {
            let family = (member.family.as_str(), member.cadence.as_str());
            families.entry(family).or_default().push(&member.run.name);
        }
        let largest = families.values().map(Vec::len).max().unwrap_or(0);
        let mut largest: Vec<Vec<&str>> =
            families.into_values().filter(|runs| runs.len() == largest).collect();
        largest.sort();
        largest.into_iter().next().unwrap_or_default()
    }

    /// What the runs of other sizes share with this one: all settings but those of chance, of the network's
    /// width and of the share of the pairs. The cadence is among them.
    #[must_use]
    pub fn of_any_size(&self, run: &Run) -> &str {
        self.member(run).map_or("", |member| &member.any_size)
    }

    /// Whether two runs, by name, save at the same steps.
    #[must_use]
    pub fn share_cadence(&self, a: &str, b: &str) -> bool {
        self.share(a, b, |member| &member.cadence)
    }

    /// Whether their networks are of the same size.
    #[must_use]
    pub fn share_size(&self, a: &str, b: &str) -> bool {
        self.share(a, b, |member| &member.size)
    }

    fn share(&self, a: &str, b: &str, what: for<'m> fn(&'m Member<'a>) -> &'m String) -> bool {
        let of = |name: &str| self.runs.iter().find(|own| own.run.name == name).map(what);
        of(a) == of(b)
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
            // A run of another program: what was said of all such runs, and when it saved.
            let family = format!("{:?}", run.facts);
            let steps: Vec<u64> = run.checkpoints.iter().map(|saved| saved.step).collect();
            let (any_size, size, cadence) = (run.name.clone(), String::new(), format!("{steps:?}"));
            let (seed, permuted) = (run.name.clone(), false);
            return Ok(Self { run, family, any_size, size, cadence, seed, permuted });
        };
        let internal = |error| Error::Internal(format!("settings as JSON: {error}"));
        let settings = serde_json::to_value(&info.config).map_err(internal)?;
        let cadence = settings[CADENCE].to_string();
        let any_size = any_size(&settings);
        let size = SIZE.map(|name| settings[name].to_string()).join(" ");
        let (family, seed, permuted) = sorted(settings);
        Ok(Self { run, family, any_size, size, cadence, seed, permuted })
    }
}

/// What names a family, its member, and whether its labels are permuted.
fn sorted(settings: Value) -> (String, String, bool) {
    let permuted = settings.get(PERMUTED).is_some_and(|seed| !seed.is_null());
    let seed = format!("{} {}", settings["seed"], settings["split"]);
    (without(settings, &CHANCE), seed, permuted)
}

/// What runs of all sizes have in common.
fn any_size(settings: &Value) -> String {
    let all = without(settings.clone(), &[&CHANCE[..], &SIZE, &[DATA]].concat());
    format!("{all} {}", settings[CADENCE])
}

/// All settings but these.
fn without(mut settings: Value, names: &[&str]) -> String {
    if let Value::Object(settings) = &mut settings {
        names.iter().for_each(|name| drop(settings.remove(*name)));
    }
    settings.to_string()
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

    /// The twins that the paper's seeds are judged by: the same family, one from each of the same
    /// initialisations, no two with the same permutation.
    #[test]
    fn the_twins_of_the_paper_are_permuted_each_in_its_own_way() {
        let paper = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("paper");
        for [seeds, twins] in [
            ["seeds.toml", "claims/permuted.toml"],
            ["quick/seeds.toml", "claims/quick/permuted.toml"],
        ] {
            let plan = |file: &str| {
                let path = paper.join(file);
                let text = std::fs::read_to_string(&path).unwrap();
                let plans = crate::train::sweep::plan(&text, &path).unwrap();
                plans.into_iter().map(|plan| plan.config).collect::<Vec<_>>()
            };
            let (seeds, twins) = (plan(seeds), plan(twins));
            let permutations: BTreeMap<_, _> =
                twins.iter().map(|twin| (twin.permute_labels, &twin.seed)).collect();
            assert_eq!((twins.len(), permutations.len()), (5, 5));
            let sorted = |config| sorted(serde_json::to_value(config).unwrap());
            for (run, twin) in seeds.iter().zip(&twins) {
                let ((family, seed, permuted), twin) = (sorted(run), sorted(twin));
                assert_eq!((&family, &seed), (&twin.0, &twin.1));
                assert!(!permuted && twin.2);
            }
        }
    }

    #[test]
    fn sizes_differ_in_width_and_data_alone() {
        let run = json!({
            "modulus": 59, "seed": 1, "d_model": 8, "heads": 2, "d_mlp": 32, "train_fraction": 0.4,
            "steps": 100, "save_at": "0..:5",
        });
        let with = |name: &str, value: Value| {
            let mut other = run.clone();
            other[name] = value;
            any_size(&other)
        };
        let own = any_size(&run);
        for (name, value) in
            [("d_model", json!(64)), ("train_fraction", json!(0.9)), ("seed", json!(2))]
        {
            assert_eq!(with(name, value), own, "{name}");
        }
        for (name, value) in
            [("modulus", json!(61)), ("save_at", json!("0..:2")), ("lr", json!(0.1))]
        {
            assert_ne!(with(name, value), own, "{name}");
        }
    }
}
