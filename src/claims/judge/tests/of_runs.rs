//! Several runs together.

use super::*;
use crate::claims::verdict::{Finding, Measured};

fn finding(verdict: Verdict, headline: f64, p: Option<f64>) -> Finding {
    let parts = vec![Measured::number("part", Some(2.0 * headline)).judged(verdict, "")];
    Finding::new(verdict, Some(headline), "share 0.1: so it is", parts).with_p(p)
}

fn together(verdicts: &[Verdict], p: Option<f64>) -> All {
    let findings: Vec<Finding> =
        verdicts.iter().enumerate().map(|(i, v)| finding(*v, i as f64, p)).collect();
    all_runs(&few_draws(), "C2", &findings.iter().collect::<Vec<_>>())
}

#[test]
fn four_of_five_runs_must_agree() {
    use Verdict::{Refutes, Supports, Undecided};
    for (verdicts, expected) in [
        ([Supports; 5], Supports),
        ([Supports, Supports, Undecided, Supports, Supports], Supports),
        ([Supports, Supports, Refutes, Undecided, Supports], Undecided),
        ([Refutes, Refutes, Refutes, Supports, Refutes], Refutes),
        ([Undecided; 5], Undecided),
    ] {
        let all = together(&verdicts, None);
        assert_eq!(all.finding.verdict, expected, "{all:?}");
    }
    let all = together(&[Supports; 5], None);
    assert_eq!((all.finding.headline, all.parts[0].0.value), (Some(2.0), Some(4.0)));
    assert_eq!(all.parts[0].0.verdict, Supports);
    let [low, high] = all.interval.unwrap();
    assert!(low < 2.0 && high > 2.0 && low >= 0.0 && high <= 4.0);
    assert!(all.finding.reason.starts_with("share: 5 of 5 runs support"), "{all:?}");
    // Four runs are too few, however they agree.
    let all = together(&[Supports; 4], None);
    assert_eq!((all.finding.verdict, all.finding.lack), (Undecided, Some(Lack::NotReached)));
}

/// What most runs lack is what the claim lacks.
#[test]
fn a_lack_is_handed_on() {
    let lacking = Finding::lacking(Lack::NoTwin, "no run on permuted labels");
    let all = all_runs(&few_draws(), "C13", &[&lacking; 5]);
    assert_eq!((all.finding.verdict, all.finding.lack), (Verdict::Undecided, Some(Lack::NoTwin)));
    assert!(all.finding.reason.ends_with("no run on permuted labels"), "{all:?}");
}

/// p over runs is that of 4 of 5, then Holm's; it is a hurdle for support alone.
#[test]
fn support_needs_its_null() {
    let rules = few_draws();
    let of = |verdict, p| together(&[verdict; 5], Some(p));
    let mut claims = [
        of(Verdict::Supports, 0.004), // 0.008, times 3
        of(Verdict::Supports, 0.02),  // 0.04, times 2
        of(Verdict::Refutes, 0.5),    // 1
        together(&[Verdict::Supports; 5], None),
    ];
    All::correct(&rules, &mut claims.iter_mut().collect::<Vec<_>>());
    let p = claims.each_ref().map(|all| all.finding.p);
    assert!((p[0].unwrap() - 0.024).abs() < 1e-12 && (p[1].unwrap() - 0.08).abs() < 1e-12, "{p:?}");
    assert_eq!((p[2], p[3]), (Some(1.0), None));
    let verdicts = claims.each_ref().map(|all| all.finding.verdict);
    use Verdict::{Refutes, Supports, Undecided};
    assert_eq!(verdicts, [Supports, Undecided, Refutes, Supports]);
    assert!(claims[1].finding.reason.ends_with("p after Holm is 0.08"));
    // A claim about the keys without a null is none.
    let own = finding(Verdict::Supports, 1.0, None);
    let mut bare = all_runs(&rules, "C5", &[&own; 5]);
    assert_eq!(bare.finding.verdict, Supports);
    All::correct(&rules, &mut [&mut bare]);
    assert_eq!(bare.finding.verdict, Undecided, "{bare:?}");
}

#[test]
fn other_families_are_a_null_of_their_own() {
    let all = together(&[Verdict::Supports; 5], None);
    assert_eq!(other_families(&all, &[]), None);
    let other = finding(Verdict::Refutes, 9.0, None);
    let row = other_families(&all, &[&other]).unwrap();
    assert_eq!((row.against.unwrap().null, row.against.unwrap().mean), ("N7", Some(9.0)));
    assert!(row.reason.contains("0 support, 1 refute"), "{row:?}");
}

#[test]
fn c10_compares_networks_of_two_sizes() {
    use Verdict::{Refutes, Supports, Undecided};
    let runs = |over: [Verdict; 3], under: [Verdict; 3], count: usize| -> Vec<Capacity> {
        let of = |accuracy, verdicts| Capacity { twin_accuracy: Some(accuracy), verdicts };
        let all = [vec![of(1.0, over); 3], vec![of(0.95, over); 2], vec![of(0.5, under); count]];
        all.concat()
    };
    let judge = |runs: &[Capacity]| c10(rules(), runs).finding;
    let same = [Supports, Refutes, Supports];
    assert_eq!(judge(&runs(same, same, 3)).verdict, Supports);
    assert_eq!(judge(&runs(same, [Supports, Supports, Supports], 3)).verdict, Refutes);
    assert_eq!(judge(&runs(same, [Supports, Undecided, Supports], 3)).verdict, Undecided);
    let few = judge(&runs(same, same, 2));
    assert_eq!((few.verdict, few.lack), (Undecided, Some(Lack::NotReached)));
    let alone = Capacity { twin_accuracy: None, verdicts: same };
    assert_eq!(judge(&[alone]).lack, Some(Lack::NoTwin));
    assert_eq!(alone.kind(rules()), Kind::Unknown);
    let kinds = [0.89, 0.9, 0.985, 0.99]
        .map(|accuracy| Capacity { twin_accuracy: Some(accuracy), ..alone }.kind(rules()));
    assert_eq!(kinds, [Kind::Under, Kind::Edge, Kind::Edge, Kind::Over]);
}
