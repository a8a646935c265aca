//! The trigonometric circuit for modular addition: `progress`, `frequencies`, `fourier` and
//! `neurons`.
//!
//! The symbols of the definitions stand in the description of each table.
//!
//! Source: Nanda et al. (2023), arXiv:2301.05217, §5.1 (progress measures) and App. C.2.

use super::status::Status;
use crate::table;

table! {
    /// Losses, accuracies and progress measures of one checkpoint.
    ///
    /// L are the logits of all p² inputs (a,b) over the p real classes, without `=`, in f64; CE
    /// is the mean cross-entropy; w_k = 2πk/p; R_k is the part of L in the directions
    /// cos w_k(a+b) and sin w_k(a+b) of the inputs; K are the key frequencies, fixed once by the
    /// final checkpoint of the run; L_K is the sum of R_k over K; mean is the mean of L over all
    /// inputs, per class. Other choices of the directions (`--protocol`) and of K (`--keys`) stand in
    /// the metadata of the file. Of `sub` a+b is a−b. Of `mul` and `div` a, b and c are discrete
    /// logarithms of residues, p in w_k is p−1, and all but the first four columns and the weights are
    /// over the pairs without a 0. Where the training labels were permuted, restricted and excluded
    /// losses that training pairs enter are null.
    struct ProgressRow, table "progress", version 1, key [run, step];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
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
    /// CE(L) on the held-out pairs (a,b) whose swap (b,a) is no training pair with the same label: a
    /// memoriser that is symmetric gets the others without generalising. Null if there are none.
    test_loss_unswapped: Option<f64> ["nats"],
    /// Share of the same pairs whose label has the largest of the p real logits; ties go to the lowest
    /// class.
    test_accuracy_unswapped: Option<f64> ["fraction"],
    /// CE(mean + L_K) on all pairs: the key frequencies alone (restricted loss of Nanda et al.
    /// 2023, arXiv:2301.05217).
    restricted_loss_all: Option<f64> ["nats"],
    /// CE(mean + L_K) on the training pairs.
    restricted_loss_train: Option<f64> ["nats"],
    /// CE(mean + L_K) on the held-out pairs.
    restricted_loss_test: Option<f64> ["nats"],
    /// Share of the held-out pairs whose label has the largest entry of mean + L_K.
    restricted_accuracy_test: Option<f64> ["fraction"],
    /// CE(L − L_K) on all pairs: everything but the key frequencies, all keys at once.
    excluded_loss_all: Option<f64> ["nats"],
    /// CE(L − L_K) on the training pairs (excluded loss of Nanda et al. 2023, arXiv:2301.05217).
    excluded_loss_train: Option<f64> ["nats"],
    /// CE(L − L_K) on the held-out pairs.
    excluded_loss_test: Option<f64> ["nats"],
    /// Gini coefficient Σ_i (2i−n−1) x_(i) / (n Σx) of the p row norms of W_E in the Fourier
    /// basis over tokens (Nanda et al. 2023, arXiv:2301.05217); null if W_E is zero, or if the
    /// network has none (architecture `mlp`).
    gini_w_e: Option<f64> ["fraction"],
    /// Gini coefficient, as in `gini_w_e`, of the p row norms of W_L, the map from neurons to
    /// logits (W_Uᵀ W_out; of an `mlp` W_out itself), in the Fourier basis over classes; null if
    /// W_L is zero.
    gini_w_l: Option<f64> ["fraction"],
    /// Σθ² over all parameters, buffers left out (Nanda et al. 2023, arXiv:2301.05217).
    sum_sq_weights: Option<f64> ["weight²"],
    /// Σ_{k∈K} c_k² / ‖L‖² with c_k of `frequencies.logit_coefficient`: share of the logits'
    /// energy explained by cos w_k(a+b−c); null if L is zero.
    logit_fve: Option<f64> ["fraction"],
    /// Σ_{k∈K} c_k² / ‖L′‖² where L′ is L less its mean over classes, per input: `logit_fve`
    /// without the offsets that softmax does not see; null if L′ is zero.
    logit_fve_centred: Option<f64> ["fraction"],
    /// The key frequencies K, ascending and separated by commas: `14,35,41`; empty if there are
    /// none, null if the task is not periodic.
    key_frequencies: Option<String>,
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// One Fourier frequency in the logits of one checkpoint.
    ///
    /// L are the logits of all p² inputs (a,b) over the p real classes c, without `=`, in f64; CE
    /// is the mean cross-entropy; w_k = 2πk/p; R_k is the part of L in the directions
    /// cos w_k(a+b) and sin w_k(a+b) of the inputs; mean is the mean of L over all inputs, per
    /// class. For other tasks and choices as `progress` says; with p−1 even the last frequency, (p−1)/2,
    /// has a cosine only.
    struct FrequencyRow, table "frequencies", version 1, key [run, step, frequency];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Frequency k, 1 to (p−1)/2.
    frequency: i64 ["cycles/p"],
    /// Whether k is one of the key frequencies of the run, fixed by its final checkpoint.
    is_key: bool,
    /// c_k = ⟨L, e_k⟩ with e_k = √(2/p³) cos w_k(a+b−c) of unit norm, over all inputs and classes.
    logit_coefficient: Option<f64> ["logits"],
    /// c_k / ‖L‖, −1 to 1; null if L is zero.
    logit_cosine: Option<f64>,
    /// CE(L − R_k) on the training pairs: everything but this frequency (Nanda et al. 2023,
    /// arXiv:2301.05217).
    excluded_loss_train: Option<f64> ["nats"],
    /// CE(mean + R_k) on all pairs: this frequency alone.
    restricted_loss_all: Option<f64> ["nats"],
    /// Neurons whose `neurons.frequency` is k and whose `neurons.fve` is at least 0.85; null for
    /// the quadratic activation, where that is no sign of a clear neuron (see `neurons.fve`).
    neuron_count: Option<i64> ["count"],
    /// Share of the variance over inputs of all neurons together that lies in k: with Ĝ the
    /// two-dimensional transform of a neuron, Σ_neurons Σ Ĝ² over the terms {1, cos, sin}² of w_k a and
    /// w_k b without 1·1, over Σ_neurons Σ Ĝ² without it; null if all neurons are dead.
    neuron_share: Option<f64> ["fraction"],
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// One Fourier frequency in one weight matrix of one checkpoint.
    ///
    /// The basis over tokens or classes x is orthonormal: 1/√p for k = 0, then √(2/p) cos w_k x
    /// and √(2/p) sin w_k x with w_k = 2πk/p; the row and class of `=` are left out. Of `mul` and `div`
    /// x is the discrete logarithm of a residue but 0, and p is p−1; the last cosine is (−1)^x/√(p−1).
    struct FourierRow, table "fourier", version 1, key [run, step, object, frequency];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// What is transformed: `W_E` (over tokens), `W_U` (over classes), `W_L` = W_Uᵀ W_out (over
    /// classes), `W_neur.h` = W_in W_O^h W_V^h W_E and `attn.h` = the scores of `=` (both of
    /// head h, over tokens). Norms are in units of a weight for the first two, of a product of two
    /// weights for `W_L`, of four for the others. Of an `mlp`: `W_in.a` and `W_in.b`, the columns
    /// of W_in for a and for b (over residues), and `W_L` = W_out (over classes), all in units of a
    /// weight.
    object: String,
    /// Frequency k, 0 to (p−1)/2; 0 is the constant.
    frequency: i64 ["cycles/p"],
    /// L2 norm, over the other axis, of the coefficients of √(2/p) cos w_k x, or of 1/√p if
    /// k = 0; null if it is not finite.
    cos_norm: Option<f64>,
    /// L2 norm, over the other axis, of the coefficients of √(2/p) sin w_k x; null if k = 0, if it is
    /// not finite, or for the last k of `mul` and `div`.
    sin_norm: Option<f64>,
    /// √(cos_norm² + sin_norm²), for k = 0 cos_norm; null if it is not finite.
    norm: Option<f64>,
}

table! {
    /// One neuron of the MLP of one checkpoint. Of `mul` and `div` over the pairs without a 0, in waves of
    /// discrete logarithms.
    struct NeuronRow, table "neurons", version 1, key [run, step, neuron];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Index of the neuron, from 0.
    neuron: i64,
    /// The frequency k that explains most of the neuron's output over the inputs (a,b): neurons of one
    /// k are a cluster. Ties to
    /// the lowest; null if the neuron is dead.
    frequency: Option<i64> ["cycles/p"],
    /// Share of the variance of the neuron's output in the terms {1, cos, sin}² of `frequency`,
    /// (1,1) left out (Nanda et al. 2023, arXiv:2301.05217); null if the neuron is dead. With the
    /// quadratic activation at most 0.8 where the neuron's input is one frequency alone: its square
    /// has at least a fifth of the variance at twice the frequency.
    fve: Option<f64> ["fraction"],
    /// `ok`, or why measures are null.
    status: Status,
}
