//! Experiments on single checkpoints: `ablations`, `circuits`, `readouts` and `activations`. They are made when
//! asked for, of the checkpoints asked for.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §4.1–4.4 and App. C.

use super::status::Status;
use crate::table;

table! {
    /// What a network still does with one part of it replaced.
    ///
    /// x is the residual stream at `=` before the block, mid = x + attention, N the neurons and
    /// logits = (mid + mlp) W_U; a part is replaced and the rest computed again, in f64 over the p
    /// real classes. Means are over all p² inputs. `none`; `attention_zero`, `attention_mean`,
    /// `attention_linear` (the weights of each head as the affine functions of its score on a less that
    /// on b that fit them best), `attention_skip_zero` (mid without x); `mlp_zero`, `mlp_mean`, `mlp_skip_zero`,
    /// `mlp_skip_mean` (the mid that goes past the MLP); `neurons_quadratic` (each neuron its mean and
    /// its terms {1, cos, sin}² of its own frequency); `neurons_without_K` (every neuron without its
    /// terms of key K); `w_l_keys`, `w_l_complement` (N in the span of the key rows of F W_L, and out
    /// of it); `logits_sum_dirs`, `logits_block3x3` (mean and P_K of the logits). An `mlp` has those
    /// of neurons and logits.
    struct AblationRow, table "ablations", version 1, key [run, step, ablation];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// What is replaced.
    ablation: String,
    /// Mean cross-entropy on all pairs.
    loss_all: Option<f64> ["nats"],
    /// Mean cross-entropy on the training pairs.
    loss_train: Option<f64> ["nats"],
    /// Mean cross-entropy on the held-out pairs; null if there are none.
    loss_test: Option<f64> ["nats"],
    /// Share of all pairs whose label has the largest logit; ties go to the lowest class.
    accuracy_all: Option<f64> ["fraction"],
    /// Share of the training pairs whose label has the largest logit.
    accuracy_train: Option<f64> ["fraction"],
    /// Share of the held-out pairs whose label has the largest logit.
    accuracy_test: Option<f64> ["fraction"],
    /// `ok`, or why values are null.
    status: Status,
}

table! {
    /// One circuit of weights: its spectrum, and its content in the Fourier basis.
    ///
    /// `W_L` = W_Uᵀ W_out [n, d_mlp], over classes; for each head h `QK` = W_Q^hᵀ W_K^h and
    /// `OV` = W_O^h W_V^h, their content over the tokens that they read (QK W_E, OV W_E); `score`,
    /// the scores of `=` over tokens (`attn.h` of `fourier`); `pattern`, the weight on a over the
    /// inputs (a,b), with the terms of `neurons.fve`. Ranks and norms as in `spectra`.
    struct CircuitRow, table "circuits", version 1, key [run, step, object, head];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// `W_L`, `QK`, `OV`, `score` or `pattern`.
    object: String,
    /// Index of the head, from 0; 0 for `W_L`.
    head: i64,
    /// Number of singular values above the tolerance; null for `score` and `pattern`.
    rank: Option<i64> ["count"],
    /// Σσ², the squared Frobenius norm.
    frobenius_sq: Option<f64> ["weight²"],
    /// The largest singular value σ₁.
    spectral_norm: Option<f64> ["weight"],
    /// Σσ²/σ₁², between 1 and the rank.
    stable_rank: Option<f64>,
    /// exp(−Σ q ln q) with q = σ/Σσ (Roy & Vetterli 2007).
    effective_rank: Option<f64>,
    /// The frequency with the largest share; null if only a constant is there.
    frequency: Option<i64> ["cycles/p"],
    /// Share of the energy without the constant that this frequency holds; of `score` this is the
    /// share of the centred score over (a,b).
    frequency_share: Option<f64> ["fraction"],
    /// Share of the whole energy outside of the rows of the key frequencies; null without keys, and for
    /// `pattern`.
    residual_share: Option<f64> ["fraction"],
    /// `ok`, or why values are null.
    status: Status,
}

table! {
    /// How far what one row of F W_L reads off the neurons is the wave that it writes.
    ///
    /// f is row 2k−1 of F W_L times N, over the inputs; the share of the variance of f that cos w_k(a+b)
    /// has, and the same with row 2k and sin w_k(a+b). Table 1 of the paper, for every frequency.
    struct ReadoutRow, table "readouts", version 1, key [run, step, frequency];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// k, from 1 to the last.
    frequency: i64 ["cycles/p"],
    /// Whether it is a key frequency.
    is_key: bool,
    /// Of the cosine row; null if it reads a constant.
    cos_share: Option<f64> ["fraction"],
    /// Of the sine row; null if it reads a constant, or if the last frequency has no sine.
    sin_share: Option<f64> ["fraction"],
}

table! {
    /// One number of what a network computes on one input.
    struct ActivationRow, table "activations", version 1, key [run, step, object, index, i, j];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// `attention`, the weight of head `index` on a; `neuron`, the output of neuron `index`, for the
    /// clearest neuron of each of the four frequencies with most clear neurons; `logits`, norms over
    /// classes of the logits in the Fourier basis of both inputs.
    object: String,
    /// Head or neuron, from 0; 0 for `logits`.
    index: i64,
    /// The residue a; for `logits` the Fourier row over a.
    i: i64,
    /// The residue b; for `logits` the Fourier row over b.
    j: i64,
    /// The number; null if it is not finite.
    value: Option<f64>,
}
