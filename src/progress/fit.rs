//! `P_K` fitted on some of the inputs alone: a projection on all inputs has seen those held out.

use ndarray::{Array2, ArrayView2, Axis, s};

use super::table::{Component, LogitTable};
use crate::linalg::matmul;

impl LogitTable<'_> {
    /// The part of the logits at these frequencies by least squares on these inputs, class by class:
    ///
    /// ```text
    /// L[i,c] ≈ β_0c + Σ_j β_jc u_j(i),   u_j the waves of the protocol;   the part is Σ_j β_jc u_j
    /// ```
    ///
    /// On all inputs of the group it is [`LogitTable::component`]. `None` if the inputs do not
    /// determine it: they are too few, or the waves are dependent on them.
    ///
    /// # Panics
    /// If an input is not one of the group's.
    #[must_use]
    pub fn fitted(
        &self,
        logits: ArrayView2<'_, f64>,
        keys: &[usize],
        inputs: &[usize],
    ) -> Option<Component> {
        let (group, basis) = (self.group(), self.group().basis());
        let waves: Vec<_> =
            self.along().map(|along| (along, self.rows_along(along, keys))).collect();
        let width = 1 + waves.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let mut design = Array2::<f64>::ones((inputs.len(), width));
        for (input, mut row) in inputs.iter().zip(design.rows_mut()) {
            let pair = group.pair(*input).expect("an input of the group");
            let values = waves.iter().flat_map(|(along, rows)| {
                let index = group.index(*along, pair);
                rows.iter().map(move |row| basis[[*row, index]])
            });
            row.iter_mut().skip(1).zip(values).for_each(|(to, value)| *to = value);
        }
        let own = logits.select(Axis(0), inputs);
        let gram = matmul(design.t(), design.view());
        let fit = solve(gram, matmul(design.t(), own.view()))?; // [width, p]
        let mut from = 1;
        let table = |(along, rows): (_, Vec<usize>)| {
            let fit = fit.slice(s![from..from + rows.len(), ..]);
            from += rows.len();
            (along, matmul(basis.select(Axis(0), &rows).t(), fit))
        };
        Some(Component::new(waves.into_iter().map(table).collect()))
    }
}

/// `A⁻¹ B` of a symmetric positive definite A, by Cholesky; `None` where a pivot has lost all but four
/// of its digits.
fn solve(mut a: Array2<f64>, mut b: Array2<f64>) -> Option<Array2<f64>> {
    let n = a.nrows();
    let scales = a.diag().to_owned();
    for i in 0..n {
        for j in 0..=i {
            let product: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
            let rest = a[[i, j]] - product;
            if i > j {
                a[[i, j]] = rest / a[[j, j]];
            } else if rest > 1e-12 * scales[i] {
                a[[i, i]] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    for column in 0..b.ncols() {
        for i in 0..n {
            let sum: f64 = (0..i).map(|k| a[[i, k]] * b[[k, column]]).sum();
            b[[i, column]] = (b[[i, column]] - sum) / a[[i, i]];
        }
        for i in (0..n).rev() {
            let sum: f64 = (i + 1..n).map(|k| a[[k, i]] * b[[k, column]]).sum();
            b[[i, column]] = (b[[i, column]] - sum) / a[[i, i]];
        }
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Task;
    use crate::progress::{Group, Protocol};

    fn logits(p: usize) -> Array2<f64> {
        Array2::from_shape_fn((p * p, p), |(i, c)| ((i * 31 + c * 17 + i * c) % 23) as f64)
    }

    fn rows(component: &Component, group: &Group) -> Array2<f64> {
        let mut found = Array2::<f64>::zeros((group.p() * group.p(), group.p()));
        for input in group.inputs() {
            let mut row = found.row_mut(input);
            let pair = group.pair(input).unwrap();
            component.add_to(1.0, group, pair, row.as_slice_mut().unwrap());
        }
        found
    }

    fn gap(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
        x.iter().zip(y).fold(0.0, |max, (x, y)| (x - y).abs().max(max))
    }

    /// On all inputs a fit is the projection; of logits that are waves and an offset, any inputs that
    /// are enough find them.
    #[test]
    fn a_fit_on_all_inputs_is_the_projection() {
        for (task, keys) in [(Task::Add, [1, 3]), (Task::Mul, [2, 3])] {
            for protocol in Protocol::ALL {
                let group = Group::of(task, 7).unwrap();
                let logits = logits(7);
                let table = LogitTable::new(logits.view(), &group, *protocol);
                let all = group.inputs();
                let projected = rows(&table.component(&keys), &group);
                let fitted = table.fitted(logits.view(), &keys, &all).unwrap();
                assert!(gap(&rows(&fitted, &group), &projected) < 1e-10, "{task} {protocol}");

                let exact = &projected + 2.5;
                let most: Vec<usize> = all.iter().copied().filter(|input| input % 5 != 0).collect();
                let fitted = table.fitted(exact.view(), &keys, &most).unwrap();
                assert!(gap(&rows(&fitted, &group), &projected) < 1e-9, "{task} {protocol}");
                assert!(table.fitted(exact.view(), &keys, &most[..3]).is_none());
            }
        }
    }
}
