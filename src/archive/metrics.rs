//! `metrics.jsonl`: what the trainer logged, one line per logged step.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::jsonl;
use crate::error::Result;

/// One line. Undefined and non-finite values are null, `None` here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsRow {
    /// Optimiser updates taken; 0 is the initialisation.
    pub step: u64,
    /// Mean cross-entropy on the training pairs, in nats.
    pub train_loss: Option<f64>,
    /// Mean cross-entropy on the held-out pairs, in nats.
    pub test_loss: Option<f64>,
    /// Share of the training pairs whose highest logit is the label, 0 to 1.
    pub train_accuracy: Option<f64>,
    /// The same of the held-out pairs.
    pub test_accuracy: Option<f64>,
    /// Learning rate of the update that starts from here.
    pub learning_rate: Option<f64>,
    /// Euclidean norm of the gradient of the training loss.
    pub gradient_norm: Option<f64>,
    /// Share of the coordinates, 0 to 1, with √v̂ < ε: there Adam's ε sets the step size.
    pub tiny_second_moment: Option<f64>,
}

/// All complete rows of a run; none if it has no such file.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read), or [`Error::ArchiveFile`](crate::Error::ArchiveFile) with
/// the line that cannot be read.
pub fn read(path: &Path) -> Result<Vec<MetricsRow>> {
    let lines = jsonl::read(path)?.unwrap_or_default();
    Ok(lines.into_iter().map(|line| line.value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_become_null() {
        let row = MetricsRow {
            step: 3,
            train_loss: Some(f64::NAN),
            test_loss: Some(f64::INFINITY),
            train_accuracy: Some(0.5),
            ..MetricsRow::default()
        };
        let line = jsonl::line(&row).unwrap();
        assert!(line.starts_with(r#"{"step":3,"train_loss":null,"test_loss":null,"#), "{line}");
        let back: MetricsRow = serde_json::from_str(&line).unwrap();
        let expected = MetricsRow { step: 3, train_accuracy: Some(0.5), ..MetricsRow::default() };
        assert_eq!(back, expected);
    }
}
