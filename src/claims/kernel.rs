//! Whether training one part of the logits trains the other: gradients of the two losses, and the cross
//! term of the tangent kernels.
//!
//! With `J_K = ∂L_K/∂θ = P_K J` and `J_R = (1 − P_K − P_mean) J`, `[p³, weights]`, and J that of the logits:
//!
//! ```text
//! cross = ‖J_K J_Rᵀ‖_F / √( ‖J_K J_Kᵀ‖_F ‖J_R J_Rᵀ‖_F )
//! ```
//!
//! Its square is the cosine of the metrics `J_KᵀJ_K` and `J_RᵀJ_R` that the two parts put on the weights:
//! 0 if no weight moves both, 1 if the metrics are multiples of each other. (Over ‖J_K‖_F ‖J_R‖_F instead
//! it would fall with the rank of the kernels, and be small also where they are the same.)
//!
//! No kernel is formed. For vectors ξ, η of independent normals, `E (ξᵀ J_K J_Rᵀ η)² = ‖J_K J_Rᵀ‖_F²`, and
//! `ξᵀ J_K` is one backward pass with `P_K ξ` as the gradient of the logits. The projections are orthogonal,
//! so `P_K ξ` and the rest of the same ξ are independent: m vectors give all m² pairs of the cross term,
//! and m(m−1)/2 pairs of each norm. The three means are unbiased; the quotient has a bias and a standard
//! error of order 1/√m, which the jackknife over the vectors estimates.

use ndarray::{Array2, ArrayView2, Axis};

use crate::linalg::kernels;
use crate::progress::{Component, Group, LogitTable, Protocol};

/// Gradients with respect to the logits, `[p², p]`, of the excluded and of the restricted loss over some
/// inputs: `∂ CE(L − L_K)/∂L` and `∂ CE(mean + L_K)/∂L`, each times the number of inputs.
///
/// # Panics
/// If an input is not one of the group's.
#[must_use]
pub fn loss_gradients(
    logits: ArrayView2<'_, f64>,
    table: &LogitTable<'_>,
    protocol: Protocol,
    keys: &[usize],
    inputs: &[usize],
) -> [Array2<f64>; 2] {
    let (group, part) = (table.group(), table.component(keys));
    let zeros = || Array2::zeros(logits.dim());
    let [mut excluded, mut restricted] = [zeros(), zeros()];
    let mut terms = vec![0.0; logits.ncols()];
    let mut softmax = |gradient: &mut Array2<f64>, input: usize, sign: f64| {
        let pair = group.pair(input).expect("an input of the group");
        let mut row = gradient.row_mut(input);
        row.assign(&if sign < 0.0 { logits.row(input) } else { table.mean().view() });
        part.add_to(sign, group, pair, row.as_slice_mut().expect("row-major"));
        let row = row.insert_axis(Axis(0));
        kernels::cross_entropy_backward(row, &[group.label(pair)], 1.0, &mut terms);
    };
    for &input in inputs {
        softmax(&mut excluded, input, -1.0);
        softmax(&mut restricted, input, 1.0);
    }
    // The projections are symmetric: the chain rule applies them once more.
    let [of_excluded, of_restricted] =
        [&excluded, &restricted].map(|d| LogitTable::new(d.view(), group, protocol));
    let part = of_excluded.component(keys);
    add(&part, -1.0, group, &mut excluded);
    let part = of_restricted.component(keys);
    restricted.fill(0.0);
    for input in group.inputs() {
        restricted.row_mut(input).assign(of_restricted.mean());
    }
    add(&part, 1.0, group, &mut restricted);
    [excluded, restricted]
}

/// `P_K x` and `x − mean − P_K x` of a function of the inputs, `[p², p]`; 0 at inputs that are not the
/// group's.
///
/// # Panics
/// If the sizes do not fit.
#[must_use]
pub fn key_and_rest(
    x: ArrayView2<'_, f64>,
    group: &Group,
    protocol: Protocol,
    keys: &[usize],
) -> [Array2<f64>; 2] {
    let table = LogitTable::new(x, group, protocol);
    let mut key = Array2::zeros(x.dim());
    add(&table.component(keys), 1.0, group, &mut key);
    let mut rest = Array2::zeros(x.dim());
    for input in group.inputs() {
        rest.row_mut(input).assign(&(&x.row(input) - table.mean() - key.row(input)));
    }
    [key, rest]
}

/// Add `scale` times a part at every input of the group.
fn add(part: &Component, scale: f64, group: &Group, x: &mut Array2<f64>) {
    for input in group.inputs() {
        let pair = group.pair(input).expect("an input of the group");
        part.add_to(scale, group, pair, x.row_mut(input).as_slice_mut().expect("row-major"));
    }
}

/// `⟨x, y⟩/(‖x‖ ‖y‖)`; `None` if one of them is 0.
#[must_use]
pub fn cosine(x: &[f64], y: &[f64]) -> Option<f64> {
    // Gradients of losses near 0 are so small that their squares would leave the range.
    let size = |x: &[f64]| x.iter().fold(0.0f64, |size, x| size.max(x.abs()));
    let (of_x, of_y) = (size(x), size(y));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x / of_x, y / of_y);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    (of_x > 0.0 && of_y > 0.0).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// The cross term, from `ξ_iᵀ J_K` and `ξ_iᵀ J_R` of the same vectors ξ_i, and its standard error.
///
/// `None` for less than three vectors, or if one of the parts does not depend on the weights.
///
/// # Panics
/// If the numbers of vectors differ.
#[must_use]
pub fn cross(of_key: &[Vec<f64>], of_rest: &[Vec<f64>]) -> Option<(f64, f64)> {
    assert_eq!(of_key.len(), of_rest.len());
    let m = of_key.len();
    let products = |x: &[Vec<f64>], y: &[Vec<f64>]| {
        Array2::from_shape_fn((m, m), |(i, j)| kernels::dot(&x[i], &y[j]).powi(2))
    };
    let (kr, kk, rr) =
        (products(of_key, of_rest), products(of_key, of_key), products(of_rest, of_rest));
    // Means without the vector `left_out`, if there is such a one.
    let value = |left_out: usize| {
        let mut sums = [0.0; 3];
        let mut counts = [0.0; 2];
        for i in (0..m).filter(|i| *i != left_out) {
            for j in (0..m).filter(|j| *j != left_out) {
                sums[0] += kr[[i, j]];
                counts[0] += 1.0;
                if i != j {
                    sums[1] += kk[[i, j]];
                    sums[2] += rr[[i, j]];
                    counts[1] += 1.0;
                }
            }
        }
        let [kr, kk, rr] = [sums[0] / counts[0], sums[1] / counts[1], sums[2] / counts[1]];
        (kk > 0.0 && rr > 0.0).then(|| (kr / (kk.sqrt() * rr.sqrt())).sqrt())
    };
    if m < 3 {
        return None;
    }
    let whole = value(m)?;
    let parts: Vec<f64> = (0..m).map(value).collect::<Option<_>>()?;
    let mean = parts.iter().sum::<f64>() / m as f64;
    let squares: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
    Some((whole, (squares * (m - 1) as f64 / m as f64).sqrt()))
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::super::parts::tests::{cosine as wave, noise};
    use super::*;
    use crate::config::Task;
    use crate::progress::{excluded, restricted};

    fn normals(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut rng))
    }

    /// Gradients are central differences of the losses of `progress`, for a sum and a product.
    #[test]
    fn gradients_are_differences() {
        let (p, keys, step) = (7, [2], 1e-5);
        for (task, protocol) in [
            (Task::Add, Protocol::SumDirs),
            (Task::Sub, Protocol::Block3x3),
            (Task::Mul, Protocol::SumDirs),
        ] {
            let group = Group::of(task, p).unwrap();
            let inputs: Vec<usize> = group.inputs().into_iter().step_by(3).collect();
            let logits = noise(p, 2.0, 1) + wave(p, 2) * 2.0;
            let v = noise(p, 1.0, 2);
            let losses = |t: f64| {
                let logits = &logits + &(&v * t);
                let table = LogitTable::new(logits.view(), &group, protocol);
                let part = table.component(&keys);
                [
                    excluded(logits.view(), &table, &part, &inputs).mean().unwrap(),
                    restricted(&table, &part, &inputs).mean().unwrap(),
                ]
            };
            let table = LogitTable::new(logits.view(), &group, protocol);
            let found = loss_gradients(logits.view(), &table, protocol, &keys, &inputs);
            let (up, down) = (losses(step), losses(-step));
            for i in 0..2 {
                let slope = (up[i] - down[i]) / (2.0 * step);
                let along = (&found[i] * &v).sum() / inputs.len() as f64;
                assert!((along - slope).abs() < 1e-8, "{task} {i}: {along} {slope}");
            }
        }
    }

    #[test]
    fn parts_of_a_function_are_orthogonal_and_add_up() {
        let p = 7;
        let group = Group::of(Task::Mul, p).unwrap();
        let x = noise(p, 1.0, 1);
        let [key, rest] = key_and_rest(x.view(), &group, Protocol::SumDirs, &[1, 3]);
        assert!((&key * &rest).sum().abs() < 1e-12);
        let own = group.inputs();
        let mean = x.select(Axis(0), &own).mean_axis(Axis(0)).unwrap();
        for input in 0..p * p {
            let sum: Array1<f64> = &key.row(input) + &rest.row(input);
            let expected = if own.contains(&input) { &x.row(input) - &mean } else { &sum * 0.0 };
            assert!((sum - expected).iter().all(|x| x.abs() < 1e-13));
        }
    }

    #[test]
    fn cosines_of_tiny_gradients() {
        let x: Vec<f64> = [3.0, 4.0].map(|x| x * 1e-200).into();
        assert!((cosine(&x, &x).unwrap() - 1.0).abs() < 1e-15);
        let minus: Vec<f64> = x.iter().map(|x| -x * 1e-50).collect();
        assert!((cosine(&x, &minus).unwrap() + 1.0).abs() < 1e-15);
        assert!(cosine(&x, &[4.0, -3.0]).unwrap().abs() < 1e-15);
        assert_eq!(cosine(&x, &[0.0, 0.0]), None);
    }

    /// Of a Jacobian that is small enough to be there: the estimate is the dense value within three
    /// standard errors in at least 18 of 20 trials, and the standard error is their scatter.
    #[test]
    fn probes_estimate_the_dense_cross_term() {
        let (p, weights, m) = (5, 12, 24);
        let group = Group::additive(p);
        let jacobian = normals(p * p * p, weights, 1); // of the logits, [p³, weights]
        let parts = |x: ArrayView2<'_, f64>| key_and_rest(x, &group, Protocol::SumDirs, &[2]);
        let mut dense = [jacobian.clone(), jacobian.clone()];
        for weight in 0..weights {
            let column = jacobian.column(weight).to_owned();
            let column = column.into_shape_with_order((p * p, p)).unwrap();
            for (dense, part) in dense.iter_mut().zip(parts(column.view())) {
                let part = part.into_shape_with_order(p * p * p).unwrap();
                dense.column_mut(weight).assign(&part);
            }
        }
        let norm = |x: &Array2<f64>, y: &Array2<f64>| {
            x.dot(&y.t()).iter().map(|x| x * x).sum::<f64>().sqrt()
        };
        let [key, rest] = &dense;
        let exact = norm(key, rest) / (norm(key, key) * norm(rest, rest)).sqrt();
        let mut found = Vec::new();
        for trial in 0..20 {
            let probes = normals(m, p * p * p, 100 + trial);
            let mut of = [Vec::new(), Vec::new()];
            for probe in probes.rows() {
                let probe = probe.to_owned().into_shape_with_order((p * p, p)).unwrap();
                for (of, part) in of.iter_mut().zip(parts(probe.view())) {
                    let part = part.into_shape_with_order(p * p * p).unwrap();
                    of.push(part.dot(&jacobian).to_vec());
                }
            }
            found.push(cross(&of[0], &of[1]).unwrap());
        }
        let within = found.iter().filter(|(value, error)| (value - exact).abs() < 3.0 * error);
        assert!(within.count() >= 18, "{exact}: {found:?}");
        let mean = found.iter().map(|(value, _)| value).sum::<f64>() / 20.0;
        let scatter = found.iter().map(|(x, _)| (x - mean).powi(2)).sum::<f64>() / 19.0;
        let stated = found.iter().map(|(_, error)| error * error).sum::<f64>() / 20.0;
        assert!((0.4..2.5).contains(&(stated / scatter)), "{stated} {scatter}");
        assert!((mean - exact).abs() < 3.0 * (scatter / 20.0).sqrt() + 0.01, "{mean} {exact}");
    }

    /// Parts that no weight shares have no cross term; the same metric on the weights gives 1.
    #[test]
    fn the_ends_of_the_scale() {
        let x = normals(6, 40, 3);
        let rows = |x: &Array2<f64>| x.rows().into_iter().map(|row| row.to_vec()).collect();
        let apart = |first: bool| -> Vec<Vec<f64>> {
            let mut x = x.clone();
            x.indexed_iter_mut()
                .for_each(|((_, j), x)| *x *= f64::from(u8::from((j < 20) == first)));
            rows(&x)
        };
        assert!(cross(&apart(true), &apart(false)).unwrap().0 < 1e-300);
        // One weight: every kernel has rank one, and the metrics are numbers.
        let one = |seed| -> Vec<Vec<f64>> { rows(&normals(400, 1, seed)) };
        let (value, error) = cross(&one(1), &one(2)).unwrap();
        assert!((value - 1.0).abs() < 0.02 && error < 0.1, "{value} {error}");
        let nothing = vec![vec![0.0; 40]; 6];
        let some: Vec<Vec<f64>> = rows(&x);
        assert_eq!(cross(&some, &nothing), None);
        assert_eq!(cross(&some[..2], &some[..2]), None);
    }
}
