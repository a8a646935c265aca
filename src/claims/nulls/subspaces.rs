//! N6: random subspaces of as many dimensions as the keys have.

use ndarray::{Array2, ArrayView2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::linalg::kernels::{axpy, dot};

/// Share of the energy of a matrix over p tokens, or classes, that lies by chance in the cosine and sine rows of
/// this many keys: `2|K|/p`.
#[must_use]
pub fn chance_embedding(keys: usize, p: usize) -> f64 {
    2.0 * keys as f64 / p as f64
}

/// The same for logits over all p² inputs, in the directions cos w_k(a+b) and sin w_k(a+b): `2|K|/p²`.
#[must_use]
pub fn chance_logits(keys: usize, p: usize) -> f64 {
    chance_embedding(keys, p) / p as f64
}

/// Share of the energy of `matrix` in random subspaces of its first axis:
/// ```text
/// ‖Qᵀ W‖²/‖W‖²,   Q: dimension orthonormal columns, uniform over all such;  mean: dimension/p
/// ```
/// - `matrix` (W): `[p, d]`.
///
/// `None` if W is zero, or the dimension above p. Exact for any p and d; a matrix with one column has the law
/// Beta(dimension/2, (p − dimension)/2).
#[must_use]
pub fn subspace_shares(
    matrix: ArrayView2<'_, f64>,
    dimension: usize,
    draws: usize,
    seed: u64,
) -> Option<Vec<f64>> {
    let p = matrix.nrows();
    let gram: Array2<f64> = matrix.dot(&matrix.t()).as_standard_layout().into_owned(); // [p, p]
    let total = gram.diag().sum();
    if dimension > p || total <= 0.0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut q = vec![vec![0.0; p]; dimension];
    let share = |_| {
        let mut energy = 0.0;
        for i in 0..dimension {
            let (before, rest) = q.split_at_mut(i);
            let own = &mut rest[0];
            own.fill_with(|| StandardNormal.sample(&mut rng));
            // Twice: once leaves what rounding put back.
            for other in before.iter().chain(before.iter()) {
                axpy(-dot(other, own), other, own);
            }
            let norm = dot::<f64>(own, own).sqrt();
            own.iter_mut().for_each(|x| *x /= norm);
            let rows = gram.outer_iter().zip(own.iter());
            energy +=
                rows.map(|(row, x)| x * dot(row.as_slice().expect("row-major"), own)).sum::<f64>();
        }
        energy / total
    };
    Some((0..draws).map(share).collect())
}
