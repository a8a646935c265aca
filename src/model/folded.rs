//! The one-layer transformer by exact algebra: the fast path.
//!
//! The same function as [`super::plain`], at a fifth of the arithmetic:
//!
//! - Only `2p + 1` different (token, position) vectors enter the block, so keys, values and head
//!   outputs are computed for those rows, never per pair.
//! - The query at `=` is one vector per head, hence a score is one number per row; a pair's pattern
//!   is a softmax over three of them, and attention is a weighted sum of table rows (`mix`).
//! - Only the last position needs the MLP and the unembedding.
//! - The neurons reach the logits through `G = W_Uᵀ W_out` in one product per pair instead of two;
//!   the chain rule unfolds the gradient of `G` once per step, not once per pair.
//!
//! What remains per pair are the products with `W_in` and `G`. In the notation below, rows `t` are
//! (token, position) pairs in the order of `mix`.
//!
//! ```text
//! x_t = W_E[:,tok] + W_pos[pos]          r_h = W_K^hᵀ W_Q^h x_= / √d_head      S_h[t] = x_t · r_h
//! v_t = x_t W_Vᵀ                         O_h[t] = v_t^h W_O^hᵀ                 D_h[t] = O_h[t] W_U
//! mid = x_= + Σ A O                      logits = (x_= + b_out) W_U + Σ A D + act(W_in mid + b_in) Gᵀ
//! ```

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use super::mix::{self, RowSums, Rows};
use super::{Model, POSITIONS, Transformer, activation, names};
use crate::linalg::{Scalar, matmul_into};
use crate::params::{Layout, Params};

/// The fast path, see the module.
#[derive(Debug, Clone)]
pub struct Folded {
    net: Transformer,
    sums: Arc<Layout>,
}

/// What depends on the weights alone, and scratch for the way back.
#[derive(Debug)]
pub struct Tables<F> {
    /// x, `[2p + 1, d_model]`
    x: Array2<F>,
    /// Queries at `=`, `[1, heads · d_head]`
    q: Array2<F>,
    /// r, `[heads, d_model]`
    r: Array2<F>,
    /// S, `[heads, 2p + 1]`
    scores: Array2<F>,
    /// v, `[2p + 1, heads · d_head]`
    v: Array2<F>,
    /// O and D, `[heads · (2p + 1), d_model]` and `[…, classes]`
    out: Array2<F>,
    direct: Array2<F>,
    /// `(x_= + b_out) W_U`, and its first factor, `[1, classes]` and `[1, d_model]`
    base_logits: Array2<F>,
    base_post: Array2<F>,
    /// G, `[classes, d_mlp]`
    fold: Array2<F>,
    w_in: Array2<F>,
    b_in: Vec<F>,
    /// Gradients on the way back: shapes of x, v, O.
    d_x: Array2<F>,
    d_v: Array2<F>,
    d_out: Array2<F>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Block<F> {
    rows: usize,
    /// `[rows, heads, POSITIONS]`
    pattern: Vec<F>,
    /// `[rows, d_model]`; on the way back its gradient
    mid: Array2<F>,
    d_mid: Array2<F>,
    /// `[rows, d_mlp]`
    h: Array2<F>,
    d_h: Array2<F>,
    pre: Vec<F>,
    /// `[rows, classes]`, later their gradient
    logits: Array2<F>,
}

/// Names of the gradient sums.
mod sum {
    pub const FOLD: &str = "G";
    pub const W_IN: &str = "W_in";
    pub const B_IN: &str = "b_in";
    pub const BASE_MID: &str = "base_mid";
    pub const BASE_LOGITS: &str = "base_logits";
    pub const SCORES: &str = "S";
    pub const OUT: &str = "O";
    pub const DIRECT: &str = "D";
}

impl Folded {
    /// The fast path of this network.
    #[must_use]
    pub fn new(net: Transformer) -> Self {
        let rows = net.heads * net.token_rows();
        let sums = Layout::new([
            (sum::FOLD, vec![net.classes, net.d_mlp]),
            (sum::W_IN, vec![net.d_mlp, net.d_model]),
            (sum::B_IN, vec![net.d_mlp]),
            (sum::BASE_MID, vec![net.d_model]),
            (sum::BASE_LOGITS, vec![net.classes]),
            (sum::SCORES, vec![net.heads, net.token_rows()]),
            (sum::OUT, vec![rows, net.d_model]),
            (sum::DIRECT, vec![rows, net.classes]),
        ]);
        Self { net, sums }
    }

    /// The network's sizes.
    #[must_use]
    pub fn network(&self) -> &Transformer {
        &self.net
    }

    fn rows<'a, F: Scalar>(&self, tables: &'a Tables<F>) -> Rows<'a, F> {
        Rows {
            p: self.net.p,
            heads: self.net.heads,
            d_model: self.net.d_model,
            classes: self.net.classes,
            scores: slice(&tables.scores),
            out: slice(&tables.out),
            direct: slice(&tables.direct),
            base_mid: tables.x.row(2 * self.net.p).to_slice().expect("rows are contiguous"),
            base_logits: slice(&tables.base_logits),
        }
    }

    /// Columns of head `h` in `[…, heads · d_head]`.
    fn part(&self, head: usize) -> std::ops::Range<usize> {
        head * self.net.d_head..(head + 1) * self.net.d_head
    }

    /// Rows of head `h` in `[heads · (2p + 1), …]`.
    fn band(&self, head: usize) -> std::ops::Range<usize> {
        head * self.net.token_rows()..(head + 1) * self.net.token_rows()
    }
}

/// Arrays made here are row-major.
fn slice<F>(array: &Array2<F>) -> &[F] {
    array.as_slice().expect("row-major by construction")
}

fn slice_mut<F>(array: &mut Array2<F>) -> &mut [F] {
    array.as_slice_mut().expect("row-major by construction")
}

impl<F: Scalar> Model<F> for Folded {
    type Tables = Tables<F>;
    type Block = Block<F>;

    fn layout(&self) -> &Arc<Layout> {
        self.net.layout()
    }

    fn sums_layout(&self) -> &Arc<Layout> {
        &self.sums
    }

    fn classes(&self) -> usize {
        self.net.classes
    }

    fn new_tables(&self) -> Tables<F> {
        let Transformer { d_model, heads, d_mlp, classes, .. } = self.net;
        let tokens = self.net.token_rows();
        let zeros = |rows, columns| Array2::zeros((rows, columns));
        Tables {
            x: zeros(tokens, d_model),
            q: zeros(1, d_model),
            r: zeros(heads, d_model),
            scores: zeros(heads, tokens),
            v: zeros(tokens, d_model),
            out: zeros(heads * tokens, d_model),
            direct: zeros(heads * tokens, classes),
            base_logits: zeros(1, classes),
            base_post: zeros(1, d_model),
            fold: zeros(classes, d_mlp),
            w_in: zeros(d_mlp, d_model),
            b_in: vec![F::zero(); d_mlp],
            d_x: zeros(tokens, d_model),
            d_v: zeros(tokens, d_model),
            d_out: zeros(heads * tokens, d_model),
        }
    }

    fn new_block(&self, rows: usize) -> Block<F> {
        let Transformer { d_model, heads, d_mlp, classes, activation, .. } = self.net;
        Block {
            rows,
            pattern: vec![F::zero(); rows * heads * POSITIONS],
            mid: Array2::zeros((rows, d_model)),
            d_mid: Array2::zeros((rows, d_model)),
            h: Array2::zeros((rows, d_mlp)),
            d_h: Array2::zeros((rows, d_mlp)),
            pre: vec![F::zero(); activation::scratch_len(activation, rows * d_mlp)],
            logits: Array2::zeros((rows, classes)),
        }
    }

    fn prepare(&self, params: &Params<F>, tables: &mut Tables<F>) {
        let Transformer { p, heads, d_head, .. } = self.net;
        let (zero, one) = (F::zero(), F::one());
        let (w_e, w_pos) = (params.matrix(names::W_E), params.matrix(names::W_POS));
        for (t, mut x) in tables.x.rows_mut().into_iter().enumerate() {
            let (token, position) = if t == 2 * p { (p, 2) } else { (t % p, t / p) };
            x.assign(&w_e.column(token));
            x.scaled_add(one, &w_pos.row(position));
        }
        let x_last = tables.x.slice(s![2 * p.., ..]); // [1, d_model]
        matmul_into(x_last, params.stacked(names::W_Q).t(), zero, tables.q.view_mut());
        tables.q /= F::narrow((d_head as f64).sqrt());
        let w_k = params.stacked(names::W_K);
        for head in 0..heads {
            let q = tables.q.slice(s![.., self.part(head)]);
            let w_k = w_k.slice(s![self.part(head), ..]);
            matmul_into(q, w_k, zero, tables.r.slice_mut(s![head..=head, ..]));
        }
        matmul_into(tables.r.view(), tables.x.t(), zero, tables.scores.view_mut());
        let w_v = params.stacked(names::W_V);
        matmul_into(tables.x.view(), w_v.t(), zero, tables.v.view_mut());
        let w_o = params.matrix(names::W_O);
        for head in 0..heads {
            let v = tables.v.slice(s![.., self.part(head)]);
            let w_o = w_o.slice(s![.., self.part(head)]);
            matmul_into(v, w_o.t(), zero, tables.out.slice_mut(s![self.band(head), ..]));
        }
        let w_u = params.matrix(names::W_U);
        matmul_into(tables.out.view(), w_u, zero, tables.direct.view_mut());
        tables.base_post.row_mut(0).assign(&tables.x.row(2 * p));
        tables.base_post.row_mut(0).scaled_add(one, &params.vector(names::B_OUT));
        matmul_into(tables.base_post.view(), w_u, zero, tables.base_logits.view_mut());
        matmul_into(w_u.t(), params.matrix(names::W_OUT), zero, tables.fold.view_mut());
        tables.w_in.assign(&params.matrix(names::W_IN));
        tables.b_in.copy_from_slice(params.vector(names::B_IN).to_slice().expect("contiguous"));
    }

    fn forward(&self, tables: &Tables<F>, pairs: &[[usize; 2]], block: &mut Block<F>) {
        let Transformer { d_mlp, d_model, classes, heads, activation, .. } = self.net;
        let n = pairs.len();
        block.rows = n;
        mix::forward(
            self.rows(tables),
            pairs,
            &mut block.pattern[..n * heads * POSITIONS],
            &mut slice_mut(&mut block.mid)[..n * d_model],
            &mut slice_mut(&mut block.logits)[..n * classes],
        );
        let mut h = block.h.slice_mut(s![..n, ..]);
        for mut row in h.rows_mut() {
            row.as_slice_mut().expect("rows are contiguous").copy_from_slice(&tables.b_in);
        }
        matmul_into(block.mid.slice(s![..n, ..]), tables.w_in.t(), F::one(), h);
        let used = activation::scratch_len(activation, n * d_mlp);
        let h = &mut slice_mut(&mut block.h)[..n * d_mlp];
        activation::forward(activation, h, &mut block.pre[..used]);
        let (h, logits) = (block.h.slice(s![..n, ..]), block.logits.slice_mut(s![..n, ..]));
        matmul_into(h, tables.fold.t(), F::one(), logits);
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
        let Transformer { d_mlp, d_model, classes, heads, activation, .. } = self.net;
        let n = pairs.len();
        let (zero, one) = (F::zero(), F::one());
        let d_logits = block.logits.slice(s![..n, ..]); // [n, classes]

        // logits = … + h Gᵀ
        matmul_into(d_logits.t(), block.h.slice(s![..n, ..]), one, sums.matrix_mut(sum::FOLD));
        matmul_into(d_logits, tables.fold.view(), zero, block.d_h.slice_mut(s![..n, ..]));

        // h = act(mid W_inᵀ + b_in); `d_h` becomes the gradient before the nonlinearity
        activation::backward(
            activation,
            &mut slice_mut(&mut block.d_h)[..n * d_mlp],
            &slice(&block.h)[..n * d_mlp],
            &block.pre,
        );
        let d_pre = block.d_h.slice(s![..n, ..]);
        matmul_into(d_pre.t(), block.mid.slice(s![..n, ..]), one, sums.matrix_mut(sum::W_IN));
        let mut d_b_in = sums.vector_mut(sum::B_IN);
        for row in d_pre.rows() {
            d_b_in += &row;
        }
        matmul_into(d_pre, tables.w_in.view(), zero, block.d_mid.slice_mut(s![..n, ..]));

        // mid = x_= + Σ A O,   logits = … + Σ A D
        mix::backward(
            self.rows(tables),
            pairs,
            &block.pattern[..n * heads * POSITIONS],
            &slice(&block.d_mid)[..n * d_model],
            &slice(&block.logits)[..n * classes],
            &mut self.row_sums(sums),
        );
    }

    fn gradient(
        &self,
        params: &Params<F>,
        tables: &mut Tables<F>,
        sums: &Params<F>,
        gradient: &mut Params<F>,
    ) {
        let Transformer { p, heads, d_head, .. } = self.net;
        let (zero, one) = (F::zero(), F::one());
        let scale = F::narrow((d_head as f64).sqrt());
        let w_u = params.matrix(names::W_U);
        let d_fold = sums.matrix(sum::FOLD);
        let d_base_logits = sums.matrix_like(sum::BASE_LOGITS); // [1, classes]

        gradient.matrix_mut(names::W_IN).assign(&sums.matrix(sum::W_IN));
        gradient.vector_mut(names::B_IN).assign(&sums.vector(sum::B_IN));

        // G = W_Uᵀ W_out,   D = O W_U,   base_logits = base_post W_U
        matmul_into(w_u, d_fold, zero, gradient.matrix_mut(names::W_OUT));
        let w_out = params.matrix(names::W_OUT);
        let mut d_w_u = gradient.matrix_mut(names::W_U);
        matmul_into(w_out, d_fold.t(), zero, d_w_u.view_mut());
        matmul_into(tables.out.t(), sums.matrix(sum::DIRECT), one, d_w_u.view_mut());
        matmul_into(tables.base_post.t(), d_base_logits, one, d_w_u);
        tables.d_out.assign(&sums.matrix(sum::OUT));
        matmul_into(sums.matrix(sum::DIRECT), w_u.t(), one, tables.d_out.view_mut());
        // base_post = x_= + b_out
        let mut d_b_out = gradient.matrix_like_mut(names::B_OUT);
        matmul_into(d_base_logits, w_u.t(), zero, d_b_out.view_mut());
        tables.d_x.fill(zero);
        let mut d_x_last = tables.d_x.row_mut(2 * p);
        d_x_last += &d_b_out.row(0);
        d_x_last += &sums.vector(sum::BASE_MID);

        // O_h = v^h W_O^hᵀ
        let w_o = params.matrix(names::W_O);
        for head in 0..heads {
            let d_out = tables.d_out.slice(s![self.band(head), ..]);
            let part = s![.., self.part(head)];
            matmul_into(d_out, w_o.slice(part), zero, tables.d_v.slice_mut(part));
            let mut d_w_o = gradient.matrix_mut(names::W_O);
            matmul_into(d_out.t(), tables.v.slice(part), zero, d_w_o.slice_mut(part));
        }
        // v = x W_Vᵀ
        let d_v = tables.d_v.view();
        matmul_into(d_v.t(), tables.x.view(), zero, gradient.stacked_mut(names::W_V));
        matmul_into(d_v, params.stacked(names::W_V), one, tables.d_x.view_mut());

        // S_h[t] = x_t · r_h
        let d_scores = sums.matrix(sum::SCORES); // [heads, 2p + 1]
        matmul_into(d_scores.t(), tables.r.view(), one, tables.d_x.view_mut());
        let d_r = crate::linalg::matmul(d_scores, tables.x.view()); // [heads, d_model]
        // r_h = W_K^hᵀ q_h, with q = W_Q x_= / √d_head
        let (w_k, w_q) = (params.stacked(names::W_K), params.stacked(names::W_Q));
        for head in 0..heads {
            let part = self.part(head);
            let d_r = d_r.slice(s![head..=head, ..]); // [1, d_model]
            let q = tables.q.slice(s![.., part.clone()]);
            let mut d_w_k = gradient.stacked_mut(names::W_K);
            matmul_into(q.t(), d_r, zero, d_w_k.slice_mut(s![part.clone(), ..]));
            let d_q = crate::linalg::matmul(d_r, w_k.slice(s![part.clone(), ..]).t()) / scale;
            let x_last = tables.x.slice(s![2 * p.., ..]);
            let mut d_w_q = gradient.stacked_mut(names::W_Q);
            matmul_into(d_q.t(), x_last, zero, d_w_q.slice_mut(s![part.clone(), ..]));
            let d_x_last = tables.d_x.slice_mut(s![2 * p.., ..]);
            matmul_into(d_q.view(), w_q.slice(s![part, ..]), one, d_x_last);
        }

        // x_t = W_E[:, tok] + W_pos[pos]
        let mut d_w_e = gradient.matrix_mut(names::W_E);
        for token in 0..p {
            d_w_e.column_mut(token).assign(&tables.d_x.row(token));
            d_w_e.column_mut(token).scaled_add(one, &tables.d_x.row(p + token));
        }
        d_w_e.column_mut(p).assign(&tables.d_x.row(2 * p));
        let mut d_w_pos = gradient.matrix_mut(names::W_POS);
        for (position, rows) in [(0, 0..p), (1, p..2 * p), (2, 2 * p..2 * p + 1)] {
            let d_here = tables.d_x.slice(s![rows, ..]).sum_axis(Axis(0));
            d_w_pos.row_mut(position).assign(&d_here);
        }
    }
}

impl Folded {
    /// The sums with respect to table entries, as slices that can be written at once.
    fn row_sums<'a, F: Scalar>(&self, sums: &'a mut Params<F>) -> RowSums<'a, F> {
        // The five stand one behind the other at the end of the layout.
        let [mid, logits, scores, out, direct] =
            [sum::BASE_MID, sum::BASE_LOGITS, sum::SCORES, sum::OUT, sum::DIRECT]
                .map(|name| self.sums.slot(name).offset);
        let (_, rest) = sums.values.split_at_mut(mid);
        let (base_mid, rest) = rest.split_at_mut(logits - mid);
        let (base_logits, rest) = rest.split_at_mut(scores - logits);
        let (scores, rest) = rest.split_at_mut(out - scores);
        let (out, direct) = rest.split_at_mut(direct - out);
        RowSums { scores, out, direct, base_mid, base_logits }
    }
}
