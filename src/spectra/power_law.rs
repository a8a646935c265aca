//! Power-law exponent of the upper tail of a spectrum.
//!
//! Source: Clauset, Shalizi & Newman (2009), *SIAM Review* 51, 661: maximum likelihood for the
//! exponent, the start of the tail by the smallest Kolmogorov–Smirnov distance.

use multiversion::multiversion;

use crate::linalg::kernels::exp;

/// Fewest values in a tail whose exponent is reported.
const FEWEST: usize = 10;

/// `p(x) ∝ x^{−α}` for `x ≥ x_min`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLaw {
    pub alpha: f64,
    /// Smallest λ of the tail
    pub xmin: f64,
    /// Number of values in the tail
    pub n: usize,
    /// Kolmogorov–Smirnov distance of tail and fit
    pub distance: f64,
}

/// Where a tail may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    /// At each distinct value that at least 10 values are not below: a few values fit anything, and
    /// a start among equals would leave some of them out.
    Robust,
    /// At every value but the last, as in WeightWatcher's `WWFit`; its noise is 1e-5.
    Compatible,
}

/// The exponent of the tail that fits best.
///
/// For each start `i` with `n` values from it on, all above `noise`,
/// ```text
/// α = 1 + n / Σ ln(x_j/x_i),     D = max_j | 1 − (x_j/x_i)^{1−α} − (j − i)/n |    (1 if α ≤ 1)
/// ```
/// the one with the smallest `D` wins, the first of equals.
///
/// - `lambda`: ascending. `None` if no start qualifies: a tail of equal values has no exponent.
///
/// n logarithms and n²/2 exponentials, vectorised: `1 − α` times differences of logarithms, instead
/// of a power and a logarithm of each ratio.
#[must_use]
pub fn power_law(lambda: &[f64], noise: f64, starts: Starts) -> Option<PowerLaw> {
    let x = &lambda[lambda.partition_point(|value| *value <= noise)..];
    let largest = *x.last()?;
    // Relative to the largest, so that the logarithms of a narrow tail are small, hence exact.
    let logs: Vec<f64> = x.iter().map(|value| (value / largest).ln()).collect();
    let mut sums = logs.clone(); // Σ_{j ≥ i}
    for i in (1..sums.len()).rev() {
        sums[i - 1] += sums[i];
    }
    let mut best: Option<PowerLaw> = None;
    // From the shortest tail on: it costs least, and sets a limit that most of the long ones miss.
    for i in (0..x.len()).rev() {
        let n = x.len() - i;
        let may_begin = match starts {
            Starts::Robust => n >= FEWEST && (i == 0 || x[i - 1] < x[i]),
            Starts::Compatible => n > 1,
        };
        if !may_begin || x[i] >= largest {
            continue;
        }
        let alpha = 1.0 + n as f64 / (sums[i] - n as f64 * logs[i]);
        let limit = best.map_or(f64::INFINITY, |best| best.distance);
        let distance = if alpha <= 1.0 { 1.0 } else { distance(&logs[i..], 1.0 - alpha, limit) };
        if distance <= limit {
            best = Some(PowerLaw { alpha, xmin: x[i], n, distance });
        }
    }
    best
}

/// `max_j | 1 − e^{slope (log_j − log_0)} − j/n |`, or any of these that is above `limit`.
#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn distance(logs: &[f64], slope: f64, limit: f64) -> f64 {
    const PROBES: usize = 8;
    let share = 1.0 / logs.len() as f64;
    let first = logs[0];
    let off = |j: i32, log: f64| (1.0 - exp(slope * (log - first)) - f64::from(j) * share).abs();
    let mut max = 0.0;
    // Most starts show at a few places already that they are not the best.
    for probe in 1..PROBES {
        let j = logs.len() * probe / PROBES;
        let off = off(j as i32, logs[j]);
        max = if off > max { off } else { max };
    }
    if max > limit {
        return max;
    }
    // An i32 counter: the compiler turns several of them into f64 at once.
    for (j, log) in (0i32..).zip(logs) {
        let off = off(j, *log);
        max = if off > max { off } else { max };
    }
    max
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Quantiles `x_i = (1 − (i + ½)/n)^{−1/(α−1)}`.
    fn quantiles(alpha: f64, n: i32) -> Vec<f64> {
        (0..n)
            .map(|i| (1.0 - (f64::from(i) + 0.5) / f64::from(n)).powf(-1.0 / (alpha - 1.0)))
            .collect()
    }

    /// Expected values from the formula in NumPy (`fixtures/oracle.py --self-test` has them, too).
    #[test]
    fn exact_quantiles_give_their_exponent() {
        for (alpha, n, expected, distance) in [
            (2.5, 100, 2.512_819_803_061_188_6, 0.006_732_818_422_068_965),
            (3.0, 50, 3.034_515_849_021_085_3, 0.013_479_893_958_171_73),
            (2.0, 200, 2.004_252_967_637_329_5, 0.003_364_500_856_674_612_6),
        ] {
            for starts in [Starts::Robust, Starts::Compatible] {
                let found = power_law(&quantiles(alpha, n), 1e-5, starts).unwrap();
                assert_eq!(found.n, n as usize);
                assert!((found.alpha - expected).abs() < 1e-12, "{found:?}");
                assert!((found.distance - distance).abs() < 1e-12, "{found:?}");
            }
        }
    }

    #[test]
    fn short_spectra() {
        let x: Vec<f64> = (1..=10).map(f64::from).collect();
        let found = power_law(&x, 0.0, Starts::Robust).unwrap();
        assert!((found.xmin - 1.0).abs() < 1e-15);
        assert!((found.alpha - 1.662_058_186_746_406_4).abs() < 1e-12);
        let freer = power_law(&x, 0.0, Starts::Compatible).unwrap();
        assert!((freer.xmin - 6.0).abs() < 1e-15);
        assert!((freer.alpha - 4.681_550_358_521_012).abs() < 1e-12);
        assert_eq!(power_law(&x[1..], 0.0, Starts::Robust), None, "nine values are too few");
        assert_eq!(power_law(&x, 1.0, Starts::Robust), None, "noise does not count");
        assert_eq!(power_law(&[2.0; 20], 0.0, Starts::Robust), None, "equal: no exponent");
        assert_eq!(power_law(&[2.0; 20], 0.0, Starts::Compatible), None);
        assert_eq!(power_law(&[3.0], 0.0, Starts::Compatible), None);
        assert_eq!(power_law(&[], 0.0, Starts::Compatible), None);
        let powers: Vec<f64> = (0..16).map(|i| 2f64.powi(i)).collect();
        for starts in [Starts::Robust, Starts::Compatible] {
            let found = power_law(&powers, 0.0, starts).unwrap();
            assert!((found.alpha - 1.192_359_338_785_195_2).abs() < 1e-12);
            assert!((found.xmin - 1.0).abs() < 1e-15);
        }
    }

    /// The definition, ratio by ratio.
    fn slow(lambda: &[f64], noise: f64, starts: Starts) -> Option<PowerLaw> {
        let x: Vec<f64> = lambda.iter().copied().filter(|value| *value > noise).collect();
        let mut best: Option<PowerLaw> = None;
        for i in 0..x.len() {
            let tail = &x[i..];
            let n = tail.len();
            let allowed = match starts {
                Starts::Robust => n >= 10 && (i == 0 || x[i - 1] < x[i]),
                Starts::Compatible => n >= 2,
            };
            let logs: f64 = tail.iter().map(|value| (value / x[i]).ln()).sum();
            if !allowed || logs <= 0.0 {
                continue;
            }
            let alpha = 1.0 + n as f64 / logs;
            let off = |(j, value): (usize, &f64)| {
                (1.0 - (value / x[i]).powf(1.0 - alpha) - j as f64 / n as f64).abs()
            };
            let distance = tail.iter().enumerate().map(off).fold(0.0, f64::max);
            if best.is_none_or(|best| distance < best.distance) {
                best = Some(PowerLaw { alpha, xmin: x[i], n, distance });
            }
        }
        best
    }

    proptest! {
        /// Values are drawn with repetitions, over twenty orders of magnitude. Two starts whose
        /// distances differ by rounding alone may change places.
        #[test]
        fn the_fast_fit_is_the_slow_one(
            exponents in prop::collection::vec(-400i32..400, 0..60), narrow in prop::bool::ANY,
            starts in prop::sample::select(vec![Starts::Robust, Starts::Compatible]),
        ) {
            let scale = if narrow { 1e-6 } else { 0.05 };
            let mut x: Vec<f64> = exponents.iter().map(|e| (f64::from(*e) * scale).exp()).collect();
            x.sort_by(f64::total_cmp);
            match (power_law(&x, 1e-8, starts), slow(&x, 1e-8, starts)) {
                (None, None) => {}
                (Some(fast), Some(slow)) => {
                    prop_assert!((fast.distance - slow.distance).abs() < 1e-9);
                    if fast.n == slow.n {
                        prop_assert!((fast.alpha / slow.alpha - 1.0).abs() < 1e-9);
                        prop_assert_eq!(fast.xmin.to_bits(), slow.xmin.to_bits());
                    }
                }
                (fast, slow) => prop_assert!(false, "{:?} {:?}", fast, slow),
            }
        }
    }
}
