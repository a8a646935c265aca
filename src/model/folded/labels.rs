//! The way back from one logit of each pair.
//!
//! The gradient of `s Σ_i L[i, y_i]` with respect to the logits has one entry in each row. So it reaches the
//! neurons as a row of G, without a product: `d_h_i = s G[y_i]`, `d_G[y_i] += s h_i`.

use super::{Block, Folded, Tables, width};
use crate::linalg::aligned::Aligned;
use crate::linalg::{Scalar, kernels};
use crate::model::mix::{self, RowSums};
use crate::model::{POSITIONS, Transformer, activation};
use crate::params::Params;

/// Memory for the way back of a block that itself stays as it is.
#[derive(Debug)]
pub struct Back<F> {
    /// `[rows, width]`
    d_mixed: Aligned<F>,
    /// `[rows, heads, 2]`
    d_pattern: Vec<F>,
}

impl Folded {
    /// Memory for blocks of at most so many rows.
    #[must_use]
    pub fn new_back<F: Scalar>(&self, rows: usize) -> Back<F> {
        Back {
            d_mixed: Aligned::zeros(rows * width(&self.net)),
            d_pattern: vec![F::zero(); rows * self.net.heads * 2],
        }
    }

    /// Add to the sums the gradient of `scale · Σ_i L[i, label_i]`, given a block after the forward pass.
    ///
    /// # Panics
    /// If the block has other pairs than these, or more rows than there is memory for.
    pub fn backward_of_labels<F: Scalar>(
        &self,
        tables: &Tables<F>,
        (pairs, labels): (&[[usize; 2]], &[usize]),
        scale: F,
        block: &Block<F>,
        back: &mut Back<F>,
        sums: &mut Params<F>,
    ) {
        let Transformer { d_mlp, heads, activation, .. } = self.net;
        let (n, width) = (pairs.len(), width(&self.net));
        assert_eq!([block.rows, labels.len()], [n; 2], "one label for each pair of the block");
        let [d_table, d_base, d_fold, d_scores] = sums.parts_mut();
        let (fold, scratch) =
            (super::slice(&tables.fold), activation::scratch_len(activation, d_mlp));
        let d_mixed = &mut back.d_mixed[..n * width];
        let rows = d_mixed.chunks_exact_mut(width).zip(block.mixed.chunks_exact(width));
        for (i, ((d_row, row), label)) in rows.zip(labels).enumerate() {
            let of_label = label * d_mlp..(label + 1) * d_mlp;
            kernels::axpy(scale, &row[..d_mlp], &mut d_fold[of_label.clone()]);
            d_row.fill(F::zero());
            kernels::axpy(scale, &fold[of_label], &mut d_row[..d_mlp]);
            let pre = &block.pre[i * scratch..(i + 1) * scratch];
            activation::backward(activation, &mut d_row[..d_mlp], &row[..d_mlp], pre);
            d_row[d_mlp + label] = scale;
        }
        mix::backward(
            self.rows(tables),
            pairs,
            (&block.pattern[..n * heads * POSITIONS], &mut back.d_pattern[..n * heads * 2]),
            d_mixed,
            &mut RowSums { scores: d_scores, table: d_table, base: d_base },
        );
    }
}
