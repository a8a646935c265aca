//! Mutations of a committed corpus: whatever bytes come, a reader answers, and a header that is
//! accepted is one that the reference accepts.
//!
//! Seeded, so that a failure comes again. [`CASES`] mutations of each kind of file; in the long
//! tests (`make soak`, `GROUNDSWELL_SOAK`) fifty times as many. A mutation that once broke something
//! belongs into `fixtures/corpus/`.

use std::fs;
use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

use super::header::{Header, json_length, look_alike};
use super::manifest::Manifest;
use super::shards::Index;
use super::{StepPattern, read, steps};
use crate::config::Facts;

const CASES: usize = 20_000;

/// Pieces that mean something to one of the readers.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0077",
    b"\n",
    b" ",
    b"\0",
    b"\xff",
    b"0",
    b"-1",
    b"9",
    b"1e9",
    b"18446744073709551615",
    b"18446744073709551616",
    b"4294967296",
    b"null",
    b"true",
    b"[0,0]",
    b"__metadata__",
    b"dtype",
    b"shape",
    b"data_offsets",
    b"F32",
    b"F4",
    b"I64",
    b"step",
    b"../",
    b"removed",
    b"bytes",
    b"weight_map",
    b"=",
    b"-of-",
    b"\xf0\x9f\x98\x80",
];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// Every file of a folder, by name.
fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "py"));
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).collect()
}

/// Change one to four things.
fn mutated(corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(1..=16)).min(bytes.len());
        match rng.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => bytes.truncate(at),
            5 => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let token = TOKENS[rng.random_range(0..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
        }
    }
    bytes
}

fn each(folder: &str, seed: u64, mut test: impl FnMut(&[u8], &mut ChaCha8Rng)) {
    let corpus = corpus(folder);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let times = if std::env::var_os("GROUNDSWELL_SOAK").is_some() { 50 } else { 1 };
    corpus.iter().for_each(|bytes| test(bytes, &mut rng));
    for _ in 0..CASES * times {
        test(&mutated(&corpus, &mut rng), &mut rng);
    }
}

/// Set the length that a file declares to one that lets the reader get further.
fn repaired(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() > 8 && rng.random() {
        let end = bytes.iter().rposition(|byte| *byte == b'}').unwrap_or(8);
        bytes[..8].copy_from_slice(&(end.saturating_sub(7) as u64).to_le_bytes());
    }
    bytes
}

#[test]
fn headers() {
    let mut accepted = 0;
    each("bad", 1, |bytes, rng| {
        let bytes = repaired(bytes, rng);
        let Some(first) = bytes.first_chunk() else { return };
        let length = bytes.len() as u64;
        let Ok(n) = json_length(*first, length) else {
            let _ = look_alike(&bytes);
            return;
        };
        if let Ok(ours) = Header::parse(&bytes[8..8 + n as usize], length) {
            let (_, theirs) = SafeTensors::read_metadata(&bytes).unwrap();
            assert_eq!(ours.tensors.len(), theirs.tensors().len());
            accepted += 1;
        }
    });
    assert!(accepted > 100, "the mutations are too coarse: {accepted} accepted");
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("step1.safetensors");
    each("bad", 2, |bytes, rng| {
        let bytes = repaired(bytes, rng);
        fs::write(&path, &bytes).unwrap();
        if let Ok(contents) = read::load(&path, None, false) {
            let theirs = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(contents.header.tensors.len(), theirs.len());
            for tensor in contents.tensors {
                assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
            }
        }
    });
}

#[test]
fn indices() {
    let path = Path::new("x/model.safetensors.index.json");
    each("corpus/index", 3, |bytes, _| {
        if let Ok(index) = Index::parse(path, bytes) {
            let inside = |file: &PathBuf| file.parent() == Some(Path::new("x"));
            assert!(index.files().iter().all(inside), "{index:?}");
        }
    });
}

#[test]
fn manifests() {
    each("corpus/manifest", 4, |bytes, _| {
        let _ = Manifest::parse(Path::new("manifest.jsonl"), bytes);
    });
}

#[test]
fn facts() {
    each("corpus/facts", 5, |bytes, _| {
        let _ = Facts::from_toml(&String::from_utf8_lossy(bytes), Path::new("archive.toml"));
    });
}

#[test]
fn names_and_patterns() {
    each("corpus/steps", 6, |bytes, _| {
        let name = String::from_utf8_lossy(bytes);
        for step in [steps::announced(&name), steps::trailing(&name).map(|(_, step)| step)] {
            assert!(step.is_none_or(|step| i64::try_from(step).is_ok()), "{name}");
        }
        let _ = steps::without_shard(&name);
        if let Ok(pattern) = format!("(?P<step>{name})").parse::<StepPattern>() {
            let _ = pattern.find(&name);
        }
    });
}
