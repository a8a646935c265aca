//! What all measures of one run share: its network, its pairs, and the key frequencies of its
//! final checkpoint.

use std::sync::atomic::AtomicUsize;

use ndarray::ArrayView2;

use crate::archive::Run;
use crate::circuits;
use crate::error::{Error, Result};
use crate::fourier::Transform;
use crate::model::Transformer;
use crate::progress::{self, Direction, KEY_THRESHOLD, KeyFrequencies};
use crate::tasks::Dataset;
use crate::weights;

/// One run, ready to be measured.
#[derive(Debug)]
pub struct RunContext {
    pub name: String,
    pub net: Transformer,
    pub data: Dataset,
    /// All labelled inputs, ascending.
    pub all: Vec<usize>,
    pub transform: Transform,
    /// Sum index of every input; `None` where the task has no circuit in ℤ_p.
    pub sums: Option<Vec<usize>>,
    /// Fixed once, from the final checkpoint, and applied to all earlier ones; `None` if the task
    /// is not periodic, or the final checkpoint cannot be used.
    pub keys: Option<KeyFrequencies>,
    /// Why there are no keys although the task is periodic.
    pub keys_missing: Option<Error>,
    /// Matrices whose singular values did not come from the first driver, so far.
    pub svd_fallbacks: AtomicUsize,
}

impl RunContext {
    /// Read the final checkpoint and fix the key frequencies.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Modulus`] if the run's settings describe no data set.
    pub fn new(run: &Run) -> Result<Self> {
        let config = &run.info.config;
        let data = Dataset::new(config, run.info.train_pairs.as_deref())?;
        let net = Transformer::new(config);
        let transform = Transform::new(config.modulus)?;
        let direction = Direction::of(config.task);
        let keys = direction.map(|_| final_keys(run, &net, &transform)).transpose();
        let (keys, keys_missing) = match keys {
            Ok(keys) => (keys, None),
            Err(error) => (None, Some(error)),
        };
        Ok(Self {
            name: run.name.clone(),
            all: (0..data.labels.len()).filter(|input| data.labels[*input].is_some()).collect(),
            net,
            data,
            transform,
            sums: direction.map(|direction| direction.indices(config.modulus)),
            keys,
            keys_missing,
            svd_fallbacks: AtomicUsize::new(0),
        })
    }

    /// Modulus.
    #[must_use]
    pub fn p(&self) -> usize {
        self.data.p
    }

    /// The circuit to project on: sum indices and keys, if there is one.
    #[must_use]
    pub fn circuit(&self) -> Option<(&[usize], &[usize])> {
        Some((self.sums.as_deref()?, &self.keys.as_ref()?.keys))
    }

    /// Label of every input; 0 where there is none (such inputs are in no split).
    #[must_use]
    pub fn labels(&self) -> Vec<usize> {
        self.data.labels.iter().map(|label| label.unwrap_or(0)).collect()
    }

    /// A word of warning if the keys do not stand out.
    #[must_use]
    pub fn key_warning(&self) -> Option<String> {
        if let Some(error) = &self.keys_missing {
            return Some(format!("{}: no key frequencies: {error}", self.name));
        }
        let keys = self.keys.as_ref()?;
        match keys.margin {
            Some(margin) if margin < 1.5 => Some(format!(
                "{}: the key frequencies {} do not stand out (smallest norm {margin:.2} times the \
                 largest other; above the largest gap: {}); has the run generalised?",
                self.name,
                list(&keys.keys),
                list(&keys.above_largest_gap),
            )),
            _ => None,
        }
    }
}

/// `14,35,41`
#[must_use]
pub fn list(keys: &[usize]) -> String {
    keys.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn final_keys(run: &Run, net: &Transformer, transform: &Transform) -> Result<KeyFrequencies> {
    let last = run.checkpoints.last().ok_or_else(|| Error::NothingUsable {
        path: run.dir.clone(),
        found: "0 checkpoints".into(),
    })?;
    let checkpoint = last.load(None)?;
    let params = weights::from_checkpoint(&checkpoint, net.layout(), "")?;
    let w_l = circuits::w_l(net, &params);
    if !w_l.iter().all(|value: &f64| value.is_finite()) {
        let fault = crate::Fault::NonFinite { tensor: crate::error::Name("W_L".into()) };
        return Err(Error::Checkpoint { path: last.path.clone(), fault });
    }
    let view: ArrayView2<'_, f64> = w_l.view();
    Ok(progress::key_frequencies(&transform.norms(view), KEY_THRESHOLD))
}
