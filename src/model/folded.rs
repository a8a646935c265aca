//! The one-layer transformer by exact algebra: the fast path.
//!
//! The same function as [`super::plain`], at a tenth of the arithmetic:
//!
//! - Only `2p + 1` different (token, position) vectors enter the block, so keys, values and head
//!   outputs are computed for those rows, never per pair.
//! - The query at `=` is one vector per head, hence a score is one number per row; a pair's pattern
//!   is a softmax over three of them.
//! - Only the last position needs the MLP and the unembedding, and both read the residual stream
//!   linearly, through `R = [W_in; W_Uᵀ]`. So what a head writes at a row is read once per row, not
//!   once per pair: neurons before their nonlinearity, and the part of the logits that skips the
//!   MLP, are a weighted sum of rows of a table (`mix`).
//! - The weights of a pattern sum to one, so the row of `=` is a part of what every pair starts from,
//!   and only those of the two operands are left, relative to it.
//! - The neurons reach the logits through `G = W_Uᵀ W_out` in one product per pair instead of two;
//!   the chain rule unfolds the gradient of `G` once per step, not once per pair.
//!
//! What remains per pair is the product with `G`. In the notation below, rows `t` are (token,
//! position) pairs in the order of `mix`.
//!
//! ```text
//! x_t = W_E[:,tok] + W_pos[pos]      r_h = W_K^hᵀ W_Q^h x_= / √d_head      S_h[t] = x_t · r_h
//! v_t = W_V x_t                      B_h = W_O^hᵀ Rᵀ                T_h[t] = (v_t − v_=)^hᵀ B_h
//! base = R x_= + v_=ᵀ B + [b_in | W_Uᵀ b_out]
//! [pre | skip] = base + Σ_h (A_a T_h[a] + A_b T_h[b])               logits = skip + G act(pre)
//! ```

mod labels;
mod pooled;
mod tangent;

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use super::mix::{self, CHUNK, RowSums, Rows};
use super::{Fork, Model, POSITIONS, Transformer, activation, names};
use crate::linalg::aligned::Aligned;
use crate::linalg::{Scalar, matmul_into};
use crate::params::{Layout, Params};
pub use labels::Back;
pub use pooled::Pooled;

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
    /// S, `[heads, 2p + 1]`, and `exp(S − max S)`
    scores: Array2<F>,
    exponentials: Vec<f64>,
    /// v, relative to that of `=` but for the last row, which is `=` itself,
    /// `[2p + 1, heads · d_head]`
    v: Array2<F>,
    /// R, `[d_mlp + classes, d_model]`
    readers: Array2<F>,
    /// B, `[heads · d_head, d_mlp + classes]`
    reads: Array2<F>,
    /// T, `[heads · 2p, width]`, and what every pair starts from, `[1, width]`
    table: Aligned<F>,
    base: Aligned<F>,
    /// `x_= + b_out`, `[1, d_model]`
    base_post: Array2<F>,
    /// G, `[classes, d_mlp]`
    fold: Array2<F>,
    /// Gradients on the way back: shapes of x, v, B, r, q.
    d_x: Array2<F>,
    d_v: Array2<F>,
    d_reads: Array2<F>,
    d_r: Array2<F>,
    d_q: Array2<F>,
}

/// Activations of one block.
#[derive(Debug, Clone)]
pub struct Block<F: Copy + Default> {
    rows: usize,
    /// `[rows, heads, POSITIONS]`, and scratch for the gradient of the operands' weights
    pattern: Vec<F>,
    d_pattern: Vec<F>,
    /// `[neurons | logits]`, `[rows, width]`; on the way back the gradient before the nonlinearity,
    /// and that of the logits
    mixed: Aligned<F>,
    /// `[rows, d_mlp]`
    d_h: Aligned<F>,
    pre: Vec<F>,
}

/// Names of the gradient sums.
mod sum {
    pub const FOLD: &str = "G";
    pub const BASE: &str = "base";
    pub const SCORES: &str = "S";
    pub const TABLE: &str = "T";
}

impl Folded {
    /// The fast path of this network.
    #[must_use]
    pub fn new(net: Transformer) -> Self {
        let rows = net.heads * 2 * net.p;
        let width = width(&net);
        let sums = Layout::new([
            // Those with long rows first: they begin at a cache line, and so do their rows.
            (sum::TABLE, vec![rows, width]),
            (sum::BASE, vec![width]),
            (sum::FOLD, vec![net.classes, net.d_mlp]),
            (sum::SCORES, vec![net.heads, net.token_rows()]),
        ]);
        Self { net, sums }
    }

    /// The sizes of the network.
    #[must_use]
    pub fn transformer(&self) -> &Transformer {
        &self.net
    }

    fn rows<'a, F: Scalar>(&self, tables: &'a Tables<F>) -> Rows<'a, F> {
        Rows {
            p: self.net.p,
            heads: self.net.heads,
            width: width(&self.net),
            scores: slice(&tables.scores),
            exponentials: &tables.exponentials,
            table: &tables.table,
            base: &tables.base,
        }
    }

    /// Columns of head `h` in `[…, heads · d_head]`.
    fn part(&self, head: usize) -> Range<usize> {
        head * self.net.d_head..(head + 1) * self.net.d_head
    }

    /// Rows of head `h` in the table.
    fn band(&self, head: usize) -> Range<usize> {
        head * 2 * self.net.p..(head + 1) * 2 * self.net.p
    }

    /// `[rows, width]`
    fn mixed<'a, F: Scalar>(&self, values: &'a [F], rows: usize) -> ArrayView2<'a, F> {
        let shape = (rows, width(&self.net));
        ArrayView2::from_shape(shape, &values[..shape.0 * shape.1]).expect("rows of a block")
    }

    /// Columns of the logits in a row.
    fn logit_columns(&self) -> Range<usize> {
        self.net.d_mlp..self.net.d_mlp + self.net.classes
    }

    /// B and T of some heads: `B_h = W_O^hᵀ Rᵀ`, `T_h[t] = v_t^hᵀ B_h` for the operands' v.
    fn read_heads<F: Scalar>(
        &self,
        heads: Range<usize>,
        (w_o, readers, v): (ArrayView2<'_, F>, ArrayView2<'_, F>, ArrayView2<'_, F>),
        mut reads: ArrayViewMut2<'_, F>,
        mut table: ArrayViewMut2<'_, F>,
        fork: &impl Fork,
    ) {
        if heads.len() == 1 {
            let part = s![.., self.part(heads.start)];
            matmul_into(w_o.slice(part).t(), readers.t(), F::zero(), reads.view_mut());
            let table = table.slice_mut(s![.., ..readers.nrows()]);
            matmul_into(v.slice(part), reads.view(), F::zero(), table);
            return;
        }
        let (half, middle) = (heads.len() / 2, heads.start + heads.len() / 2);
        let (first_reads, second_reads) = reads.split_at(Axis(0), half * self.net.d_head);
        let (first, second) = table.split_at(Axis(0), half * 2 * self.net.p);
        let given = (w_o, readers, v);
        fork.both(
            || self.read_heads(heads.start..middle, given, first_reads, first, fork),
            || self.read_heads(middle..heads.end, given, second_reads, second, fork),
        );
    }

    /// Gradients of the operands' v, and of B added to what is there, of some heads from that of T.
    fn read_heads_backward<F: Scalar>(
        &self,
        heads: Range<usize>,
        tables: (ArrayView2<'_, F>, ArrayView2<'_, F>),
        d_table: ArrayView2<'_, F>,
        (d_v, d_reads): (ArrayViewMut2<'_, F>, ArrayViewMut2<'_, F>),
        fork: &impl Fork,
    ) {
        let (v, reads) = tables;
        if heads.len() == 1 {
            let part = self.part(heads.start);
            let d_table = d_table.slice(s![self.band(heads.start), ..reads.ncols()]);
            matmul_into(d_table, reads.slice(s![part.clone(), ..]).t(), F::zero(), d_v);
            matmul_into(v.slice(s![.., part]).t(), d_table, F::one(), d_reads);
            return;
        }
        let (half, middle) = (heads.len() / 2, heads.start + heads.len() / 2);
        let (first_v, second_v) = d_v.split_at(Axis(1), half * self.net.d_head);
        let (first, second) = d_reads.split_at(Axis(0), half * self.net.d_head);
        let (first, second) = ((first_v, first), (second_v, second));
        fork.both(
            || self.read_heads_backward(heads.start..middle, tables, d_table, first, fork),
            || self.read_heads_backward(middle..heads.end, tables, d_table, second, fork),
        );
    }
}

/// Length of a row of the table.
fn width(net: &Transformer) -> usize {
    (net.d_mlp + net.classes).next_multiple_of(CHUNK)
}

/// Arrays made here are row-major.
fn slice<F>(array: &Array2<F>) -> &[F] {
    array.as_slice().expect("row-major by construction")
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

    /// A pair works on `2 · heads` rows of the table; clearing and adding up touches all of them.
    fn least_rows(&self) -> usize {
        4 * self.net.token_rows()
    }

    fn new_tables(&self) -> Tables<F> {
        let Transformer { p, d_model, heads, d_mlp, classes, .. } = self.net;
        let (tokens, width) = (self.net.token_rows(), width(&self.net));
        let zeros = |rows, columns| Array2::zeros((rows, columns));
        Tables {
            x: zeros(tokens, d_model),
            q: zeros(1, d_model),
            r: zeros(heads, d_model),
            scores: zeros(heads, tokens),
            exponentials: vec![0.0; heads * tokens],
            v: zeros(tokens, d_model),
            readers: zeros(d_mlp + classes, d_model),
            reads: zeros(d_model, d_mlp + classes),
            table: Aligned::zeros(heads * 2 * p * width),
            base: Aligned::zeros(width),
            base_post: zeros(1, d_model),
            fold: zeros(classes, d_mlp),
            d_x: zeros(tokens, d_model),
            d_v: zeros(tokens, d_model),
            d_reads: zeros(d_model, d_mlp + classes),
            d_r: zeros(heads, d_model),
            d_q: zeros(1, d_model),
        }
    }

    fn new_block(&self, rows: usize) -> Block<F> {
        let Transformer { heads, d_mlp, activation, .. } = self.net;
        Block {
            rows,
            pattern: vec![F::zero(); rows * heads * POSITIONS],
            d_pattern: vec![F::zero(); rows * heads * 2],
            mixed: Aligned::zeros(rows * width(&self.net)),
            d_h: Aligned::zeros(rows * d_mlp),
            pre: vec![F::zero(); activation::scratch_len(activation, rows * d_mlp)],
        }
    }

    fn prepare(&self, params: &Params<F>, tables: &mut Tables<F>, fork: &impl Fork) {
        let Transformer { p, heads, d_head, d_mlp, .. } = self.net;
        let (zero, one) = (F::zero(), F::one());
        let (w_e, w_pos) = (params.matrix(names::W_E), params.matrix(names::W_POS));
        let (w_u, w_o) = (params.matrix(names::W_U), params.matrix(names::W_O));
        let Tables { x, q, r, scores, exponentials, v, readers, reads, table, .. } = tables;
        let Tables { base, base_post, fold, .. } = tables;
        let tokens = self.net.token_rows();
        let mut base = matrix(base, 1, width(&self.net));

        let stream = || {
            for (t, mut x) in x.rows_mut().into_iter().enumerate() {
                let (token, position) = if t == 2 * p { (p, 2) } else { (t % p, t / p) };
                x.assign(&w_e.column(token));
                x += &w_pos.row(position);
            }
            let x_last = x.slice(s![2 * p.., ..]); // [1, d_model]
            matmul_into(x_last, params.stacked(names::W_Q).t(), zero, q.view_mut());
            *q /= F::narrow((d_head as f64).sqrt());
            let w_k = params.stacked(names::W_K);
            for head in 0..heads {
                let q = q.slice(s![.., self.part(head)]);
                let w_k = w_k.slice(s![self.part(head), ..]);
                matmul_into(q, w_k, zero, r.slice_mut(s![head..=head, ..]));
            }
            matmul_into(r.view(), x.t(), zero, scores.view_mut());
            let of_heads = slice(scores).chunks_exact(tokens);
            for (scores, found) in of_heads.zip(exponentials.chunks_exact_mut(tokens)) {
                mix::exponentials(scores, found);
            }
            matmul_into(x.view(), params.stacked(names::W_V).t(), zero, v.view_mut());
            let (mut operands, last) = v.view_mut().split_at(Axis(0), 2 * p);
            operands -= &last;

            readers.slice_mut(s![..d_mlp, ..]).assign(&params.matrix(names::W_IN));
            readers.slice_mut(s![d_mlp.., ..]).assign(&w_u.t());
            let used = self.logit_columns().end;
            matmul_into(x_last, readers.t(), zero, base.slice_mut(s![.., ..used]));
            let mut base_pre = base.slice_mut(s![0, ..d_mlp]);
            base_pre += &params.vector(names::B_IN);
            let base_logits = base.slice_mut(s![.., self.logit_columns()]);
            matmul_into(params.matrix_like(names::B_OUT), w_u, one, base_logits);
            base_post.row_mut(0).assign(&x.row(2 * p));
            base_post.row_mut(0).scaled_add(one, &params.vector(names::B_OUT));
        };
        fork.both(stream, || {
            matmul_into(w_u.t(), params.matrix(names::W_OUT), zero, fold.view_mut());
        });
        let (operands, last) = v.view().split_at(Axis(0), 2 * p);
        let given = (w_o, readers.view(), operands);
        let table = matrix(table, heads * 2 * p, width(&self.net));
        self.read_heads(0..heads, given, reads.view_mut(), table, fork);
        matmul_into(last, reads.view(), one, base.slice_mut(s![.., ..readers.nrows()]));
    }

    fn forward(&self, tables: &Tables<F>, pairs: &[[usize; 2]], block: &mut Block<F>) {
        let Transformer { d_mlp, heads, activation, .. } = self.net;
        let (n, width) = (pairs.len(), width(&self.net));
        let scratch = activation::scratch_len(activation, d_mlp);
        block.rows = n;
        mix::forward(
            self.rows(tables),
            pairs,
            &mut block.pattern[..n * heads * POSITIONS],
            &mut block.mixed[..n * width],
        );
        for (i, row) in block.mixed.chunks_exact_mut(width).take(n).enumerate() {
            let pre = &mut block.pre[i * scratch..(i + 1) * scratch];
            activation::forward(activation, &mut row[..d_mlp], pre);
        }
        let mixed = matrix(&mut block.mixed[..n * width], n, width);
        let (h, rest) = mixed.split_at(Axis(1), d_mlp);
        let (logits, _) = rest.split_at(Axis(1), self.net.classes);
        matmul_into(h.view(), tables.fold.t(), F::one(), logits);
    }

    fn logits<'a>(&self, block: &'a mut Block<F>) -> ArrayViewMut2<'a, F> {
        let width = width(&self.net);
        let mixed = matrix(&mut block.mixed[..block.rows * width], block.rows, width);
        mixed.slice_move(s![.., self.logit_columns()])
    }

    fn neurons<'a>(&self, block: &'a Block<F>) -> ArrayView2<'a, F> {
        self.mixed(&block.mixed, block.rows).slice_move(s![.., ..self.net.d_mlp])
    }

    fn backward(
        &self,
        tables: &Tables<F>,
        pairs: &[[usize; 2]],
        block: &mut Block<F>,
        sums: &mut Params<F>,
    ) {
        let Transformer { d_mlp, heads, activation, .. } = self.net;
        let (n, width) = (pairs.len(), width(&self.net));
        let [d_table, d_base, d_fold, d_scores] = sums.parts_mut();

        // logits = skip + G h
        let (h, d_logits) = self.mixed(&block.mixed, n).split_at(Axis(1), d_mlp);
        let d_logits = d_logits.slice(s![.., ..self.net.classes]);
        let d_fold = matrix(d_fold, self.net.classes, d_mlp);
        matmul_into(d_logits.t(), h, F::one(), d_fold);
        let d_h = matrix(&mut block.d_h[..n * d_mlp], n, d_mlp);
        matmul_into(d_logits, tables.fold.view(), F::zero(), d_h);

        // h = act(pre): its gradient takes the place of h
        let scratch = activation::scratch_len(activation, d_mlp);
        let rows = block.mixed.chunks_exact_mut(width).take(n);
        for (i, (row, d_h)) in rows.zip(block.d_h.chunks_exact_mut(d_mlp)).enumerate() {
            let pre = &block.pre[i * scratch..(i + 1) * scratch];
            activation::backward(activation, d_h, &row[..d_mlp], pre);
            row[..d_mlp].copy_from_slice(d_h);
        }

        // [pre | skip] = base + Σ A T
        let weights = n * heads * POSITIONS;
        mix::backward(
            self.rows(tables),
            pairs,
            (&block.pattern[..weights], &mut block.d_pattern[..n * heads * 2]),
            &block.mixed[..n * width],
            &mut RowSums { scores: d_scores, table: d_table, base: d_base },
        );
    }

    fn gradient(
        &self,
        params: &Params<F>,
        tables: &mut Tables<F>,
        sums: &Params<F>,
        gradient: &mut Params<F>,
        fork: &impl Fork,
    ) {
        let Transformer { p, heads, d_head, d_mlp, classes, d_model, .. } = self.net;
        let (zero, one) = (F::zero(), F::one());
        let w_u = params.matrix(names::W_U);
        let (w_out, w_o) = (params.matrix(names::W_OUT), params.matrix(names::W_O));
        let (w_k, w_q) = (params.stacked(names::W_K), params.stacked(names::W_Q));
        let d_fold = sums.matrix(sum::FOLD);
        let d_base = sums.matrix_like(sum::BASE); // [1, width]
        let d_base_logits = d_base.slice(s![.., self.logit_columns()]);
        let d_scores = sums.matrix(sum::SCORES); // [heads, 2p + 1]
        let d_table = sums.matrix(sum::TABLE);
        let Tables { x, q, r, v, readers, reads, base_post, .. } = tables;
        let Tables { d_x, d_v, d_reads, d_r, d_q, .. } = tables;
        let x_last = x.slice(s![2 * p.., ..]); // [1, d_model]

        let [d_w_e, d_w_pos, d_w_q, d_w_k, d_w_v, d_w_o, d_w_in, d_b_in, d_w_out, d_b_out, d_w_u] =
            gradient.parts_mut();
        let mut d_w_u = matrix(d_w_u, d_model, classes);

        // G = W_Uᵀ W_out,   base = R x_= + [b_in | W_Uᵀ b_out];   T_h = v^h B_h
        fork.both(
            || {
                matmul_into(w_u, d_fold, zero, matrix(d_w_out, d_model, d_mlp));
                matmul_into(w_out, d_fold.t(), zero, d_w_u.view_mut());
                matmul_into(base_post.t(), d_base_logits, one, d_w_u.view_mut());
                matmul_into(d_base_logits, w_u.t(), zero, matrix(d_b_out, 1, d_model));
                d_b_in.copy_from_slice(&d_base.to_slice().expect("one row")[..d_mlp]);
            },
            || {
                let (operands, last) = v.view().split_at(Axis(0), 2 * p);
                let (mut d_operands, mut d_last) = d_v.view_mut().split_at(Axis(0), 2 * p);
                let d_base = d_base.slice(s![.., ..reads.ncols()]);
                matmul_into(last.t(), d_base, zero, d_reads.view_mut());
                let given = (operands, reads.view());
                let found = (d_operands.view_mut(), d_reads.view_mut());
                self.read_heads_backward(0..heads, given, d_table, found, fork);
                // The operands' rows are relative to the last.
                matmul_into(d_base, reads.t(), zero, d_last.view_mut());
                let mut d_last = d_last.row_mut(0);
                d_operands.rows().into_iter().for_each(|d_operand| d_last -= &d_operand);
            },
        );

        // B = W_Oᵀ Rᵀ,   R = [W_in; W_Uᵀ]
        let d_reads = d_reads.view();
        let of_readers = || {
            let (d_pre, d_logits) = d_reads.split_at(Axis(1), d_mlp);
            let mut d_w_in = matrix(d_w_in, d_mlp, d_model);
            matmul_into(d_pre.t(), w_o.t(), zero, d_w_in.view_mut());
            matmul_into(d_base.slice(s![.., ..d_mlp]).t(), x_last, one, d_w_in);
            matmul_into(w_o, d_logits, one, d_w_u);
        };
        let of_heads = || {
            let d_w_o = matrix(d_w_o, d_model, d_model);
            matmul_into(readers.t(), d_reads.t(), zero, d_w_o);
        };
        let of_stream = || {
            // v = x W_Vᵀ,   S_h[t] = x_t · r_h
            matmul_into(d_v.t(), x.view(), zero, matrix(d_w_v, d_model, d_model));
            matmul_into(d_v.view(), params.stacked(names::W_V), zero, d_x.view_mut());
            matmul_into(d_scores.t(), r.view(), one, d_x.view_mut());
            let mut d_x_last = d_x.slice_mut(s![2 * p.., ..]);
            let d_base = d_base.slice(s![.., ..readers.nrows()]);
            matmul_into(d_base, readers.view(), one, d_x_last.view_mut());
            // r_h = W_K^hᵀ q_h, with q = W_Q x_= / √d_head
            matmul_into(d_scores, x.view(), zero, d_r.view_mut());
            let mut d_w_k = matrix(d_w_k, d_model, d_model);
            for head in 0..heads {
                let part = self.part(head);
                let d_r = d_r.slice(s![head..=head, ..]); // [1, d_model]
                let q = q.slice(s![.., part.clone()]);
                matmul_into(q.t(), d_r, zero, d_w_k.slice_mut(s![part.clone(), ..]));
                let w_k = w_k.slice(s![part.clone(), ..]);
                matmul_into(d_r, w_k.t(), zero, d_q.slice_mut(s![.., part]));
            }
            *d_q /= F::narrow((d_head as f64).sqrt());
            matmul_into(d_q.t(), x_last, zero, matrix(d_w_q, d_model, d_model));
            matmul_into(d_q.view(), w_q, one, d_x_last);
            // x_t = W_E[:, tok] + W_pos[pos]
            let (first, rest) = d_x.view().split_at(Axis(0), p);
            let (second, last) = rest.split_at(Axis(0), p);
            let mut d_w_e = matrix(d_w_e, d_model, p + 1).reversed_axes(); // [p + 1, d_model]
            let mut d_residues = d_w_e.slice_mut(s![..p, ..]);
            d_residues.assign(&first);
            d_residues += &second;
            d_w_e.slice_mut(s![p.., ..]).assign(&last);
            let mut d_w_pos = matrix(d_w_pos, POSITIONS, d_model);
            for (mut d_here, d_x) in d_w_pos.rows_mut().into_iter().zip([first, second, last]) {
                d_here.fill(zero);
                d_x.rows().into_iter().for_each(|d_x| d_here += &d_x);
            }
        };
        fork.both(of_readers, || fork.both(of_heads, of_stream));
    }
}

/// Values as a matrix, row by row.
fn matrix<F>(values: &mut [F], rows: usize, columns: usize) -> ArrayViewMut2<'_, F> {
    ArrayViewMut2::from_shape((rows, columns), values).expect("as many values as the matrix has")
}
