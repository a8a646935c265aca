//! Logits summed over inputs of equal index, and the derivatives of such sums along directions of the
//! weights, without the logits of single inputs.
//!
//! Logits are linear in the neurons, so inputs are summed before the product with G, which then has as
//! many rows as there are indices: p instead of p².
//!
//! ```text
//! Σ logits  = Σ skip + (Σ h) Gᵀ
//! Σ logits' = Σ skip' + (Σ h') Gᵀ + (Σ h) G'ᵀ,   h' = act'(pre) ∘ pre'
//! ```

use ndarray::{Array2, s};

use super::{Folded, POSITIONS, Tables, mix, width};
use crate::linalg::aligned::Aligned;
use crate::linalg::{Scalar, kernels, matmul_into};
use crate::model::tangent::{product, t};
use crate::model::{Transformer, activation};

/// Inputs that are worked on at once.
const ROWS: usize = 64;

/// The network on some inputs at weights that stay, as far as sums of its logits need it.
#[derive(Debug)]
pub struct Pooled<F> {
    pairs: Vec<[usize; 2]>,
    /// `[inputs, heads, 3]`
    pattern: Vec<F>,
    /// Slope of the nonlinearity, `[inputs, d_mlp]`
    slope: Vec<F>,
    indices: Vec<Vec<usize>>,
    n: usize,
    /// Sums of the neurons along each index, `[n, d_mlp]`
    h: Vec<Array2<F>>,
    /// Sums of the logits along each index, `[n, classes]`
    pub logits: Vec<Array2<F>>,
}

impl Folded {
    /// Sum the logits of these pairs along each of `indices`, which give every pair a number below `n`.
    ///
    /// # Panics
    /// If an index has another length than the pairs, or reaches `n`.
    #[must_use]
    pub fn pool<F: Scalar>(
        &self,
        tables: &Tables<F>,
        pairs: &[[usize; 2]],
        indices: Vec<Vec<usize>>,
        n: usize,
    ) -> Pooled<F> {
        let Transformer { d_mlp, heads, activation, .. } = self.net;
        assert!(indices.iter().all(|index| index.len() == pairs.len()), "one index per pair");
        let width = width(&self.net);
        let mut sums = self.empty_sums(indices.len(), n);
        let mut pattern = vec![F::zero(); pairs.len() * heads * POSITIONS];
        let mut slope = vec![F::one(); pairs.len() * d_mlp];
        let mut mixed = Aligned::<F>::zeros(ROWS * width);
        let mut pre = vec![F::zero(); activation::scratch_len(activation, d_mlp)];
        let blocks = pairs
            .chunks(ROWS)
            .zip(pattern.chunks_mut(ROWS * heads * POSITIONS))
            .zip(slope.chunks_mut(ROWS * d_mlp));
        for (block, ((pairs, pattern), slope)) in blocks.enumerate() {
            let mixed = &mut mixed[..pairs.len() * width];
            mix::forward(self.rows(tables), pairs, pattern, mixed);
            let rows = mixed.chunks_exact_mut(width).zip(slope.chunks_exact_mut(d_mlp));
            for (i, (row, slope)) in rows.enumerate() {
                activation::forward(activation, &mut row[..d_mlp], &mut pre);
                activation::backward(activation, slope, &row[..d_mlp], &pre);
                add_to(&mut sums, &indices, block * ROWS + i, row);
            }
        }
        let (mut h, mut logits) = (Vec::new(), Vec::new());
        for sums in &sums {
            let of_neurons = self.mixed(sums, n).slice_move(s![.., ..d_mlp]).to_owned();
            let mut of_logits =
                self.mixed(sums, n).slice_move(s![.., self.logit_columns()]).to_owned();
            matmul_into(of_neurons.view(), tables.fold.t(), F::one(), of_logits.view_mut());
            h.push(of_neurons);
            logits.push(of_logits);
        }
        Pooled { pairs: pairs.to_vec(), pattern, slope, indices, n, h, logits }
    }

    /// Derivatives of the first so many of [`Pooled::logits`] along the direction whose derivatives of the
    /// tables are `moving` (see [`crate::model::tangent::Tangent::shift_tables`]), `[n, classes]` each.
    #[must_use]
    pub fn shift_pooled<F: Scalar>(
        &self,
        (tables, moving): (&Tables<F>, &Tables<F>),
        pooled: &Pooled<F>,
        indices: usize,
    ) -> Vec<Array2<F>> {
        let Transformer { d_mlp, heads, .. } = self.net;
        let width = width(&self.net);
        let indices = &pooled.indices[..indices];
        let mut sums = self.empty_sums(indices.len(), pooled.n);
        let mut mixed = Aligned::<F>::zeros(ROWS * width);
        let mut moved = vec![F::zero(); ROWS * heads * POSITIONS];
        let blocks = pooled
            .pairs
            .chunks(ROWS)
            .zip(pooled.pattern.chunks(ROWS * heads * POSITIONS))
            .zip(pooled.slope.chunks(ROWS * d_mlp));
        for (block, ((pairs, pattern), slope)) in blocks.enumerate() {
            let (mixed, moved) = (&mut mixed[..pairs.len() * width], &mut moved[..pattern.len()]);
            let rows = (self.rows(tables), self.rows(moving));
            mix::tangent::forward(rows.0, rows.1, pairs, pattern, moved, mixed);
            let rows = mixed.chunks_exact(width).zip(slope.chunks_exact(d_mlp));
            for (i, (row, slope)) in rows.enumerate() {
                let (pre, rest) = row.split_at(d_mlp);
                for (sums, index) in sums.iter_mut().zip(indices) {
                    let from = index[block * ROWS + i] * width;
                    let (of_neurons, others) = sums[from..from + width].split_at_mut(d_mlp);
                    kernels::add_product(pre, slope, of_neurons);
                    kernels::add(rest, others);
                }
            }
        }
        let fold = (tables.fold.view(), moving.fold.view());
        let of_index = |(sums, h): (&Aligned<F>, &Array2<F>)| {
            let mut logits =
                self.mixed(sums, pooled.n).slice_move(s![.., self.logit_columns()]).to_owned();
            let shifted = self.mixed(sums, pooled.n).slice_move(s![.., ..d_mlp]);
            product((h.view(), shifted), t(fold), F::one(), logits.view_mut());
            logits
        };
        sums.iter().zip(&pooled.h).map(of_index).collect()
    }

    /// Zeros, `[n, width]` for each index.
    fn empty_sums<F: Scalar>(&self, indices: usize, n: usize) -> Vec<Aligned<F>> {
        (0..indices).map(|_| Aligned::zeros(n * width(&self.net))).collect()
    }
}

/// Add a row to the sum that input `i` belongs to, along each index.
fn add_to<F: Scalar>(sums: &mut [Aligned<F>], indices: &[Vec<usize>], i: usize, row: &[F]) {
    for (sums, index) in sums.iter_mut().zip(indices) {
        let from = index[i] * row.len();
        kernels::add(row, &mut sums[from..from + row.len()]);
    }
}
