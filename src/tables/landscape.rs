//! The loss on lines between two checkpoints: `interpolation` and `barriers`.
//!
//! Every loss on a line is that of table `progress`, at the weights (1−α)θ_from + αθ_to.

use super::status::Status;
use crate::table;

table! {
    /// Losses at one point of the line between two checkpoints of a run.
    ///
    /// The line is θ(α) = (1−α)θ_from + αθ_to; L, CE, mean, K and L_K are those of `progress`, at
    /// the weights θ(α).
    struct InterpolationRow, table "interpolation", version 1,
        key [run, from_step, to_step, alpha];

    /// Run name: the name of its folder.
    run: String,
    /// Step of the checkpoint at α = 0.
    from_step: i64 ["steps"],
    /// Step of the checkpoint at α = 1.
    to_step: i64 ["steps"],
    /// Position α on the line, 0 at `from_step` and 1 at `to_step`.
    alpha: f64,
    /// CE(L) on the training pairs: mean cross-entropy over the p real classes, in f64.
    train_loss: Option<f64> ["nats"],
    /// CE(L) on the held-out pairs; null if every pair is trained on.
    test_loss: Option<f64> ["nats"],
    /// Share of the training pairs whose label has the largest of the p real logits; ties go to
    /// the lowest class.
    train_accuracy: Option<f64> ["fraction"],
    /// Share of the held-out pairs whose label has the largest of the p real logits; ties go to
    /// the lowest class.
    test_accuracy: Option<f64> ["fraction"],
    /// CE(L − L_K) on the training pairs, K from the final checkpoint (excluded loss of Nanda et
    /// al. 2023, arXiv:2301.05217).
    excluded_loss_train: Option<f64> ["nats"],
    /// CE(mean + L_K) on all pairs, K from the final checkpoint (restricted loss of Nanda et al.
    /// 2023, arXiv:2301.05217).
    restricted_loss_all: Option<f64> ["nats"],
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// How far the training loss rises on the line between two checkpoints of a run.
    ///
    /// ℓ(α) is `interpolation.train_loss` at α, over the points of that table.
    struct BarrierRow, table "barriers", version 1, key [run, from_step, to_step];

    /// Run name: the name of its folder.
    run: String,
    /// Step of the checkpoint at α = 0.
    from_step: i64 ["steps"],
    /// Step of the checkpoint at α = 1.
    to_step: i64 ["steps"],
    /// max_α ℓ(α) − ½(ℓ(0) + ℓ(1)).
    barrier_mean: Option<f64> ["nats"],
    /// max_α [ℓ(α) − (1−α)ℓ(0) − αℓ(1)].
    barrier_linear: Option<f64> ["nats"],
    /// max over α₁ ≤ α₂ of ℓ(α₂) − ℓ(α₁): the largest rise; 0 if the loss falls monotonically
    /// (Lucas et al. 2021).
    mli_delta: Option<f64> ["nats"],
    /// `ok`, or why measures are null.
    status: Status,
}
