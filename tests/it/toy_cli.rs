//! `groundswell toy`: the two-basins toy as its users meet it.

use groundswell::tables::{ToyRow, ToySliceRow};

use super::support::*;

/// The picture of the essay in numbers: with logits added B grows, unseen, while A decides.
#[test]
fn the_toy_shows_what_the_slice_hides() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = args!["--width", "1", "--depth", "2", "--dimension", "16"];
    let toy = |out: &str, threads: &str| {
        let out = args!["toy", "--out", dir.path().join(out), "--threads", threads];
        groundswell([out, sizes.clone(), args!["--steps", "60000"]].concat()).exits(0);
    };
    toy("one", "1");
    toy("two", "2");
    let out = dir.path().join("one");
    assert_same(&tree(&out), &tree(&dir.path().join("two")));

    let all = rows::<ToyRow>(&out);
    let of = |model: &str| all.iter().filter(|row| row.model == model).cloned().collect::<Vec<_>>();
    let logit = of("logit");
    assert_eq!(logit[0].setting, "width 1, depth 2, dimension 16");
    let fitted = logit.iter().find(|row| row.output_a > 113.0f64.ln()).unwrap();
    // B has grown by far, decides nothing, and cannot be seen.
    assert!(fitted.output_b > 5.0 * logit[0].output_b, "{fitted:?}");
    assert!(fitted.share_b.unwrap() < 0.01 && fitted.visible_a.unwrap() > 0.99, "{fitted:?}");
    assert!(fitted.visible_b.unwrap().abs() < 0.01, "{fitted:?}");
    let last = logit.last().unwrap();
    assert!(last.share_b.unwrap() > 0.9 && last.output_a < 0.01, "{last:?}");
    for row in logit.iter().filter(|row| row.time < 60.0) {
        let (a, b) = (row.invariant_a.unwrap(), row.invariant_b.unwrap());
        assert!((a - b).abs() < 0.03 * a.abs().max(1.0), "{row:?}");
    }
    // With losses added B does not wait for A.
    let loss = of("loss");
    let half = |rows: &[ToyRow]| rows.iter().find(|row| row.share_b > Some(0.5)).map(|r| r.step);
    assert!(half(&loss).is_none_or(|step| step < half(&logit).unwrap()));
    assert!(loss.last().unwrap().slope_b.unwrap().abs() < 0.1);
    assert!((last.slope_b.unwrap() - 1.0).abs() < 0.1);
    let slices = rows::<ToySliceRow>(&out);
    assert_eq!(slices.len(), 2 * 31 * 31);
}

#[test]
fn a_toy_that_cannot_be_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let toy = |option: &str, value: &str| {
        groundswell(args!["toy", "--out", &out, option, value]).exits(2)
    };
    toy("--dimension", "3").mentions("dimension: 3 weights are not in 24..=1000000");
    toy("--depth", "0").mentions("width 1 and depth 0 are not in");
    toy("--decay", "0.9").mentions("decay: 0.9 is not in 0..=0.5");
    toy("--steps", "1").mentions("steps: 1 is not in 10..=10000000");
    assert!(!out.exists());
}
