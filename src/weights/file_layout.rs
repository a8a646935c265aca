//! Weights from files of other programs: the two layouts in use, and what tells them apart.
//!
//! Both call the tensors by the same names; TransformerLens has most of them transposed, and more
//! biases. Told by `W_O`: three axes there, two in the published layout.
//!
//! | tensor | published | TransformerLens |
//! |---|---|---|
//! | `W_E` | `[d_model, p + 1]` | `[p + 1, d_model]` |
//! | `W_pos` | `[3, d_model]` | the same |
//! | `W_Q` `W_K` `W_V` | `[heads, d_head, d_model]` | `[heads, d_model, d_head]` |
//! | `W_O` | `[d_model, heads · d_head]` | `[heads, d_head, d_model]`; `ours[:, h·d_head + i] = theirs[h, i, :]` |
//! | `W_in`, `W_out` | `[d_mlp, d_model]`, `[d_model, d_mlp]` | `[d_model, d_mlp]`, `[d_mlp, d_model]` |
//! | `b_in`, `b_out`, `W_U` | `[d_mlp]`, `[d_model]`, `[d_model, classes]` | the same |
//! | `b_Q` `b_K` `b_V` `b_O` `b_U` | – | must be zero: the network has no such biases |
//! | `mask` `IGNORE` | buffers, skipped | buffers, skipped |
//!
//! Sources: the published code of Nanda et al. (2023), arXiv:2301.05217; TransformerLens'
//! `HookedTransformer`.

use std::fmt;
use std::path::{Path, PathBuf};

use ndarray::{ArrayViewD, IxDyn};

use crate::archive::{Header, Tensor, read};
use crate::config::{Dimensions, Outputs};
use crate::error::{Error, Name, Result};
use crate::linalg::Scalar;
use crate::model::{Network, names};
use crate::params::{Params, Slot};

/// Buffers that trainers save beside the parameters, by the last part of their names.
const BUFFERS: [&str; 2] = ["mask", "IGNORE"];

/// Biases of TransformerLens that this network does not have.
const FOREIGN_BIASES: [&str; 5] = [
    "blocks.0.attn.b_Q",
    "blocks.0.attn.b_K",
    "blocks.0.attn.b_V",
    "blocks.0.attn.b_O",
    "unembed.b_U",
];

/// So many misfits are told; the others are counted.
const TOLD: usize = 6;

/// How a file arranges the tensors, see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLayout {
    /// The names and shapes of our own archives
    Published,
    TransformerLens,
}

impl fmt::Display for FileLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "published",
            Self::TransformerLens => "TransformerLens",
        })
    }
}

impl FileLayout {
    /// The layout of these tensors; published if there is nothing to tell it by.
    #[must_use]
    pub fn of(tensors: &[Tensor]) -> Self {
        match tensors.iter().find(|tensor| tensor.name == names::W_O) {
            Some(w_o) if w_o.shape.len() == 3 => Self::TransformerLens,
            _ => Self::Published,
        }
    }

    /// The order of a tensor's axes in the file that gives ours, row-major.
    fn axes(self, slot: &Slot) -> Vec<usize> {
        match (self, slot.name.as_str()) {
            (Self::TransformerLens, names::W_E | names::W_IN | names::W_OUT) => vec![1, 0],
            (Self::TransformerLens, names::W_Q | names::W_K | names::W_V) => vec![0, 2, 1],
            (Self::TransformerLens, names::W_O) => vec![2, 0, 1],
            _ => (0..slot.shape.len()).collect(),
        }
    }

    /// The shape of a tensor in the file.
    fn shape(self, slot: &Slot, net: &Network) -> Vec<usize> {
        let ours = match (self, net, slot.name.as_str()) {
            (Self::TransformerLens, Network::Transformer(net), names::W_O) => {
                vec![net.d_model, net.heads, net.d_head]
            }
            _ => slot.shape.clone(),
        };
        let mut theirs = ours.clone();
        for (axis, from) in self.axes(slot).into_iter().enumerate() {
            theirs[from] = ours[axis];
        }
        theirs
    }
}

/// The weights of a network from the tensors of a file, in whichever of the two layouts they are.
///
/// Values that were stored in `F`, or in a narrower type, come back exactly.
///
/// # Errors
/// As [`misfits`].
pub fn from_tensors<F: Scalar>(
    tensors: &[Tensor],
    net: &Network,
) -> Result<Params<F>, Vec<String>> {
    let misfits = misfits(tensors, net);
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let layout = FileLayout::of(tensors);
    let mut values = Vec::with_capacity(net.layout().len());
    for slot in net.layout().slots() {
        let found = tensors.iter().filter(|tensor| tensor.name == slot.name);
        for tensor in found.take(1) {
            let view: ArrayViewD<'_, f64> = tensor.values.view();
            let ours = view.permuted_axes(IxDyn(&layout.axes(slot)));
            values.extend(ours.iter().map(|value| F::narrow(*value)));
        }
    }
    Ok(Params::from_values(net.layout(), &values))
}

/// All that does not fit, in words: tensors that are missing, have another shape, are none of this
/// network, or are biases that it cannot carry.
#[must_use]
pub fn misfits(tensors: &[Tensor], net: &Network) -> Vec<String> {
    let layout = FileLayout::of(tensors);
    let mut misfits = Vec::new();
    for slot in net.layout().slots() {
        let expected = layout.shape(slot, net);
        match tensors.iter().find(|tensor| tensor.name == slot.name) {
            None => misfits.push(format!("{} {expected:?} is missing", slot.name)),
            Some(found) if found.shape != expected => {
                misfits.push(format!("{} is {:?}, not {expected:?}", slot.name, found.shape));
            }
            Some(_) => {}
        }
    }
    let is_known = |name: &str| net.layout().slots().iter().any(|slot| slot.name == name);
    for tensor in tensors.iter().filter(|tensor| !is_known(&tensor.name)) {
        let foreign = FOREIGN_BIASES.contains(&tensor.name.as_str());
        if is_buffer(&tensor.name) {
            continue;
        }
        if !foreign || layout == FileLayout::Published {
            misfits.push(format!("{} {:?} is none of it", Name(tensor.name.clone()), tensor.shape));
        } else if tensor.values.iter().any(|value| value.abs() > 0.0 || value.is_nan()) {
            misfits.push(format!("{} is not zero, and the network has no such bias", tensor.name));
        }
    }
    misfits
}

fn is_buffer(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| BUFFERS.contains(&last))
}

/// A file that a run's initial weights come from.
#[derive(Debug)]
pub struct InitFile {
    path: PathBuf,
    tensors: Vec<Tensor>,
    /// Tensors that hold no floating-point numbers, with what they hold
    others: Vec<(String, String)>,
    /// BLAKE3 of the file in hexadecimal
    pub blake3: String,
}

impl InitFile {
    /// Read the file.
    ///
    /// # Errors
    /// As [`read::load`].
    pub fn read(path: &Path) -> Result<Self> {
        let contents = read::load(path, None, true)?;
        let read = |name: &str| contents.tensors.iter().any(|tensor| tensor.name == name);
        let others = contents.header.tensors.iter().filter(|info| !read(&info.name));
        let others = others.map(|info| (info.name.clone(), info.dtype.to_string())).collect();
        Ok(Self {
            path: path.to_owned(),
            others,
            blake3: contents.blake3.unwrap_or_default(),
            tensors: contents.tensors,
        })
    }

    /// The weights of this network.
    ///
    /// # Errors
    /// [`Error::OtherWeights`], with what does not fit.
    pub fn weights<F: Scalar>(&self, net: &Network) -> Result<Params<F>> {
        let others = self.others.iter().filter(|(name, _)| !is_buffer(name));
        let others = others.map(|(name, dtype)| {
            format!("{} holds {dtype}, not floating-point numbers", Name(name.clone()))
        });
        let others: Vec<String> = others.collect();
        let (params, misfits) = match from_tensors(&self.tensors, net) {
            Ok(params) => (Some(params), others),
            Err(misfits) => (None, [others, misfits].concat()),
        };
        if let (Some(params), []) = (params, misfits.as_slice()) {
            return Ok(params);
        }
        Err(refusal(&self.path, FileLayout::of(&self.tensors), misfits))
    }
}

/// What does not fit, as an error.
pub(super) fn refusal(path: &Path, layout: FileLayout, misfits: Vec<String>) -> Error {
    let more = misfits.len().saturating_sub(TOLD);
    let mut misfits: Vec<String> = misfits.into_iter().take(TOLD).collect();
    if more > 0 {
        misfits.push(format!("{more} more"));
    }
    Error::OtherWeights {
        path: path.to_owned(),
        layout: layout.to_string(),
        misfits: misfits.join("; "),
    }
}

/// The dimensions of the transformer that a checkpoint holds, in either layout; `None` if its tensors
/// are not those of one.
#[must_use]
pub fn dimensions(header: &Header) -> Option<Dimensions> {
    let matrix = |name| <[usize; 2]>::try_from(header.tensor(name)?.shape.as_slice()).ok();
    let cube = |name| <[usize; 3]>::try_from(header.tensor(name)?.shape.as_slice()).ok();
    let turned = |[rows, cols]: [usize; 2]| [cols, rows];
    let theirs = header.tensor(names::W_O)?.shape.len() == 3;
    let ours = |shape| if theirs { turned(shape) } else { shape };
    let [d_model, vocab] = ours(matrix(names::W_E)?);
    let [d_mlp, _] = ours(matrix(names::W_IN)?);
    let [heads, first, second] = cube(names::W_Q)?;
    let d_head = if theirs { second } else { first };
    let [_, classes] = matrix(names::W_U)?;
    let outputs = match classes {
        _ if classes == vocab => Outputs::Tokens,
        _ if classes + 1 == vocab => Outputs::Residues,
        _ => return None,
    };
    // Heads of another width are those of another network.
    let fits = d_model > 0 && d_mlp > 0 && heads.checked_mul(d_head) == Some(d_model);
    fits.then_some(Dimensions { d_model, heads, d_mlp, outputs })
}

#[cfg(test)]
mod tests;
