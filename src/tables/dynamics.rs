//! How the weights move: `movement` and `trajectory`.
//!
//! Sources: Li et al. (2018), arXiv:1712.09913 (trajectories); Antognini & Sohl-Dickstein (2018),
//! arXiv:1806.08805 (the shares that a random walk has).

use super::status::Status;
use crate::table;

table! {
    /// How far one tensor of one checkpoint has come, and how far it has to go.
    ///
    /// θ_t are the weights at this step; θ_0 and θ_T those of the first and of the last checkpoint
    /// of the run. The rows with tensor `all` are of all parameters together (a tensor that is
    /// itself called so has no row of its own); buffers, named `mask` or `IGNORE`, do not count.
    /// Subspaces are of singular vectors, slice by slice for tensors with more than two axes.
    struct MovementRow, table "movement", version 1, key [run, step, tensor];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Name of the tensor in the checkpoint, or `all`.
    tensor: String,
    /// ‖θ_t − θ_0‖.
    distance_from_init: Option<f64> ["weight"],
    /// Distance from the weights saved before; null for the first checkpoint.
    distance_from_previous: Option<f64> ["weight"],
    /// ‖θ_T − θ_t‖.
    distance_to_final: Option<f64> ["weight"],
    /// Cosine of the angle between the step from the weights saved before and the step to those
    /// saved after, in [−1, 1]; null for the first and the last checkpoint, and if either step is
    /// zero.
    cosine_of_steps: Option<f64>,
    /// ½ (‖U_tᵀU_T‖_F² + ‖V_tᵀV_T‖_F²) / r, in [0, 1], of the r leading left and right singular
    /// vectors, r the rounded participation ratio of the final matrix, at most M − 1; chance gives
    /// (r/2)(1/m + 1/n). Null for vectors, for `all`, for M = 1, and where the gap σ_r − σ_{r+1} of
    /// either matrix is at most the `tol` of `spectra.rank`.
    subspace_overlap_final: Option<f64>,
    /// `ok`, or why values are null: a checkpoint to compare with cannot be used (`missing`) or
    /// has another shape.
    status: Status,
}

table! {
    /// One checkpoint on the principal components of its run's path.
    ///
    /// The components are those of all usable checkpoints of the run, about their weighted mean; by
    /// default each weighs ω_t, half the number of steps between its two neighbours. λ_i are their
    /// eigenvalues. Of a random walk, evenly sampled in many dimensions, component i explains
    /// 6/(π² i²).
    struct TrajectoryRow, table "trajectory", version 1, key [run, step];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Distance from the mean along the first component, whose sign is such that the last
    /// checkpoint is at pc1 ≥ 0.
    pc1: Option<f64> ["weight"],
    /// The same along the second.
    pc2: Option<f64> ["weight"],
    /// The same along the third.
    pc3: Option<f64> ["weight"],
    /// λ_1/Σλ, the same for every checkpoint of a run; null if the weights never move.
    explained_1: Option<f64>,
    /// λ_2/Σλ, as for the first.
    explained_2: Option<f64>,
    /// λ_3/Σλ, as for the first.
    explained_3: Option<f64>,
    /// Distance from the space that the three components span; 0 below about 1e-8 of the largest
    /// distance, where it is rounding.
    residual_norm: Option<f64> ["weight"],
    /// `residual_norm` over the distance from the mean; null at the mean itself.
    residual_fraction: Option<f64>,
    /// `ok`; `missing` if the last checkpoint cannot be used or this one lacks a tensor of it,
    /// `shape_changed`, `non_finite`: then this checkpoint is not among those of the components.
    status: Status,
}
