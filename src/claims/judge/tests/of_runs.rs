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

/// A number that some runs do not have is that of the others, and says so.
#[test]
fn a_median_says_of_how_many_runs_it_is() {
    let mut findings = vec![finding(Verdict::Refutes, 1.0, None); 5];
    for late in &mut findings[..2] {
        late.headline = None;
        late.parts[0].value = None;
    }
    let all = all_runs(&few_draws(), "C3a", &findings.iter().collect::<Vec<_>>());
    assert!(all.finding.reason.ends_with("; value of 3 runs that have one"), "{all:?}");
    assert!(all.parts[0].0.reason.ends_with("; value of 3 of 5 runs"), "{all:?}");
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

/// A run that generalises, by the accuracy of its twin.
fn sized(accuracy: f64, verdicts: [Verdict; 3]) -> Capacity {
    Capacity { settings: "p 97".into(), twin_accuracy: Ok(accuracy), is_final: true, verdicts }
}

fn runs_of(over: [Verdict; 3], under: [Verdict; 3], count: usize) -> Vec<Capacity> {
    let at_the_edge = vec![sized(0.95, over); 2];
    [vec![sized(1.0, over); 3], at_the_edge, vec![sized(0.5, under); count]].concat()
}

#[test]
fn c10_compares_networks_of_two_sizes() {
    use Verdict::{Refutes, Supports, Undecided};
    let judge = |runs: &[Capacity]| c10(rules(), runs).finding;
    let same = [Supports, Refutes, Supports];
    let found = judge(&runs_of(same, same, 3));
    assert_eq!(found.verdict, Supports);
    assert!(found.reason.contains("in which algorithm 1 is only what is not K"), "{found:?}");
    assert_eq!(judge(&runs_of(same, [Supports, Supports, Supports], 3)).verdict, Refutes);
    assert_eq!(judge(&runs_of(same, [Supports, Undecided, Supports], 3)).verdict, Undecided);
    let few = judge(&runs_of(same, same, 2));
    assert_eq!((few.verdict, few.lack), (Undecided, Some(Lack::NotReached)));
    let gap = Gap(Lack::NoTwin, "no run on permuted labels".into());
    let alone = Capacity { twin_accuracy: Err(gap), ..sized(1.0, same) };
    assert_eq!(judge(std::slice::from_ref(&alone)).lack, Some(Lack::NoTwin));
    assert_eq!(alone.kind(rules()), Kind::Unknown);
    assert_eq!(alone.finding(rules()).lack, Some(Lack::NoTwin));
    let kinds = [0.89, 0.9, 0.985, 0.99].map(|accuracy| sized(accuracy, same).kind(rules()));
    assert_eq!(kinds, [Kind::Under, Kind::Edge, Kind::Edge, Kind::Over]);
}

/// Runs without a final algorithm have no verdict, and are none of the runs that must agree.
#[test]
fn c10_counts_only_runs_that_generalise() {
    use Verdict::{Supports, Undecided};
    let same = [Supports; 3];
    let unfinished =
        |accuracy: f64| Capacity { is_final: false, ..sized(accuracy, [Undecided; 3]) };
    let mut runs = runs_of(same, same, 3);
    runs.extend([unfinished(1.0), unfinished(1.0), unfinished(0.1), unfinished(0.1)]);
    let found = c10(rules(), &runs);
    assert_eq!(found.finding.verdict, Supports, "{found:?}");
    let count =
        |name: &str| found.parts.iter().find(|row| row.0.statistic == name).unwrap().0.value;
    assert_eq!((count("runs_over"), count("runs_under")), (Some(3.0), Some(3.0)));
    // Nor do they make up the number that is needed.
    let mut runs = runs_of(same, same, 2);
    runs.push(unfinished(0.1));
    assert_eq!(c10(rules(), &runs).finding.lack, Some(Lack::NotReached));
    let own = unfinished(0.1).finding(rules());
    assert_eq!((own.verdict, own.lack), (Undecided, Some(Lack::NotReached)));
    assert_eq!(own.headline, Some(0.1), "its size is known all the same");
}

/// Seeds of another modulus or cadence are no networks of another size.
#[test]
fn c10_compares_like_with_like() {
    use Verdict::{Refutes, Supports};
    let same = [Supports; 3];
    let elsewhere = |runs: Vec<Capacity>| {
        let other = |run: Capacity| Capacity { settings: "p 113".into(), ..run };
        runs.into_iter().map(other).collect::<Vec<_>>()
    };
    let mut runs = runs_of(same, same, 3);
    runs.extend(elsewhere(vec![sized(1.0, [Refutes; 3]); 5]));
    let found = c10(rules(), &runs);
    assert_eq!(found.finding.verdict, Supports, "{found:?}");
    // One set of settings alone has both sizes.
    let split = [vec![sized(1.0, same); 3], elsewhere(vec![sized(0.5, same); 3])].concat();
    assert_eq!(c10(rules(), &split).finding.lack, Some(Lack::NotReached));
}
