//! N5, the winner's curse: where it is defined, and what it is about.

use super::*;
use crate::claims::curse::{Walks, p_of_keys, rise};
use crate::claims::nulls::{Compared, NullId, compare};
use crate::claims::stats::Side;

/// Who won is told by the last save of the run; where it is not known, there is no null.
#[test]
fn nobody_wins_before_the_end() {
    let (rules, run) = (few_draws(), course());
    let climb = walking(0.1, |t| t / 10.0);
    let curse = |series: &Series| Walks::new(&rules, &run, series).curse(|_| at_end);
    assert_eq!(curse(&climb).len(), 2);
    assert!(curse(&climb.within(0, 990)).is_empty());
    let keys_alone = Course { plain: Vec::new(), ..course() };
    assert!(Walks::new(&rules, &keys_alone, &climb).curse(|_| at_end).is_empty());
}

/// What claims look at ends with t_gen, and as many saves later as must be in a row.
#[test]
fn contrasts_are_kept_as_far_as_claims_look() {
    let (rules, run) = (few_draws(), course());
    let climb = walking(0.1, |t| t / 10.0);
    let walks = Walks::new(&rules, &run, &climb);
    let ends = |steps: &[i64], contrast: &[f64]| {
        assert_eq!(steps.len(), contrast.len());
        steps.last().map(|step| *step as f64)
    };
    let last = T_GEN + 10 * rules.nulls.in_a_row as i64;
    assert!(walks.curse(|_| ends).iter().all(|null| null.value as i64 == last));
}

#[test]
fn a_rise_is_from_the_first_save_of_its_window_to_the_last() {
    let (steps, contrast) = ([0, 10, 20, 30], [1.0, 4.0, 2.0, 9.0]);
    let of = |first, last| rise(&steps, &contrast, (first, last));
    assert_eq!([of(0, 20), of(5, 35)], [Some(1.0), Some(5.0)]);
    assert_eq!([of(10, 19), of(40, 50), of(-9, -1)], [None; 3]);
}

/// Neither of N1 and N5 alone makes a p, and N5 needs the saves of the window and growth of what is positive.
#[test]
fn nothing_is_said_of_keys_without_both_nulls() {
    let (rules, run) = (few_draws(), course());
    let of =
        |p: Option<f64>| Compared { p, ..compare(&rules.nulls, NullId::N1, 1.0, &[], Side::Upper) };
    assert_eq!(p_of_keys(of(Some(0.01)), &[]), None);
    assert_eq!(p_of_keys(of(Some(0.01)), &[of(Some(0.2)), of(None)]), None);
    assert_eq!(p_of_keys(of(Some(0.01)), &[of(Some(0.2)), of(Some(0.1))]), Some(0.2));

    let climb = about_zero(walking(0.1, |t| t / 10.0));
    let sparse: Vec<i64> = climb.steps.iter().copied().filter(|t| *t == 0 || *t >= 50).collect();
    let sparse = climb.at_steps(&sparse);
    let walks = Walks::new(&rules, &run, &sparse);
    assert!(walks.rise_over_others((0, 50)).is_empty());
    assert_eq!(walks.rise_over_others((0, T_GEN)).len(), 2);
    let known = Known { series: &climb, walks: &walks, of: OfWalks::Value };
    let found = origin(&rules, &run, &known, (None, None), &[]);
    assert_eq!(found.saves, sparse.steps);

    let mut positive = walking(0.1, |t| t / 100.0);
    positive.values.mapv_inplace(f64::exp);
    let found = Walks::new(&rules, &run, &positive).curse(|_| at_end);
    assert_eq!(
        found.iter().map(|null| null.null).collect::<Vec<_>>(),
        [NullId::N5a, NullId::N5aPaths, NullId::N5b]
    );
    // Whole paths are compared without the tail.
    let logs = Series { values: positive.values.mapv(f64::ln), ..positive.clone() };
    let of_logs = Walks::new(&rules, &run, &logs).curse(|_| at_end);
    assert!(
        (found[1].value - of_logs[0].value).abs() < 1e-12 && found[0].value > 2.0 * found[1].value
    );
    positive.values.row_mut(5).fill(0.0);
    assert!(Walks::new(&rules, &run, &positive).curse(|_| at_end).is_empty());
}
