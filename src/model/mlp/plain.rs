//! The MLP with its one-hot inputs multiplied out: the oracle.
//!
//! Slow and obvious on purpose. Forward and backward stand side by side; `d_x` is the gradient with
//! respect to `x` and has its shape.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::{Mlp, names};
use crate::linalg::{Scalar, matmul};
use crate::model::{Fork, Model, activation};
use crate::params::{Layout, Params};

/// The oracle, see the module.
#[derive(Debug, Clone)]
pub struct OneHot(pub Mlp);

/// Every activation that the backward pass needs; `n` is the number of pairs.
#[derive(Debug)]
pub struct Activations<F> {
    /// Inputs, `[n, 2p]`
    x: Array2<F>,
    /// Neurons, before and after the nonlinearity, `[n, d_mlp]`
    pre: Array2<F>,
    h: Array2<F>,
    /// Logits, later their gradient, `[n, p]`
    logits: Array2<F>,
}

/// Arrays made here are row-major.
const CONTIGUOUS: &str = "row-major by construction";

impl<F: Scalar> Model<F> for OneHot {
    type Tables = Params<F>;
    type Block = Option<Activations<F>>;

    fn layout(&self) -> &Arc<Layout> {
        self.0.layout()
    }

    fn sums_layout(&self) -> &Arc<Layout> {
        self.0.layout()
    }

    fn classes(&self) -> usize {
        self.0.p
    }

    fn least_rows(&self) -> usize {
        1
    }

    fn new_tables(&self) -> Params<F> {
        Params::zeros(self.0.layout())
    }

    fn new_block(&self, _rows: usize) -> Self::Block {
        None
    }

    fn prepare(&self, params: &Params<F>, tables: &mut Params<F>, _fork: &impl Fork) {
        tables.clone_from(params);
    }

    fn forward(&self, weights: &Params<F>, pairs: &[[usize; 2]], block: &mut Self::Block) {
        let p = self.0.p;
        let x = Array2::from_shape_fn((pairs.len(), 2 * p), |(row, column)| {
            let [a, b] = pairs[row];
            if column == a || column == p + b { F::one() } else { F::zero() }
        });
        let mut h = matmul(x.view(), weights.matrix(names::W_IN).t()); // [n, d_mlp]
        let mut pre = h.clone();
        activation::forward(
            self.0.activation,
            h.as_slice_mut().expect(CONTIGUOUS),
            pre.as_slice_mut().expect(CONTIGUOUS),
        );
        let logits = matmul(h.view(), weights.matrix(names::W_OUT).t()); // [n, p]
        *block = Some(Activations { x, pre, h, logits });
    }

    fn logits<'a>(&self, block: &'a mut Self::Block) -> ArrayViewMut2<'a, F> {
        block.as_mut().expect("forward comes first").logits.view_mut()
    }

    fn neurons<'a>(&self, block: &'a Self::Block) -> ArrayView2<'a, F> {
        block.as_ref().expect("forward comes first").h.view()
    }

    fn backward(
        &self,
        weights: &Params<F>,
        _pairs: &[[usize; 2]],
        block: &mut Self::Block,
        sums: &mut Params<F>,
    ) {
        let act = block.as_ref().expect("forward comes first");
        let d_logits = act.logits.view(); // [n, p]

        // logits = h W_outᵀ
        let d_w_out = matmul(d_logits.t(), act.h.view());
        sums.matrix_mut(names::W_OUT).scaled_add(F::one(), &d_w_out);
        let mut d_pre = matmul(d_logits, weights.matrix(names::W_OUT)); // [n, d_mlp]

        // h = act(x W_inᵀ)
        activation::backward(
            self.0.activation,
            d_pre.as_slice_mut().expect(CONTIGUOUS),
            act.h.as_slice().expect(CONTIGUOUS),
            act.pre.as_slice().expect(CONTIGUOUS),
        );
        let d_w_in = matmul(d_pre.t(), act.x.view());
        sums.matrix_mut(names::W_IN).scaled_add(F::one(), &d_w_in);
    }

    fn gradient(
        &self,
        _params: &Params<F>,
        _tables: &mut Params<F>,
        sums: &Params<F>,
        gradient: &mut Params<F>,
        _fork: &impl Fork,
    ) {
        gradient.clone_from(sums);
    }
}
