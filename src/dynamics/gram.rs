//! Inner products of many long vectors, of which only a block of coordinates is in memory at a time.

use ndarray::{Array2, ArrayView2, s};

use crate::linalg::matmul_into;

/// Rows of a panel: enough for a fast product, few enough for every thread to have one.
const ROWS: usize = 128;

/// `G_st = ⟨x_s, x_t⟩` of `T` vectors, the lower triangle in panels of rows: about `4 T²` bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    points: usize,
    panels: Vec<Panel>,
}

/// Some consecutive rows of the lower triangle, up to the diagonal block.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    first: usize,
    /// `[rows, first + rows]`
    values: Array2<f64>,
}

impl Gram {
    /// All products zero.
    #[must_use]
    pub fn new(points: usize) -> Self {
        let panel = |first: usize| {
            let rows = ROWS.min(points - first);
            Panel { first, values: Array2::zeros((rows, first + rows)) }
        };
        Self { points, panels: (0..points).step_by(ROWS).map(panel).collect() }
    }

    /// Number of vectors.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points
    }

    /// The panels, each of which can be added to on its own.
    pub fn panels_mut(&mut self) -> &mut [Panel] {
        &mut self.panels
    }

    /// `⟨x_s, x_t⟩`.
    ///
    /// # Panics
    /// If there are not that many vectors.
    #[must_use]
    pub fn get(&self, s: usize, t: usize) -> f64 {
        let (row, column) = (s.max(t), s.min(t));
        let panel = &self.panels[row / ROWS];
        panel.values[[row - panel.first, column]]
    }
}

impl Panel {
    /// Add the products over further coordinates: `block` is `[T, coordinates]`.
    ///
    /// # Panics
    /// If there are not that many vectors.
    pub fn add(&mut self, block: ArrayView2<'_, f64>) {
        let (rows, columns) = self.values.dim();
        let own = block.slice(s![self.first..self.first + rows, ..]);
        let others = block.slice(s![..columns, ..]);
        matmul_into(own, others.t(), 1.0, self.values.view_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panels, blocks of coordinates and both triangles against plain products.
    #[test]
    fn blocks_add_up_to_inner_products() {
        for (points, coordinates) in [(1, 5), (127, 40), (128, 33), (129, 64), (300, 20)] {
            let x = Array2::from_shape_fn((points, coordinates), |(t, j)| {
                ((t * 37 + j * 11) % 29) as f64 - 14.0
            });
            let mut gram = Gram::new(points);
            for block in x.axis_chunks_iter(ndarray::Axis(1), 16) {
                gram.panels_mut().iter_mut().for_each(|panel| panel.add(block));
            }
            let expected = x.dot(&x.t());
            for s in 0..points {
                for t in 0..points {
                    // Sums of integers are exact.
                    assert_eq!(gram.get(s, t).to_bits(), expected[[s, t]].to_bits(), "{s} {t}");
                }
            }
        }
        assert_eq!(Gram::new(0).points(), 0);
    }
}
