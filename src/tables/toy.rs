//! The two-basins toy: `toy` and `toy_slice`.

use crate::table;

table! {
    /// Two independent circuits, A and B, at one step of gradient descent on both.
    ///
    /// o_i = Σ_u Π_l w_iul, m_i = κ_i o_i, f(m) = ln(1 + (q−1)e^{−m}); the loss is f(m_A) + f(m_B) or
    /// f(m_A + m_B), plus (λ/2)‖w‖². κ, λ, q, the start and the length of a step stand in the file's
    /// metadata, under `toy`.
    struct ToyRow, table "toy", version 1, key [model, setting, step];

    /// `loss`: the losses of the circuits are added; `logit`: their outputs are.
    model: String,
    /// Width (units of a circuit), depth (factors of a unit) and dimension (number of weights).
    setting: String,
    /// Steps of gradient descent taken.
    step: i64 ["steps"],
    /// Steps times their length: the time t of gradient flow.
    time: f64,
    /// The loss of both, without the decay.
    total_loss: f64 ["nats"],
    /// f(m_A): the loss of circuit A alone.
    loss_a: f64 ["nats"],
    /// f(m_B): the loss of circuit B alone.
    loss_b: f64 ["nats"],
    /// Output o_A of circuit A.
    output_a: f64,
    /// Output o_B of circuit B.
    output_b: f64,
    /// −⟨∇o_A, ∇loss⟩: how fast gradient flow moves o_A, without the decay.
    rate_a: f64,
    /// −⟨∇o_B, ∇loss⟩: how fast gradient flow moves o_B, without the decay.
    rate_b: f64,
    /// [ln(o_A(t)/o_A(0)) + 2λt]/κ_A: the same as `invariant_b` for depth 2 and logits added, up to the
    /// length of a step; null once o_A has vanished.
    invariant_a: Option<f64>,
    /// The same of circuit B.
    invariant_b: Option<f64>,
    /// Shapley's share of B in the fall of the loss; null while it has fallen by at most 0.01 nats.
    share_b: Option<f64>,
    /// 1 − Var(total_loss − loss_a)/Var(total_loss) over a slice along two random directions, each unit
    /// of a circuit scaled to its weights (filter normalisation): 1 if the slice shows A alone.
    visible_a: Option<f64>,
    /// The same of circuit B.
    visible_b: Option<f64>,
    /// As `visible_a`, along directions as long as all weights together.
    plain_a: Option<f64>,
    /// As `visible_b`, along directions as long as all weights together.
    plain_b: Option<f64>,
    /// Slope of ln rate_b on ln total_loss, with ln output_b as second regressor, while A has fitted and B has
    /// not (m_A > ln q, m_B < 1): 0 with losses added, 1 with logits added; the same for every step.
    slope_b: Option<f64>,
}

table! {
    /// A point of a slice of the toy's landscape, that of `toy.visible_a`.
    struct ToySliceRow, table "toy_slice", version 1, key [model, setting, step, i, j];

    /// As in `toy`.
    model: String,
    /// As in `toy`.
    setting: String,
    /// Steps of gradient descent taken: when A has just fitted.
    step: i64 ["steps"],
    /// Index of x, from 0.
    i: i64,
    /// Index of y, from 0.
    j: i64,
    /// Coordinate along the first direction, from −1 to 1.
    x: f64,
    /// Coordinate along the second direction, from −1 to 1.
    y: f64,
    /// The loss of both, without the decay.
    total_loss: f64 ["nats"],
    /// The loss of circuit A alone.
    loss_a: f64 ["nats"],
    /// The loss of circuit B alone.
    loss_b: f64 ["nats"],
}
