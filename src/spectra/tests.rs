use super::*;
use crate::linalg::svd;

const EPS_F32: f64 = 1.0 / 8_388_608.0;

fn close(x: f64, y: f64) -> bool {
    (x - y).abs() < 1e-14 * y
}

/// σ = (4, 3, 2, 1), closed forms.
#[test]
fn small_spectrum_has_its_closed_forms() {
    let sigma = [4.0, 3.0, 2.0, 1.0];
    let found = spectrum(&sigma, 4, 4, EPS_F32, Path::Gram);
    assert!(close(found.frobenius_sq.unwrap(), 30.0));
    assert!(close(found.spectral_norm.unwrap(), 4.0) && close(found.nuclear.unwrap(), 10.0));
    assert!(close(found.stable_rank.unwrap(), 1.875));
    assert!(close(found.effective_rank.unwrap(), 3.596_115_466_624_322));
    assert!(close(found.participation_ratio.unwrap(), 2.542_372_881_355_932));
    assert_eq!(found.rank, 4);
    assert!(close(found.condition.unwrap(), 4.0));
    assert_eq!((found.power_law, found.marchenko_pastur, found.in_range), (None, None, true));

    let lambda = sigma.map(|s| s * s);
    let of_lambda = effective_number(&lambda).unwrap();
    assert!(close(of_lambda, 2.940_197_556_311_682_4));
    assert!(close(of_lambda.ln() / 4f64.ln(), 0.777_956_547_587_912_6), "WeightWatcher's entropy");
    assert!(close(participation_ratio(&sigma).unwrap(), 10.0 / 3.0));
    assert!(close(schatten_norm(&sigma, 4.0), 4.337_613_136_533_361));
    assert!(close(schatten_norm(&sigma, 1.0), 10.0));
}

#[test]
fn zero_and_rank_one_matrices() {
    let zero = spectrum(&[0.0, 0.0], 2, 5, EPS_F32, Path::Gram);
    assert_eq!((zero.rank, zero.stable_rank, zero.condition), (0, None, None));
    assert_eq!((zero.effective_rank, zero.participation_ratio), (None, None));
    assert_eq!((zero.frobenius_sq, zero.nuclear, zero.in_range), (Some(0.0), Some(0.0), true));
    let one = spectrum(&[3.0, 1e-9], 2, 5, EPS_F32, Path::Gram);
    assert_eq!((one.rank, one.condition), (1, None));
    assert!((one.effective_rank.unwrap() - 1.0).abs() < 1e-7);
    // A vector as a matrix: everything that is one number is 1.
    let vector = spectrum(&[5.0], 1, 7, EPS_F32, Path::Gram);
    assert_eq!((vector.rank, vector.condition), (1, Some(1.0)));
    assert_eq!((vector.stable_rank, vector.participation_ratio), (Some(1.0), Some(1.0)));
}

/// Where the tolerance lies for each type: rounding noise of the storage above that of the path for
/// the short types, the Gram path's own error for f32.
#[test]
fn the_tolerance_follows_the_storage() {
    let (rows, cols) = (128, 512);
    let sigma: Vec<f64> = (0..128).map(|i| 1.0 - f64::from(i) / 256.0).collect();
    let frobenius: f64 = sigma.iter().map(|s| s * s).sum::<f64>().sqrt();
    let noise = |eps: f64| {
        0.5 * eps * (128f64.sqrt() + 512f64.sqrt()) * frobenius / (128.0 * 512.0f64).sqrt()
    };
    let (f16, bf16) = (2f64.powi(-10), 2f64.powi(-7));
    assert!(close(tolerance(&sigma, rows, cols, bf16, Path::Gram), noise(bf16)));
    assert!(close(tolerance(&sigma, rows, cols, f16, Path::Gram), noise(f16)));
    let gram = (512.0 * f64::EPSILON).sqrt();
    assert!(close(tolerance(&sigma, rows, cols, EPS_F32, Path::Gram), gram.max(noise(EPS_F32))));
    let svd = 512.0 * f64::EPSILON;
    assert!(close(tolerance(&sigma, rows, cols, f64::EPSILON, Path::Svd), svd));
    assert!(noise(bf16) < 1.0, "σ₁ N eps would be {}", 512.0 * bf16);
}

/// Rounding a rank-one matrix to a storage type adds noise; it does not add rank.
#[test]
fn rounding_noise_is_not_rank() {
    let (rows, cols) = (40, 60);
    let entry = |i: usize, j: usize| {
        (0.3 + ((i * 7) % 11) as f64).sqrt() * (0.7 + ((j * 5) % 13) as f64).sqrt()
    };
    // To a number of binary digits, by adding and subtracting: f32, f16, bf16.
    for (eps, digits) in [(EPS_F32, 24), (2f64.powi(-10), 11), (2f64.powi(-7), 8)] {
        let round = |x: f64| {
            let unit = times_power_of_two(1.0, exponent_of(x) - digits);
            (x / unit).round_ties_even() * unit
        };
        let w = ndarray::Array2::from_shape_fn((rows, cols), |(i, j)| round(entry(i, j)));
        for (path, values) in [
            (Path::Svd, svd::singular_values(w.view())),
            (Path::Gram, svd::gram_singular_values(w.view())),
        ] {
            let sigma = values.unwrap();
            assert!(sigma[1] > 1e-9 * sigma[0], "rounding is visible");
            let found = spectrum(&sigma, rows, cols, eps, path);
            assert_eq!((found.rank, found.condition), (1, None), "{eps} {path:?}");
            assert_eq!(found.power_law, None, "noise has no tail");
            assert_eq!(found.marchenko_pastur, None, "half of the values are noise");
        }
    }
}

/// A power of two changes the quantities with a unit by that power, and no digit of anything.
#[test]
fn scale_changes_units_only() {
    let sigma: Vec<f64> = (0..12).map(|i| 1.7 / (1.0 + f64::from(i)).powf(0.8)).collect();
    let plain = spectrum(&sigma, 12, 30, EPS_F32, Path::Gram);
    for e in [-480, -31, 7, 490] {
        let scaled: Vec<f64> = sigma.iter().map(|s| times_power_of_two(*s, e)).collect();
        let found = spectrum(&scaled, 12, 30, EPS_F32, Path::Gram);
        let (law, bulk) = (found.power_law.unwrap(), found.marchenko_pastur.unwrap());
        let back = Spectrum {
            frobenius_sq: found.frobenius_sq.map(|x| times_power_of_two(x, -2 * e)),
            spectral_norm: found.spectral_norm.map(|x| times_power_of_two(x, -e)),
            nuclear: found.nuclear.map(|x| times_power_of_two(x, -e)),
            power_law: Some(PowerLaw { xmin: times_power_of_two(law.xmin, -2 * e), ..law }),
            marchenko_pastur: Some(MarchenkoPastur {
                edge: times_power_of_two(bulk.edge, -2 * e),
                variance: times_power_of_two(bulk.variance, -2 * e),
                ..bulk
            }),
            ..found
        };
        assert_eq!(back, plain, "2^{e}");
    }
}

/// Entries of 1e300 and 1e-310: what has no unit is right, what f64 cannot hold is none.
#[test]
fn the_ends_of_the_range() {
    for scale in [1e300, 1e-310] {
        let w = ndarray::array![[3.0, 0.0], [4.0, 0.0], [0.0, 5.0]] * scale;
        let sigma = svd::singular_values(w.view()).unwrap();
        assert!((sigma[0] / scale - 5.0).abs() < 1e-12);
        let found = spectrum(&sigma, 3, 2, f64::EPSILON, Path::Svd);
        assert!((found.stable_rank.unwrap() - 2.0).abs() < 1e-12);
        assert!((found.participation_ratio.unwrap() - 2.0).abs() < 1e-12);
        assert!((found.effective_rank.unwrap() - 2.0).abs() < 1e-12);
        assert!((found.condition.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!((found.rank, found.frobenius_sq, found.in_range), (2, None, false));
        assert!((found.spectral_norm.unwrap() / scale - 5.0).abs() < 1e-12);
        assert!((found.nuclear.unwrap() / scale - 10.0).abs() < 1e-12);
    }
    let too_many = spectrum(&[f64::MAX; 3], 3, 3, f64::EPSILON, Path::Svd);
    assert_eq!((too_many.spectral_norm, too_many.nuclear), (Some(f64::MAX), None));
}
