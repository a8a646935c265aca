//! How much of the final leading singular subspaces of a matrix is there already.
//!
//! Subspaces, never single vectors: cosine and sine of one frequency are a near-degenerate pair,
//! within which the vectors of a decomposition are arbitrary.

use ndarray::{Array2, ArrayView2, s};

use crate::linalg::matmul;
use crate::linalg::svd::Decomposition;
use crate::spectra::participation_ratio;

/// The `r` leading left and right singular vectors of a matrix `[m, n]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Leading {
    /// `[m, r]`, orthonormal columns
    u: Array2<f64>,
    /// `[r, n]`, orthonormal rows
    vt: Array2<f64>,
}

/// Dimension of the final subspace: the participation ratio of the final matrix, rounded (half away
/// from zero), in `[1, M − 1]`. None for `M = 1`, where the subspace is everything, and for `W = 0`.
#[must_use]
pub fn dimension(sigma: &[f64]) -> Option<usize> {
    let largest = sigma.first().copied().filter(|_| sigma.len() > 1)?;
    let lambda: Vec<f64> = sigma.iter().map(|s| (s / largest) * (s / largest)).collect();
    let ratio = participation_ratio(&lambda)?;
    Some((ratio.round() as usize).clamp(1, sigma.len() - 1))
}

impl Leading {
    /// The first `r` vectors; `None` if the gap `σ_r − σ_{r+1}` is at most `tol`, so that rounding
    /// decides which vectors they are.
    ///
    /// # Panics
    /// If `r` is not in `[1, M − 1]`.
    #[must_use]
    pub fn new(of: &Decomposition, r: usize, tol: f64) -> Option<Self> {
        assert!(r >= 1 && r < of.sigma.len(), "r leaves something out");
        let gap = of.sigma[r - 1] - of.sigma[r];
        let (u, vt) = (of.u.slice(s![.., ..r]).to_owned(), of.vt.slice(s![..r, ..]).to_owned());
        (gap > tol).then_some(Self { u, vt })
    }

    /// Number of vectors on each side.
    #[must_use]
    pub fn r(&self) -> usize {
        self.vt.nrows()
    }

    /// Mean squared cosine of the principal angles to another such pair of subspaces, over both
    /// sides, in [0, 1]:
    /// ```text
    /// ½ ( ‖U_aᵀ U_b‖_F² + ‖V_aᵀ V_b‖_F² ) / r
    /// ```
    ///
    /// # Panics
    /// If shapes or dimensions differ.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f64 {
        assert_eq!(self.r(), other.r(), "the same dimension");
        let square = |a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>| {
            matmul(a, b).iter().map(|x| x * x).sum::<f64>()
        };
        let sides = square(self.u.t(), other.u.view()) + square(self.vt.view(), other.vt.t());
        (0.5 * sides / self.r() as f64).min(1.0)
    }
}

/// The overlap to expect of a subspace that has nothing to do with the other: `(r/2)(1/m + 1/n)`.
#[must_use]
pub fn chance(r: usize, rows: usize, cols: usize) -> f64 {
    0.5 * r as f64 * (1.0 / rows as f64 + 1.0 / cols as f64)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::linalg::svd::singular_vectors;

    fn leading(w: &Array2<f64>, r: usize) -> Option<Leading> {
        Leading::new(&singular_vectors(w.view()).unwrap(), r, 1e-12)
    }

    #[test]
    fn dimensions_follow_the_participation_ratio() {
        assert_eq!(dimension(&[4.0, 3.0, 2.0, 1.0]), Some(3)); // 2.54
        assert_eq!(dimension(&[1e200, 1e-200]), Some(1));
        assert_eq!(dimension(&[1.0, 1.0, 1.0]), Some(2)); // 3, but something is left out
        assert_eq!(dimension(&[2.0]), None);
        assert_eq!(dimension(&[0.0, 0.0]), None);
        assert_eq!(dimension(&[]), None);
    }

    /// Diagonal matrices: subspaces along axes overlap in the axes that they share.
    #[test]
    fn subspaces_along_axes() {
        let diagonal = |values: [f64; 4]| {
            let mut w = Array2::zeros((4, 6));
            values.iter().enumerate().for_each(|(i, value)| w[[i, i]] = *value);
            w
        };
        let last = leading(&diagonal([4.0, 3.0, 0.5, 0.1]), 2).unwrap();
        let overlap = |values| last.overlap(&leading(&diagonal(values), 2).unwrap());
        assert!((overlap([4.0, 3.0, 0.5, 0.1]) - 1.0).abs() < 1e-14);
        assert!(
            (overlap([3.0, 4.0, 0.5, 0.1]) - 1.0).abs() < 1e-14,
            "order within does not matter"
        );
        assert!((overlap([4.0, 0.1, 3.0, 0.5]) - 0.5).abs() < 1e-14);
        assert!(overlap([0.1, 0.5, 3.0, 4.0]).abs() < 1e-14);
        assert_eq!(leading(&diagonal([4.0, 3.0, 3.0, 0.1]), 2), None, "no gap, no subspace");
    }

    /// Rotation of the rows by an angle: the left side overlaps by its squared cosine.
    #[test]
    fn one_side_can_turn_alone() {
        let w = ndarray::array![[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let (sin, cos) = 0.3f64.sin_cos();
        let turned = ndarray::array![[cos, -sin], [sin, cos]].dot(&w);
        let found = leading(&w, 1).unwrap().overlap(&leading(&turned, 1).unwrap());
        assert!((found - 0.5 * (cos * cos + 1.0)).abs() < 1e-14);
    }

    #[test]
    fn strangers_overlap_by_chance() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (m, n, r) = (40, 60, 10);
        let mut matrix =
            || Array2::from_shape_simple_fn((m, n), || StandardNormal.sample(&mut rng));
        let found: Vec<f64> = (0..40)
            .map(|_| {
                let [a, b] = [matrix(), matrix()].map(|w| leading(&w, r).unwrap());
                a.overlap(&b)
            })
            .collect();
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        assert!((mean / chance(r, m, n) - 1.0).abs() < 0.05, "{mean} {}", chance(r, m, n));
    }
}
