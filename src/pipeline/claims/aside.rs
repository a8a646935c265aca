//! Tables that do not belong to the others of their folder: of other keys, another protocol, other
//! checkpoints, other rules, or older than what they were made from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::onset::RULES_DIGEST;
use crate::archive::Archive;
use crate::claims::rules::Rules;
use crate::pipeline::landscape;
use crate::tables::manifest::Manifest;
use crate::tables::{ArrowRow, OnsetRow, ProgressRow, Row, SharesRow};

/// What must be the same in `progress` and in a table that is laid beside it, where that table says it.
const CHOICES: [&str; 3] = ["key_rule", "key_threshold", "protocol"];

/// The tables to be put aside, each with the reason.
#[must_use]
pub fn aside(
    manifest: &Manifest,
    archive: &Archive,
    rules: &Rules,
) -> BTreeMap<&'static str, String> {
    let landscapes = landscape::outdated(manifest, archive).into_iter().map(|(table, one)| {
        let problem = format!("{one} is of checkpoints that the archive has others of now");
        let help = "`groundswell landscape` again, as before";
        (table, format!("table {table} is put aside: {problem}: run {help}"))
    });
    landscapes.chain(of_measures(manifest, rules)).collect()
}

/// Those that must fit to table `progress`, and the onsets.
fn of_measures(manifest: &Manifest, rules: &Rules) -> BTreeMap<&'static str, String> {
    let said = |table: &str| manifest.parameters.get(table).unwrap_or(&Value::Null);
    let measured = [ArrowRow::TABLE, SharesRow::TABLE].into_iter().filter_map(|table| {
        let difference = difference(table, said(table), said(ProgressRow::TABLE))?;
        let help = format!("`groundswell {table}` and `groundswell analyze` with the same options");
        Some((table, format!("table {table} is put aside: {difference}: run {help}")))
    });
    let now = |table: &str| manifest.tables.get(table).map(|entry| entry.blake3.as_str());
    let table = OnsetRow::TABLE;
    let made_from = said(table)["inputs"].as_object().into_iter().flatten();
    let older = made_from.filter(|(from, digest)| digest.as_str() != now(from));
    let older = older.map(|(from, _)| {
        let problem = format!("it was made from another table {from} than is there now");
        (table, format!("table {table} is put aside: {problem}: run `groundswell {table}` again"))
    });
    let by_others = manifest.parameters.get(table).and_then(|onset| by_other_rules(onset, rules));
    let by_others = by_others.map(|problem| {
        let help = format!("`groundswell {table}` again, with the same --rules as `claims`");
        (table, format!("table {table} is put aside: {problem}: run {help}"))
    });
    measured.chain(older.take(1)).chain(by_others).collect()
}

/// By which other rules the onsets were found.
fn by_other_rules(onset: &Value, rules: &Rules) -> Option<String> {
    let (seed, made_with) = (rules.nulls.seed, onset["seed"].as_u64());
    if made_with.is_some_and(|made_with| made_with != seed) {
        return Some(format!("it was made with seed {}, and the rules say {seed}", onset["seed"]));
    }
    let short = |digest: &str| digest.chars().take(8).collect::<String>();
    let (digest, made_by) = (rules.digest(), onset[RULES_DIGEST].as_str());
    let told = made_by.map_or_else(|| "not said".to_owned(), short);
    (made_by != Some(&digest)).then(|| {
        format!("it was made by other rules (digest: {told}) than these ({})", short(&digest))
    })
}

/// In what the table was made otherwise than `progress`.
fn difference(table: &str, there: &Value, progress: &Value) -> Option<String> {
    let choice = CHOICES.into_iter().find_map(|name| {
        let [there, here] = [there, progress].map(|said| &said["parameters"][name]);
        let here_in_words = if here.is_null() { "not said".to_owned() } else { here.to_string() };
        (!there.is_null() && there != here)
            .then(|| format!("{name} is {there} in it, {here_in_words} in table progress"))
    });
    choice.or_else(|| {
        let mut runs = there["inputs"].as_object()?.iter();
        let (run, _) = runs.find(|(run, digest)| {
            let here = &progress["inputs"][run.as_str()];
            !here.is_null() && here != *digest
        })?;
        Some(format!("the checkpoints of {run} in table {table} are not those in table progress"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::claims::rules::rules;
    use crate::tables::FourierRow;

    fn progress() -> Value {
        let parameters =
            json!({ "key_rule": "w_l", "key_threshold": 0.25, "protocol": "sum_dirs" });
        json!({ "blocks": "b", "parameters": parameters, "inputs": { "a": "1", "b": "2" } })
    }

    fn of(table: &str, said: Value) -> Option<String> {
        let parameters = [("progress".to_owned(), progress()), (table.to_owned(), said)];
        let found = of_measures(&Manifest::new(parameters.into()), rules());
        assert!(found.keys().all(|name| *name == table), "{found:?}");
        found.into_values().next()
    }

    #[test]
    fn tables_of_the_same_choices_stay() {
        assert_eq!(of_measures(&Manifest::new(BTreeMap::new()), rules()), BTreeMap::new());
        assert_eq!(of("shares", progress()), None);
        // An arrow has no protocol; what another version did not write is not compared.
        let mut arrow = progress();
        arrow["parameters"]["protocol"] = Value::Null;
        arrow["inputs"] = json!({ "a": "1", "c": "9" });
        assert_eq!(of("arrow", arrow), None);
    }

    #[test]
    fn other_keys_protocols_and_checkpoints_are_put_aside() {
        for (name, other, said) in [
            ("key_rule", json!("per-checkpoint"), "key_rule is \"per-checkpoint\" in it, \"w_l\""),
            ("key_threshold", json!(0.5), "key_threshold is 0.5 in it, 0.25 in table progress"),
            ("protocol", json!("block3x3"), "protocol is \"block3x3\" in it, \"sum_dirs\""),
        ] {
            for table in ["arrow", "shares"] {
                let mut there = progress();
                there["parameters"][name] = other.clone();
                let reason = of(table, there).unwrap();
                assert!(reason.starts_with(&format!("table {table} is put aside")), "{reason}");
                assert!(reason.contains(said), "{reason}");
            }
        }
        let mut there = progress();
        there["inputs"]["b"] = "3".into();
        let reason = of("shares", there).unwrap();
        assert!(reason.contains("the checkpoints of b in table shares are not those"), "{reason}");
        // Where progress says nothing, nobody knows.
        let parameters = [("shares".to_owned(), progress())].into();
        let reason = &of_measures(&Manifest::new(parameters), rules())["shares"];
        assert!(
            reason.contains("key_rule is \"w_l\" in it, not said in table progress"),
            "{reason}"
        );
    }

    #[test]
    fn an_onset_of_older_tables_is_put_aside() {
        let said = |digest: &str| {
            let onset = json!({ "inputs": { "fourier": digest }, RULES_DIGEST: rules().digest() });
            let mut manifest = Manifest::new([("onset".to_owned(), onset)].into());
            manifest.insert::<FourierRow>(b"bytes", 1);
            of_measures(&manifest, rules())
        };
        let now = blake3::hash(b"bytes").to_hex().to_string();
        assert_eq!(said(&now), BTreeMap::new());
        let reason = &said("before")["onset"];
        assert!(reason.contains("made from another table fourier than is there now"), "{reason}");
    }

    #[test]
    fn an_onset_by_other_rules_is_put_aside() {
        assert_eq!(of("onset", json!({ RULES_DIGEST: rules().digest() })), None);
        let other = json!({ RULES_DIGEST: rules().digest(), "seed": rules().nulls.seed + 1 });
        let reason = of("onset", other).unwrap();
        assert!(
            reason.contains("it was made with seed 20233, and the rules say 20232"),
            "{reason}"
        );
        let reason = of("onset", json!({ RULES_DIGEST: "0123456789" })).unwrap();
        assert!(reason.contains("made by other rules (digest: 01234567) than these"), "{reason}");
        assert!(reason.ends_with("again, with the same --rules as `claims`"), "{reason}");
        assert!(of("onset", json!({})).unwrap().contains("(digest: not said)"));
    }
}
