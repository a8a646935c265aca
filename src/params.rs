//! Named tensors of a network, in one flat vector.
//!
//! One vector means that the optimiser, a step along a line in weight space or a Gram matrix of a
//! trajectory are single loops; the [`Layout`] says which part of it is which tensor. A gradient
//! has the layout of the weights it belongs to.

use std::sync::Arc;

use ndarray::{
    ArrayView1, ArrayView2, ArrayView3, ArrayViewMut1, ArrayViewMut2, ArrayViewMut3, Axis,
};

use crate::linalg::Scalar;
use crate::linalg::aligned::Aligned;

/// Names and shapes of the tensors, in the order in which they stand in the vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<Slot>,
    len: usize,
}

/// One tensor's name, shape and place in the vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
}

impl Slot {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Layout {
    /// Tensors one after the other, each row-major.
    pub fn new<S: Into<String>>(tensors: impl IntoIterator<Item = (S, Vec<usize>)>) -> Arc<Self> {
        let mut offset = 0;
        let tensors = tensors
            .into_iter()
            .map(|(name, shape)| {
                let slot = Slot { name: name.into(), shape, offset };
                offset += slot.len();
                slot
            })
            .collect();
        Arc::new(Self { tensors, len: offset })
    }

    /// Number of parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tensors in order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.tensors
    }

    /// The tensor of this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn slot(&self, name: &str) -> &Slot {
        self.tensors
            .iter()
            .find(|slot| slot.name == name)
            .unwrap_or_else(|| panic!("a network asked for a tensor it does not have: {name}"))
    }
}

/// The values of all tensors of a layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Params<F: Scalar> {
    layout: Arc<Layout>,
    /// Every value, tensor after tensor.
    pub values: Aligned<F>,
}

/// Views of one rank, for reading and for writing.
macro_rules! views {
    ($read:ident, $write:ident, $view:ident, $view_mut:ident, [$($axis:tt),+]) => {
        /// The tensor of this name and rank.
        ///
        /// # Panics
        /// If the layout has no tensor of this name and rank.
        pub fn $read(&self, name: &str) -> $view<'_, F> {
            let slot = self.layout.slot(name);
            let shape = [$(slot.shape[$axis]),+];
            $view::from_shape(shape, &self.values[slot.offset..slot.offset + slot.len()])
                .expect("a layout's shapes fit its vector")
        }

        /// The same, for writing.
        ///
        /// # Panics
        /// As for reading.
        pub fn $write(&mut self, name: &str) -> $view_mut<'_, F> {
            let slot = self.layout.slot(name);
            let shape = [$(slot.shape[$axis]),+];
            $view_mut::from_shape(shape, &mut self.values[slot.offset..slot.offset + slot.len()])
                .expect("a layout's shapes fit its vector")
        }
    };
}

impl<F: Scalar> Params<F> {
    /// All zero.
    #[must_use]
    pub fn zeros(layout: &Arc<Layout>) -> Self {
        Self { layout: Arc::clone(layout), values: Aligned::zeros(layout.len()) }
    }

    /// These values in this layout.
    ///
    /// # Panics
    /// If the numbers of values differ.
    #[must_use]
    pub fn from_values(layout: &Arc<Layout>, values: &[F]) -> Self {
        assert_eq!(values.len(), layout.len(), "one value per parameter");
        Self { layout: Arc::clone(layout), values: values.into() }
    }

    /// Names and shapes.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The same weights in another number type; to f64 exactly.
    #[must_use]
    pub fn cast<G: Scalar>(&self) -> Params<G> {
        let values = self.values.iter().map(|value| G::narrow(value.widen())).collect();
        Params { layout: Arc::clone(&self.layout), values }
    }

    /// Every tensor's slot and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, &[F])> {
        let values = &self.values;
        self.layout
            .slots()
            .iter()
            .map(move |slot| (slot, &values[slot.offset..slot.offset + slot.len()]))
    }

    /// The values of all `N` tensors in order, to be written at once.
    ///
    /// # Panics
    /// If the layout does not have `N` tensors.
    pub fn parts_mut<const N: usize>(&mut self) -> [&mut [F]; N] {
        let slots = self.layout.slots();
        assert_eq!(slots.len(), N, "one slice per tensor");
        let ranges = std::array::from_fn(|i| slots[i].offset..slots[i].offset + slots[i].len());
        self.values.get_disjoint_mut(ranges).expect("tensors stand one after the other")
    }

    /// A vector as a matrix of one row.
    ///
    /// # Panics
    /// If the layout has no vector of this name.
    pub fn matrix_like(&self, name: &str) -> ArrayView2<'_, F> {
        self.vector(name).insert_axis(Axis(0))
    }

    /// Per-head weights `[heads, d_head, d_model]` as one matrix `[heads · d_head, d_model]`.
    ///
    /// # Panics
    /// If the layout has no tensor of this name and rank 3.
    pub fn stacked(&self, name: &str) -> ArrayView2<'_, F> {
        let cube = self.cube(name);
        let (heads, d_head, d_model) = cube.dim();
        cube.into_shape_with_order((heads * d_head, d_model)).expect("a cube is contiguous")
    }

    views!(vector, vector_mut, ArrayView1, ArrayViewMut1, [0]);
    views!(matrix, matrix_mut, ArrayView2, ArrayViewMut2, [0, 1]);
    views!(cube, cube_mut, ArrayView3, ArrayViewMut3, [0, 1, 2]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_stand_one_after_the_other() {
        let layout = Layout::new([("a", vec![2, 3]), ("b", vec![2]), ("c", vec![1, 2, 2])]);
        let mut params = Params::<f64>::zeros(&layout);
        assert_eq!(layout.len(), 12);
        params.vector_mut("b")[1] = 5.0;
        params.cube_mut("c")[[0, 1, 0]] = 7.0;
        params.matrix_mut("a")[[1, 0]] = 3.0;
        assert_eq!(params.values, [0., 0., 0., 3., 0., 0., 0., 5., 0., 0., 7., 0.]);
        assert_eq!(params.cast::<f32>().matrix("a")[[1, 0]].to_bits(), 3.0f32.to_bits());
    }
}
