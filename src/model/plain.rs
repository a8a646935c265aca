//! The one-layer transformer, layer by layer at every position: the oracle.
//!
//! Slow and obvious on purpose. Forward and backward stand side by side; `d_x` is the gradient with
//! respect to `x` and has its shape. Weights are used exactly as they are named on disk.

use std::sync::Arc;

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayViewMut2, Axis, s};

use super::{Fork, Model, POSITIONS, Transformer, activation, names};
use crate::linalg::{Scalar, matmul};
use crate::params::{Layout, Params};

/// The oracle, see the module.
#[derive(Debug, Clone)]
pub struct Plain(pub Transformer);

/// Every activation that the backward pass needs; `n` is the number of pairs.
#[derive(Debug)]
pub struct Activations<F> {
    /// Residual stream before the block, `[n, POSITIONS, d_model]`
    x: Array3<F>,
    /// Query at the last position, `[n, heads · d_head]`
    q: Array2<F>,
    /// Keys and values, `[n, POSITIONS, heads · d_head]`
    k: Array3<F>,
    v: Array3<F>,
    /// Attention pattern of the last position, `[n, heads, POSITIONS]`
    pattern: Array3<F>,
    /// Σ_i A_i v_i, `[n, heads · d_head]`
    z: Array2<F>,
    /// Residual stream after attention, last position, `[n, d_model]`
    mid: Array2<F>,
    /// Neurons, before (for GELU) and after the nonlinearity, `[n, d_mlp]`
    pre: Array2<F>,
    h: Array2<F>,
    /// Residual stream after the MLP, `[n, d_model]`
    post: Array2<F>,
    /// Logits, later their gradient, `[n, classes]`
    logits: Array2<F>,
}

impl<F: Scalar> Model<F> for Plain {
    type Tables = Params<F>;
    type Block = Option<Activations<F>>;

    fn layout(&self) -> &Arc<Layout> {
        self.0.layout()
    }

    fn sums_layout(&self) -> &Arc<Layout> {
        self.0.layout()
    }

    fn classes(&self) -> usize {
        self.0.classes
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
        let Transformer { p, d_model, heads, d_head, .. } = self.0;
        let n = pairs.len();
        let scale = F::narrow((d_head as f64).sqrt());
        let last = POSITIONS - 1;

        let (w_e, w_pos) = (weights.matrix(names::W_E), weights.matrix(names::W_POS));
        let x = Array3::from_shape_fn((n, POSITIONS, d_model), |(row, position, j)| {
            let token = [pairs[row][0], pairs[row][1], p][position];
            w_e[[j, token]] + w_pos[[position, j]]
        });

        let (w_q, w_k, w_v) =
            (weights.stacked(names::W_Q), weights.stacked(names::W_K), weights.stacked(names::W_V));
        let q = matmul(x.index_axis(Axis(1), last), w_q.t()); // [n, heads · d_head]
        let mut k = Array3::zeros((n, POSITIONS, heads * d_head));
        let mut v = Array3::zeros((n, POSITIONS, heads * d_head));
        for position in 0..POSITIONS {
            let x_here = x.index_axis(Axis(1), position);
            k.index_axis_mut(Axis(1), position).assign(&matmul(x_here, w_k.t()));
            v.index_axis_mut(Axis(1), position).assign(&matmul(x_here, w_v.t()));
        }

        let mut pattern = Array3::zeros((n, heads, POSITIONS));
        let mut z = Array2::zeros((n, heads * d_head));
        for row in 0..n {
            for head in 0..heads {
                let part = s![head * d_head..(head + 1) * d_head];
                let q_here = q.row(row);
                let q_here = q_here.slice(part);
                let scores = Array1::from_shape_fn(POSITIONS, |position| {
                    q_here.dot(&k.slice(s![row, position, ..]).slice(part)) / scale
                });
                let max = scores.fold(F::neg_infinity(), |max, score| max.max(*score));
                let weights = scores.mapv(|score| (score - max).exp()); // `max` only for stability
                let total = weights.sum();
                for position in 0..POSITIONS {
                    let a = weights[position] / total;
                    pattern[[row, head, position]] = a;
                    let v_here = v.slice(s![row, position, ..]);
                    z.row_mut(row).slice_mut(part).scaled_add(a, &v_here.slice(part));
                }
            }
        }

        let mid = &x.index_axis(Axis(1), last) + &matmul(z.view(), weights.matrix(names::W_O).t());
        let mut h =
            matmul(mid.view(), weights.matrix(names::W_IN).t()) + weights.vector(names::B_IN); // [n, d_mlp]
        let mut pre = h.clone();
        activation::forward(
            self.0.activation,
            h.as_slice_mut().expect("contiguous"),
            pre.as_slice_mut().expect("contiguous"),
        );
        let post = &mid
            + &matmul(h.view(), weights.matrix(names::W_OUT).t())
            + weights.vector(names::B_OUT);
        let logits = matmul(post.view(), weights.matrix(names::W_U));
        *block = Some(Activations { x, q, k, v, pattern, z, mid, pre, h, post, logits });
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
        pairs: &[[usize; 2]],
        block: &mut Self::Block,
        sums: &mut Params<F>,
    ) {
        let Transformer { p, heads, d_head, .. } = self.0;
        let n = pairs.len();
        let scale = F::narrow((d_head as f64).sqrt());
        let last = POSITIONS - 1;
        let act = block.as_ref().expect("forward comes first");
        let d_logits = act.logits.view(); // [n, classes]

        // logits = post W_U
        sums.matrix_mut(names::W_U).scaled_add(F::one(), &matmul(act.post.t(), d_logits));
        let d_post = matmul(d_logits, weights.matrix(names::W_U).t()); // [n, d_model]

        // post = mid + h W_outᵀ + b_out
        sums.matrix_mut(names::W_OUT).scaled_add(F::one(), &matmul(d_post.t(), act.h.view()));
        sums.vector_mut(names::B_OUT).scaled_add(F::one(), &d_post.sum_axis(Axis(0)));
        let mut d_pre = matmul(d_post.view(), weights.matrix(names::W_OUT)); // [n, d_mlp]
        activation::backward(
            self.0.activation,
            d_pre.as_slice_mut().expect("contiguous"),
            act.h.as_slice().expect("contiguous"),
            act.pre.as_slice().expect("contiguous"),
        );

        // h = act(mid W_inᵀ + b_in)
        sums.matrix_mut(names::W_IN).scaled_add(F::one(), &matmul(d_pre.t(), act.mid.view()));
        sums.vector_mut(names::B_IN).scaled_add(F::one(), &d_pre.sum_axis(Axis(0)));
        let d_mid = d_post + matmul(d_pre.view(), weights.matrix(names::W_IN)); // [n, d_model]

        // mid = x_2 + z W_Oᵀ
        let mut d_x = Array3::zeros(act.x.dim());
        d_x.index_axis_mut(Axis(1), last).assign(&d_mid);
        sums.matrix_mut(names::W_O).scaled_add(F::one(), &matmul(d_mid.t(), act.z.view()));
        let d_z = matmul(d_mid.view(), weights.matrix(names::W_O)); // [n, heads · d_head]

        // z = Σ_i A_i v_i,   A = softmax(q · k_i / √d_head)
        let mut d_q = Array2::zeros(act.q.dim());
        let mut d_k = Array3::zeros(act.k.dim());
        let mut d_v = Array3::zeros(act.v.dim());
        for row in 0..n {
            for head in 0..heads {
                let part = s![head * d_head..(head + 1) * d_head];
                let d_z_here = d_z.row(row);
                let d_z_here = d_z_here.slice(part);
                let d_a = Array1::from_shape_fn(POSITIONS, |position| {
                    d_z_here.dot(&act.v.slice(s![row, position, ..]).slice(part))
                });
                let a = act.pattern.slice(s![row, head, ..]);
                let mean = a.dot(&d_a);
                for position in 0..POSITIONS {
                    let d_score = a[position] * (d_a[position] - mean) / scale;
                    let mut d_v_here = d_v.slice_mut(s![row, position, ..]);
                    d_v_here.slice_mut(part).scaled_add(a[position], &d_z_here);
                    let k_here = act.k.slice(s![row, position, ..]);
                    d_q.row_mut(row).slice_mut(part).scaled_add(d_score, &k_here.slice(part));
                    let mut d_k_here = d_k.slice_mut(s![row, position, ..]);
                    d_k_here.slice_mut(part).scaled_add(d_score, &act.q.row(row).slice(part));
                }
            }
        }

        // q = x_2 W_Qᵀ,   k_i = x_i W_Kᵀ,   v_i = x_i W_Vᵀ
        let mut add = |name: &str, d_out: ArrayView2<'_, F>, position: usize| {
            let x_here = act.x.index_axis(Axis(1), position);
            let d_w = matmul(d_out.t(), x_here); // [heads · d_head, d_model]
            let d_w = d_w.into_shape_with_order(sums.cube(name).dim()).expect("same size");
            sums.cube_mut(name).scaled_add(F::one(), &d_w);
            let d_here = matmul(d_out, weights.stacked(name)); // [n, d_model]
            d_x.index_axis_mut(Axis(1), position).scaled_add(F::one(), &d_here);
        };
        add(names::W_Q, d_q.view(), last);
        for position in 0..POSITIONS {
            add(names::W_K, d_k.index_axis(Axis(1), position), position);
            add(names::W_V, d_v.index_axis(Axis(1), position), position);
        }

        // x_i = W_E[:, tok_i] + W_pos[i]
        for (row, pair) in pairs.iter().enumerate() {
            for (position, token) in [pair[0], pair[1], p].into_iter().enumerate() {
                let d_here = d_x.slice(s![row, position, ..]);
                sums.matrix_mut(names::W_E).column_mut(token).scaled_add(F::one(), &d_here);
                sums.matrix_mut(names::W_POS).row_mut(position).scaled_add(F::one(), &d_here);
            }
        }
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
