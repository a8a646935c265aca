//! One checkpoint, read once from front to back: what is kept of it.
//!
//! Of each tensor about a hundred bytes stay, however large it is, so that thousands of checkpoints
//! can be compared without holding one of them: its digest, the number of entries that are not
//! finite, and a [`Sketch`], from which distances between steps are estimated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::archive::{CheckpointRef, Dtype, Header, TensorInfo, float_bytes, widen};
use crate::error::Result;

/// Number of sums in a sketch.
pub(super) const WIDTH: usize = 16;

/// What is kept of a checkpoint.
#[derive(Debug)]
pub(super) struct Scan {
    /// Length of all its files
    pub bytes: u64,
    /// Of its bytes, as in table `checkpoints`
    pub blake3: String,
    /// Of names, shapes, types and values: equal for two checkpoints that hold the same weights
    pub content: [u8; 32],
    /// Names, shapes and types, shared by all checkpoints that have the same
    pub layout: Arc<Layout>,
    /// In the order of the layout
    pub tensors: Vec<Kept>,
    /// White space stands before the header
    pub padded: bool,
}

/// Names, types and shapes of the tensors of a checkpoint, by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub tensors: Vec<(String, Dtype, Vec<usize>)>,
}

/// What is kept of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Of its bytes
    pub digest: [u8; 32],
    /// Number of entries that are NaN or infinite
    pub non_finite: u64,
    /// Whether two entries differ
    pub varies: bool,
    pub sketch: Sketch,
}

/// A random projection of a tensor, the same for all tensors: entry i is added, with a random
/// sign, to one of the [`WIDTH`] sums. The mean of ‖Sx‖² over the signs is ‖x‖², its relative
/// standard deviation at most √(2/[`WIDTH`]); and Sx − Sy = S(x − y), so that distances can be
/// estimated long after the tensors are gone.
///
/// Source: Charikar, Chen & Farach-Colton (2002), "Finding frequent items in data streams".
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sketch([f32; WIDTH]);

impl Sketch {
    /// Estimate of the Euclidean distance.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let squares =
            self.0.iter().zip(other.0).map(|(x, y)| (f64::from(*x) - f64::from(y)).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// Estimate of the Euclidean norm.
    pub(super) fn norm(&self) -> f64 {
        self.distance(&Self::default())
    }
}

/// Layouts that were seen, so that each is held once.
#[derive(Debug, Default)]
pub(super) struct Layouts(Mutex<BTreeMap<[u8; 32], Arc<Layout>>>);

impl Layouts {
    fn shared(&self, layout: Layout) -> Arc<Layout> {
        let key = *blake3::hash(format!("{layout:?}").as_bytes()).as_bytes();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert_with(|| Arc::new(layout)))
    }
}

/// Read a checkpoint, every byte of it against its digest.
///
/// # Errors
/// As [`CheckpointRef::scan`].
pub(super) fn scan(source: &CheckpointRef, layouts: &Layouts) -> Result<Scan> {
    let (files, contents) = source.scan(Seen::default, Seen::block)?;
    let mut kept: BTreeMap<String, Kept> = files.into_iter().flat_map(Seen::finish).collect();
    let Header { tensors, padded, .. } = contents.header;
    let mut layout: Vec<_> =
        tensors.into_iter().map(|info| (info.name, info.dtype, info.shape)).collect();
    layout.sort();
    // An empty tensor has no bytes to be seen.
    let tensors: Vec<Kept> = layout
        .iter()
        .map(|(name, ..)| kept.remove(name).unwrap_or_else(|| Growing::default().finish()))
        .collect();
    let mut hasher = blake3::Hasher::new();
    for (entry, kept) in layout.iter().zip(&tensors) {
        hasher.update(format!("{entry:?}").as_bytes()).update(&kept.digest);
    }
    Ok(Scan {
        bytes: contents.bytes,
        blake3: contents.blake3.unwrap_or_default(),
        content: *hasher.finalize().as_bytes(),
        layout: layouts.shared(Layout { tensors: layout }),
        tensors,
        padded,
    })
}

/// The tensors of one file, as far as they were read.
#[derive(Default)]
struct Seen {
    done: Vec<(String, Kept)>,
    current: Option<(String, Growing)>,
    values: Vec<f64>,
}

impl Seen {
    fn block(&mut self, info: &TensorInfo, bytes: &[u8]) {
        if self.current.as_ref().is_none_or(|(name, _)| *name != info.name) {
            self.close();
            self.current = Some((info.name.clone(), Growing::default()));
        }
        let Some((_, growing)) = &mut self.current else { return };
        self.values.clear();
        if float_bytes(info.dtype).is_some() {
            widen(info.dtype, bytes, &mut self.values);
        }
        growing.add(bytes, &self.values);
    }

    fn close(&mut self) {
        self.done.extend(self.current.take().map(|(name, growing)| (name, growing.finish())));
    }

    fn finish(mut self) -> Vec<(String, Kept)> {
        self.close();
        self.done
    }
}

/// A tensor that is being read.
#[derive(Default)]
struct Growing {
    hasher: blake3::Hasher,
    elements: u64,
    non_finite: u64,
    first: Option<u64>,
    varies: bool,
    sums: [f64; WIDTH],
}

impl Growing {
    fn add(&mut self, bytes: &[u8], values: &[f64]) {
        self.hasher.update(bytes);
        for value in values {
            self.non_finite += u64::from(!value.is_finite());
            self.varies |= *self.first.get_or_insert(value.to_bits()) != value.to_bits();
            let random = mix(self.elements);
            let sign = if random & 0x100 == 0 { 1.0 } else { -1.0 };
            self.sums[(random % WIDTH as u64) as usize] += sign * value;
            self.elements += 1;
        }
    }

    fn finish(self) -> Kept {
        Kept {
            digest: *self.hasher.finalize().as_bytes(),
            non_finite: self.non_finite,
            varies: self.varies,
            sketch: Sketch(self.sums.map(|sum| sum as f32)),
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014): a fixed scramble of an index.
fn mix(index: u64) -> u64 {
    let z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[f64]) -> Kept {
        let mut growing = Growing::default();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        growing.add(&bytes, values);
        growing.finish()
    }

    /// Over many vectors the estimate of ‖x‖² has the mean 1 and the deviation √(2/16) = 0.35.
    #[test]
    fn sketches_estimate_distances() {
        let (mut mean, mut square) = (0.0, 0.0);
        let runs = 400;
        for run in 0..runs {
            let mut x: Vec<f64> =
                (0..300).map(|i| mix(run * 1000 + i) as f64 / u64::MAX as f64 - 0.5).collect();
            let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            x.iter_mut().for_each(|x| *x /= norm);
            let estimate = kept(&x).sketch.norm().powi(2);
            mean += estimate / runs as f64;
            square += (estimate - 1.0).powi(2) / runs as f64;
        }
        // Three standard errors of the mean: 3 · 0.35 / √400 = 0.053.
        assert!((mean - 1.0).abs() < 0.06, "mean {mean}");
        assert!((square.sqrt() - 0.35).abs() < 0.06, "deviation {}", square.sqrt());
        let (x, y) = (kept(&[1.0, 2.0, 3.0]), kept(&[1.0, 2.0, 7.0]));
        assert!((x.sketch.distance(&y.sketch) - 4.0).abs() < 1e-6, "only one entry differs");
    }

    #[test]
    fn what_is_kept_of_a_tensor() {
        let constant = kept(&[2.0, 2.0]);
        assert!(!constant.varies && constant.non_finite == 0);
        let odd = kept(&[2.0, f64::NAN, f64::INFINITY]);
        assert_eq!((odd.varies, odd.non_finite), (true, 2));
        assert_ne!(constant.digest, odd.digest);
    }
}
