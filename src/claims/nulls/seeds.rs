//! N4: the keys of other seeds on this run, and this run's keys on the others.
//!
//! What also holds for the keys of others describes the family, not the final algorithm. Seeds share some
//! keys by chance; a mean over them then has them in common.

use ndarray::{Array2, ArrayView1, ArrayView2};

use super::mean_of;

/// Mean of a statistic of run `i` over the keys of run `j`, at `[i, j]`; `None` if a run has no keys.
///
/// - `values`: `[frequency]` of each run, all of one modulus; `keys`: those of each run.
///
/// # Panics
/// If there are not as many sets of keys as runs, or a key is no frequency.
#[must_use]
pub fn key_matrix(values: &[ArrayView1<'_, f64>], keys: &[Vec<usize>]) -> Option<Array2<f64>> {
    assert_eq!(values.len(), keys.len(), "keys of each run");
    let mut matrix = Array2::zeros((values.len(), keys.len()));
    for ((i, j), found) in matrix.indexed_iter_mut() {
        *found = mean_of(values[i], &keys[j])?;
    }
    Some(matrix)
}

/// The null of a run: its statistic over the keys of every other run.
#[must_use]
pub fn others_of(matrix: ArrayView2<'_, f64>, run: usize) -> Vec<f64> {
    let row = matrix.row(run);
    row.iter().enumerate().filter(|(other, _)| *other != run).map(|(_, value)| *value).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_matrix_by_hand() {
        let values = [array![1.0, 2.0, 6.0], array![0.0, 4.0, 8.0]];
        let values = [values[0].view(), values[1].view()];
        let matrix = key_matrix(&values, &[vec![1, 3], vec![2]]).unwrap();
        assert_eq!(matrix, array![[3.5, 2.0], [4.0, 4.0]]);
        assert_eq!(
            (others_of(matrix.view(), 0), others_of(matrix.view(), 1)),
            (vec![2.0], vec![4.0])
        );
        assert_eq!(key_matrix(&values, &[vec![1], vec![]]), None);
    }
}
