//! How well keys are told from other frequencies: hits against false alarms.

/// How clearly frequencies are seen ([`super::Detector::scores`]), of one run or of several together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// Of keys
    pub keys: Vec<f64>,
    /// Of plain frequencies: neither keys nor their harmonics
    pub plain: Vec<f64>,
}

impl Scores {
    /// Those of several runs. Scores are p-values, so they mean the same in all of them.
    #[must_use]
    pub fn together<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |mut sum, one| {
            sum.keys.extend(&one.keys);
            sum.plain.extend(&one.plain);
            sum
        })
    }

    /// [`auc`].
    #[must_use]
    pub fn area(&self) -> Option<f64> {
        auc(&self.keys, &self.plain)
    }

    /// Share of the keys above a threshold that at most this share of the plain frequencies is above.
    #[must_use]
    pub fn hits(&self, false_alarms: f64) -> Option<f64> {
        let points = roc(&self.keys, &self.plain).into_iter();
        points.filter(|[alarms, _]| *alarms <= false_alarms).map(|[_, hits]| hits).reduce(f64::max)
    }
}

/// Share of the negatives and of the positives at or above each score, from `[0, 0]` to `[1, 1]`: false
/// against true positives. Empty without both.
#[must_use]
pub fn roc(positive: &[f64], negative: &[f64]) -> Vec<[f64; 2]> {
    if positive.is_empty() || negative.is_empty() {
        return Vec::new();
    }
    let mut scores = [positive, negative].concat();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    let share = |values: &[f64], score: f64| {
        values.iter().filter(|x| **x >= score).count() as f64 / values.len() as f64
    };
    let points = scores.into_iter().map(|score| [share(negative, score), share(positive, score)]);
    std::iter::once([0.0, 0.0]).chain(points).collect()
}

/// Area under [`roc`]: the chance that a positive scores above a negative, ties half. `None` without both.
#[must_use]
pub fn auc(positive: &[f64], negative: &[f64]) -> Option<f64> {
    let of_pair = |a: f64, b: f64| match a.total_cmp(&b) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let pairs = positive.iter().flat_map(|a| negative.iter().map(move |b| of_pair(*a, *b)));
    let all = positive.len() * negative.len();
    (all > 0).then(|| pairs.sum::<f64>() / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_by_hand() {
        let (positive, negative) = ([3.0, 2.0], [2.0, 1.0]);
        let expected = [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]];
        assert_eq!(roc(&positive, &negative), expected);
        assert_eq!(auc(&positive, &negative), Some(0.875));
        assert_eq!((auc(&[], &negative), roc(&[], &negative)), (None, vec![]));
    }

    #[test]
    fn runs_together_share_their_thresholds() {
        let a = Scores { keys: vec![3.0], plain: vec![1.0] };
        let b = Scores { keys: vec![2.0], plain: vec![2.0] };
        let both = Scores::together([&a, &b]);
        assert_eq!(both, Scores { keys: vec![3.0, 2.0], plain: vec![1.0, 2.0] });
        assert_eq!(
            (both.area(), both.hits(0.05), both.hits(0.5)),
            (Some(0.875), Some(0.5), Some(1.0))
        );
        assert_eq!((Scores::default().area(), Scores::default().hits(0.5)), (None, None));
    }
}
