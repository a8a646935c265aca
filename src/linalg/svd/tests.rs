use ndarray::{Array1, array};
use proptest::prelude::*;

use super::*;

type Routine = fn(ArrayView2<'_, f64>) -> Result<Vec<f64>, NoSpectrum>;
const ROUTINES: [Routine; 2] = [singular_values, gram_singular_values];

fn values(a: &Array2<f64>) -> Vec<f64> {
    singular_values(a.view()).unwrap()
}

#[test]
fn a_diagonal_matrix_has_its_entries() {
    let a = Array2::from_diag(&Array1::from(vec![1.0, -4.0, 3.0, 2.0]));
    for routine in ROUTINES {
        let found = routine(a.view()).unwrap();
        for (found, expected) in found.iter().zip([4.0, 3.0, 2.0, 1.0]) {
            assert!((found - expected).abs() < 1e-14, "{found}");
        }
    }
}

/// One bad entry, in every place and for the sizes at which the drivers are known to hang.
#[test]
fn nothing_unusable_reaches_lapack() {
    let started = std::time::Instant::now();
    for bad in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (rows, cols) in [(1, 1), (3, 3), (2, 7), (40, 40)] {
            for place in [0, rows * cols / 2, rows * cols - 1] {
                let mut a = Array2::<f64>::eye(rows.max(cols)).slice(s![..rows, ..cols]).to_owned();
                a[[place / cols, place % cols]] = bad;
                for routine in ROUTINES {
                    assert_eq!(routine(a.view()), Err(NoSpectrum::NonFinite));
                }
                assert_eq!(singular_vectors(a.view()), Err(NoSpectrum::NonFinite));
            }
        }
    }
    assert!(started.elapsed().as_secs_f64() < 1.0, "LAPACK was asked");
}

#[test]
fn sizes_are_checked_before_anything_else() {
    for (rows, cols) in [(0, 3), (3, 0), (0, 0)] {
        let empty = Array2::<f64>::zeros((rows, cols));
        for routine in ROUTINES {
            assert_eq!(routine(empty.view()), Err(NoSpectrum::Empty));
        }
    }
    assert_eq!(check_size(0, usize::MAX), Err(NoSpectrum::Empty));
    assert_eq!(check_size(MAX_SHORT_SIDE, 65_536), Ok(()));
    let too_large = [
        (MAX_SHORT_SIDE + 1, MAX_SHORT_SIDE + 1),
        (1, 1 << 31),
        (2, 1 << 30),
        (usize::MAX, usize::MAX),
        (46_341, 46_341),
    ];
    for (rows, cols) in too_large {
        assert_eq!(check_size(rows, cols), Err(NoSpectrum::TooLarge), "{rows} × {cols}");
    }
    assert_eq!(check_size(1, (1 << 31) - 1), Ok(()));
    // A matrix beyond the limit is refused before it is looked at: this one is all one number.
    let one = array![[f64::NAN]];
    let huge = one.broadcast((20_000, 20_000)).unwrap();
    for routine in ROUTINES {
        assert_eq!(routine(huge), Err(NoSpectrum::TooLarge));
    }
    assert_eq!(singular_vectors(huge), Err(NoSpectrum::TooLarge));
}

/// A matrix of rank one, uvᵀ, has σ₁ = |u||v| at any scale of its entries, subnormal included.
#[test]
fn scale_does_not_matter() {
    for exponent in [-1030, -1001, -999, -500, 0, 500, 999, 1001] {
        let unit = times_power_of_two(1.0, exponent);
        let a = array![[3.0, 0.0], [4.0, 0.0]] * unit;
        for routine in ROUTINES {
            let sigma = routine(a.view()).unwrap();
            assert!((sigma[0] / unit - 5.0).abs() < 1e-13, "2^{exponent}: {sigma:?}");
            assert!(sigma[1] / unit < 1e-7);
        }
    }
    assert_eq!(values(&Array2::zeros((2, 3))), [0.0, 0.0]);
    for (value, exponent) in [
        (0.0, 0),
        (0.5, 0),
        (1.0, 1),
        (0.75, 0),
        (f64::MAX, 1024),
        (f64::MIN_POSITIVE, -1021),
        (5e-324, -1073),
        (1.5e-310, -1029),
    ] {
        assert_eq!(exponent_of(value), exponent, "{value}");
    }
}

#[test]
fn closed_forms() {
    let close = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        let largest = expected[0].max(1e-300);
        for (x, y) in found.iter().zip(expected) {
            assert!((x - y).abs() <= 1e-14 * largest, "{found:?}, not {expected:?}");
        }
    };
    close(&values(&Array2::eye(7)), &[1.0; 7]); // repeated
    close(&values(&array![[3.0, 4.0]]), &[5.0]); // 1 × n
    close(&values(&array![[3.0], [4.0]]), &[5.0]); // n × 1
    close(&values(&array![[-2.5]]), &[2.5]);
    close(&values(&Array2::ones((3, 12))), &[6.0, 0.0, 0.0]); // rank 1
    // Hilbert, 3 × 3: the roots of its characteristic polynomial.
    let hilbert = Array2::from_shape_fn((3, 3), |(i, j)| 1.0 / (i + j + 1) as f64);
    close(
        &values(&hilbert),
        &[1.408_318_927_123_654, 0.122_327_065_853_905_82, 0.002_687_340_355_773_529],
    );
}

/// Graded from 1 to 2⁻⁵²: every σ is off by at most c ε σ₁, with c the square root of the number of
/// entries (that many rounding errors of size ε, of either sign).
#[test]
fn graded_matrices_are_accurate_to_the_largest() {
    let n = 53;
    let orthogonal = |shift: usize| {
        // Reflection I − 2vvᵀ/|v|².
        let v = Array1::from_shape_fn(n, |i| 1.0 + ((i * 7 + shift) % 5) as f64);
        let scale = 2.0 / v.dot(&v);
        Array2::from_shape_fn((n, n), |(i, j)| f64::from(u8::from(i == j)) - scale * v[i] * v[j])
    };
    let sigma: Vec<f64> = (0..n).map(|i| 2f64.powi(-(i as i32))).collect();
    let a = orthogonal(0).dot(&Array2::from_diag(&Array1::from(sigma.clone()))).dot(&orthogonal(3));
    for (found, expected) in values(&a).iter().zip(&sigma) {
        assert!((found - expected).abs() <= n as f64 * f64::EPSILON, "{found}, not {expected}");
    }
}

#[test]
fn the_second_driver_follows_an_unsound_first() {
    let energy = (25.0, 1e-10);
    let first = |sigma: Option<Vec<f64>>| {
        let attempt = move |driver| match driver {
            Driver::First => sigma.clone(),
            Driver::Second => Some(vec![4.0, 3.0]),
        };
        first_sound(attempt, |sigma: &Vec<f64>| is_sound(sigma, energy)).unwrap()
    };
    let unsound = [
        None, // INFO > 0
        Some(vec![f64::NAN, 3.0]),
        Some(vec![f64::INFINITY, 3.0]),
        Some(vec![4.0, -3.0]),
        Some(vec![3.0, 4.0]),
        Some(vec![4.0, 3.1]),
    ];
    for sigma in unsound {
        assert_eq!(first(sigma.clone()), (vec![4.0, 3.0], Driver::Second), "{sigma:?}");
    }
    assert_eq!(first(Some(vec![4.0, 3.0])).1, Driver::First);
    let never = first_sound(|_| Some(vec![1.0, 1.0]), |sigma: &Vec<f64>| is_sound(sigma, energy));
    assert_eq!(never, None);
}

/// The two drivers against each other, so that the one that hardly ever runs is right when it does.
#[test]
fn both_drivers_agree() {
    let a = Array2::from_shape_fn((9, 14), |(i, j)| ((i * 31 + j * 17) % 23) as f64 / 23.0);
    let [first, second] = Driver::ORDER.map(|driver| {
        let found = library::singular_vectors(&a, driver).unwrap();
        assert_eq!((found.u.dim(), found.vt.dim()), ((9, 9), (9, 14)), "{driver:?}");
        found.sigma
    });
    for (x, y) in first.iter().zip(&second) {
        assert!((x - y).abs() < 1e-14 * first[0]);
    }
}

/// Bound of a Gram path's error: g σ₁ at worst, N 2⁻⁵² σ₁²/σ above.
fn gram_bound(sigma: f64, largest: f64, longer: usize) -> f64 {
    let g2 = longer as f64 * f64::EPSILON;
    largest * g2.sqrt().min(g2 * largest / sigma)
}

fn random(rows: usize, cols: usize, seed: &[f64]) -> Array2<f64> {
    Array2::from_shape_fn((rows, cols), |(i, j)| seed[i * 12 + j])
}

proptest! {
    /// The fast path against the SVD, within the bound that its doc-comment promises.
    #[test]
    fn gram_agrees_with_the_svd(
        rows in 1usize..12, cols in 1usize..12, seed in prop::collection::vec(-1.0..1.0f64, 144),
        grade in 0i32..12,
    ) {
        let mut a = random(rows, cols, &seed);
        for (i, mut row) in a.rows_mut().into_iter().enumerate() {
            row *= 2f64.powi(-grade * i as i32 / 2);
        }
        let exact = values(&a);
        let gram = gram_singular_values(a.view()).unwrap();
        for (x, y) in exact.iter().zip(&gram) {
            let bound = gram_bound(*x, exact[0], rows.max(cols)) + 1e-14 * exact[0];
            prop_assert!((x - y).abs() <= bound, "{:?} {:?}", exact, gram);
        }
    }

    /// What the leading vectors span is what those of the SVD span, on both sides: `‖U_aᵀ U_b‖_F² = r`
    /// within twice r times the square of the largest sine.
    #[test]
    fn leading_vectors_span_those_of_the_svd(
        rows in 1usize..12, cols in 1usize..12, seed in prop::collection::vec(-1.0..1.0f64, 144),
        r in 0usize..12, grade in 0i32..12, exponent in prop::sample::select(vec![0, -900, 900]),
    ) {
        let mut a = random(rows, cols, &seed);
        for (i, mut row) in a.rows_mut().into_iter().enumerate() {
            row *= 2f64.powi(-grade * i as i32 / 2);
        }
        let exact = singular_vectors(a.view()).unwrap();
        let k = rows.min(cols);
        let scaled = a.mapv(|x| times_power_of_two(x, exponent));
        let found = leading_vectors(scaled.view(), |_| r).unwrap();
        let r = r.min(k);
        prop_assert_eq!((found.u.dim(), found.vt.dim()), ((rows, r), (r, cols)));
        let unit = times_power_of_two(1.0, exponent);
        for (x, y) in exact.sigma.iter().zip(&found.sigma) {
            let bound = gram_bound(*x, exact.sigma[0], rows.max(cols)) + 1e-14 * exact.sigma[0];
            prop_assert!((x - y / unit).abs() <= bound);
        }
        let below = exact.sigma.get(r).copied().unwrap_or(0.0);
        let gap = r.checked_sub(1).map_or(0.0, |last| exact.sigma[last].powi(2) - below.powi(2));
        if gap > 1e-6 * exact.sigma[0].powi(2) {
            let sine = rows.max(cols) as f64 * f64::EPSILON * exact.sigma[0].powi(2) / gap;
            let sides = [
                (exact.u.slice(s![.., ..r]).t().dot(&found.u)),
                (exact.vt.slice(s![..r, ..]).dot(&found.vt.t())),
            ];
            for cosines in sides {
                let sum = cosines.iter().map(|x| x * x).sum::<f64>();
                let bound = r as f64 * (2.0 * sine + 1e-13);
                prop_assert!((sum - r as f64).abs() <= bound, "{} of {}, {}", sum, r, bound);
            }
        }
    }

    /// U and V are orthonormal and U diag(σ) Vᵀ is A; σ are those without vectors.
    #[test]
    fn the_decomposition_is_one(
        rows in 1usize..12, cols in 1usize..12, seed in prop::collection::vec(-1.0..1.0f64, 144),
        exponent in prop::sample::select(vec![0, -1040, 1000]),
    ) {
        let a = random(rows, cols, &seed).mapv(|x| times_power_of_two(x, exponent));
        let found = singular_vectors(a.view()).unwrap();
        let k = rows.min(cols);
        prop_assert_eq!((found.u.dim(), found.vt.dim()), ((rows, k), (k, cols)));
        let eye = Array2::<f64>::eye(k);
        for gram in [found.u.t().dot(&found.u), found.vt.dot(&found.vt.t())] {
            prop_assert!((&gram - &eye).iter().all(|x| x.abs() < 1e-13));
        }
        let unit = times_power_of_two(1.0, exponent);
        let sigma = Array1::from_iter(found.sigma.iter().map(|s| s / unit));
        let back = (&found.u * &sigma).dot(&found.vt);
        // A subnormal σ is rounded to a multiple of 2⁻¹⁰⁷⁴.
        let rounding = 16.0 * times_power_of_two(1.0, -1074 - exponent.min(0));
        for (x, y) in back.iter().zip(&a) {
            prop_assert!((x - y / unit).abs() < 1e-13 * sigma[0] + rounding);
        }
        for column in found.u.columns() {
            let largest = column.fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
            prop_assert!(largest > 0.0);
        }
        for (x, y) in values(&a).iter().zip(&found.sigma) {
            prop_assert!((x - y).abs() <= 1e-14 * found.sigma[0] + 1e-320);
        }
    }
}
