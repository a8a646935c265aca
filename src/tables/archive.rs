//! What the archive itself says: `checkpoints`, `training` and `failures`.

use super::status::Status;
use crate::table;

table! {
    /// One checkpoint file, as found in the archive.
    struct CheckpointRow, table "checkpoints", version 1, key [run, step];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Path relative to the archive, with `/` between folders; a byte that is not UTF-8 is
    /// written `\xNN`.
    file: String,
    /// Size of the file.
    bytes: i64 ["bytes"],
    /// BLAKE3 of the file's bytes in hexadecimal; of a checkpoint in several files, of their
    /// digests in name order. Null if it could not be read.
    blake3: Option<String>,
    /// Storage types of the tensors that hold parameters, as safetensors names them, ascending
    /// and separated by commas: `F32`, or `BF16,F32`.
    dtype: Option<String>,
    /// Number of tensors, buffers included.
    n_tensors: Option<i64> ["count"],
    /// Number of entries of all floating-point tensors.
    n_params: Option<i64> ["count"],
    /// Column `file` of the first checkpoint, by key, with the same bytes; null if this is it.
    duplicate_of: Option<String>,
    /// `ok`, or why the checkpoint cannot be measured in full.
    status: Status,
}

table! {
    /// What the trainer logged at one step; null where it logged nothing.
    struct TrainingRow, table "training", version 1, key [run, step];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Mean cross-entropy on the training pairs as it was optimised, over all classes: unlike
    /// `progress.train_loss`, with the class of `=` where the network has one.
    train_loss: Option<f64> ["nats"],
    /// Mean cross-entropy on the held-out pairs over all classes, as in `train_loss`; null if
    /// every pair is trained on.
    test_loss: Option<f64> ["nats"],
    /// Share of the training pairs whose label has the largest logit.
    train_accuracy: Option<f64> ["fraction"],
    /// Share of the held-out pairs whose label has the largest logit.
    test_accuracy: Option<f64> ["fraction"],
    /// Learning rate η of the update that starts from this step.
    learning_rate: Option<f64>,
    /// L2 norm of the gradient of `train_loss` over all trained parameters, at this step's weights.
    gradient_norm: Option<f64> ["nats/weight"],
    /// Share of the trained coordinates with √v̂ < ε, Adam's second moment against its ε, in the update
    /// that starts from this step; null for other optimisers.
    tiny_second_moment: Option<f64> ["fraction"],
}

table! {
    /// One file of the archive that could not be used, and why.
    struct FailureRow, table "failures", version 1, key [path];

    /// Path relative to the archive, with `/` between folders; a byte that is not UTF-8 is
    /// written `\xNN`.
    path: String,
    /// Run name: the name of its folder; null if the file belongs to no known run.
    run: Option<String>,
    /// Optimiser updates taken when saved; null if the step is not known.
    step: Option<i64> ["steps"],
    /// Identifier of the kind of failure, such as `ST009` for a truncated file.
    code: String,
    /// What is wrong, in words.
    message: String,
}
