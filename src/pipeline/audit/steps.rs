//! What the steps of one run say about each other: which are missing, which are equal, where a
//! tensor jumps and comes back, and where names and shapes change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scan::{Layout, Scan};
use crate::archive::Dtype;
use crate::error::Name;

/// A tensor that leaves its way for one step: farther from both neighbours than this many times
/// their distance from each other,
const JUMP_RATIO: f64 = 4.0;
/// and than this share of its norm. (Sketches are good to a third, so both are far beyond chance.)
const JUMP_SHARE: f64 = 0.05;
/// As many steps are listed as missing one by one.
const LISTED: usize = 10;

/// The steps that the regular ones imply and that are not there.
///
/// A stretch of equal gaps lacks steps if it lies between two stretches with one common gap d, is
/// shorter than both together, and its own gap is a multiple of d. A schedule that becomes coarser,
/// or finer, lacks none; neither does a run that ends early.
#[must_use]
pub(super) fn missing(steps: &[u64]) -> Vec<u64> {
    let gaps: Vec<u64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut missing = Vec::new();
    let stretches: Vec<&[u64]> = gaps.chunk_by(|a, b| a == b).collect();
    let mut at = stretches.first().map_or(0, |first| first.len());
    for around in stretches.windows(3) {
        let [before, here, after] = [around[0], around[1], around[2]];
        let (every, gap) = (before[0], here[0]);
        let shorter = here.len() < before.len() + after.len();
        if after[0] == every && gap > every && gap.is_multiple_of(every) && shorter {
            for step in &steps[at..at + here.len()] {
                missing.extend((1..gap / every).map(|i| step + i * every));
            }
        }
        at += here.len();
    }
    missing
}

/// Steps in words: `300, 400 and 25 others up to 9000`.
#[must_use]
pub(super) fn list(steps: &[u64]) -> String {
    let shown: Vec<String> = steps.iter().take(LISTED).map(u64::to_string).collect();
    match (steps.len().saturating_sub(LISTED), steps.last()) {
        (others @ 1.., Some(last)) => {
            format!("{} and {others} others up to {last}", shown.join(", "))
        }
        _ => shown.join(", "),
    }
}

/// Groups of at least two steps that hold the same weights, in the order of their first.
#[must_use]
pub(super) fn equal(scans: &[(u64, &Scan)]) -> Vec<Vec<u64>> {
    let mut groups: BTreeMap<[u8; 32], Vec<u64>> = BTreeMap::new();
    for (step, scan) in scans {
        groups.entry(scan.content).or_default().push(*step);
    }
    let mut groups: Vec<_> = groups.into_values().filter(|steps| steps.len() > 1).collect();
    groups.sort();
    groups
}

/// Pairs of tensors that hold the same values, other than a constant, and in how many checkpoints.
#[must_use]
pub(super) fn tied(scans: &[(u64, &Scan)]) -> Vec<(String, String, usize)> {
    let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (_, scan) in scans {
        let mut first: BTreeMap<[u8; 32], &str> = BTreeMap::new();
        for ((name, ..), kept) in scan.layout.tensors.iter().zip(&scan.tensors) {
            if kept.varies {
                let one: &str = first.entry(kept.digest).or_insert(name);
                if one != name {
                    *pairs.entry((one, name)).or_default() += 1;
                }
            }
        }
    }
    let owned = |((a, b), n): ((&str, &str), usize)| (a.to_owned(), b.to_owned(), n);
    pairs.into_iter().map(owned).collect()
}

/// Tensors that jump at a step and come back at the next: `(step, tensor, how far)`, in units of the
/// distance between the neighbours.
#[must_use]
pub(super) fn jumps(scans: &[(u64, &Scan)]) -> Vec<(u64, String, f64)> {
    let mut found = Vec::new();
    for window in scans.windows(3) {
        let [(_, before), (step, here), (_, after)] = [window[0], window[1], window[2]];
        if !Arc::ptr_eq(&before.layout, &here.layout) || !Arc::ptr_eq(&here.layout, &after.layout) {
            continue;
        }
        for (i, (name, ..)) in here.layout.tensors.iter().enumerate() {
            let [a, b, c] = [before, here, after].map(|scan| &scan.tensors[i]);
            if [a, b, c].iter().any(|kept| kept.non_finite > 0) {
                continue;
            }
            let across = a.sketch.distance(&c.sketch);
            let away = a.sketch.distance(&b.sketch).min(b.sketch.distance(&c.sketch));
            let norm = [a, b, c].iter().map(|kept| kept.sketch.norm()).fold(0.0, f64::max);
            if away > JUMP_RATIO * across && away > JUMP_SHARE * norm {
                found.push((step, name.clone(), away / across));
            }
        }
    }
    found
}

/// How some tensors of a layout differ from the usual one, all in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// In names or shapes: it is another network. Otherwise only in what they are stored in.
    pub is_layout: bool,
    /// What can be said of each, after its name
    pub what: String,
    /// In the order of their names
    pub tensors: Vec<String>,
}

/// `tensor "a"`, or `tensor "a" and 3 others`, with what can be said of them.
#[must_use]
pub(super) fn about(tensors: &[String], what: &str) -> String {
    match tensors {
        [] => what.to_owned(),
        [one] => format!("tensor {} {what}", Name(one.clone())),
        [first, others @ ..] => {
            format!("tensor {} and {} others: each {what}", Name(first.clone()), others.len())
        }
    }
}

/// The layout that most checkpoints have; of several, that of the first step.
#[must_use]
pub(super) fn usual<'a>(scans: &[(u64, &'a Scan)]) -> Option<&'a Arc<Layout>> {
    let mut counts: Vec<(&Arc<Layout>, usize)> = Vec::new();
    for (_, scan) in scans {
        match counts.iter_mut().find(|(layout, _)| Arc::ptr_eq(layout, &scan.layout)) {
            Some((_, count)) => *count += 1,
            None => counts.push((&scan.layout, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.iter().find(|(_, count)| *count == most).map(|(layout, _)| *layout)
}

/// All differences of a layout from the usual one.
#[must_use]
pub(super) fn changes(found: &Layout, usual: &Layout) -> Vec<Change> {
    let by_name = |layout: &Layout| -> BTreeMap<String, (Dtype, Vec<usize>)> {
        let tensors = layout.tensors.iter().cloned();
        tensors.map(|(name, dtype, shape)| (name, (dtype, shape))).collect()
    };
    let (found, usual) = (by_name(found), by_name(usual));
    let mut changes: Vec<Change> = Vec::new();
    let mut add = |tensor: &String, is_layout, what: String| match changes
        .iter_mut()
        .find(|change| change.what == what)
    {
        Some(change) => change.tensors.push(tensor.clone()),
        None => changes.push(Change { is_layout, what, tensors: vec![tensor.clone()] }),
    };
    for (tensor, (dtype, shape)) in &usual {
        match found.get(tensor) {
            None => add(tensor, true, "is missing".into()),
            Some((_, other)) if other != shape => {
                add(tensor, true, format!("has shape {other:?}, in most steps {shape:?}"));
            }
            Some((other, _)) if other != dtype => {
                add(tensor, false, format!("is stored as {other}, in most steps as {dtype}"));
            }
            Some(_) => {}
        }
    }
    for tensor in found.keys().filter(|name| !usual.contains_key(*name)) {
        add(tensor, true, "is in no other step".into());
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_steps_tell_what_is_missing() {
        let dense: Vec<u64> =
            (0..200).chain((200..1000).step_by(10)).chain((1000..=4000).step_by(100)).collect();
        assert_eq!(missing(&dense), [0; 0], "a schedule that becomes coarser");
        let without = |gone: &[u64]| -> Vec<u64> {
            missing(&dense.iter().copied().filter(|step| !gone.contains(step)).collect::<Vec<_>>())
        };
        assert_eq!(without(&[50]), [50]);
        assert_eq!(without(&[50, 51, 1500, 1600, 2200]), [50, 51, 1500, 1600, 2200]);
        assert_eq!(without(&[1500, 1700]), [1500, 1700]);
        assert_eq!(without(&[4000]), [0; 0], "the end is not known");
        let doubling: Vec<u64> = (0..12).map(|i| 1 << i).chain([3000, 4000, 5000]).collect();
        assert_eq!(missing(&doubling), [0; 0]);
        assert_eq!(missing(&[0, 100, 200, 400, 600, 800, 1000, 1100]), [0; 0], "mostly 200");
        for short in [&[][..], &[5], &[5, 10], &[5, 10, 20]] {
            assert_eq!(missing(short), [0; 0]);
        }
    }

    #[test]
    fn changes_of_one_kind_are_told_together() {
        let layout = |tensors: &[(&str, Dtype, usize)]| Layout {
            tensors: tensors.iter().map(|(name, t, n)| ((*name).into(), *t, vec![*n])).collect(),
        };
        let usual = layout(&[("a", Dtype::F32, 1), ("b", Dtype::F32, 2), ("c", Dtype::F32, 3)]);
        let found = layout(&[("a", Dtype::BF16, 1), ("b", Dtype::BF16, 2), ("d", Dtype::F32, 1)]);
        let told: Vec<_> = changes(&found, &usual)
            .iter()
            .map(|change| (change.is_layout, about(&change.tensors, &change.what)))
            .collect();
        let expected = [
            (false, r#"tensor "a" and 1 others: each is stored as BF16, in most steps as F32"#),
            (true, r#"tensor "c" is missing"#),
            (true, r#"tensor "d" is in no other step"#),
        ];
        assert_eq!(told, expected.map(|(layout, text)| (layout, text.to_owned())));
        assert_eq!(changes(&usual, &usual), []);
        let other = layout(&[("a", Dtype::F32, 9), ("b", Dtype::F32, 2), ("c", Dtype::F32, 3)]);
        assert_eq!(changes(&other, &usual)[0].what, "has shape [9], in most steps [1]");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&[1, 2]), "1, 2");
        let many: Vec<u64> = (1..=12).collect();
        assert_eq!(list(&many), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 others up to 12");
    }
}
