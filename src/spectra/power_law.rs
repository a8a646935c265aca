//! Power-law exponent of the upper tail of a spectrum.
//!
//! Source: Clauset, Shalizi & Newman (2009), *SIAM Review* 51, 661: maximum likelihood for the
//! exponent, the start of the tail by the smallest Kolmogorov–Smirnov distance.

/// Fewest values in a tail whose exponent is reported.
pub(super) const FEWEST: usize = 10;

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

/// The exponent of the tail that fits best.
///
/// For each distinct value above `noise` that at least `fewest` values are not below,
/// ```text
/// α = 1 + n / Σ ln(x_j/x_i),     D = max_j | 1 − (x_j/x_i)^{1−α} − (j − i)/n |    (1 if α ≤ 1)
/// ```
/// over the `n` values `j ≥ i`; the start with the smallest `D` wins, the first of equals.
///
/// - `lambda`: ascending. `None` if no start qualifies.
#[must_use]
pub fn power_law(lambda: &[f64], noise: f64, fewest: usize) -> Option<PowerLaw> {
    let start = lambda.partition_point(|x| *x <= noise);
    let x = &lambda[start..];
    let mut best: Option<PowerLaw> = None;
    for i in 0..x.len() {
        let tail = &x[i..];
        let n = tail.len();
        if n < fewest {
            break;
        }
        let first_of_equals = i == 0 || x[i - 1] < x[i];
        let logs: f64 = tail.iter().map(|value| (value / x[i]).ln()).sum();
        // All equal: no exponent.
        if !first_of_equals || logs <= 0.0 {
            continue;
        }
        let alpha = 1.0 + n as f64 / logs;
        let distance = if alpha <= 1.0 { 1.0 } else { distance(tail, alpha) };
        if best.is_none_or(|best| distance < best.distance) {
            best = Some(PowerLaw { alpha, xmin: x[i], n, distance });
        }
    }
    best
}

fn distance(tail: &[f64], alpha: f64) -> f64 {
    let n = tail.len() as f64;
    tail.iter().enumerate().fold(0.0, |max, (j, value)| {
        let model = 1.0 - (value / tail[0]).powf(1.0 - alpha);
        let empirical = j as f64 / n;
        (model - empirical).abs().max(max)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles `x_i = (1 − (i + ½)/n)^{−1/(α−1)}`; expected values from the formula in NumPy.
    #[test]
    fn exact_quantiles_give_their_exponent() {
        for (alpha, n, expected, distance) in [
            (2.5, 100, 2.512_819_803_061_188_6, 0.006_732_818_422_068_965),
            (3.0, 50, 3.034_515_849_021_085_3, 0.013_479_893_958_171_73),
            (2.0, 200, 2.004_252_967_637_329_5, 0.003_364_500_856_674_612_6),
        ] {
            let x: Vec<f64> = (0..n)
                .map(|i| (1.0 - (f64::from(i) + 0.5) / f64::from(n)).powf(-1.0 / (alpha - 1.0)))
                .collect();
            let found = power_law(&x, 0.0, FEWEST).unwrap();
            assert_eq!(found.n, n as usize);
            assert!((found.alpha - expected).abs() < 1e-12, "{found:?}");
            assert!((found.distance - distance).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn short_spectra() {
        let x: Vec<f64> = (1..=10).map(f64::from).collect();
        let found = power_law(&x, 0.0, FEWEST).unwrap();
        assert!((found.xmin - 1.0).abs() < 1e-15);
        assert!((found.alpha - 1.662_058_186_746_406_4).abs() < 1e-12);
        let freer = power_law(&x, 0.0, 2).unwrap();
        assert!((freer.xmin - 6.0).abs() < 1e-15);
        assert!((freer.alpha - 4.681_550_358_521_012).abs() < 1e-12);
        assert_eq!(power_law(&x[1..], 0.0, FEWEST), None, "nine values are too few");
        assert_eq!(power_law(&x, 1.0, FEWEST), None, "noise does not count");
        assert_eq!(power_law(&[2.0; 20], 0.0, FEWEST), None, "equal values have no exponent");
        let powers: Vec<f64> = (0..16).map(|i| 2f64.powi(i)).collect();
        let found = power_law(&powers, 0.0, 2).unwrap();
        assert!((found.alpha - 1.192_359_338_785_195_2).abs() < 1e-12);
    }
}
