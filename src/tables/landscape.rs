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
        key [run, from_step, to_step, to_run, alignment, alpha];

    /// Run name: the name of its folder.
    run: String,
    /// Step of the checkpoint at α = 0.
    from_step: i64 ["steps"],
    /// Step of the checkpoint at α = 1.
    to_step: i64 ["steps"],
    /// Run of the checkpoint at α = 1, for most lines the same as `run`. Splits, labels and K are
    /// always those of `run`.
    to_run: String,
    /// `permuted`: neurons and heads of the checkpoint at α = 1 were put into the order that best
    /// matches the other; `none`: both are as they were saved.
    alignment: String,
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
    struct BarrierRow, table "barriers", version 1,
        key [run, from_step, to_step, to_run, alignment];

    /// Run name: the name of its folder.
    run: String,
    /// Step of the checkpoint at α = 0.
    from_step: i64 ["steps"],
    /// Step of the checkpoint at α = 1.
    to_step: i64 ["steps"],
    /// Run of the checkpoint at α = 1, for most lines the same as `run`. Splits, labels and K are
    /// always those of `run`.
    to_run: String,
    /// `permuted`: neurons and heads of the checkpoint at α = 1 were put into the order that best
    /// matches the other; `none`: both are as they were saved.
    alignment: String,
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

table! {
    /// Losses at one point of a grid on a plane through weight space.
    ///
    /// The plane is θ(x, y) = θ* + x d₁ + y d₂; what θ*, d₁ and d₂ are, their lengths and the cosine
    /// between them stand in the file's metadata, under `planes`. L, CE, mean, K and L_K are those of
    /// `progress`, at the weights θ(x, y).
    struct SurfaceRow, table "surface", version 1, key [run, plane, i, j];

    /// Run name: the name of its folder.
    run: String,
    /// What the plane goes through: `three:A,B,C`, `random:SEED@STEP`, `pca` or `hessian:STEP`; and
    /// `radius R`, where the grid was given one.
    plane: String,
    /// Index of x, from 0.
    i: i64,
    /// Index of y, from 0.
    j: i64,
    /// Coordinate along d₁, in lengths of d₁; a unit vector in planes other than `random`.
    x: f64,
    /// Coordinate along d₂, in lengths of d₂; a unit vector in planes other than `random`.
    y: f64,
    /// CE(L) on the training pairs: mean cross-entropy over the p real classes, in f64.
    train_loss: Option<f64> ["nats"],
    /// CE(L) on the held-out pairs; null if every pair is trained on.
    test_loss: Option<f64> ["nats"],
    /// CE(L − L_K) on the training pairs, K from the final checkpoint (excluded loss of Nanda et
    /// al. 2023, arXiv:2301.05217).
    excluded_loss_train: Option<f64> ["nats"],
    /// CE(mean + L_K) on all pairs, K from the final checkpoint (restricted loss of Nanda et al.
    /// 2023, arXiv:2301.05217).
    restricted_loss_all: Option<f64> ["nats"],
    /// `ok`, or why losses are null: `overflow` where the network leaves the range of f64.
    status: Status,
}

table! {
    /// One checkpoint of a run, seen from a plane of table `surface`.
    ///
    /// θ' is the point of the plane nearest to the checkpoint's weights θ. No trajectory means
    /// anything on a contour without its distance from it.
    struct PlanePointRow, table "plane_points", version 1, key [run, plane, step];

    /// Run name: the name of its folder.
    run: String,
    /// The plane, as in `surface`.
    plane: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Coordinate of θ' along d₁, in lengths of d₁: [x y]ᵀ = G⁻¹[⟨θ − θ*, d₁⟩ ⟨θ − θ*, d₂⟩]ᵀ with
    /// G_ij = ⟨d_i, d_j⟩.
    x: Option<f64>,
    /// Coordinate of θ' along d₂, in lengths of d₂.
    y: Option<f64>,
    /// ‖θ − θ'‖: distance from the plane.
    residual_norm: Option<f64> ["weight"],
    /// `residual_norm` over ‖θ − θ*‖; null at θ* itself.
    residual_fraction: Option<f64>,
    /// CE(L) on the training pairs, of the checkpoint itself.
    train_loss: Option<f64> ["nats"],
    /// CE(L) on the training pairs, at θ'.
    train_loss_at_projection: Option<f64> ["nats"],
    /// CE(L) on the held-out pairs, of the checkpoint itself; null if every pair is trained on.
    test_loss: Option<f64> ["nats"],
    /// CE(L − L_K) on the training pairs, of the checkpoint itself.
    excluded_loss_train: Option<f64> ["nats"],
    /// CE(mean + L_K) on all pairs, of the checkpoint itself.
    restricted_loss_all: Option<f64> ["nats"],
    /// `ok`, or why values are null; the losses at θ' may be null on their own, where they overflow.
    status: Status,
}

table! {
    /// One of the largest eigenvalues of the Hessian of a loss at a checkpoint.
    ///
    /// H is the matrix of second derivatives with respect to all weights; those of ReLU are 0. L, CE,
    /// mean, K and L_K are those of `progress`.
    struct CurvatureRow, table "curvature", version 1, key [run, step, loss, index];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// `train` and `test`: CE(L) on those pairs; `excluded`: CE(L − L_K) on the training pairs;
    /// `restricted`: CE(mean + L_K) on all pairs.
    loss: String,
    /// Rank of the eigenvalue, 0 for the largest.
    index: i64,
    /// λ_i, by Lanczos steps with full reorthogonalisation.
    eigenvalue: Option<f64> ["nats/weight²"],
    /// ‖H v_i − λ_i v_i‖ of its vector of unit length: λ_i is that close to an eigenvalue.
    residual: Option<f64> ["nats/weight²"],
    /// tr H, by Hutchinson's estimate over the probes of `spectral_density`; the same for every i.
    trace: Option<f64> ["nats/weight²"],
    /// Standard error of `trace` over the probes; null with a single one.
    trace_standard_error: Option<f64> ["nats/weight²"],
    /// `ok`, or why values are null.
    status: Status,
}

table! {
    /// A node of the spectral density of a Hessian, seen from one random vector.
    ///
    /// Nodes and weights are those of Gauss quadrature by Lanczos steps from a vector of random signs:
    /// Σ weight · node^k is an estimate of tr H^k / n, n the number of weights. The density is the mean
    /// over the probes; no kernel has been laid over it (Ghorbani et al. 2019, arXiv:1901.10159).
    struct SpectralDensityRow, table "spectral_density", version 1,
        key [run, step, loss, probe, index];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// The loss, as in `curvature`.
    loss: String,
    /// Number of the random vector, from 0.
    probe: i64,
    /// Rank of the node, 0 for the smallest.
    index: i64,
    /// Place of the node.
    node: f64 ["nats/weight²"],
    /// Its weight; those of a probe sum to 1.
    weight: f64,
}

table! {
    /// A basin of one surface of a plane.
    ///
    /// The surface is flooded from below; where two floods meet, at a saddle, the one with the higher
    /// minimum ends. Neighbours are the eight around a point; points without a loss are walls.
    struct BasinRow, table "basins", version 1, key [run, plane, loss, basin];

    /// Run name: the name of its folder.
    run: String,
    /// The plane, as in `surface`.
    plane: String,
    /// Column of `surface`: `train_loss`, `test_loss`, `excluded_loss_train` or
    /// `restricted_loss_all`.
    loss: String,
    /// Rank of its minimum, 0 for the lowest.
    basin: i64,
    /// Place of its minimum along d₁, in lengths of d₁.
    x: f64,
    /// Place of its minimum along d₂, in lengths of d₂.
    y: f64,
    /// The loss there.
    minimum: f64 ["nats"],
    /// Whether the minimum is on the edge of the grid: the surface may go down beyond it.
    on_edge: bool,
    /// The basin that it ends in; null if it meets no deeper one.
    ends_in: Option<i64>,
    /// Loss at the saddle where it ends.
    saddle: Option<f64> ["nats"],
    /// `saddle` − `minimum`.
    depth: Option<f64> ["nats"],
    /// 2√(A/π), A the area below the saddle, or of the whole flood without one: in weights.
    width: f64 ["weight"],
}

table! {
    /// How much of the training loss around a plane's origin another loss explains.
    ///
    /// Over the points of `surface` at most `radius` from the origin, train_loss is fitted by a straight
    /// line in the other loss.
    struct ResemblanceRow, table "resemblance", version 1, key [run, plane, loss, radius];

    /// Run name: the name of its folder.
    run: String,
    /// The plane, as in `surface`.
    plane: String,
    /// Column of `surface`: `test_loss`, `excluded_loss_train` or `restricted_loss_all`.
    loss: String,
    /// Distance from the origin: an eighth, a quarter, half and all of the way to the farthest point.
    radius: f64 ["weight"],
    /// Number of points with both losses.
    points: i64,
    /// Share of the variance of train_loss that the line explains, in [0, 1]; null with fewer than
    /// three points, or if a loss does not vary.
    r_squared: Option<f64>,
    /// Slope of the line.
    slope: Option<f64>,
}
