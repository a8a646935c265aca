//! The MLP without its one-hot inputs: the fast path.
//!
//! The same function as [`super::plain`]: a product with a one-hot vector picks a column, so
//! `pre = W_in[:, a] + W_in[:, p + b]`, and the gradient of a column is the sum of `d_pre` over the
//! pairs that have it. Columns are kept as rows, where they are contiguous. What remains per pair are
//! the products with `W_out`.

use std::sync::Arc;

use multiversion::multiversion;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

use super::{Mlp, names};
use crate::linalg::kernels::axpy;
use crate::linalg::{Scalar, matmul_into};
use crate::model::{Fork, Model, activation};
use crate::params::{Layout, Params};

/// The fast path, see the module.
#[derive(Debug, Clone)]
pub struct Columns {
    net: Mlp,
    sums: Arc<Layout>,
}

/// The weights as the loops want them.
#[derive(Debug)]
pub struct Tables<F> {
    /// W_inᵀ, `[2p, d_mlp]`
    w_in: Array2<F>,
    /// `[p, d_mlp]`
    w_out: Array2<F>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Block<F> {
    rows: usize,
    /// `[rows, d_mlp]`
    h: Array2<F>,
    d_h: Array2<F>,
    pre: Vec<F>,
    /// `[rows, p]`, later their gradient
    logits: Array2<F>,
}

/// Name of the gradient sum of W_inᵀ.
const W_IN_T: &str = "W_in^T";

impl Columns {
    /// The fast path of this network.
    #[must_use]
    pub fn new(net: Mlp) -> Self {
        let sums = Layout::new([
            (W_IN_T, vec![2 * net.p, net.d_mlp]),
            (names::W_OUT, vec![net.p, net.d_mlp]),
        ]);
        Self { net, sums }
    }
}

/// Arrays made here are row-major.
fn slice<F>(array: &Array2<F>) -> &[F] {
    array.as_slice().expect("row-major by construction")
}

fn slice_mut<F>(array: &mut Array2<F>) -> &mut [F] {
    array.as_slice_mut().expect("row-major by construction")
}

impl<F: Scalar> Model<F> for Columns {
    type Tables = Tables<F>;
    type Block = Block<F>;

    fn layout(&self) -> &Arc<Layout> {
        self.net.layout()
    }

    fn sums_layout(&self) -> &Arc<Layout> {
        &self.sums
    }

    fn classes(&self) -> usize {
        self.net.p
    }

    /// A pair touches 2 of the `2p` columns; clearing and adding up touches all of them.
    fn least_rows(&self) -> usize {
        2 * self.net.p
    }

    fn new_tables(&self) -> Tables<F> {
        let Mlp { p, d_mlp, .. } = self.net;
        Tables { w_in: Array2::zeros((2 * p, d_mlp)), w_out: Array2::zeros((p, d_mlp)) }
    }

    fn new_block(&self, rows: usize) -> Block<F> {
        let Mlp { p, d_mlp, activation, .. } = self.net;
        Block {
            rows,
            h: Array2::zeros((rows, d_mlp)),
            d_h: Array2::zeros((rows, d_mlp)),
            pre: vec![F::zero(); activation::scratch_len(activation, rows * d_mlp)],
            logits: Array2::zeros((rows, p)),
        }
    }

    fn prepare(&self, params: &Params<F>, tables: &mut Tables<F>, _fork: &impl Fork) {
        tables.w_in.assign(&params.matrix(names::W_IN).t());
        tables.w_out.assign(&params.matrix(names::W_OUT));
    }

    fn forward(&self, tables: &Tables<F>, pairs: &[[usize; 2]], block: &mut Block<F>) {
        let Mlp { p, d_mlp, activation, .. } = self.net;
        let n = pairs.len();
        block.rows = n;
        let h = &mut slice_mut(&mut block.h)[..n * d_mlp];
        add_columns(p, d_mlp, slice(&tables.w_in), pairs, h);
        let used = activation::scratch_len(activation, n * d_mlp);
        activation::forward(activation, h, &mut block.pre[..used]);
        let (h, logits) = (block.h.slice(s![..n, ..]), block.logits.slice_mut(s![..n, ..]));
        matmul_into(h, tables.w_out.t(), F::zero(), logits);
    }

    fn logits<'a>(&self, block: &'a mut Block<F>) -> ArrayViewMut2<'a, F> {
        block.logits.slice_mut(s![..block.rows, ..])
    }

    fn neurons<'a>(&self, block: &'a Block<F>) -> ArrayView2<'a, F> {
        block.h.slice(s![..block.rows, ..])
    }

    fn backward(
        &self,
        tables: &Tables<F>,
        pairs: &[[usize; 2]],
        block: &mut Block<F>,
        sums: &mut Params<F>,
    ) {
        let Mlp { p, d_mlp, activation, .. } = self.net;
        let n = pairs.len();
        let d_logits = block.logits.slice(s![..n, ..]); // [n, p]

        // logits = h W_outᵀ
        let h = block.h.slice(s![..n, ..]);
        matmul_into(d_logits.t(), h, F::one(), sums.matrix_mut(names::W_OUT));
        matmul_into(d_logits, tables.w_out.view(), F::zero(), block.d_h.slice_mut(s![..n, ..]));

        // h = act(W_in[:, a] + W_in[:, p + b]); `d_h` becomes the gradient before the nonlinearity
        let d_pre = &mut slice_mut(&mut block.d_h)[..n * d_mlp];
        activation::backward(activation, d_pre, &slice(&block.h)[..n * d_mlp], &block.pre);
        let mut d_w_in = sums.matrix_mut(W_IN_T);
        let d_w_in = d_w_in.as_slice_mut().expect("a layout's tensors are row-major");
        add_to_columns(p, d_mlp, d_pre, pairs, d_w_in);
    }

    fn gradient(
        &self,
        _params: &Params<F>,
        _tables: &mut Tables<F>,
        sums: &Params<F>,
        gradient: &mut Params<F>,
        _fork: &impl Fork,
    ) {
        gradient.matrix_mut(names::W_IN).assign(&sums.matrix(W_IN_T).t());
        gradient.matrix_mut(names::W_OUT).assign(&sums.matrix(names::W_OUT));
    }
}

/// `pre[i] = W_in[:, a_i] + W_in[:, p + b_i]`, from the rows of W_inᵀ.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_columns<F: Scalar>(p: usize, d_mlp: usize, w_in: &[F], pairs: &[[usize; 2]], pre: &mut [F]) {
    for (pre, [a, b]) in pre.chunks_exact_mut(d_mlp).zip(pairs) {
        let first = &w_in[a * d_mlp..(a + 1) * d_mlp];
        let second = &w_in[(p + b) * d_mlp..(p + b + 1) * d_mlp];
        for ((pre, x), y) in pre.iter_mut().zip(first).zip(second) {
            *pre = *x + *y;
        }
    }
}

/// Add each pair's `d_pre` to the gradients of its two columns.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_to_columns<F: Scalar>(
    p: usize,
    d_mlp: usize,
    d_pre: &[F],
    pairs: &[[usize; 2]],
    d_w_in: &mut [F],
) {
    for (d_pre, [a, b]) in d_pre.chunks_exact(d_mlp).zip(pairs) {
        axpy(F::one(), d_pre, &mut d_w_in[a * d_mlp..(a + 1) * d_mlp]);
        axpy(F::one(), d_pre, &mut d_w_in[(p + b) * d_mlp..(p + b + 1) * d_mlp]);
    }
}
