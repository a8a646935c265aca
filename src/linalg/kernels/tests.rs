//! The vector loops against the formulas.

use proptest::prelude::*;

use super::*;

/// The kernel on a single row.
fn of_row<F: Scalar>(row: &[F], label: usize) -> RowSums {
    let logits = ArrayView2::from_shape((1, row.len()), row).unwrap();
    cross_entropy(logits, &[label], &mut vec![0.0; row.len()])
}

/// Units in the last place between two positive numbers.
fn ulps(a: f64, b: f64) -> u64 {
    a.to_bits().abs_diff(b.to_bits())
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let worst =
        (0..2_000_000).map(|i| -700.0 + 7.0e-4 * f64::from(i)).map(|x| ulps(exp(x), x.exp())).max();
    assert!(worst <= Some(2), "{worst:?}");
    assert_eq!(exp(-1000.0).to_bits(), 0.0f64.to_bits());
    assert_eq!(exp(f64::NEG_INFINITY).to_bits(), 0.0f64.to_bits());
    assert_eq!(ulps(exp(0.0), 1.0), 0);
    assert!(exp(f64::NAN).is_nan());
}

#[test]
fn a_confident_row_keeps_its_relative_precision() {
    // ℓ = log1p(2 e^-40): 1 − p_y would give 0.
    let sums = of_row(&[40.0, 0.0, 0.0], 0);
    let expected = (2.0 * (-40.0f64).exp()).ln_1p();
    assert!((sums.loss / expected - 1.0).abs() < 1e-14, "{}", sums.loss);
    assert_eq!(sums.correct, 1);
}

#[test]
fn a_wrong_row_and_huge_logits_stay_finite() {
    let sums = of_row(&[0.0f32, 800.0, -800.0], 0);
    assert!((sums.loss - 800.0).abs() < 1e-12);
    assert!(of_row(&[0.0, f64::NAN, 1.0], 0).loss.is_nan());
    let unknown = of_row(&[f64::NAN, 0.0, 1.0], 0);
    assert!(unknown.loss.is_nan() && unknown.correct == 0);
    assert_eq!(of_row(&[1.0, 1.0, 1.0], 0).correct, 1, "ties: the lowest class");
    assert_eq!(of_row(&[1.0, 1.0, 1.0], 1).correct, 0);
}

/// Margins at which entries of the gradient are subnormal in f32, or their products would be.
#[test]
fn no_entry_of_a_gradient_is_next_to_subnormal() {
    let margins = [0.0, 60.0, 69.0, 70.0, 87.0, 90.0, 103.0, 200.0];
    let mut d = margins.map(|margin| -margin as f32);
    let row = ArrayViewMut2::from_shape((1, d.len()), &mut d).unwrap();
    cross_entropy_backward(row, &[0], 1.0, &mut vec![0.0; margins.len()]);
    for (d, margin) in d.iter().zip(margins).skip(1) {
        let expected = (-f64::from(margin as f32)).exp(); // the total is 1 to 1e-26
        let error = (f64::from(*d) - expected).abs();
        assert!(error < 1e-7 * expected || (*d == 0.0 && expected < 2f64.powi(-100)), "{margin}");
    }
    assert_eq!(d.map(|d| d != 0.0), [true, true, true, false, false, false, false, false]);
    let mut fitted = [1000.0f32, 0.0];
    let row = ArrayViewMut2::from_shape((1, 2), &mut fitted).unwrap();
    cross_entropy_backward(row, &[0], 1.0, &mut [0.0; 2]);
    assert_eq!(fitted, [0.0, 0.0]);
}

proptest! {
    /// Against the textbook formula, value and gradient, where that one is accurate.
    #[test]
    fn cross_entropy_is_minus_log_softmax(
        logits in prop::collection::vec(-8.0..8.0f64, 2..40), pick in 0usize..1000,
    ) {
        let label = pick % logits.len();
        let total: f64 = logits.iter().map(|z| z.exp()).sum();
        let expected = total.ln() - logits[label];
        let mut d_logits = logits.clone();
        let row = ArrayViewMut2::from_shape((1, logits.len()), &mut d_logits).unwrap();
        let sums = cross_entropy_backward(row, &[label], 0.5, &mut vec![0.0; logits.len()]);
        prop_assert!((sums.loss - expected).abs() < 1e-13 * total.max(1.0));
        for (c, d) in d_logits.iter().enumerate() {
            let softmax = logits[c].exp() / total;
            let expected = 0.5 * (softmax - f64::from(u8::from(c == label)));
            prop_assert!((d - expected).abs() < 1e-14, "{} {}", d, expected);
        }
    }

    #[test]
    fn dot_adds_every_product(a in prop::collection::vec(-4.0..4.0f64, 0..70)) {
        let b: Vec<f64> = a.iter().map(|x| x + 1.0).collect();
        let expected: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        prop_assert!((dot(&a, &b) - expected).abs() < 1e-12);
    }
}
