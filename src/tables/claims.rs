//! The essay's claims: `arrow`, `shares`, `onset` and `claims`.
//!
//! The definitions, with what each is compared with, stand in docs/claims.md.

use super::status::Status;
use crate::table;

table! {
    /// How fast the update from step t to t+1 moves the logit coefficient of one frequency.
    ///
    /// Rates are per unit of learning rate. c_k is `frequencies.logit_coefficient`, θ the weights, g the
    /// gradient of the training loss as it is optimised, m̂ and v̂ the moments of AdamW after taking in g,
    /// λ the weight decay. The four columns about W_E and W_U are sums over the two rows (cosine, sine) of k
    /// in the Fourier basis over tokens and over classes; they add up over frequencies.
    struct ArrowRow, table "arrow", version 2, key [run, step, frequency];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Frequency k, 1 to (p−1)/2.
    frequency: i64 ["cycles/p"],
    /// Whether k is one of the key frequencies of the run, fixed by its final checkpoint.
    is_key: bool,
    /// −⟨∇c_k, g⟩: by the gradient of the cross-entropy.
    rate_ce: Option<f64> ["logits"],
    /// −⟨∇c_k, m̂/(√v̂+ε)⟩: by the step of the optimiser without its decay (sgd: by its momentum).
    rate_adam: Option<f64> ["logits"],
    /// −λ⟨∇c_k, θ⟩: by weight decay.
    rate_decay: Option<f64> ["logits"],
    /// `rate_adam` + `rate_decay`: by the whole step.
    rate_total: Option<f64> ["logits"],
    /// (`rate_total` − mean)/s.d. over the other frequencies that are no key, no harmonic of a key and
    /// not above the threshold in W_E.
    z_nonkey: Option<f64>,
    /// (`rate_total` − mean)/s.d. over the rates of all cos w_k(a−b−c), the mirrored directions.
    z_mirror: Option<f64>,
    /// The mean over frequencies of `rate_total` less the rate of the mirrored direction, in its standard
    /// errors: Student's paired t, as the normal score with the same tail; the same in all rows of a
    /// step.
    z_mirror_mean: Option<f64>,
    /// (`rate_ce` − mean)/s.d. over permutations of the training labels, `--labels` of them, at the same
    /// weights; at the steps of `--labels-at`, in the runs of `--labels-of`.
    z_label: Option<f64>,
    /// The mean of `rate_ce` over all frequencies in standard scores of its means under the same
    /// permutations; the same in all rows of a step.
    z_label_mean: Option<f64>,
    /// ‖Π_k g‖²/‖g‖² with g over the residues of W_E and W_U; chance is 2/p.
    gradient_share: Option<f64> ["fraction"],
    /// ‖Π_k g‖².
    gradient_sq: Option<f64>,
    /// −⟨Π_k g, Π_k(θ_T − θ)⟩, with θ_T the weights of the final checkpoint.
    descent_dot_final: Option<f64>,
    /// ‖Π_k(θ_T − θ)‖².
    distance_sq_final: Option<f64> ["weight²"],
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// Which part of the logits the loss owes its fall to: the key frequencies or the rest.
    ///
    /// L = mean + L_K + L_R as in `progress`. v(S) = CE(mean + Σ_{X∈S} L_X); KR is both.
    /// Shapley's share of K is ½[(v(∅)−v(K)) + (v(R)−v(KR))], that of the rest likewise.
    struct SharesRow, table "shares", version 2, key [run, step];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Shapley's share of the key frequencies, training pairs.
    shapley_key_train: Option<f64> ["nats"],
    /// The same on the held-out pairs.
    shapley_key_test: Option<f64> ["nats"],
    /// Shapley's share of the rest, training pairs.
    shapley_rest_train: Option<f64> ["nats"],
    /// The same on the held-out pairs.
    shapley_rest_test: Option<f64> ["nats"],
    /// `shapley_key_train` over the sum of both; null if the sum is at most 0.01 nats.
    share_key_train: Option<f64> ["fraction"],
    /// The same on the held-out pairs.
    share_key_test: Option<f64> ["fraction"],
    /// v(KR) − v(K) − v(R) + v(∅), training pairs: 0 if the two parts do not interfere.
    interaction_train: Option<f64> ["nats"],
    /// The same on the held-out pairs.
    interaction_test: Option<f64> ["nats"],
    /// Change of the training loss since the previous save that the change of `mean` made:
    /// ∫₀¹ ⟨∂ℓ/∂L at (1−τ)L_s + τL_t, mean_t − mean_s⟩ dτ.
    delta_mean_train: Option<f64> ["nats"],
    /// The same on the held-out pairs.
    delta_mean_test: Option<f64> ["nats"],
    /// As `delta_mean_train`, for L_K.
    delta_key_train: Option<f64> ["nats"],
    /// The same on the held-out pairs.
    delta_key_test: Option<f64> ["nats"],
    /// As `delta_mean_train`, for L_R.
    delta_rest_train: Option<f64> ["nats"],
    /// The same on the held-out pairs.
    delta_rest_test: Option<f64> ["nats"],
    /// |sum of the three − change of the loss|/|change of the loss|; null if the change is below 1e-12.
    closure_train: Option<f64> ["fraction"],
    /// The same on the held-out pairs.
    closure_test: Option<f64> ["fraction"],
    /// α* of the smallest CE(mean + α L_K + β L_R) on the training pairs; null if there is none, because
    /// some α L_K + β L_R classifies every pair correctly by itself, and the loss falls for ever.
    alpha_train: Option<f64>,
    /// β* of the same.
    beta_train: Option<f64>,
    /// As `alpha_train`, on the held-out pairs.
    alpha_test: Option<f64>,
    /// β* of the same.
    beta_test: Option<f64>,
    /// atan2(α*, β*), training pairs: 0 where only the rest counts, 45 where α* = β*, 90 where only the
    /// key frequencies count, beyond where the rest is turned round. Without α*, β*: of the direction
    /// in which the smallest margin of α L_K + β L_R is widest, where α², β² grow without end.
    switch_angle_train: Option<f64> ["degrees"],
    /// The same on the held-out pairs.
    switch_angle_test: Option<f64> ["degrees"],
    /// Cosine of the gradients of CE(L − L_K) and CE(mean + L_K) with respect to the weights, training
    /// pairs; of the checkpoints asked for.
    gradient_cosine_train: Option<f64>,
    /// ‖J_K J_Rᵀ‖/(‖J_K‖ ‖J_R‖), Frobenius norms, with J_X = ∂L_X/∂θ over all inputs and classes: 0 if
    /// no weight moves both parts. Estimated with 16 random vectors, less its bias by the jackknife; of
    /// the checkpoints asked for.
    kernel_cross_jacobian: Option<f64>,
    /// Standard error of `kernel_cross_jacobian`, by the jackknife over the vectors.
    kernel_cross_jacobian_standard_error: Option<f64>,
    /// The same with √(‖J_K J_Kᵀ‖ ‖J_R J_Rᵀ‖) below the line, the norms of the kernels: 1 if both parts
    /// move the weights alike. Never smaller.
    kernel_cross: Option<f64>,
    /// Standard error of `kernel_cross`.
    kernel_cross_standard_error: Option<f64>,
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// From when on a statistic of the key frequencies is beyond that of the others.
    struct OnsetRow, table "onset", version 1, key [run, statistic, target];

    /// Run name: the name of its folder.
    run: String,
    /// `logit_coefficient`, `w_e_norm`, `w_l_norm`, `neuron_share` or `rate_total`.
    statistic: String,
    /// A key frequency, or `keys`: the mean over all of them.
    target: String,
    /// The null's 0.999 quantile at `step_onset`.
    threshold: Option<f64>,
    /// First save from which the statistic exceeds the 0.999 quantile of the null for 5 saves in a row.
    step_onset: Option<i64> ["steps"],
    /// The same for 3 saves in a row.
    step_onset_3: Option<i64> ["steps"],
    /// The same for 10 saves in a row.
    step_onset_10: Option<i64> ["steps"],
    /// First saved step with train accuracy of at least 99.9 %.
    t_mem: Option<i64> ["steps"],
    /// Step of the largest test loss before `t_drop`.
    t_peak: Option<i64> ["steps"],
    /// First saved step with test accuracy of at least 99 %.
    t_gen: Option<i64> ["steps"],
    /// First save after `t_mem` with a test loss below 0.95 of its running maximum and a test accuracy
    /// above 5 %.
    t_drop: Option<i64> ["steps"],
    /// `t_drop` − `step_onset`.
    lead: Option<i64> ["steps"],
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// The essay's claims by rules that were fixed before the first analysis.
    ///
    /// z = (value − mean of the null)/its s.d.; p = (1 + #{null ≥ value})/(1 + #null), on the claimed
    /// side; of N1 mean, quantile and z are those among sets of other frequencies, p that among sets of keys
    /// and others together. The rules stand in the file's metadata.
    struct ClaimRow, table "claims", version 2, key [claim, run, statistic, null_id];

    /// C1 to C14; C3 and C4 have two parts, a and b.
    claim: String,
    /// Run name; `all` for all runs together that differ in their seed alone.
    run: String,
    /// `verdict` for the claim as a whole; otherwise what is measured.
    statistic: String,
    /// N1 to N7 (N5a, N5a', N5b, N5c, N5d): what it is compared with; `none` for the number itself.
    null_id: String,
    /// The statistic; of `all` its median over runs. Of a verdict the number that its reason begins with.
    value: Option<f64>,
    /// Lower end of the 95 % bootstrap interval over runs; of `all` only.
    low: Option<f64>,
    /// Upper end of it.
    high: Option<f64>,
    /// Mean of the null.
    null_mean: Option<f64>,
    /// The null's 0.999 quantile, in the units of `value`.
    null_q: Option<f64>,
    /// Standard scores of the value in the null.
    z: Option<f64>,
    /// Share of the null that is as large. Of `all` that of at least 4 of 5 runs, by a partial conjunction;
    /// of its verdicts corrected by Holm over the claims.
    p: Option<f64>,
    /// `supports`, `refutes` or `undecided`; `none` for a number that decides nothing by itself.
    verdict: String,
    /// What the verdict rests on, or why there is none.
    reason: String,
    /// `ok`, or why measures are null.
    status: Status,
}
