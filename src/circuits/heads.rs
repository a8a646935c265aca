//! Attention of the position `=`, head by head, on all inputs.

use ndarray::{Array1, Array2, Array3, Axis, aview1, s};

use crate::linalg::matmul;
use crate::model::{POSITIONS, Transformer, names};
use crate::params::Params;

/// What attention reads and where it looks, of the position `=`. Rows of `scores` and `values` are
/// token t at position 0, token t at position 1, and `=` at position 2.
#[derive(Debug)]
pub struct Heads {
    p: usize,
    /// `[2p + 1, heads]`, divided by √d_head
    scores: Array2<f64>,
    /// `[2p + 1, heads · d_head]`
    values: Array2<f64>,
    /// Weights on a, b and `=`, `[p², heads, 3]`
    pub patterns: Array3<f64>,
}

impl Heads {
    pub fn new(net: &Transformer, params: &Params<f64>) -> Self {
        let Transformer { p, heads, d_head, d_model, .. } = *net;
        let (w_e, w_pos) = (params.matrix(names::W_E), params.matrix(names::W_POS));
        let x = Array2::from_shape_fn((2 * p + 1, d_model), |(row, j)| {
            let (token, position) = if row == 2 * p { (p, 2) } else { (row % p, row / p) };
            w_e[[j, token]] + w_pos[[position, j]]
        });
        let query = matmul(x.slice(s![2 * p.., ..]), params.stacked(names::W_Q).t());
        let keys = matmul(x.view(), params.stacked(names::W_K).t());
        let values = matmul(x.view(), params.stacked(names::W_V).t());
        let scores = Array2::from_shape_fn((2 * p + 1, heads), |(row, head)| {
            let part = s![head * d_head..(head + 1) * d_head];
            keys.row(row).slice(part).dot(&query.row(0).slice(part)) / (d_head as f64).sqrt()
        });
        let mut found = Self { p, scores, values, patterns: Array3::zeros((0, 0, 0)) };
        found.patterns = found.softmax();
        found
    }

    /// Rows of the three positions of an input.
    fn rows(&self, input: usize) -> [usize; POSITIONS] {
        [input / self.p, self.p + input % self.p, 2 * self.p]
    }

    /// Weight that each head gives to a, `[p², heads]`.
    pub fn on_a(&self) -> Array2<f64> {
        self.patterns.slice(s![.., .., 0]).to_owned()
    }

    fn softmax(&self) -> Array3<f64> {
        let mut patterns = Array3::zeros((self.p * self.p, self.scores.ncols(), POSITIONS));
        for (input, mut of_input) in patterns.outer_iter_mut().enumerate() {
            for (head, mut weights) in of_input.rows_mut().into_iter().enumerate() {
                let scores = self.rows(input).map(|row| self.scores[[row, head]]);
                let max = scores.into_iter().fold(f64::NEG_INFINITY, f64::max);
                weights.assign(&aview1(&scores.map(|score| (score - max).exp())));
                weights /= weights.sum();
            }
        }
        patterns
    }

    /// Each weight as the affine function of the difference of the scores on a and b that fits it best
    /// over all inputs. Those of a head add up to 1 as before.
    pub fn linearised(&self) -> Array3<f64> {
        let mut patterns = self.patterns.clone();
        for (head, mut of_head) in patterns.axis_iter_mut(Axis(1)).enumerate() {
            let mut difference: Array1<f64> = (0..self.p * self.p)
                .map(|input| {
                    let [a, b, _] = self.rows(input);
                    self.scores[[a, head]] - self.scores[[b, head]]
                })
                .collect();
            difference -= difference.mean().expect("p² inputs");
            let energy = difference.dot(&difference);
            for mut weights in of_head.columns_mut() {
                let mean = weights.mean().expect("p² inputs");
                let slope = if energy > 0.0 { weights.dot(&difference) / energy } else { 0.0 };
                weights.assign(&(&difference * slope + mean));
            }
        }
        patterns
    }

    /// What attention writes with these weights, `[p², d_model]`.
    pub fn written(&self, patterns: &Array3<f64>, params: &Params<f64>) -> Array2<f64> {
        let width = self.values.ncols();
        let d_head = width / self.scores.ncols();
        let mut z = Array2::<f64>::zeros((self.p * self.p, width));
        for (input, mut z) in z.rows_mut().into_iter().enumerate() {
            for (head, weights) in
                patterns.index_axis(Axis(0), input).rows().into_iter().enumerate()
            {
                let part = s![head * d_head..(head + 1) * d_head];
                let mut z = z.slice_mut(part);
                for (row, weight) in self.rows(input).into_iter().zip(weights) {
                    z.scaled_add(*weight, &self.values.row(row).slice(part));
                }
            }
        }
        matmul(z.view(), params.matrix(names::W_O).t())
    }
}
