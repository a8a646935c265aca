//! By which scales of the key frequencies and of the rest a loss is smallest.
//!
//! ```text
//! (α*, β*) = argmin f(α, β),   f = CE(mean + α L_K + β L_R)
//! ```
//!
//! f is convex. With u and r the differences of L_K and L_R to the label's, p the softmax,
//!
//! ```text
//! ∇f = E_p (u, r)      Hf = Cov_p (u, r)      averaged over the inputs
//! ```
//!
//! so Newton's method with halved steps finds the minimum, if there is one. There is none if some scales
//! classify every input correctly by themselves, without `mean`: then the loss falls for ever along their
//! ray. Whether there are such scales is decided exactly, by geometry: with the points `(−u_c, −r_c)` of
//! all inputs and all c ≠ y, the margins of αL_K + βL_R are the inner products with (α, β), and they are
//! all positive for some scales if and only if the origin is outside the hull of the points. The point of
//! the hull that is nearest to the origin then has the direction of the largest least margin
//!
//! ```text
//! max_{α² + β² = 1}  min_{inputs, c≠y}  (αL_K + βL_R)_y − (αL_K + βL_R)_c
//! ```
//!
//! which is where the minimum on the disc α² + β² ≤ ρ² goes to as ρ grows (Rosset, Zhu & Hastie 2004,
//! *Margin maximizing loss functions*).

use multiversion::multiversion;

use super::parts::{Gaps, Parts, exponentials, sum};
use crate::linalg::kernels;

/// The scales at which a loss is smallest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scales {
    /// α* and β*
    Finite(f64, f64),
    /// The unit vector along which the loss falls for ever, with the largest least margin
    Ray(f64, f64),
    /// Many scales are as good, because a part vanishes or is a multiple of the other; or Newton's method
    /// does not end
    Undefined,
}

/// Steps of Newton's method, of halving in each, and of the search for the nearest point of the hull.
const MOST_STEPS: usize = 100;

/// A step of Newton's method that is smaller than this share of the scales is the last: the error after it
/// is of the order of its square.
const LAST_STEP: f64 = 1e-8;

/// Ratio of the eigenvalues of the Hessian below which one direction is as good as flat: a part that is
/// 1e-10 of the other, or differs by that from a multiple of it.
const FLAT: f64 = 1e-20;

impl Scales {
    /// Of the loss over these inputs; `None` if there are none.
    ///
    /// # Panics
    /// If an input is not one of the group's.
    #[must_use]
    pub fn new(parts: &Parts<'_>, inputs: &[usize]) -> Option<Self> {
        if inputs.is_empty() {
            return None;
        }
        if let Some([alpha, beta]) = widest_margin(parts, inputs) {
            return Some(Self::Ray(alpha, beta));
        }
        Some(newton(parts, inputs).map_or(Self::Undefined, |[a, b]| Self::Finite(a, b)))
    }

    /// α* and β*, if they are finite.
    #[must_use]
    pub fn finite(&self) -> Option<(f64, f64)> {
        match self {
            Self::Finite(alpha, beta) => Some((*alpha, *beta)),
            _ => None,
        }
    }

    /// Angle of (β*, α*), or of the ray, in degrees: 0 where the rest alone counts, 45 where both count as
    /// they are, 90 where the key frequencies alone count; beyond 90 where the rest is turned round.
    #[must_use]
    pub fn angle(&self) -> Option<f64> {
        match self {
            Self::Finite(alpha, beta) | Self::Ray(alpha, beta) => {
                (*alpha != 0.0 || *beta != 0.0).then(|| alpha.atan2(*beta).to_degrees())
            }
            Self::Undefined => None,
        }
    }
}

/// f, its gradient, and the entries αα, αβ, ββ of its Hessian.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bend {
    loss: f64,
    gradient: [f64; 2],
    hessian: [f64; 3],
}

impl Bend {
    fn new(parts: &Parts<'_>, inputs: &[usize], scales: [f64; 2]) -> Self {
        let (mut gaps, mut scratch) = (Gaps::zeros(parts.classes()), vec![0.0; parts.classes()]);
        let mut total = Self::default();
        for &input in inputs {
            parts.at(input, &mut gaps);
            let row = of_row(&gaps, scales, &mut scratch);
            total.loss += row.loss;
            total.gradient.iter_mut().zip(row.gradient).for_each(|(sum, x)| *sum += x);
            total.hessian.iter_mut().zip(row.hessian).for_each(|(sum, x)| *sum += x);
        }
        let n = inputs.len() as f64;
        Self {
            loss: total.loss / n,
            gradient: total.gradient.map(|x| x / n),
            hessian: total.hessian.map(|x| x / n),
        }
    }

    /// `−H⁻¹ ∇f`; `None` if f is flat in one direction.
    fn step(&self) -> Option<[f64; 2]> {
        let ([a, b, c], [x, y]) = (self.hessian, self.gradient);
        let (trace, determinant) = (a + c, a * c - b * b);
        // The smaller eigenvalue is about determinant/trace.
        let is_bent = determinant > FLAT * trace * trace && trace > 0.0;
        // A correlation of 1 up to rounding leaves no digit of the determinant.
        let is_known = determinant > 8.0 * f64::EPSILON * a * c;
        (is_bent && is_known)
            .then(|| [-(c * x - b * y) / determinant, -(a * y - b * x) / determinant])
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn of_row(gaps: &Gaps, scales: [f64; 2], scratch: &mut [f64]) -> Bend {
    let [alpha, beta] = scales;
    let Gaps { label, mean, key, rest } = gaps;
    for (((z, mean), u), r) in scratch.iter_mut().zip(mean).zip(key).zip(rest) {
        *z = mean + alpha * u + beta * r;
    }
    let (shift, total) = exponentials(scratch);
    let own = scratch[*label];
    let u = kernels::dot(scratch, key) / total;
    let r = kernels::dot(scratch, rest) / total;
    scratch[*label] = 0.0;
    let others = sum(scratch);
    scratch[*label] = own;
    let mut hessian = [0.0; 3];
    for ((p, key), rest) in scratch.iter().zip(key).zip(rest) {
        let (du, dr) = (key - u, rest - r);
        hessian[0] += p * du * du;
        hessian[1] += p * du * dr;
        hessian[2] += p * dr * dr;
    }
    Bend {
        loss: if shift > 0.0 { shift + total.ln() } else { others.ln_1p() },
        gradient: [u, r],
        hessian: hessian.map(|x| x / total),
    }
}

/// The minimum, from the origin, where no softmax is saturated by the two parts; `None` if it does not end.
fn newton(parts: &Parts<'_>, inputs: &[usize]) -> Option<[f64; 2]> {
    const SUFFICIENT: f64 = 1e-4; // share of the predicted fall that a step must bring (Armijo)
    let mut at = [0.0; 2];
    let mut bend = Bend::new(parts, inputs, at);
    for _ in 0..MOST_STEPS {
        let step = bend.step()?;
        let slope = bend.gradient[0] * step[0] + bend.gradient[1] * step[1];
        let moved = |t: f64| [at[0] + t * step[0], at[1] + t * step[1]];
        if step[0].hypot(step[1]) <= LAST_STEP * (1.0 + at[0].hypot(at[1])) {
            return Some(moved(1.0));
        }
        let mut t = 1.0;
        let mut halvings = 0;
        loop {
            let next = Bend::new(parts, inputs, moved(t));
            // Near the minimum the fall is below the rounding of the loss.
            let rounding = 4.0 * f64::EPSILON * bend.loss;
            if next.loss <= bend.loss + SUFFICIENT * t * slope + rounding {
                (at, bend) = (moved(t), next);
                break;
            }
            (t, halvings) = (0.5 * t, halvings + 1);
            if halvings > MOST_STEPS {
                return None;
            }
        }
    }
    None
}

/// The unit vector (α, β) with the largest least margin, if that is positive.
fn widest_margin(parts: &Parts<'_>, inputs: &[usize]) -> Option<[f64; 2]> {
    /// A point is nearer only if it is so by this share: a rounding of the inner products.
    const NEARER: f64 = 1e-12;
    let mut corners = vec![lowest(parts, inputs, [1.0, 1.0])];
    let mut nearest = corners[0];
    for _ in 0..MOST_STEPS {
        let length = dot(nearest, nearest);
        let largest = corners.iter().map(|corner| dot(*corner, *corner)).fold(0.0, f64::max);
        // As near as this, the hull has the origin in it, up to rounding.
        if length <= NEARER * NEARER * largest {
            return None;
        }
        let next = lowest(parts, inputs, nearest);
        if dot(nearest, next) >= length * (1.0 - NEARER) {
            let length = length.sqrt();
            return Some(nearest.map(|x| x / length));
        }
        corners.push(next);
        (nearest, corners) = nearest_point(&corners)?;
    }
    None
}

fn dot(x: [f64; 2], y: [f64; 2]) -> f64 {
    x[0] * y[0] + x[1] * y[1]
}

/// The point of the hull of two or three points that is nearest to the origin, and the corners that it
/// lies between; `None` if the origin is inside.
fn nearest_point(corners: &[[f64; 2]]) -> Option<([f64; 2], Vec<[f64; 2]>)> {
    let cross = |x: [f64; 2], y: [f64; 2]| x[0] * y[1] - x[1] * y[0];
    if let [a, b, c] = corners {
        let sides = [cross(*a, *b), cross(*b, *c), cross(*c, *a)];
        if sides.iter().all(|side| *side > 0.0) || sides.iter().all(|side| *side < 0.0) {
            return None;
        }
    }
    let mut best: Option<([f64; 2], Vec<[f64; 2]>)> = None;
    for (i, a) in corners.iter().enumerate() {
        for b in &corners[i + 1..] {
            let along = [b[0] - a[0], b[1] - a[1]];
            let length = dot(along, along);
            let t = if length > 0.0 { (-dot(*a, along) / length).clamp(0.0, 1.0) } else { 0.0 };
            let point = [a[0] + t * along[0], a[1] + t * along[1]];
            let between = match t {
                _ if t <= 0.0 => vec![*a],
                _ if t >= 1.0 => vec![*b],
                _ => vec![*a, *b],
            };
            if best.as_ref().is_none_or(|(known, _)| dot(point, point) < dot(*known, *known)) {
                best = Some((point, between));
            }
        }
    }
    best
}

/// The point `(−u_c, −r_c)` of all inputs and c ≠ y with the least inner product with `direction`.
fn lowest(parts: &Parts<'_>, inputs: &[usize], direction: [f64; 2]) -> [f64; 2] {
    let (mut gaps, mut scratch) = (Gaps::zeros(parts.classes()), vec![0.0; parts.classes()]);
    let (mut least, mut point) = (f64::INFINITY, [0.0; 2]);
    for &input in inputs {
        parts.at(input, &mut gaps);
        let margin = -highest(&gaps, direction, &mut scratch);
        if margin < least {
            least = margin;
            let c = kernels::argmax(&scratch);
            point = [-gaps.key[c], -gaps.rest[c]];
        }
    }
    point
}

/// `αu + βr` in `scratch`, −∞ at the label; and its maximum.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn highest(gaps: &Gaps, direction: [f64; 2], scratch: &mut [f64]) -> f64 {
    let [alpha, beta] = direction;
    for ((z, u), r) in scratch.iter_mut().zip(&gaps.key).zip(&gaps.rest) {
        *z = alpha * u + beta * r;
    }
    scratch[gaps.label] = f64::NEG_INFINITY;
    kernels::max(scratch)
}

#[cfg(test)]
mod tests;
