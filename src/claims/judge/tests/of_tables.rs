//! Claims that follow from numbers of the tables alone.

use super::*;

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
        c2(rules(), &course(), &shares(|step, save| save.share_key_train = Some(share(step))))
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
    let gaps = shares(|step, save| save.share_key_train = (step % 20 == 0).then_some(0.1));
    lacks(&c2(rules(), &course(), &gaps), Lack::Missing);
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
    let judge = |interaction: f64, cosine: Option<f64>, kernel: Option<f64>| {
        let saves = shares(|_, save| {
            (save.interaction_train, save.explained_train) = (Some(interaction), Some(2.0));
            (save.gradient_cosine, save.kernel_cross) = (cosine, kernel);
        });
        c12(rules(), &course(), &saves)
    };
    is(&judge(-0.1, Some(0.05), Some(0.02)), Verdict::Supports);
    is(&judge(-0.1, Some(-0.3), Some(0.02)), Verdict::Undecided);
    is(&judge(-0.1, Some(-0.6), Some(0.02)), Verdict::Refutes);
    is(&judge(1.5, None, None), Verdict::Refutes);
    lacks(&judge(0.1, Some(0.05), None), Lack::Missing);
    lacks(&c12(rules(), &course(), &[]), Lack::Missing);
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
    is(&judge(&|step| Some(if step < 30 { 9.0 } else { 1.0 }), 8.0), Verdict::Undecided);
    assert!(judge(&|_| Some(9.0), 4.0).unwrap().p.unwrap() < 1e-4);
    lacks(&judge(&|_| None, 8.0), Lack::Missing);
}

#[test]
fn c5_needs_accuracy_direction_and_neurons() {
    let judge = |accuracy: Option<f64>, cosine: Option<f64>, neurons: Option<f64>| {
        let others = vec![("b".to_owned(), Some(0.95), Some(0.1))];
        let sets = vec![(Some(0.01), Some(0.1)); 40];
        let weights = cosine.map(|cosine| Overlaps { cosine: Some(cosine), sets, others });
        c5(rules(), &course(), &AtDrop { accuracy, weights, neurons })
    };
    let found = judge(Some(0.95), Some(0.92), Some(0.8));
    is(&found, Verdict::Supports);
    let found = found.unwrap();
    assert_eq!(found.p, Some(1.0 / 41.0));
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

#[test]
fn c13_is_about_when_tools_see() {
    let judge = |step: Option<i64>, last: i64, twins: usize| {
        c13(rules(), &course(), &Detected { step, last, twins, ..Detected::default() })
    };
    is(&judge(Some(510), 1000, 5), Verdict::Supports);
    is(&judge(None, 1000, 5), Verdict::Supports);
    is(&judge(Some(450), 1000, 5), Verdict::Undecided);
    is(&judge(Some(390), 1000, 5), Verdict::Refutes);
    lacks(&judge(None, 490, 5), Lack::NoTwin);
    lacks(&judge(Some(390), 1000, 1), Lack::NoTwin);
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
    is(&judge(0.0, 3.0, &[4.0], 10), Verdict::Supports);
    is(&judge(0.0, 3.0, &[40.0], 10), Verdict::Undecided);
    is(&judge(0.0, 0.01, &[4.0], 10), Verdict::Refutes);
    lacks(&judge(0.0, 3.0, &[], 10), Lack::Missing);
    lacks(&judge(0.0, 0.01, &[4.0], 3), Lack::Missing);
    lacks(&c14(rules(), &course(), &[]), Lack::Missing);
}
