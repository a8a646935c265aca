//! Between a checkpoint's named tensors and a network's flat weights.

pub mod file_layout;

pub use file_layout::{FileLayout, InitFile};

use std::sync::Arc;

use crate::archive::{Checkpoint, Data, Tensor, TensorRef};
use crate::error::{Error, Result};
use crate::linalg::Scalar;
use crate::model::Network;
use crate::params::{Layout, Params, Slot};

/// The tensors of this layout, whose names in the file begin with `prefix`. Other tensors of the
/// file, such as buffers, are ignored.
///
/// Values that were stored in `F`, or in a narrower type, come back exactly.
///
/// # Errors
/// [`Error::MissingTensor`] or [`Error::Shape`].
pub fn from_checkpoint<F: Scalar>(
    checkpoint: &Checkpoint,
    layout: &Arc<Layout>,
    prefix: &str,
) -> Result<Params<F>> {
    let mut values = Vec::with_capacity(layout.len());
    for slot in layout.slots() {
        let tensor = fitting(checkpoint, slot, prefix)?;
        values.extend(tensor.values.iter().map(|value| F::narrow(*value)));
    }
    Ok(Params::from_values(layout, &values))
}

/// The weights of a network, in whichever of the two layouts the checkpoint is.
///
/// # Errors
/// [`Error::MissingTensor`] or [`Error::Shape`]; in the layout of TransformerLens
/// [`Error::OtherWeights`], with all that does not fit.
pub fn of_network<F: Scalar>(checkpoint: &Checkpoint, net: &Network) -> Result<Params<F>> {
    match FileLayout::of(&checkpoint.tensors) {
        FileLayout::Published => from_checkpoint(checkpoint, net.layout(), ""),
        layout @ FileLayout::TransformerLens => file_layout::from_tensors(&checkpoint.tensors, net)
            .map_err(|misfits| file_layout::refusal(&checkpoint.path, layout, misfits)),
    }
}

/// Make sure that a checkpoint holds a network's tensors, in their shapes.
///
/// # Errors
/// As [`of_network`].
pub fn check(checkpoint: &Checkpoint, net: &Network) -> Result<()> {
    match FileLayout::of(&checkpoint.tensors) {
        FileLayout::Published => {
            let mut slots = net.layout().slots().iter();
            slots.try_for_each(|slot| fitting(checkpoint, slot, "").map(|_| ()))
        }
        layout @ FileLayout::TransformerLens => {
            let misfits = file_layout::misfits(&checkpoint.tensors, net);
            if misfits.is_empty() {
                return Ok(());
            }
            Err(file_layout::refusal(&checkpoint.path, layout, misfits))
        }
    }
}

/// The tensor for this slot.
fn fitting<'a>(checkpoint: &'a Checkpoint, slot: &Slot, prefix: &str) -> Result<&'a Tensor> {
    let tensor = checkpoint.tensor(&format!("{prefix}{}", slot.name))?;
    if tensor.shape == slot.shape {
        return Ok(tensor);
    }
    Err(Error::Shape {
        path: checkpoint.path.clone(),
        tensor: tensor.name.clone(),
        expected: slot.shape.clone(),
        found: tensor.shape.clone(),
    })
}

/// Names of a layout's tensors behind a prefix, to be borrowed by [`to_tensors`].
#[must_use]
pub fn prefixed(layout: &Layout, prefix: &str) -> Vec<String> {
    layout.slots().iter().map(|slot| format!("{prefix}{}", slot.name)).collect()
}

/// Flat values as tensors to be saved.
#[must_use]
pub fn to_tensors<'a>(
    layout: &'a Layout,
    names: &'a [String],
    values: &'a [f32],
) -> Vec<TensorRef<'a>> {
    let tensor = |(slot, name): (&'a Slot, &'a String)| TensorRef {
        name,
        shape: &slot.shape,
        data: Data::F32(&values[slot.offset..slot.offset + slot.len()]),
    };
    layout.slots().iter().zip(names).map(tensor).collect()
}
