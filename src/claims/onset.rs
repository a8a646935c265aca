//! From when on a statistic is beyond its null.

/// Saves in a row that are reported beside those of the rules: columns `step_onset_3`, `step_onset_10`.
pub const ALSO: [usize; 2] = [3, 10];

/// Where something begins to hold `count` times in a row; the index of the first of them.
pub fn in_a_row(holds: impl IntoIterator<Item = bool>, count: usize) -> Option<usize> {
    let mut row = 0;
    holds.into_iter().enumerate().find_map(|(index, holds)| {
        row = if holds { row + 1 } else { 0 };
        (row == count.max(1)).then(|| index + 1 - row)
    })
}

/// The first save from which on a statistic exceeds its threshold, which may differ from save to save, for
/// `count` saves in a row; its index. A save without a threshold exceeds nothing.
///
/// Saves, not steps: where the cadence is dense, a row of them is short.
///
/// # Panics
/// If there are not as many thresholds as values.
#[must_use]
pub fn onset(values: &[f64], thresholds: &[Option<f64>], count: usize) -> Option<usize> {
    assert_eq!(values.len(), thresholds.len(), "a threshold for each save");
    let pairs = values.iter().zip(thresholds);
    in_a_row(pairs.map(|(value, bar)| bar.is_some_and(|bar| *value > bar)), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_begins_where_it_is_not_broken() {
        let at = |values: &[f64], n| onset(values, &vec![Some(1.0); values.len()], n);
        let values = [2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 1.0, 3.0, 3.0, 3.0, 3.0];
        assert_eq!(
            [1, 2, 3, 4, 5].map(|n| at(&values, n)),
            [Some(0), Some(0), Some(3), Some(7), None]
        );
        assert_eq!((at(&[], 1), at(&[2.0], 0)), (None, Some(0)));
    }

    #[test]
    fn thresholds_are_those_of_each_save() {
        let values = [3.0, 3.0, 3.0, 3.0];
        let thresholds = [Some(2.0), None, Some(1.0), Some(2.9)];
        assert_eq!(onset(&values, &thresholds, 2), Some(2));
        assert_eq!(onset(&values, &[Some(3.0); 4], 1), None);
    }
}
