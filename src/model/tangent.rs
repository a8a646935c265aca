//! Derivatives along a direction of the weights: Hessian-vector products, forward over backward.
//!
//! A gradient `g(θ)` is computed by a forward and a backward pass. Differentiating both passes along a
//! direction `v` gives `d/dε g(θ + εv) = H v`, exactly, for about twice the cost of the gradient. `x'`
//! stands for the derivative of `x` along `v` throughout.
//!
//! The loss stands between the passes and belongs to the caller, who gets `logits'` and gives back
//! the derivative of the gradient with respect to the logits. What is the same for every direction is
//! computed once ([`Tangent::fix`]).
//!
//! Second derivatives of ReLU are 0, so across a kink nothing is said.
//!
//! Source: Pearlmutter (1994), Neural Computation 6, 147–160 (the R-operator).

use ndarray::{ArrayView2, ArrayViewMut2};

use super::{Fork, Model};
use crate::linalg::{Scalar, matmul_into};
use crate::params::Params;

/// A network with derivatives of its passes along directions of the weights.
pub trait Tangent<F: Scalar>: Model<F> {
    /// One block of a batch at weights that stay: all that every direction needs.
    type Fixed: Send + Sync;
    /// Derivatives of the activations of a block.
    type Shifted: Send + Sync;

    /// Keep a block after its forward pass, given the gradient of its logits, `[pairs, classes]`. Adds
    /// its gradient sums, as [`Model::backward`] does.
    fn fix(
        &self,
        tables: &Self::Tables,
        pairs: &[[usize; 2]],
        block: Self::Block,
        d_logits: ArrayView2<'_, F>,
        sums: &mut Params<F>,
    ) -> Self::Fixed;

    /// Memory for the derivatives of a block of so many pairs.
    fn new_shifted(&self, rows: usize) -> Self::Shifted;

    /// Derivatives of the tables along `v`, in the place of tables.
    fn shift_tables(
        &self,
        params: &Params<F>,
        v: &Params<F>,
        tables: &Self::Tables,
        shifted: &mut Self::Tables,
        fork: &impl Fork,
    );

    /// Derivatives of the forward pass of a block.
    fn shift_forward(
        &self,
        tables: (&Self::Tables, &Self::Tables),
        fixed: &Self::Fixed,
        shifted: &mut Self::Shifted,
    );

    /// `logits'` of the last [`Tangent::shift_forward`], `[pairs, classes]`;
    /// [`Tangent::shift_backward`] takes the derivative of their gradient from the same place.
    fn shifted_logits<'a>(
        &self,
        fixed: &Self::Fixed,
        shifted: &'a mut Self::Shifted,
    ) -> ArrayViewMut2<'a, F>;

    /// Add the derivatives of this block's gradient sums.
    fn shift_backward(
        &self,
        tables: (&Self::Tables, &Self::Tables),
        fixed: &Self::Fixed,
        shifted: &mut Self::Shifted,
        shifted_sums: &mut Params<F>,
    );

    /// `H v` from the sums over all blocks and their derivatives. The tables are those of a
    /// [`Model::gradient`] with the same sums.
    fn shift_gradient(
        &self,
        weights: (&Params<F>, &Params<F>),
        tables: (&Self::Tables, &mut Self::Tables),
        sums: (&Params<F>, &Params<F>),
        product: &mut Params<F>,
        fork: &impl Fork,
    );
}

/// A matrix and its derivative.
pub(super) type Pair<'a, F> = (ArrayView2<'a, F>, ArrayView2<'a, F>);

/// `C' ← (A B)' + β C' = A' B + A B' + β C'`.
pub(super) fn product<F: Scalar>(
    a: Pair<'_, F>,
    b: Pair<'_, F>,
    beta: F,
    mut c: ArrayViewMut2<'_, F>,
) {
    matmul_into(a.1, b.0, beta, c.view_mut());
    matmul_into(a.0, b.1, F::one(), c);
}

/// The pair of transposed matrices.
pub(super) fn t<'a, F: Scalar>(pair: Pair<'a, F>) -> Pair<'a, F> {
    (pair.0.reversed_axes(), pair.1.reversed_axes())
}

#[cfg(test)]
mod tests;
