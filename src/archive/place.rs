//! From files to runs: the step of every checkpoint of another program, and the run it belongs to.
//!
//! The step is told by the first that applies:
//! 1. the user's pattern, in the path below the archive;
//! 2. `step` in the file's own metadata (a name that says another step is a contradiction);
//! 3. a word with a number in the name of the file, then in those of the folders above it, then
//!    in the refs of a Hugging Face cache;
//! 4. a number at the end of a name, if the paths of two files differ in nothing else;
//! 5. `global_step` of the `trainer_state.json` beside the file.
//!
//! The run is the folder in which the name that tells the step stands (without a last
//! `checkpoints/`, which tells nothing); in a Hugging Face cache, the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::shards::{Index, global_step};
use super::walk::{Cache, Candidate, Found};
use super::{CheckpointRef, Refused, StepPattern, read, steps};
use crate::error::{Error, Misplaced, Name};

/// Names of folders that say only what is in them.
const CONTAINERS: [&str; 5] = ["checkpoints", "checkpoint", "ckpts", "weights", "models"];

/// A run of another program.
#[derive(Debug)]
pub(super) struct Placed {
    /// The path of its folder below the archive.
    pub parts: Vec<String>,
    pub dir: PathBuf,
    /// By step.
    pub checkpoints: Vec<CheckpointRef>,
}

/// Where a step was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Several, where several refs name one commit.
    steps: Vec<u64>,
    /// Number of parts of the path that make the run.
    depth: usize,
}

/// The runs of these candidates; what has no place among them goes to [`Found::refused`], and what
/// is merely odd to the warnings.
pub(super) fn place(
    found: &mut Found,
    pattern: Option<&StepPattern>,
    warnings: &mut Vec<String>,
) -> Vec<Placed> {
    let candidates = std::mem::take(&mut found.candidates);
    let mut places: Vec<Option<Place>> = Vec::new();
    for candidate in &candidates {
        let cache = candidate.cache.map(|cache| &found.caches[cache]);
        places.push(match told(candidate, cache, pattern) {
            Ok(place) => place,
            Err(why) => {
                let path = candidate.path.clone();
                let error = Error::Misplaced { path: path.clone(), why };
                found.refused.push(Refused::new(error, path));
                Some(Place { steps: Vec::new(), depth: 0 })
            }
        });
    }
    numbered(&candidates, &mut places);
    for (candidate, place) in candidates.iter().zip(&mut places).filter(|(_, p)| p.is_none()) {
        let state = candidate.path.parent().unwrap_or(Path::new("")).join("trainer_state.json");
        let depth = depth_of(candidate, candidate.parts.len() - 1, &found.caches);
        *place = global_step(&state).map(|step| Place { steps: vec![step], depth });
    }
    refuse_unplaced(found, &candidates, &places);

    let mut runs: BTreeMap<Vec<String>, BTreeMap<u64, Vec<&Candidate>>> = BTreeMap::new();
    for (candidate, place) in candidates.iter().zip(places) {
        let Some(Place { steps, depth }) = place else { continue };
        let mut parts = candidate.parts[..depth].to_vec();
        parts.pop_if(|last| CONTAINERS.contains(&last.as_str()));
        for step in steps {
            let at = runs.entry(parts.clone()).or_default().entry(step).or_default();
            at.push(candidate);
        }
    }
    let placed = runs.into_iter().map(|(parts, by_step)| {
        // From a file's path, which may hold what is no text.
        let file = by_step.values().flatten().next();
        let dir = file.and_then(|file| file.path.ancestors().nth(file.parts.len() - parts.len()));
        let dir = dir.unwrap_or(Path::new("")).to_owned();
        let checkpoints = by_step
            .into_iter()
            .filter_map(|(step, files)| {
                let file = only(step, &files, &mut found.refused, warnings)?;
                Some(CheckpointRef {
                    run: String::new(), // Named with its run.
                    step,
                    path: file.path.clone(),
                    bytes: file.bytes,
                    blake3: None,
                    is_index: file.is_index,
                })
            })
            .collect();
        Placed { parts, dir, checkpoints }
    });
    placed.filter(|run| !run.checkpoints.is_empty()).collect()
}

/// What the path and the file itself tell: rules 1 to 3.
fn told(
    candidate: &Candidate,
    cache: Option<&Cache>,
    pattern: Option<&StepPattern>,
) -> Result<Option<Place>, Misplaced> {
    let parts = &candidate.parts;
    // In a cache, the names of the repository and of the commit tell nothing.
    let first = cache.map_or(0, |cache| cache.depth + 2);
    let depth = |at: usize| cache.map_or(at, |cache| cache.depth);
    if let Some(pattern) = pattern {
        let path = parts.join("/");
        if let Some((step, at)) = pattern.find(&path) {
            let depth = depth(path[..at].matches('/').count());
            return Ok(Some(Place { steps: vec![step], depth }));
        }
        if let Some(place) = by_ref(parts, cache, |name| Some(pattern.find(name)?.0)) {
            return Ok(Some(place));
        }
    }
    let last = parts.len() - 1;
    let by_name = (first..=last).rev().find_map(|at| Some((steps::announced(&parts[at])?, at)));
    if let Some(metadata) = own_step(candidate) {
        return match by_name {
            Some((name, _)) if name != metadata => {
                Err(Misplaced::NameAgainstMetadata { name, metadata })
            }
            found => {
                let at = found.map_or(last, |(_, at)| at);
                Ok(Some(Place { steps: vec![metadata], depth: depth(at) }))
            }
        };
    }
    let by_name = by_name.map(|(step, at)| Place { steps: vec![step], depth: depth(at) });
    Ok(by_name.or_else(|| by_ref(parts, cache, steps::announced)))
}

/// The steps in the names of the refs to a file's commit.
fn by_ref(
    parts: &[String],
    cache: Option<&Cache>,
    step: impl Fn(&str) -> Option<u64>,
) -> Option<Place> {
    let cache = cache?;
    let commit = parts.get(cache.depth + 1)?;
    let of_commit = cache.refs.iter().filter(|(_, named)| named == commit);
    let steps: BTreeSet<u64> = of_commit.filter_map(|(name, _)| step(name)).collect();
    let steps: Vec<u64> = steps.into_iter().collect();
    (!steps.is_empty()).then_some(Place { steps, depth: cache.depth })
}

/// The step in the file's own metadata.
fn own_step(candidate: &Candidate) -> Option<u64> {
    if candidate.is_index {
        return None;
    }
    // A file that cannot be read says so when it is.
    let header = read::header(&candidate.path).ok()?;
    header.metadata.get("step")?.parse::<i64>().ok().and_then(|step| u64::try_from(step).ok())
}

fn depth_of(candidate: &Candidate, otherwise: usize, caches: &[Cache]) -> usize {
    candidate.cache.map_or(otherwise, |cache| caches[cache].depth)
}

/// Rule 4, for the files that have no place yet.
fn numbered(candidates: &[Candidate], places: &mut [Option<Place>]) {
    let without = |candidate: &Candidate, at: usize| {
        let (rest, step) = steps::trailing(&candidate.parts[at])?;
        let mut parts = candidate.parts.clone();
        parts[at] = rest.to_owned();
        Some(((at, parts), step))
    };
    // Not in a cache, where the folders are commits.
    let open = |places: &[Option<Place>]| -> Vec<usize> {
        let open = places.iter().enumerate().filter(|(_, place)| place.is_none());
        open.map(|(i, _)| i).filter(|i| candidates[*i].cache.is_none()).collect()
    };
    let open = open(places);
    let mut like: BTreeMap<(usize, Vec<String>), BTreeSet<u64>> = BTreeMap::new();
    for &i in &open {
        for at in 0..candidates[i].parts.len() {
            if let Some((key, step)) = without(&candidates[i], at) {
                like.entry(key).or_default().insert(step);
            }
        }
    }
    for i in open {
        let mut levels = (0..candidates[i].parts.len()).rev();
        places[i] = levels.find_map(|at| {
            let (key, step) = without(&candidates[i], at)?;
            (like[&key].len() > 1).then(|| Place { steps: vec![step], depth: at })
        });
    }
}

/// Files without a step, but for a second name of a file that has one, and for what other refs than
/// those with steps lead to.
fn refuse_unplaced(found: &mut Found, candidates: &[Candidate], places: &[Option<Place>]) {
    let placed = || candidates.iter().zip(places).filter(|(_, place)| place.is_some());
    let known: BTreeSet<(u64, u64)> = placed().map(|(candidate, _)| candidate.inode).collect();
    let with_steps: BTreeSet<usize> = placed().filter_map(|(c, _)| c.cache).collect();
    for (candidate, _) in candidates.iter().zip(places).filter(|(_, place)| place.is_none()) {
        let is_second_name = known.contains(&candidate.inode);
        let is_other_ref = candidate.cache.is_some_and(|cache| with_steps.contains(&cache));
        if !is_second_name && !is_other_ref {
            let path = candidate.path.clone();
            let name = path.file_name().unwrap_or_default();
            let why = Misplaced::NoStep { file: Name(super::escaped(name)) };
            let error = Error::Misplaced { path: path.clone(), why };
            found.refused.push(Refused::new(error, path));
        }
    }
}

/// The file of a step: of several with the same bytes the first, of several with other bytes none.
fn only<'a>(
    step: u64,
    files: &[&'a Candidate],
    refused: &mut Vec<Refused>,
    warnings: &mut Vec<String>,
) -> Option<&'a Candidate> {
    let &[first, ref others @ ..] = files else { return None };
    if others.is_empty() {
        return Some(first);
    }
    let digest = |file: &Candidate| {
        if file.is_index {
            return Index::read(&file.path).and_then(|index| index.digest()).ok();
        }
        read::digest(&file.path).ok()
    };
    let known = digest(first);
    let shown = |file: &Candidate| file.parts.join("/");
    if known.is_some() && others.iter().all(|other| digest(other) == known) {
        for other in others {
            let (first, other) = (Name(shown(first)), Name(shown(other)));
            warnings
                .push(format!("step {step}: {other} has the bytes of {first}, and is left out"));
        }
        return Some(first);
    }
    for (i, file) in files.iter().enumerate() {
        let other = Name(shown(files[usize::from(i == 0)]));
        let path: PathBuf = file.path.clone();
        let why = Misplaced::StepTwice { step, other };
        refused.push(Refused::new(Error::Misplaced { path: path.clone(), why }, path));
    }
    None
}
