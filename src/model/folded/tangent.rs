//! Derivatives of the fast path along a direction of the weights, line by line beside
//! [`super`]: every product `C = A B` becomes `C' = A' B + A B'`.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::{Block, Folded, POSITIONS, Tables, matrix, slice, sum, width};
use crate::linalg::aligned::Aligned;
use crate::linalg::{Scalar, matmul_into};
use crate::model::mix::{self, RowSums, tangent::Weights};
use crate::model::tangent::{Pair, Tangent, product, t};
use crate::model::{Fork, Model, Transformer, activation, names};
use crate::params::Params;

/// A block of a batch, see [`Tangent::fix`].
#[derive(Debug)]
pub struct Fixed<F> {
    pairs: Vec<[usize; 2]>,
    /// `[rows, heads, 3]`, and the gradients of the operands' weights, `[rows, heads, 2]`
    pattern: Vec<F>,
    d_pattern: Vec<F>,
    /// `[d_pre | d_logits]`, `[rows, width]`
    d_mixed: Aligned<F>,
    /// Neurons, and the slope of the nonlinearity, `[rows, d_mlp]`
    h: Vec<F>,
    slope: Vec<F>,
    /// `act''(pre) · d_h`, `[rows, d_mlp]`; none where that is 0
    bend: Option<Vec<F>>,
}

/// Derivatives of a block's activations.
#[derive(Debug)]
pub struct Shifted<F> {
    pattern: Vec<F>,
    d_pattern: Vec<F>,
    /// `[pre' | logits']`, on the way back `[d_pre' | d_logits']`
    mixed: Aligned<F>,
    /// h', then the derivative of its gradient
    h: Vec<F>,
}

impl Folded {
    /// Columns of a head in a pair of matrices.
    fn head_columns<'a, F: Scalar>(&self, pair: &Pair<'a, F>, head: usize) -> Pair<'a, F> {
        let part = s![.., self.part(head)];
        (pair.0.slice_move(part), pair.1.slice_move(part))
    }

    /// B' and T' of some heads.
    fn shift_heads<F: Scalar>(
        &self,
        heads: Range<usize>,
        given @ (w_o, readers, v, reads): (
            Pair<'_, F>,
            Pair<'_, F>,
            Pair<'_, F>,
            ArrayView2<'_, F>,
        ),
        mut shifted_reads: ArrayViewMut2<'_, F>,
        mut table: ArrayViewMut2<'_, F>,
        fork: &impl Fork,
    ) {
        if heads.len() == 1 {
            let head = heads.start;
            let (w_o, v) = (self.head_columns(&w_o, head), self.head_columns(&v, head));
            product(t(w_o), t(readers), F::zero(), shifted_reads.view_mut());
            let reads = (reads.slice_move(s![self.part(head), ..]), shifted_reads.view());
            product(v, reads, F::zero(), table.slice_mut(s![.., ..shifted_reads.ncols()]));
            return;
        }
        let (half, middle) = (heads.len() / 2, heads.start + heads.len() / 2);
        let (first_reads, second_reads) = shifted_reads.split_at(Axis(0), half * self.net.d_head);
        let (first, second) = table.split_at(Axis(0), half * 2 * self.net.p);
        fork.both(
            || self.shift_heads(heads.start..middle, given, first_reads, first, fork),
            || self.shift_heads(middle..heads.end, given, second_reads, second, fork),
        );
    }

    /// Derivatives of the gradients of the operands' v, and of B added to what is there.
    fn shift_heads_backward<F: Scalar>(
        &self,
        heads: Range<usize>,
        given @ (v, reads, d_table): (Pair<'_, F>, Pair<'_, F>, Pair<'_, F>),
        (d_v, d_reads): (ArrayViewMut2<'_, F>, ArrayViewMut2<'_, F>),
        fork: &impl Fork,
    ) {
        if heads.len() == 1 {
            let head = heads.start;
            let cut = s![self.band(head), ..reads.0.ncols()];
            let d_table = (d_table.0.slice_move(cut), d_table.1.slice_move(cut));
            let rows = s![self.part(head), ..];
            let reads = (reads.0.slice_move(rows), reads.1.slice_move(rows));
            product(d_table, t(reads), F::zero(), d_v);
            product(t(self.head_columns(&v, head)), d_table, F::one(), d_reads);
            return;
        }
        let (half, middle) = (heads.len() / 2, heads.start + heads.len() / 2);
        let (first_v, second_v) = d_v.split_at(Axis(1), half * self.net.d_head);
        let (first, second) = d_reads.split_at(Axis(0), half * self.net.d_head);
        let (first, second) = ((first_v, first), (second_v, second));
        fork.both(
            || self.shift_heads_backward(heads.start..middle, given, first, fork),
            || self.shift_heads_backward(middle..heads.end, given, second, fork),
        );
    }
}

impl<F: Scalar> Tangent<F> for Folded {
    type Fixed = Fixed<F>;
    type Shifted = Shifted<F>;

    fn fix(
        &self,
        tables: &Tables<F>,
        pairs: &[[usize; 2]],
        mut block: Block<F>,
        d_logits: ArrayView2<'_, F>,
        sums: &mut Params<F>,
    ) -> Fixed<F> {
        let Transformer { d_mlp, heads, activation, .. } = self.net;
        let (n, width) = (pairs.len(), width(&self.net));
        let h: Vec<F> = Model::<F>::neurons(self, &block).iter().copied().collect();
        let mut slope = vec![F::one(); n * d_mlp];
        activation::backward(activation, &mut slope, &h, &block.pre);
        self.logits(&mut block).assign(&d_logits);
        let used = activation::scratch_len(activation, n * d_mlp);
        let mut bend = block.pre[..used].to_vec();
        let bend = activation::curvature(activation, &mut bend).then(|| {
            let d_h = matrix(&mut block.d_h[..n * d_mlp], n, d_mlp);
            matmul_into(d_logits, tables.fold.view(), F::zero(), d_h);
            bend.iter_mut().zip(block.d_h.iter()).for_each(|(bend, d_h)| *bend *= *d_h);
            bend
        });
        self.backward(tables, pairs, &mut block, sums);
        Fixed {
            pairs: pairs.to_vec(),
            pattern: block.pattern[..n * heads * POSITIONS].to_vec(),
            d_pattern: block.d_pattern[..n * heads * 2].to_vec(),
            d_mixed: block.mixed[..n * width].into(),
            h,
            slope,
            bend,
        }
    }

    fn new_shifted(&self, rows: usize) -> Shifted<F> {
        let Transformer { d_mlp, heads, .. } = self.net;
        Shifted {
            pattern: vec![F::zero(); rows * heads * POSITIONS],
            d_pattern: vec![F::zero(); rows * heads * 2],
            mixed: Aligned::zeros(rows * width(&self.net)),
            h: vec![F::zero(); rows * d_mlp],
        }
    }

    fn shift_tables(
        &self,
        params: &Params<F>,
        v: &Params<F>,
        tables: &Tables<F>,
        shifted: &mut Tables<F>,
        fork: &impl Fork,
    ) {
        let Transformer { p, heads, d_head, d_mlp, .. } = self.net;
        let (zero, one) = (F::zero(), F::one());
        let of = |name: &str| (params.matrix(name), v.matrix(name));
        let stacked = |name: &str| (params.stacked(name), v.stacked(name));
        let vector = |name: &str| (params.matrix_like(name), v.matrix_like(name));
        let (w_e, w_pos) = (v.matrix(names::W_E), v.matrix(names::W_POS));
        let (w_u, w_o) = (of(names::W_U), of(names::W_O));
        let Tables { x, q, r, scores, v: values, readers, reads, table, .. } = shifted;
        let Tables { base, base_post, fold, .. } = shifted;
        let mut base = matrix(base, 1, width(&self.net));

        let stream = || {
            for (t, mut x) in x.rows_mut().into_iter().enumerate() {
                let (token, position) = if t == 2 * p { (p, 2) } else { (t % p, t / p) };
                x.assign(&w_e.column(token));
                x += &w_pos.row(position);
            }
            let all = (tables.x.view(), x.view());
            let last = s![2 * p.., ..];
            let x_last = (tables.x.slice(last), x.slice(last)); // [1, d_model]
            product(x_last, t(stacked(names::W_Q)), zero, q.view_mut());
            *q /= F::narrow((d_head as f64).sqrt());
            let w_k = stacked(names::W_K);
            let queries = (tables.q.view(), q.view());
            for head in 0..heads {
                let rows = s![self.part(head), ..];
                let w_k = (w_k.0.slice(rows), w_k.1.slice(rows));
                let q = self.head_columns(&queries, head);
                product(q, w_k, zero, r.slice_mut(s![head..=head, ..]));
            }
            product((tables.r.view(), r.view()), t(all), zero, scores.view_mut());
            product(all, t(stacked(names::W_V)), zero, values.view_mut());
            let (mut operands, of_last) = values.view_mut().split_at(Axis(0), 2 * p);
            operands -= &of_last;

            readers.slice_mut(s![..d_mlp, ..]).assign(&v.matrix(names::W_IN));
            readers.slice_mut(s![d_mlp.., ..]).assign(&w_u.1.t());
            let of_readers = (tables.readers.view(), readers.view());
            let used = self.logit_columns().end;
            product(x_last, t(of_readers), zero, base.slice_mut(s![.., ..used]));
            let mut base_pre = base.slice_mut(s![0, ..d_mlp]);
            base_pre += &v.vector(names::B_IN);
            product(vector(names::B_OUT), w_u, one, base.slice_mut(s![.., self.logit_columns()]));
            base_post.row_mut(0).assign(&x.row(2 * p));
            base_post.row_mut(0).scaled_add(one, &v.vector(names::B_OUT));
        };
        fork.both(stream, || product(t(w_u), of(names::W_OUT), zero, fold.view_mut()));
        let (operands, last) = tables.v.view().split_at(Axis(0), 2 * p);
        let (shifted_operands, shifted_last) = values.view().split_at(Axis(0), 2 * p);
        let given = (
            w_o,
            (tables.readers.view(), readers.view()),
            (operands, shifted_operands),
            tables.reads.view(),
        );
        let table = matrix(table, heads * 2 * p, width(&self.net));
        self.shift_heads(0..heads, given, reads.view_mut(), table, fork);
        let reads = (tables.reads.view(), reads.view());
        product((last, shifted_last), reads, one, base.slice_mut(s![.., ..readers.nrows()]));
    }

    fn shift_forward(
        &self,
        (tables, moving): (&Tables<F>, &Tables<F>),
        fixed: &Fixed<F>,
        shifted: &mut Shifted<F>,
    ) {
        let Transformer { d_mlp, heads, .. } = self.net;
        let (n, width) = (fixed.pairs.len(), width(&self.net));
        mix::tangent::forward(
            self.rows(tables),
            self.rows(moving),
            &fixed.pairs,
            &fixed.pattern,
            &mut shifted.pattern[..n * heads * POSITIONS],
            &mut shifted.mixed[..n * width],
        );
        let rows = shifted.mixed.chunks_exact(width).zip(fixed.slope.chunks_exact(d_mlp));
        for (h, (mixed, slope)) in shifted.h.chunks_exact_mut(d_mlp).zip(rows).take(n) {
            for ((h, pre), slope) in h.iter_mut().zip(mixed).zip(slope) {
                *h = *slope * *pre;
            }
        }
        let h = (array(&fixed.h, n, d_mlp), array(&shifted.h[..n * d_mlp], n, d_mlp));
        let fold = (tables.fold.view(), moving.fold.view());
        let logits = self.logits_of(&mut shifted.mixed, n);
        product(h, t(fold), F::one(), logits);
    }

    fn shifted_logits<'a>(
        &self,
        fixed: &Fixed<F>,
        shifted: &'a mut Shifted<F>,
    ) -> ArrayViewMut2<'a, F> {
        self.logits_of(&mut shifted.mixed, fixed.pairs.len())
    }

    fn shift_backward(
        &self,
        (tables, moving): (&Tables<F>, &Tables<F>),
        fixed: &Fixed<F>,
        shifted: &mut Shifted<F>,
        sums: &mut Params<F>,
    ) {
        let Transformer { d_mlp, heads, classes, .. } = self.net;
        let (n, width) = (fixed.pairs.len(), width(&self.net));
        let [d_table, d_base, d_fold, d_scores] = sums.parts_mut();

        // logits = skip + G h
        let columns = s![.., self.logit_columns()];
        let d_logits = (
            self.mixed(&fixed.d_mixed, n).slice_move(columns),
            self.mixed(&shifted.mixed, n).slice_move(columns),
        );
        let h = (array(&fixed.h, n, d_mlp), array(&shifted.h[..n * d_mlp], n, d_mlp));
        product(t(d_logits), h, F::one(), matrix(d_fold, classes, d_mlp));
        let fold = (tables.fold.view(), moving.fold.view());
        product(d_logits, fold, F::zero(), matrix(&mut shifted.h[..n * d_mlp], n, d_mlp));

        // h = act(pre): d_pre' = act'(pre) d_h' + act''(pre) pre' d_h
        let rows = shifted.mixed.chunks_exact_mut(width).zip(shifted.h.chunks_exact(d_mlp));
        for (i, (mixed, d_h)) in rows.take(n).enumerate() {
            let range = i * d_mlp..(i + 1) * d_mlp;
            let bend = fixed.bend.as_ref().map(|bend| &bend[range.clone()]);
            let pre = &mut mixed[..d_mlp];
            let d_h = d_h.iter().zip(&fixed.slope[range]);
            match bend {
                Some(bend) => {
                    for ((pre, (d_h, slope)), bend) in pre.iter_mut().zip(d_h).zip(bend) {
                        *pre = *slope * *d_h + *bend * *pre;
                    }
                }
                None => {
                    pre.iter_mut().zip(d_h).for_each(|(pre, (d_h, slope))| *pre = *slope * *d_h)
                }
            }
        }

        // [pre | skip] = base + Σ A T
        mix::tangent::backward(
            (self.rows(tables), self.rows(moving)),
            &fixed.pairs,
            Weights { pattern: &fixed.pattern, d_pattern: &fixed.d_pattern },
            (&shifted.pattern[..n * heads * POSITIONS], &mut shifted.d_pattern[..n * heads * 2]),
            (&fixed.d_mixed, &shifted.mixed[..n * width]),
            &mut RowSums { scores: d_scores, table: d_table, base: d_base },
        );
    }

    fn shift_gradient(
        &self,
        (params, v): (&Params<F>, &Params<F>),
        (tables, moving): (&Tables<F>, &mut Tables<F>),
        (sums, shifted_sums): (&Params<F>, &Params<F>),
        gradient: &mut Params<F>,
        fork: &impl Fork,
    ) {
        let Transformer { p, heads, d_head, d_mlp, classes, d_model, .. } = self.net;
        let (zero, one) = (F::zero(), F::one());
        let of = |name: &str| (params.matrix(name), v.matrix(name));
        let stacked = |name: &str| (params.stacked(name), v.stacked(name));
        let sum_of = |name: &str| (sums.matrix(name), shifted_sums.matrix(name));
        let (w_u, w_out, w_o) = (of(names::W_U), of(names::W_OUT), of(names::W_O));
        let (w_k, w_q) = (stacked(names::W_K), stacked(names::W_Q));
        let (d_fold, d_scores, d_table) =
            (sum_of(sum::FOLD), sum_of(sum::SCORES), sum_of(sum::TABLE));
        let d_base = (sums.matrix_like(sum::BASE), shifted_sums.matrix_like(sum::BASE)); // [1, width]
        let columns = |pair: &Pair<'_, F>, range: Range<usize>| {
            let cut = s![.., range];
            (pair.0.slice(cut).to_owned(), pair.1.slice(cut).to_owned())
        };
        let base_logits = columns(&d_base, self.logit_columns());
        let d_base_logits = (base_logits.0.view(), base_logits.1.view());
        let base_read = columns(&d_base, 0..tables.readers.nrows());
        let d_base_read = (base_read.0.view(), base_read.1.view());
        let base_pre = columns(&d_base, 0..d_mlp);
        let d_base_pre = (base_pre.0.view(), base_pre.1.view());
        let Tables { x, q, r, v: values, readers, reads, base_post, .. } = moving;
        let Tables { d_x, d_v, d_reads, d_r, d_q, .. } = moving;
        let (x, q, r) =
            ((tables.x.view(), x.view()), (tables.q.view(), q.view()), (tables.r.view(), r.view()));
        let (values, readers) =
            ((tables.v.view(), values.view()), (tables.readers.view(), readers.view()));
        let reads = (tables.reads.view(), reads.view());
        let base_post = (tables.base_post.view(), base_post.view());
        let (first, first_last) = values.0.split_at(Axis(0), 2 * p);
        let (second, second_last) = values.1.split_at(Axis(0), 2 * p);
        let (operands, last) = ((first, second), (first_last, second_last));
        let (_, x_last) = x.0.split_at(Axis(0), 2 * p);
        let (_, moving_x_last) = x.1.split_at(Axis(0), 2 * p);
        let x_last = (x_last, moving_x_last); // [1, d_model]

        let [d_w_e, d_w_pos, d_w_q, d_w_k, d_w_v, d_w_o, d_w_in, d_b_in, d_w_out, d_b_out, d_w_u] =
            gradient.parts_mut();
        let mut d_w_u = matrix(d_w_u, d_model, classes);

        // G = W_Uᵀ W_out,   base = R x_= + [b_in | W_Uᵀ b_out];   T_h = v^h B_h
        fork.both(
            || {
                product(w_u, d_fold, zero, matrix(d_w_out, d_model, d_mlp));
                product(w_out, t(d_fold), zero, d_w_u.view_mut());
                product(t(base_post), d_base_logits, one, d_w_u.view_mut());
                product(d_base_logits, t(w_u), zero, matrix(d_b_out, 1, d_model));
                d_b_in.copy_from_slice(slice(&base_pre.1));
            },
            || {
                let (mut d_operands, mut d_last) = d_v.view_mut().split_at(Axis(0), 2 * p);
                product(t(last), d_base_read, zero, d_reads.view_mut());
                let found = (d_operands.view_mut(), d_reads.view_mut());
                self.shift_heads_backward(0..heads, (operands, reads, d_table), found, fork);
                // The operands' rows are relative to the last.
                product(d_base_read, t(reads), zero, d_last.view_mut());
                let mut d_last = d_last.row_mut(0);
                d_operands.rows().into_iter().for_each(|d_operand| d_last -= &d_operand);
            },
        );

        // B = W_Oᵀ Rᵀ,   R = [W_in; W_Uᵀ]
        let d_reads = (tables.d_reads.view(), d_reads.view());
        let d_v = (tables.d_v.view(), d_v.view());
        let of_readers = || {
            let (fixed_pre, fixed_logits) = d_reads.0.split_at(Axis(1), d_mlp);
            let (moving_pre, moving_logits) = d_reads.1.split_at(Axis(1), d_mlp);
            let mut d_w_in = matrix(d_w_in, d_mlp, d_model);
            product(t((fixed_pre, moving_pre)), t(w_o), zero, d_w_in.view_mut());
            product(t(d_base_pre), x_last, one, d_w_in);
            product(w_o, (fixed_logits, moving_logits), one, d_w_u);
        };
        let of_heads = || product(t(readers), t(d_reads), zero, matrix(d_w_o, d_model, d_model));
        let of_stream = || {
            // v = x W_Vᵀ,   S_h[t] = x_t · r_h
            product(t(d_v), x, zero, matrix(d_w_v, d_model, d_model));
            product(d_v, stacked(names::W_V), zero, d_x.view_mut());
            product(t(d_scores), r, one, d_x.view_mut());
            let mut d_x_last = d_x.slice_mut(s![2 * p.., ..]);
            product(d_base_read, readers, one, d_x_last.view_mut());
            // r_h = W_K^hᵀ q_h, with q = W_Q x_= / √d_head
            product(d_scores, x, zero, d_r.view_mut());
            let d_r = (tables.d_r.view(), d_r.view());
            let mut d_w_k = matrix(d_w_k, d_model, d_model);
            for head in 0..heads {
                let part = self.part(head);
                let row = s![head..=head, ..]; // [1, d_model]
                let d_r = (d_r.0.slice(row), d_r.1.slice(row));
                let q = self.head_columns(&q, head);
                product(t(q), d_r, zero, d_w_k.slice_mut(s![part.clone(), ..]));
                let rows = s![part.clone(), ..];
                let w_k = (w_k.0.slice(rows), w_k.1.slice(rows));
                product(d_r, t(w_k), zero, d_q.slice_mut(s![.., part]));
            }
            *d_q /= F::narrow((d_head as f64).sqrt());
            let d_q = (tables.d_q.view(), d_q.view());
            product(t(d_q), x_last, zero, matrix(d_w_q, d_model, d_model));
            product(d_q, w_q, one, d_x_last);
            self.embed_gradient(d_x.view(), d_w_e, d_w_pos);
        };
        fork.both(of_readers, || fork.both(of_heads, of_stream));
    }
}

impl Folded {
    /// Gradients of W_E and W_pos from that of `x_t = W_E[:, tok] + W_pos[pos]`.
    fn embed_gradient<F: Scalar>(
        &self,
        d_x: ArrayView2<'_, F>,
        d_w_e: &mut [F],
        d_w_pos: &mut [F],
    ) {
        let Transformer { p, d_model, .. } = self.net;
        let (first, rest) = d_x.split_at(Axis(0), p);
        let (second, last) = rest.split_at(Axis(0), p);
        let mut d_w_e = matrix(d_w_e, d_model, p + 1).reversed_axes(); // [p + 1, d_model]
        let mut d_residues = d_w_e.slice_mut(s![..p, ..]);
        d_residues.assign(&first);
        d_residues += &second;
        d_w_e.slice_mut(s![p.., ..]).assign(&last);
        let mut d_w_pos = matrix(d_w_pos, POSITIONS, d_model);
        for (mut d_here, d_x) in d_w_pos.rows_mut().into_iter().zip([first, second, last]) {
            d_here.fill(F::zero());
            d_x.rows().into_iter().for_each(|d_x| d_here += &d_x);
        }
    }

    /// The logits' columns of the rows of a block.
    fn logits_of<'a, F: Scalar>(&self, mixed: &'a mut [F], rows: usize) -> ArrayViewMut2<'a, F> {
        let width = width(&self.net);
        let mixed = matrix(&mut mixed[..rows * width], rows, width);
        mixed.slice_move(s![.., self.logit_columns()])
    }
}

/// Values as a matrix, row by row.
fn array<F>(values: &[F], rows: usize, columns: usize) -> ArrayView2<'_, F> {
    ArrayView2::from_shape((rows, columns), values).expect("as many values as the matrix has")
}
