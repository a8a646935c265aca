//! How the weights move through their space during training.
//!
//! Conventions: `θ_t` are the weights at step `t`, for the steps that were saved; `θ_0` the first of
//! them, `θ_T` the last. All sums are in f64, pairwise over fixed blocks in the order of the parameters.
//!
//! - [`movement`]: distances, and the angle between adjacent steps.
//! - [`subspace`]: how much of the final leading subspaces is there already.
//! - [`gram`], [`trajectory`]: principal components of all checkpoints, from their inner products.
//! - [`random_walk`]: what principal components say of a walk that goes nowhere.
//!
//! Pure: arrays in, arrays out; which checkpoints there are, and reading them, is the caller's.

pub mod gram;
pub mod movement;
pub mod random_walk;
pub mod subspace;
pub mod trajectory;
