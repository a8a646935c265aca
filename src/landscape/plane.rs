//! Planes through weight space, and where checkpoints lie on them.
//!
//! The two directions need not be unit vectors, nor at right angles: coordinates come from solving
//! with their Gram matrix. (Dividing an inner product by ‖d‖ instead of ‖d‖², as published plotting
//! code does, is right for unit vectors alone.)
//!
//! Source: Li et al. (2018), arXiv:1712.09913, sections 2 and 7.

use crate::linalg::kernels::{axpy, dot};

/// Directions whose angle has a smaller sine span no plane: coordinates would be differences of
/// huge numbers.
const SMALLEST_SINE: f64 = 1e-6;

/// `θ(x, y) = θ* + x d₁ + y d₂`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// θ*
    pub origin: Vec<f64>,
    /// d₁ and d₂
    pub directions: [Vec<f64>; 2],
    /// `‖d₁‖²`, `⟨d₁, d₂⟩`, `‖d₂‖²`
    gram: [f64; 3],
}

/// Why two directions span no plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoPlane {
    /// One of them, the first or the second, has length 0
    Zero { direction: usize },
    /// They are parallel, or as good as
    Parallel { degrees: f64 },
    /// One of them has an entry that is NaN or infinite, or a length beyond the range of f64
    NonFinite,
}

impl std::fmt::Display for NoPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Zero { direction } => write!(f, "direction {direction} has length 0"),
            Self::Parallel { degrees } => {
                write!(f, "the directions are parallel: the angle between them is {degrees:.2e}°")
            }
            Self::NonFinite => f.write_str("a direction is not finite"),
        }
    }
}

/// A point seen from a plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// Coordinates of the nearest point of the plane
    pub x: f64,
    pub y: f64,
    /// Distance to it
    pub residual_norm: f64,
    /// The same over the distance from the origin; none at the origin itself
    pub residual_fraction: Option<f64>,
}

impl Plane {
    /// The plane through a point along two directions.
    ///
    /// # Errors
    /// [`NoPlane`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(origin: Vec<f64>, first: Vec<f64>, second: Vec<f64>) -> Result<Self, NoPlane> {
        assert!(first.len() == origin.len() && second.len() == origin.len());
        let gram = [dot(&first, &first), dot(&first, &second), dot(&second, &second)];
        if !gram.iter().chain(&origin).all(|value| value.is_finite()) {
            return Err(NoPlane::NonFinite);
        }
        for (direction, square) in [(1, gram[0]), (2, gram[2])] {
            if square <= 0.0 {
                return Err(NoPlane::Zero { direction });
            }
        }
        // From what is left of the second, not from the cosine, which is blind below 1e-8.
        let mut left = second.clone();
        axpy(-gram[1] / gram[0], &first, &mut left);
        let sine = (dot(&left, &left) / gram[2]).sqrt();
        if sine < SMALLEST_SINE {
            return Err(NoPlane::Parallel { degrees: sine.asin().to_degrees() });
        }
        Ok(Self { origin, directions: [first, second], gram })
    }

    /// The plane through three points: the first is the origin, the directions are unit vectors at
    /// right angles, the first of them towards the second point (Gram–Schmidt of B − A and C − A).
    ///
    /// # Errors
    /// [`NoPlane`] for points on a line.
    pub fn through(a: &[f64], b: &[f64], c: &[f64]) -> Result<Self, NoPlane> {
        let minus = |x: &[f64]| -> Vec<f64> { x.iter().zip(a).map(|(x, a)| x - a).collect() };
        let plane = Self::new(a.to_vec(), minus(b), minus(c))?.orthogonal();
        let [mut first, mut second] = plane.directions;
        for direction in [&mut first, &mut second] {
            let norm = dot(direction, direction).sqrt();
            direction.iter_mut().for_each(|x| *x /= norm);
        }
        Self::new(plane.origin, first, second)
    }

    /// The same plane with its second direction at right angles to the first; its length changes
    /// with it.
    #[must_use]
    pub fn orthogonal(mut self) -> Self {
        // Twice is enough: the second time only removes rounding.
        for _ in 0..2 {
            let [first, second] = &mut self.directions;
            axpy(-dot(first, second) / dot(first, first), first, second);
        }
        let [first, second] = &self.directions;
        self.gram = [dot(first, first), dot(first, second), dot(second, second)];
        self
    }

    /// Lengths of the directions.
    #[must_use]
    pub fn norms(&self) -> [f64; 2] {
        [self.gram[0].sqrt(), self.gram[2].sqrt()]
    }

    /// Cosine of the angle between the directions.
    #[must_use]
    pub fn cosine(&self) -> f64 {
        self.gram[1] / (self.gram[0] * self.gram[2]).sqrt()
    }

    /// `θ* + x d₁ + y d₂`; at (0, 0) exactly the origin.
    #[must_use]
    pub fn point(&self, x: f64, y: f64) -> Vec<f64> {
        let mut point = self.origin.clone();
        for (coordinate, direction) in [x, y].into_iter().zip(&self.directions) {
            if coordinate.abs() > 0.0 {
                axpy(coordinate, direction, &mut point);
            }
        }
        point
    }

    /// The point of the plane that is nearest to `theta`.
    ///
    /// ```text
    /// [x y]ᵀ = G⁻¹ [⟨θ − θ*, d₁⟩ ⟨θ − θ*, d₂⟩]ᵀ,   G_ij = ⟨d_i, d_j⟩
    /// ```
    /// The residual is taken from the vectors themselves, so that it is small to rounding for points
    /// of the plane.
    ///
    /// # Panics
    /// If the length is another than the origin's.
    #[must_use]
    pub fn project(&self, theta: &[f64]) -> Projection {
        assert_eq!(theta.len(), self.origin.len());
        let mut left: Vec<f64> = theta.iter().zip(&self.origin).map(|(t, o)| t - o).collect();
        let distance = dot(&left, &left).sqrt();
        let [first, second] = &self.directions;
        let [a, b, c] = self.gram;
        let determinant = a * c - b * b;
        let solve = |u: f64, v: f64| ((c * u - b * v) / determinant, (a * v - b * u) / determinant);
        let (mut x, mut y) = (0.0, 0.0);
        // The second time refines what rounding left, which matters where d₁ and d₂ are nearly
        // parallel.
        for _ in 0..2 {
            let (dx, dy) = solve(dot(&left, first), dot(&left, second));
            axpy(-dx, first, &mut left);
            axpy(-dy, second, &mut left);
            (x, y) = (x + dx, y + dy);
        }
        let residual_norm = dot(&left, &left).sqrt();
        let residual_fraction = (distance > 0.0).then(|| (residual_norm / distance).min(1.0));
        Projection { x, y, residual_norm, residual_fraction }
    }
}

/// Evenly spaced places on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    /// At least two
    pub points: usize,
}

impl Axis {
    /// The `i`-th place; the ends are exact, and so is 0 in the middle of an odd number of places
    /// from −r to r.
    #[must_use]
    pub fn at(&self, i: usize) -> f64 {
        let share = i as f64 / (self.points - 1) as f64;
        (1.0 - share) * self.from + share * self.to
    }

    /// An axis over all of these values and a margin on both sides; `None` without values.
    pub fn around(
        values: impl IntoIterator<Item = f64>,
        margin: f64,
        points: usize,
    ) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        (low <= high).then_some(Self { from: low - margin, to: high + margin, points })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parallel_directions_are_refused_with_their_angle() {
        let origin = vec![0.0; 3];
        let of = |first: [f64; 3], second: [f64; 3]| {
            Plane::new(origin.clone(), first.to_vec(), second.to_vec())
        };
        let parallel = of([1.0, 2.0, 3.0], [2.0, 4.0, 6.0 + 1e-7]).unwrap_err();
        assert!(
            matches!(parallel, NoPlane::Parallel { degrees } if degrees < 1e-5),
            "{parallel:?}"
        );
        assert!(parallel.to_string().contains("the angle between them is "));
        let opposite = of([1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]).unwrap_err();
        assert!(matches!(opposite, NoPlane::Parallel { .. }), "{opposite:?}");
        let near = of([1.0, 0.0, 0.0], [1.0, 1e-5, 0.0]).unwrap();
        assert!((near.cosine() - 1.0 / (1.0 + 1e-10f64).sqrt()).abs() < 1e-15);
        let zero = of([1.0, 0.0, 0.0], [0.0; 3]).unwrap_err();
        assert_eq!(zero.to_string(), "direction 2 has length 0");
        assert_eq!(of([f64::NAN, 0.0, 0.0], [1.0, 0.0, 0.0]), Err(NoPlane::NonFinite));
        assert!(Plane::through(&[0.0; 2], &[1.0, 1.0], &[3.0, 3.0]).is_err());
    }

    /// Three corners of a right triangle: A is the origin, B on the first axis.
    #[test]
    fn three_points_lie_where_they_should() {
        let (a, b, c) = ([1.0, 1.0, 0.0], [1.0, 4.0, 0.0], [1.0, 1.0, -2.0]);
        let plane = Plane::through(&a, &b, &c).unwrap();
        for (point, x, y) in [(a, 0.0, 0.0), (b, 3.0, 0.0), (c, 0.0, 2.0)] {
            let found = plane.project(&point);
            assert!((found.x - x).abs() < 1e-15 && (found.y - y).abs() < 1e-15, "{found:?}");
            assert!(found.residual_norm < 1e-15);
        }
        assert_eq!(plane.project(&a).residual_fraction, None);
        assert_eq!(plane.point(0.0, 0.0), a);
        let off = plane.project(&[6.0, 1.0, 0.0]);
        assert_eq!((off.residual_norm, off.residual_fraction), (5.0, Some(1.0)));
        assert!((plane.cosine(), plane.norms()) == (0.0, [1.0, 1.0]));
    }

    #[test]
    fn axes_have_exact_ends_and_an_exact_middle() {
        let axis = Axis { from: -0.3, to: 0.3, points: 51 };
        assert_eq!([axis.at(0), axis.at(25), axis.at(50)], [-0.3, 0.0, 0.3]);
        let around = Axis::around([1.0, -2.0, 0.5], 0.25, 3).unwrap();
        assert_eq!([around.at(0), around.at(1), around.at(2)], [-2.25, -0.5, 1.25]);
        assert_eq!(Axis::around([], 1.0, 3), None);
    }

    proptest! {
        /// A point with known coordinates and a known part at right angles to the plane comes back,
        /// for directions of any length and angle: the formula that divides by ‖d‖ would not.
        #[test]
        fn coordinates_are_those_of_the_gram_solve(
            values in prop::collection::vec(-1.0..1.0f64, 4 * 6), x in -3.0..3.0f64, y in -3.0..3.0f64,
            long in 1e-3..1e3f64, lean in 0.0..0.999f64,
        ) {
            let part = |i: usize| values[6 * i..6 * (i + 1)].to_vec();
            let first: Vec<f64> = part(1).iter().map(|v| long * v).collect();
            let second: Vec<f64> = part(2)
                .iter()
                .zip(&first)
                .map(|(v, f)| (1.0 - lean) * v + lean * f / long)
                .collect();
            prop_assume!(dot(&part(1), &part(1)) > 0.1);
            let Ok(plane) = Plane::new(part(0), first, second) else { return Ok(()) };
            let sine = (1.0 - plane.cosine().powi(2)).sqrt();
            prop_assume!(sine > 1e-3);
            // What of the fourth vector is at right angles to the plane.
            let mut off = part(3);
            let orthogonal = plane.clone().orthogonal();
            prop_assert!(orthogonal.cosine().abs() < 1e-14);
            for direction in &orthogonal.directions {
                let share = dot(&off, direction) / dot(direction, direction);
                axpy(-share, direction, &mut off);
            }
            let mut theta = plane.point(x, y);
            axpy(1.0, &off, &mut theta);
            let found = plane.project(&theta);
            let tolerance = 1e-10 / sine;
            prop_assert!((found.x - x).abs() < tolerance * (1.0 + 1.0 / long), "{found:?} {x}");
            prop_assert!((found.y - y).abs() < tolerance * (1.0 + long), "{found:?} {y}");
            let expected = dot(&off, &off).sqrt();
            prop_assert!((found.residual_norm - expected).abs() < 1e-9 * (1.0 + long), "{found:?}");
        }
    }
}
