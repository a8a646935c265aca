//! When a run memorised, when its test loss peaked and dropped, and when it generalised.

/// Train accuracy from which on the training pairs count as memorised.
pub const MEMORISED: f64 = 0.999;

/// Test accuracy from which on a run counts as generalised.
pub const GENERALISED: f64 = 0.99;

/// Part of its running maximum that the test loss falls below when it drops.
pub const DROP: f64 = 0.95;

/// Test accuracy that a drop needs: a loss also falls where a network only becomes less sure.
pub const DROP_ACCURACY: f64 = 0.05;

/// What is known of a save; losses in nats, accuracies from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Save {
    pub step: i64,
    pub train_accuracy: Option<f64>,
    pub test_loss: Option<f64>,
    pub test_accuracy: Option<f64>,
}

/// Steps at which the phases of a run begin; `None` for one that it did not reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// First save with a train accuracy of at least 99.9 %
    pub t_mem: Option<i64>,
    /// Save with the largest test loss before `t_drop`, the first of equal ones
    pub t_peak: Option<i64>,
    /// First save after `t_mem` with a test loss below 0.95 of its maximum so far, counted from the first
    /// save on, and a test accuracy above 5 %
    pub t_drop: Option<i64>,
    /// First save with a test accuracy of at least 99 %
    pub t_gen: Option<i64>,
}

impl Phases {
    /// Of saves by ascending step. Where a value is not known the save cannot begin a phase.
    #[must_use]
    pub fn new(saves: &[Save]) -> Self {
        let first = |reached: &dyn Fn(&Save) -> bool| {
            saves.iter().find(|save| reached(save)).map(|save| save.step)
        };
        let t_mem = first(&|save| save.train_accuracy >= Some(MEMORISED));
        let t_gen = first(&|save| save.test_accuracy >= Some(GENERALISED));
        let (mut peak, mut t_drop, mut t_peak) = (None::<(f64, i64)>, None, None);
        for save in saves {
            let Some(loss) = save.test_loss else { continue };
            if let (Some((largest, step)), Some(memorised)) = (peak, t_mem)
                && save.step > memorised
                && loss < DROP * largest
                && save.test_accuracy > Some(DROP_ACCURACY)
            {
                (t_drop, t_peak) = (Some(save.step), Some(step));
                break;
            }
            if peak.is_none_or(|(largest, _)| loss > largest) {
                peak = Some((loss, save.step));
            }
        }
        Self { t_mem, t_peak, t_drop, t_gen }
    }

    /// The same with the later of the drops on all held-out pairs and on those whose swap (b,a) is no
    /// training pair: a memoriser that is symmetric gets the others without generalising. No drop, if one
    /// of them does not drop.
    #[must_use]
    pub fn judged_by_the_later(saves: &[Save], unswapped: &[Save]) -> Self {
        let all = Self::new(saves);
        // The train accuracy of the second series may be left out: it is that of the first.
        let others: Vec<Save> = unswapped
            .iter()
            .map(|save| {
                let own = saves.iter().find(|own| own.step == save.step);
                Save { train_accuracy: own.and_then(|own| own.train_accuracy), ..*save }
            })
            .collect();
        let others = Self::new(&others);
        let (t_drop, t_peak) = match (all.t_drop, others.t_drop) {
            (Some(all_drop), Some(drop)) if drop > all_drop => (others.t_drop, others.t_peak),
            (Some(_), Some(_)) => (all.t_drop, all.t_peak),
            _ => (None, None),
        };
        Self { t_drop, t_peak, ..all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saves(rows: &[(i64, f64, f64, f64)]) -> Vec<Save> {
        let save = |&(step, train, loss, test): &(i64, f64, f64, f64)| Save {
            step,
            train_accuracy: Some(train),
            test_loss: Some(loss),
            test_accuracy: Some(test),
        };
        rows.iter().map(save).collect()
    }

    const RUN: [(i64, f64, f64, f64); 8] = [
        (0, 0.01, 4.7, 0.01),
        (100, 0.9, 4.0, 0.06), // a drop before t_mem is none
        (200, 0.999, 9.0, 0.06),
        (1400, 1.0, 20.0, 0.06),
        (1500, 1.0, 18.9, 0.05), // low enough, but 5 % is not above 5 %
        (2000, 1.0, 19.5, 0.2),
        (7000, 1.0, 18.99, 0.3),
        (9000, 1.0, 0.1, 0.99),
    ];

    #[test]
    fn a_run_that_groks() {
        let found = Phases::new(&saves(&RUN));
        let expected =
            Phases { t_mem: Some(200), t_peak: Some(1400), t_drop: Some(7000), t_gen: Some(9000) };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_reached_has_no_step() {
        assert_eq!(Phases::new(&[]), Phases::default());
        let only_memorised = Phases::new(&saves(&RUN[..6]));
        assert_eq!(only_memorised, Phases { t_mem: Some(200), ..Phases::default() });
        let mut unknown = saves(&RUN);
        unknown[2].train_accuracy = None;
        unknown[6].test_loss = None;
        let found = Phases::new(&unknown);
        assert_eq!((found.t_mem, found.t_drop), (Some(1400), Some(9000)));
    }

    /// The symmetric part of the test pairs is had early, the rest at 9000.
    #[test]
    fn the_later_drop_counts() {
        let early: Vec<Save> = saves(&[
            (0, 0.0, 4.7, 0.01),
            (200, 1.0, 9.0, 0.3),
            (300, 1.0, 2.0, 0.4),
            (1400, 1.0, 2.0, 0.4),
            (9000, 1.0, 0.1, 1.0),
        ]);
        let mut late = early.clone();
        for (save, loss) in late.iter_mut().zip([4.7, 12.0, 13.0, 14.0, 0.2]) {
            save.test_loss = Some(loss);
            save.train_accuracy = None;
        }
        assert_eq!(Phases::new(&early).t_drop, Some(300));
        let found = Phases::judged_by_the_later(&early, &late);
        assert_eq!((found.t_drop, found.t_peak, found.t_mem), (Some(9000), Some(1400), Some(200)));
        assert_eq!(Phases::judged_by_the_later(&late_memory(&late), &early).t_drop, Some(9000));
        assert_eq!(Phases::judged_by_the_later(&early, &late[..4]).t_drop, None);
    }

    fn late_memory(saves: &[Save]) -> Vec<Save> {
        saves.iter().map(|save| Save { train_accuracy: Some(1.0), ..*save }).collect()
    }
}
