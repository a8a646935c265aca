//! Where the points of a landscape are, and what its heights say.
//!
//! [`line`](mod@line) has lines and the barriers on them, [`plane`] planes and where checkpoints lie on
//! them, [`filters`] the scale of random directions, [`basins`] what a surface looks like, [`align`]
//! the order of neurons and heads; [`objective`] has the losses whose curvature is
//! measured, [`lanczos`] what products with a Hessian say of its spectrum; [`toy`] is a landscape of its
//! own, small enough to be understood.
//!
//! Conventions: `θ(α) = (1 − α) θ_a + α θ_b` and `θ(x, y) = θ* + x d₁ + y d₂`, exact at the ends and at
//! the origin; losses in nats.
//!
//! Pure: arrays in, arrays out; evaluating the network at a point is the caller's.

pub mod align;
pub mod basins;
pub mod filters;
pub mod lanczos;
pub mod line;
pub mod objective;
pub mod plane;
pub mod toy;

pub use line::{Barriers, alphas, barriers, interpolate};
