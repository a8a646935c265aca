//! Claims that follow from numbers of the tables alone.

use super::*;
use crate::claims::detector::Scores;

fn shares(of: impl Fn(i64, &mut ShareSave)) -> Vec<ShareSave> {
    let mut saves: Vec<ShareSave> = course()
        .steps
        .iter()
        .map(|step| ShareSave { step: *step, ..ShareSave::default() })
        .collect();
    saves.iter_mut().for_each(|save| of(save.step, save));
    saves
}

#[test]
fn c2_looks_at_the_share_of_the_keys() {
    let judge = |share: &dyn Fn(i64) -> f64| {
        let saves = shares(|step, save| {
            (save.share_key_train, save.explained_train) = (Some(share(step)), Some(1.0));
        });
        c2(rules(), &course(), &saves)
    };
    is(&judge(&|step| if step <= T_DROP { 0.1 } else { 0.9 }), Verdict::Supports);
    is(&judge(&|_| 0.3), Verdict::Undecided);
    is(&judge(&|step| if step < 200 { 0.1 } else { 0.6 }), Verdict::Refutes);
    // Above ½, but not before the middle of [t_mem, t_drop].
    is(&judge(&|step| if step < 400 { 0.1 } else { 0.6 }), Verdict::Undecided);
    // Four saves in a row are not five.
    is(&judge(&|step| if (160..200).contains(&step) { 0.6 } else { 0.1 }), Verdict::Undecided);
    let found = judge(&|step| step as f64 / 1000.0).unwrap();
    assert!((found.headline.unwrap() - 0.5).abs() < 1e-12);
    let half = found.parts.iter().find(|row| row.statistic == "step_half_train").unwrap();
    assert_eq!(half.value, Some(500.0));
    lacks(&c2(rules(), &course(), &[]), Lack::Missing);
    let gaps = |share: &dyn Fn(i64) -> Option<f64>| {
        let saves = shares(|step, save| {
            (save.share_key_train, save.explained_train) = (share(step), Some(1.0));
        });
        c2(rules(), &course(), &saves)
    };
    lacks(&gaps(&|step| (step % 20 == 0).then_some(0.1)), Lack::Missing);
    // Nothing to share out before t_mem is no gap.
    is(&gaps(&|step| (step >= T_MEM).then_some(0.1)), Verdict::Supports);
    // Eight saves above ½ with one between them that is not known are no five in a row.
    let broken = |step: i64| match step {
        240 => None,
        200..=280 => Some(0.6),
        _ => Some(0.1),
    };
    let found = gaps(&broken).unwrap();
    assert_eq!((found.verdict, found.headline), (Verdict::Undecided, Some(0.6)));
}

#[test]
fn c7_adds_up_what_the_parts_moved() {
    let judge = |deltas: [f64; 3]| {
        let saves = shares(|_, save| {
            (save.deltas_train, save.closure_train) = (Some(deltas), Some(0.001));
        });
        c7(rules(), &course(), &saves)
    };
    is(&judge([0.01, -0.02, -1.0]), Verdict::Supports);
    is(&judge([0.0, -0.4, -0.6]), Verdict::Undecided);
    is(&judge([0.0, 0.6, -0.4]), Verdict::Refutes);
    lacks(&judge([0.0; 3]), Lack::NotReached);
    // The keys move the loss at the first saves, and the rest for most of the time: 0.9 after step 10.
    let mut run = course();
    run.steps = [0, 10, 500, 1000].into();
    let of = |step: i64, [key, rest]: [f64; 2]| ShareSave {
        step,
        deltas_train: Some([0.0, key, rest]),
        ..ShareSave::default()
    };
    let saves = [of(10, [-3.0, 0.0]), of(500, [0.1, -0.9]), of(1000, [0.0; 2])];
    let found = c7(rules(), &run, &saves).unwrap();
    let value = |name: &str| found.parts.iter().find(|row| row.statistic == name).unwrap().value;
    assert!((value("share_rest").unwrap() - 0.225).abs() < 1e-12, "{found:?}");
    assert!((value("share_rest_of_time").unwrap() - 0.9 * 0.98).abs() < 1e-12, "{found:?}");
    assert_eq!(found.verdict, Verdict::Refutes, "by the saves");
    // One save without its parts is a gap in the sum; parts that do not add up decide nothing.
    let gap = shares(|step, save| save.deltas_train = (step != 300).then_some([0.0, 0.0, 1.0]));
    lacks(&c7(rules(), &course(), &gap), Lack::Missing);
    let open = shares(|_, save| {
        (save.deltas_train, save.closure_train) = (Some([0.0, 0.0, 1.0]), Some(0.1));
    });
    is(&c7(rules(), &course(), &open), Verdict::Undecided);
}

#[test]
fn c12_needs_all_three() {
    let judge = |interaction: f64, cosine: Option<f64>, kernel: Option<[f64; 2]>| {
        let saves = shares(|_, save| {
            (save.interaction_train, save.explained_train) = (Some(interaction), Some(2.0));
            (save.gradient_cosine, save.kernel_cross) = (cosine, kernel);
        });
        c12(rules(), &course(), &saves)
    };
    let small = Some([0.02, 0.01]);
    is(&judge(-0.1, Some(0.05), small), Verdict::Supports);
    is(&judge(-0.1, Some(-0.3), small), Verdict::Undecided);
    is(&judge(-0.1, Some(-0.6), small), Verdict::Refutes);
    is(&judge(1.5, None, None), Verdict::Refutes);
    lacks(&judge(0.1, Some(0.05), None), Lack::Missing);
    lacks(&c12(rules(), &course(), &[]), Lack::Missing);
    // An estimate within two standard errors of a bound is on neither side of it.
    is(&judge(-0.1, Some(0.05), Some([0.08, 0.015])), Verdict::Undecided);
    is(&judge(-0.1, Some(0.05), Some([0.55, 0.03])), Verdict::Undecided);
    is(&judge(-0.1, Some(0.05), Some([0.55, 0.02])), Verdict::Refutes);
}

/// Two saves with kernels cannot support, and one of them can refute; saves after t_gen say nothing.
#[test]
fn c12_wants_kernels_at_several_saves() {
    let judge = |at: &[i64], kernel: f64| {
        let saves = shares(|step, save| {
            (save.interaction_train, save.explained_train) = (Some(0.1), Some(2.0));
            if at.contains(&step) {
                (save.gradient_cosine, save.kernel_cross) = (Some(0.05), Some([kernel, 0.001]));
            }
        });
        c12(rules(), &course(), &saves)
    };
    is(&judge(&[200, 400, 600], 0.02), Verdict::Supports);
    lacks(&judge(&[200, 400], 0.02), Lack::Missing);
    is(&judge(&[400], 0.6), Verdict::Refutes);
    let late = judge(&[900, 950, 1000], 0.6);
    lacks(&late, Lack::Missing);
    let reason = late.unwrap().reason;
    assert!(reason.contains("kernel_cross at 0 saves of t_mem..t_gen, not 3"), "{reason}");
}

#[test]
fn c4a_is_about_any_algorithm() {
    let judge = |label: &dyn Fn(i64) -> Option<f64>, mirror: f64| {
        let of = |step: &i64| StepMean {
            step: *step,
            rate_ce: Some(1.0),
            z_label: label(*step),
            z_mirror: Some(mirror),
        };
        c4a(rules(), &course(), &course().steps.iter().map(of).collect::<Vec<_>>())
    };
    is(&judge(&|_| Some(9.0), 8.0), Verdict::Supports);
    is(&judge(&|_| Some(9.0), 1.0), Verdict::Refutes);
    is(&judge(&|_| Some(-1.0), 8.0), Verdict::Refutes);
    is(&judge(&|_| Some(-9.0), 8.0), Verdict::Refutes); // clearly the other way
    is(&judge(&|step| Some(if step < 30 { 9.0 } else { 1.0 }), 8.0), Verdict::Undecided);
    assert!(judge(&|_| Some(9.0), 4.0).unwrap().p.unwrap() < 1e-4);
    lacks(&judge(&|_| None, 8.0), Lack::Missing);
}

#[test]
fn c5_needs_accuracy_direction_and_neurons() {
    let judge = |accuracy: Option<f64>, cosine: Option<f64>, neurons: Option<f64>| {
        let others = vec![("b".to_owned(), Some(0.95), Some(0.1))];
        let sets = vec![(Some(0.01), Some(0.1)); 40];
        let (p, cosine) = ((Some(0.02), Some(0.3)), cosine.map(Some));
        let weights = cosine.map(|cosine| Overlaps { cosine, sets, p, others });
        c5(rules(), &course(), &AtDrop { accuracy, weights, neurons })
    };
    let found = judge(Some(0.95), Some(0.92), Some(0.8));
    is(&found, Verdict::Supports);
    let found = found.unwrap();
    assert_eq!(found.p, Some(0.02));
    let n1 = found.parts.iter().filter_map(|row| row.against).find(|of| of.p == Some(0.3));
    assert!(n1.is_some_and(|n1| n1.null == "N1" && n1.quantile == Some(0.1)), "{found:?}");
    assert!(found.reason.ends_with("as right with the keys of other runs: 1 of 1"), "{found:?}");
    let bare = Some(Overlaps { cosine: Some(0.95), ..Overlaps::default() });
    let found = AtDrop { accuracy: Some(0.95), weights: bare, neurons: Some(0.9) };
    lacks(&c5(rules(), &course(), &found), Lack::Missing); // no N1
    is(&judge(Some(0.95), Some(0.92), Some(0.7)), Verdict::Undecided);
    is(&judge(Some(0.7), Some(0.92), Some(0.9)), Verdict::Undecided);
    is(&judge(Some(0.4), Some(0.92), Some(0.9)), Verdict::Refutes);
    lacks(&judge(Some(0.95), None, Some(0.9)), Lack::Missing);
    lacks(&judge(None, Some(0.95), Some(0.9)), Lack::Missing);
    lacks(&judge(Some(0.95), Some(0.95), None), Lack::Missing);
}

/// A plane of 31 × 31 points from −1.5 to 1.5; θ_mem is at (0, 0), θ_T at (1, 0), θ_0 at (0, −1).
fn patch(
    three: bool,
    train: impl Fn(f64, f64) -> f64,
    excluded: impl Fn(f64, f64) -> f64,
    restricted: impl Fn(f64, f64) -> f64,
) -> Patch {
    let side = 31;
    let at: Vec<[f64; 2]> = (0..side * side)
        .map(|k| [k / side, k % side].map(|i| 3.0 * i as f64 / (side - 1) as f64 - 1.5))
        .collect();
    let of =
        |height: &dyn Fn(f64, f64) -> f64| at.iter().map(|[x, y]| Some(height(*x, *y))).collect();
    let site = Site::Three { start: [0.0, -1.0], memorised: [0.0; 2], end: [1.0, 0.0] };
    Patch {
        name: if three { "three:0,100,1000" } else { "random:1@100" }.into(),
        site: if three { site } else { Site::Random },
        columns: side,
        train: of(&train),
        excluded: of(&excluded),
        restricted: of(&restricted),
        at,
    }
}

#[test]
fn c6_looks_for_a_second_minimum() {
    let bowl = |x: f64, y: f64| x * x + y * y;
    let wells = |x: f64, y: f64| 20.0 * (x * (x - 1.0)).powi(2) + y * y;
    let slope = |x: f64, _: f64| 5.0 - x;
    let hidden = |three| patch(three, bowl, move |x, y| 1.0 + 2.0 * bowl(x, y), slope);
    let judge = |patches: &[Patch]| c6(rules(), &course(), patches);
    is(&judge(&[hidden(true), hidden(false)]), Verdict::Supports);
    let seen = patch(true, wells, wells, slope);
    is(&judge(&[seen.clone(), hidden(false)]), Verdict::Refutes);
    is(&judge(&[seen]), Verdict::Refutes);
    // Not the excluded loss; restricted loss that rises towards the end; one kind of plane alone.
    let other = patch(true, bowl, |x, y| (5.0 * x).sin() + y, slope);
    is(&judge(&[other, hidden(false)]), Verdict::Undecided);
    let uphill = patch(true, bowl, bowl, |x, _| 5.0 + x);
    is(&judge(&[uphill, hidden(false)]), Verdict::Undecided);
    lacks(&judge(&[hidden(false)]), Lack::Missing);
    lacks(&judge(&[]), Lack::Missing);
    // A second well behind points without a loss may be none; where nothing is known there is none at all.
    let walled = |wall: &dyn Fn(f64) -> bool| {
        let mut seen = patch(true, wells, wells, slope);
        let known: Vec<bool> = seen.at.iter().map(|at| !wall(at[0])).collect();
        seen.train.iter_mut().zip(known).for_each(|(loss, known)| *loss = loss.filter(|_| known));
        seen
    };
    let undecided = |seen: Patch| {
        let found = judge(&[seen, hidden(false)]).unwrap();
        assert_eq!(found.verdict, Verdict::Undecided, "{found:?}");
        found.reason
    };
    assert!(
        undecided(walled(&|x| (x - 0.5).abs() < 0.06)).contains("too little of the train loss")
    );
    // Both wells, and a quarter of the plane without a loss.
    assert!(undecided(walled(&|x| x < -0.75)).contains("too little of the train loss"));
    assert!(undecided(walled(&|_| true)).contains("nowhere known"));
    // One well, and too little of it.
    let mut part = hidden(true);
    let far: Vec<bool> = part.at.iter().map(|[x, y]| x.hypot(*y) > 0.6).collect();
    part.train.iter_mut().zip(&far).for_each(|(loss, far)| *loss = loss.filter(|_| !far));
    assert!(undecided(part).contains("too little of the train loss"));
    // Restricted loss known at one point near θ_mem has no slope.
    let mut flat = hidden(true);
    flat.restricted.iter_mut().skip(1).for_each(|loss| *loss = None);
    undecided(flat);
    let found = judge(&[hidden(true), hidden(false)]).unwrap();
    let slope = |row: &&crate::claims::verdict::Measured| row.statistic.starts_with("slope");
    let slope = found.parts.iter().find(slope).unwrap().value.unwrap();
    assert!((slope + 1.0).abs() < 1e-9, "{slope}");
}

#[test]
fn c11_compares_widths_with_influence() {
    let widths = |of: &dyn Fn(f64) -> f64, trace: bool| -> Vec<StepWidths> {
        let save = |i: i64| {
            let share = i as f64 / 8.0;
            let by_trace = trace.then(|| of(share));
            let by_radius = Some(of(share));
            StepWidths { step: 100 * i, by_radius, by_trace, share_key: Some(share) }
        };
        (0..8).map(save).collect()
    };
    let judge = |widths: &[StepWidths]| c11(rules(), &course(), widths);
    is(&judge(&widths(&|share| share * share, true)), Verdict::Supports);
    is(&judge(&widths(&|share| -share, true)), Verdict::Refutes);
    // Ranks 1 3 0 5 2 7 4 6: 1 − 6·26/(8·63) = 0.69.
    let mixed = [1.0, 3.0, 0.0, 5.0, 2.0, 7.0, 4.0, 6.0];
    let mixed = widths(&|share| mixed[(8.0 * share) as usize], true);
    is(&judge(&mixed), Verdict::Undecided);
    lacks(&judge(&widths(&|share| share, false)), Lack::Missing);
    lacks(&judge(&widths(&|share| share, true)[..4]), Lack::Missing);
}

fn seen(step: i64) -> Seen {
    Seen { step, key: 3, chance: 0.01, neuron_share: Some(0.02) }
}

fn detected(judged: Option<i64>) -> Detected {
    Detected {
        judged: judged.map(seen),
        literal: Some(seen(10)),
        last: 1000,
        before_drop: 50,
        smallest_chance: 1e-3,
        twins: 5,
        ..Detected::default()
    }
}

#[test]
fn c13_is_about_when_tools_see() {
    let judge = |judged| c13(rules(), &course(), &detected(judged));
    is(&judge(Some(510)), Verdict::Supports);
    is(&judge(Some(500)), Verdict::Undecided);
    is(&judge(Some(450)), Verdict::Undecided);
    is(&judge(Some(390)), Verdict::Refutes);
    // The other detector has a verdict in a row of its own, and none on the claim.
    let found = judge(Some(510)).unwrap();
    let row = |name: &str| found.parts.iter().find(|row| row.statistic == name).unwrap();
    let literal = row("detection/t_gen of any rejection");
    assert_eq!((literal.value, literal.verdict), (Some(10.0 / 800.0), Verdict::Refutes));
    assert_eq!(row("detection/t_gen").verdict, Verdict::Supports);
    assert_eq!(row("selectivity_p").value, Some(0.01));
    // Never to see a circuit that is there says nothing about tools.
    let never = judge(None);
    is(&never, Verdict::Undecided);
    assert!(never.unwrap().reason.contains("no key is found up to step 1000"));
    // After t_drop, and before half of t_gen.
    let mut slow = course();
    slow.phases.t_gen = Some(2000);
    let both = c13(rules(), &slow, &detected(Some(510)));
    is(&both, Verdict::Undecided);
    assert!(both.unwrap().reason.ends_with("comes late and early by the two rules"));
}

#[test]
fn c13_needs_what_it_looks_at() {
    let judge = |change: &dyn Fn(&mut Detected), step| {
        let mut found = detected(Some(step));
        change(&mut found);
        c13(rules(), &course(), &found)
    };
    for step in [390, 510] {
        is(
            &judge(&|found| found.before_drop = 5, step),
            [Verdict::Refutes, Verdict::Supports][usize::from(step > 400)],
        );
        lacks(&judge(&|found| found.before_drop = 4, step), Lack::Missing);
        lacks(&judge(&|found| found.twins = 1, step), Lack::NoTwin);
        lacks(&judge(&|found| found.smallest_chance = 0.06, step), Lack::NotReached);
    }
    let why = judge(&|found| (found.twins, found.left_out) = (1, vec!["t9: is stale".into()]), 390);
    assert!(why.unwrap_err().1.ends_with("; left out: t9: is stale"));
    let mut run = course();
    run.phases.t_drop = None;
    lacks(&c13(rules(), &run, &detected(Some(390))), Lack::NotReached);
}

#[test]
fn the_curve_of_c13_is_over_all_seeds() {
    let of = |keys: &[f64], plain: &[f64]| Scores { keys: keys.into(), plain: plain.into() };
    let runs = [of(&[3.0], &[1.0]), of(&[2.0], &[2.0]), Scores::default()];
    let [area, hits] = curve(0.05, &runs);
    assert_eq!((area.value, hits.value), (Some(0.875), Some(0.5)));
    assert_eq!(
        (area.reason.as_str(), hits.statistic.as_str()),
        ("2 keys, 2 plain frequencies", "hits at 0.05 false alarms")
    );
    assert_eq!(curve(0.05, &[])[0].value, None);
}

#[test]
fn c14_looks_for_barriers() {
    let line = |from: i64, to: i64, elsewhere: Option<&str>, barrier: f64| Line {
        from,
        to,
        elsewhere: elsewhere.map(str::to_owned),
        barrier,
        end: 1e-4,
    };
    let judge = |consecutive: f64, across: f64, seeds: &[f64], saves: i64| {
        let mut lines: Vec<Line> =
            (0..saves).map(|i| line(10 * i, 10 * i + 10, None, consecutive)).collect();
        lines.push(line(T_MEM, 1000, None, across));
        // Between saves that are not consecutive; says nothing.
        lines.push(line(0, 500, None, 9.0));
        lines.extend(seeds.iter().map(|barrier| line(T_MEM, 1000, Some("b"), *barrier)));
        c14(rules(), &course(), &lines)
    };
    is(&judge(0.1, 0.0, &[], 10), Verdict::Supports);
    is(&judge(0.0, 3.0, &[4.0], 100), Verdict::Supports);
    is(&judge(0.0, 3.0, &[40.0], 100), Verdict::Undecided);
    // Blocked, where the way to another run is free.
    is(&judge(0.0, 3.0, &[0.0], 100), Verdict::Undecided);
    is(&judge(0.0, 0.01, &[4.0], 100), Verdict::Refutes);
    is(&judge(0.0, 0.01, &[], 90), Verdict::Refutes);
    // Some of the lines between consecutive saves do not make all of them free.
    lacks(&judge(0.0, 0.01, &[4.0], 89), Lack::Missing);
    lacks(&judge(0.0, 3.0, &[], 100), Lack::Missing);
    lacks(&c14(rules(), &course(), &[]), Lack::Missing);
}

/// Of a run whose first checkpoints are gone nobody knows what was there.
#[test]
fn what_begins_late_is_undecided() {
    let late = |first: i64| {
        let mut run = course();
        run.steps.retain(|step| *step >= first);
        run
    };
    let saves = shares(|_, save| {
        (save.share_key_train, save.explained_train) = (Some(0.1), Some(1.0));
        (save.deltas_train, save.angle_test) = (Some([0.0, 0.0, -1.0]), Some(30.0));
    });
    #[track_caller]
    fn begins(outcome: &Outcome, step: i64) {
        let Err(Gap(Lack::Missing, reason)) = outcome else { panic!("{outcome:?}") };
        assert!(reason.ends_with(&format!("begin at step {step}")), "{reason}");
    }
    for first in [10, T_MEM] {
        let run = late(first);
        begins(&c2(rules(), &run, &saves), first);
        begins(&c7(rules(), &run, &saves), first);
        begins(&c4a(rules(), &run, &[]), first);
    }
    let run = late(T_MEM);
    begins(&c6(rules(), &run, &[]), T_MEM);
    begins(&c14(rules(), &run, &[]), T_MEM);
    begins(&c9(rules(), &run, &walking(0.0, |t| t), &saves), T_MEM);
    assert_eq!(late(10).t_mem(), Ok(T_MEM));
    assert!(late(T_GEN).t_gen().unwrap_err().1.contains("the checkpoints begin at step 800"));
}
