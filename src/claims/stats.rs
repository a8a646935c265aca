//! Statistics of few numbers: standard scores, p-values, several tests at once, ranks, intervals.
//!
//! All values are finite; whoever has a null leaves it out before. What is undefined is `None`.

mod laws;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use laws::{normal_tail, student_tail};

use super::nulls::below;

/// On which side of a null a value is claimed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Larger
    Upper,
    /// Smaller
    Lower,
}

/// Arithmetic mean; `None` of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of the population that the values are a sample of, `√(Σ(x − x̄)²/(n − 1))`;
/// `None` below two values.
#[must_use]
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Standard score `(value − mean of the null)/its s.d.`; `None` below three values, or if they are equal.
#[must_use]
pub fn z(value: f64, null: &[f64]) -> Option<f64> {
    let (mean, deviation) = (mean(null)?, deviation(null).filter(|_| null.len() > 2)?);
    // Equal values have a mean that is off by their rounding.
    let rounding = 4.0 * f64::EPSILON * mean.abs();
    (deviation > rounding).then(|| (value - mean) / deviation)
}

/// `(1 + #{null at least as far on the claimed side})/(1 + #null)`: never 0, and exact if value and null
/// are exchangeable. `None` without a null.
///
/// Source: Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.
#[must_use]
pub fn p_value(value: f64, null: &[f64], side: Side) -> Option<f64> {
    let beyond = |x: &&f64| match side {
        Side::Upper => **x >= value,
        Side::Lower => **x <= value,
    };
    let count = null.iter().filter(beyond).count();
    (!null.is_empty()).then(|| (1 + count) as f64 / (1 + null.len()) as f64)
}

/// The `q`-quantile: linear between the order statistics about place `q (n − 1)`, counted from 0 (type 7
/// of Hyndman & Fan 1996, NumPy's default). `None` of nothing.
///
/// Of fewer than `1/(1 − q)` values it is all but the largest: 0.999 of 30 values is no more than 1 of 31.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut values = values.to_vec();
    quantile_of(&mut values, q)
}

/// The same, which leaves the values in another order.
pub(super) fn quantile_of(values: &mut [f64], q: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let index = (place.floor() as usize).min(last);
    let (_, low, above) = values.select_nth_unstable_by(index, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().reduce(f64::min).unwrap_or(low);
    Some(low + (place - index as f64) * (high - low))
}

/// The 0.5-quantile.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// p-values after Holm, in the order given: `max over j ≤ i of (m − j + 1) p_(j)`, at most 1. Rejecting
/// those at most α keeps the chance of any false rejection at α, whatever the tests have in common.
///
/// Source: Holm (1979), Scandinavian Journal of Statistics 6, 65–70.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (place, index) in order(p).into_iter().enumerate() {
        largest = largest.max((p.len() - place) as f64 * p[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

/// p-values after Benjamini and Hochberg, in the order given: `min over j ≥ i of m p_(j)/j`, at most 1.
/// Rejecting those at most α keeps the expected share of false rejections at α, for tests that are
/// independent or positively dependent.
///
/// Source: Benjamini & Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut smallest = 1.0f64;
    for (place, index) in order(p).into_iter().enumerate().rev() {
        smallest = smallest.min(p.len() as f64 * p[index] / (place + 1) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}

/// Indices by ascending value, equal values in the order given.
fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order
}

/// Ranks from 1; equal values share the mean of theirs.
#[must_use]
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let order = order(values);
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let before = order.partition_point(|i| values[*i].total_cmp(&values[equal[0]]).is_lt());
        for index in equal {
            ranks[*index] = before as f64 + (equal.len() + 1) as f64 / 2.0;
        }
    }
    ranks
}

/// Spearman's rank correlation, Pearson's of [`ranks`]; `None` below three pairs, or if one side is
/// constant.
///
/// # Panics
/// If there are not as many x as y.
#[must_use]
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "pairs");
    let (x, y) = (ranks(x), ranks(y));
    // Sums of ranks are whole or half numbers: exact.
    let middle = (x.len() + 1) as f64 / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let scale = product(&x, &x) * product(&y, &y);
    (x.len() > 2 && scale > 0.0).then(|| product(&x, &y) / scale.sqrt())
}

/// Ends of the 95 % percentile interval of the median over so many bootstrap draws; `None` below two
/// values.
///
/// With five runs the ends are close to the smallest and the largest.
///
/// Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, §13.3.
#[must_use]
pub fn bootstrap_median(values: &[f64], draws: usize, seed: u64) -> Option<[f64; 2]> {
    if values.len() < 2 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..draws)
        .filter_map(|_| {
            drawn.fill_with(|| values[below(&mut rng, values.len())]);
            quantile_of(&mut drawn, 0.5)
        })
        .collect();
    Some([quantile_of(&mut medians, 0.025)?, quantile_of(&mut medians, 0.975)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{found}, not {expected}");
        }
    }

    #[test]
    fn scores_and_p_values_by_hand() {
        // Mean 3, squares 4 + 1 + 0 + 1 + 4.
        let null = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!((mean(&null), mean(&[])), (Some(3.0), None));
        close(&[deviation(&null).unwrap()], &[2.5f64.sqrt()], 1e-15);
        close(&[z(8.0, &null).unwrap()], &[5.0 / 2.5f64.sqrt()], 1e-15);
        assert_eq!((z(1.0, &[0.1; 7]), z(1.0, &[0.0, 1.0]), deviation(&[1.0])), (None, None, None));
        // As large: 4 and 5. As small: 1 to 4.
        assert_eq!(p_value(4.0, &null, Side::Upper), Some(3.0 / 6.0));
        assert_eq!(p_value(4.0, &null, Side::Lower), Some(5.0 / 6.0));
        assert_eq!(p_value(9.0, &null, Side::Upper), Some(1.0 / 6.0));
        assert_eq!(p_value(9.0, &[], Side::Upper), None);
    }

    /// `numpy.quantile([3, 1, 7, 5], [0, .25, .5, .9, 1])` = 1, 2.5, 4, 6.4, 7.
    #[test]
    fn quantiles_are_those_of_numpy() {
        let values = [3.0, 1.0, 7.0, 5.0];
        let found: Vec<f64> =
            [0.0, 0.25, 0.5, 0.9, 1.0].iter().map(|q| quantile(&values, *q).unwrap()).collect();
        close(&found, &[1.0, 2.5, 4.0, 6.4, 7.0], 1e-14);
        assert_eq!((quantile(&[], 0.5), quantile(&[2.0], 0.999)), (None, Some(2.0)));
        let thousand: Vec<f64> = (0..1000).map(f64::from).collect();
        close(&[quantile(&thousand, 0.999).unwrap()], &[998.001], 1e-9);
    }

    /// The example of Benjamini and Hochberg (1995), with the values that the documentation of
    /// `scipy.stats.false_discovery_control` (SciPy 1.11) prints for it.
    #[test]
    fn false_discoveries_are_those_of_scipy() {
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let expected = [
            0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.06385714, 0.06385714, 0.0645, 0.0765, 0.486,
            0.58118182, 0.714875, 0.75323077, 0.81321429, 1.0,
        ];
        close(&benjamini_hochberg(&p), &expected, 5e-9);
        let (mut p, mut expected) = (p, expected);
        p.reverse();
        expected.reverse();
        close(&benjamini_hochberg(&p), &expected, 5e-9);
        assert_eq!(benjamini_hochberg(&[]), [0.0; 0]);
    }

    /// 4 · 0.005, then max(0.02, 3 · 0.01), max(0.03, 2 · 0.03), max(0.06, 0.04).
    #[test]
    fn holm_by_hand() {
        close(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02], 1e-15);
        close(&holm(&[0.6, 0.7]), &[1.0, 1.0], 0.0);
    }

    /// `scipy.stats.spearmanr([1,2,3,4,5], [5,6,7,8,7])` = 0.8207826816681233, the example of its
    /// documentation: ranks 1 2 3½ 5 3½, so 8/√(10 · 9.5).
    ///
    /// SciPy 1.17: `spearmanr([3,1,4,1,5,9,2,6,5,3,5], [2,7,1,8,2,8,1,8,2,8,4])` = 0.1384567651467695.
    #[test]
    fn spearman_with_ties_is_that_of_scipy() {
        assert_eq!(ranks(&[5.0, 6.0, 7.0, 8.0, 7.0]), [1.0, 2.0, 3.5, 5.0, 3.5]);
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        let rho = spearman(&x, &[5.0, 6.0, 7.0, 8.0, 7.0]).unwrap();
        close(&[rho, 8.0 / 95f64.sqrt()], &[0.820_782_681_668_123_3; 2], 1e-15);
        let many = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0];
        let others = [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0, 2.0, 8.0, 4.0];
        close(&[spearman(&many, &others).unwrap()], &[0.138_456_765_146_769_5], 1e-15);
        assert_eq!(spearman(&x, &[9.0, 4.0, 3.0, 0.0, -7.0]), Some(-1.0));
        assert_eq!((spearman(&x, &[1.0; 5]), spearman(&x[..2], &x[..2])), (None, None));
    }

    /// Medians of three out of {0, 1, 10}: 0 and 10 with probability 7/27 each, so both ends are reached.
    #[test]
    fn the_bootstrap_of_few_values_reaches_its_ends() {
        assert_eq!(bootstrap_median(&[0.0, 1.0, 10.0], 2_000, 1), Some([0.0, 10.0]));
        assert_eq!(bootstrap_median(&[3.0; 5], 100, 1), Some([3.0, 3.0]));
        assert_eq!(bootstrap_median(&[3.0], 100, 1), None);
        // Median of 0..100: s.d. about 1.25 · 29/10 (large samples), so ± 1.96 · 3.6 about 50.
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        let [low, high] = bootstrap_median(&values, 2_000, 1).unwrap();
        assert!((35.0..46.0).contains(&low) && (54.0..65.0).contains(&high), "{low} {high}");
        assert_eq!(bootstrap_median(&values, 500, 3), bootstrap_median(&values, 500, 3));
    }
}
