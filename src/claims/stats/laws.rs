//! Tails of the normal law and of Student's.

/// `P(Z ≥ z)` of the standard normal law.
#[must_use]
pub fn normal_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// `P(T ≥ t)` of Student's law with so many degrees of freedom:
/// ```text
/// P(T ≥ t) = ½ I_x(ν/2, ½),  x = ν/(ν + t²),  t ≥ 0
/// ```
/// Good to 1e-12 of the value up to 1,000 degrees; ln Γ loses digits beyond, 1e-9 at a million.
#[must_use]
pub fn student_tail(t: f64, freedom: f64) -> f64 {
    let x = freedom / (freedom + t * t);
    let half = 0.5 * incomplete_beta(freedom / 2.0, 0.5, x, t * t / (freedom + t * t));
    if t < 0.0 { 1.0 - half } else { half }
}

/// Regularised incomplete beta function `I_x(a, b)`, with `y = 1 − x`, by Lentz's method on its continued
/// fraction.
///
/// Source: DLMF 8.17.22, <https://dlmf.nist.gov/8.17.E22>.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    // The fraction converges fast below the mean of the law only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, y, x);
    }
    let log_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = (a * x.ln() + b * y.ln() - log_beta).exp() / a;
    let guard = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / guard(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for coefficient in [even, odd] {
            d = 1.0 / guard(1.0 + coefficient * d);
            c = guard(1.0 + coefficient / c);
            fraction *= c * d;
        }
        if (fraction / before - 1.0).abs() < 4.0 * f64::EPSILON {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::super::tests::close;
    use super::*;

    /// `scipy.stats.norm.sf` (SciPy 1.17) of 1 and −2; the quantiles of 0.975 and 0.999; a far tail against the
    /// asymptotic series φ(z)/z (1 − 1/z² + 3/z⁴ − 15/z⁶).
    #[test]
    fn normal_tails() {
        let found = [1.0, -2.0, 1.959_963_984_540_054, 3.090_232_306_167_813_5].map(normal_tail);
        let expected = [0.158_655_253_931_457_05, 0.977_249_868_051_820_8, 0.025, 0.001];
        close(&found, &expected, 1e-15);
        let z = 30.0f64;
        let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let series = density / z * (1.0 - z.powi(-2) + 3.0 * z.powi(-4) - 15.0 * z.powi(-6));
        assert!((normal_tail(z) / series - 1.0).abs() < 1e-9);
    }

    /// Closed forms for 1, 2 and 4 degrees of freedom, far into the tail; the normal law for many; and
    /// `scipy.stats.t.sf` (SciPy 1.17) of 0.5, 2, 4, 10 with 3, 9, 29, 279 degrees.
    #[test]
    fn student_tails_are_the_closed_forms() {
        for t in [-3.0f64, 0.0, 0.3, 1.0, 2.5, 40.0] {
            let one = 0.5 - t.atan() / std::f64::consts::PI;
            let two = 0.5 - t / (2.0 * (2.0 + t * t).sqrt());
            let s = t / (4.0 + t * t).sqrt();
            let four = 0.5 - 0.75 * (s - s * s * s / 3.0);
            let found = [1.0, 2.0, 4.0].map(|freedom| student_tail(t, freedom));
            close(&found, &[one, two, four], 1e-14);
            close(&[student_tail(t, 1e6)], &[normal_tail(t)], 1e-6);
        }
        let scipy = [
            (0.5, 3.0, 0.325_723_982_424_075_5),
            (2.0, 9.0, 0.038_276_411_885_350_504),
            (4.0, 29.0, 0.000_200_031_972_826_245_87),
            (10.0, 279.0, 1.271_874_570_218_535_4e-20),
        ];
        for (t, freedom, expected) in scipy {
            let found = student_tail(t, freedom);
            assert!((found / expected - 1.0).abs() < 1e-12, "{found}, not {expected}");
        }
        // For 1 degree the tail is 1/(πt) (1 − 1/(3t²)): no digits are lost where the tail is thin.
        let thin = student_tail(1e6, 1.0) * std::f64::consts::PI * 1e6;
        assert!((thin - 1.0).abs() < 1e-12, "{thin}");
    }
}
