//! The house rules that can be read off the source: who uses whom, and what may stand where.
//!
//! ```text
//! surface      cli  bin                        parse, call, report
//! engines      train  pipeline  weights  doctor        join mathematics and storage; threads
//! mathematics  tasks model optim spectra fourier circuits progress landscape dynamics claims  arrays in and out
//! storage      archive  durable  tables                 files in, typed values out
//! vocabulary   error  config  params  linalg  blas
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Vocabulary,
    Storage,
    Mathematics,
    Engines,
    Surface,
}

use Floor::{Engines, Mathematics, Storage, Surface, Vocabulary};

/// Every module, and its floor.
const FLOORS: &[(&str, Floor)] = &[
    ("error", Vocabulary),
    ("config", Vocabulary),
    ("params", Vocabulary),
    ("linalg", Vocabulary),
    ("blas", Vocabulary),
    ("archive", Storage),
    ("durable", Storage),
    ("tables", Storage),
    ("tasks", Mathematics),
    ("model", Mathematics),
    ("optim", Mathematics),
    ("spectra", Mathematics),
    ("fourier", Mathematics),
    ("circuits", Mathematics),
    ("claims", Mathematics),
    ("progress", Mathematics),
    ("landscape", Mathematics),
    ("dynamics", Mathematics),
    ("train", Engines),
    ("pipeline", Engines),
    ("weights", Engines),
    ("doctor", Engines),
    ("cli", Surface),
    ("bin", Surface),
];

fn floor(module: &str) -> Floor {
    let known = FLOORS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("module `{module}` has no floor: give it one in FLOORS")).1
}

/// Whether a module on the first floor may use one on the second.
fn may_use(user: Floor, used: Floor) -> bool {
    let storage_and_mathematics = (user, used) == (Mathematics, Storage);
    used <= user && !storage_and_mathematics
}

/// A source file: its path below `src/`, its module, and its code without comments and strings.
struct Source {
    path: String,
    module: String,
    code: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Some("rs") = path.extension().and_then(|extension| extension.to_str()) else {
                continue;
            };
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            let module = path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            found.push(Source { path, module, lines: text.lines().count(), code: code(&text) });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "{} source files", found.len());
    found
}

/// The text without comments and without what stands in string literals.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(end) = raw_string(rest) {
            end
        } else if rest.starts_with("'\"'") {
            3
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        if !rest.starts_with('/') {
            code.push_str("\"\"");
        }
        rest = &rest[skipped..];
    }
    code
}

/// Length of a raw string at the start of `text`, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(())?;
    let close = format!("\"{}", "#".repeat(hashes));
    let begin = text.len() - after.len() + hashes + 1;
    Some(begin + text[begin..].find(&close)? + close.len())
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The modules that a source names by `crate::…` (also `$crate::…` and `groundswell::…`) and, where
/// `super` is the crate, by `super::…`; with the braces of `use crate::{a, b::c}` opened.
fn used(source: &Source) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let depth = match source.path.split('/').collect::<Vec<_>>().as_slice() {
        [_] | [_, "mod.rs"] => 1,
        [_, rest @ ..] => rest.len() + 1 - usize::from(rest.last() == Some(&"mod.rs")),
        [] => unreachable!(),
    };
    let supers = "super::".repeat(depth);
    for root in ["crate::", "groundswell::", supers.as_str()] {
        for (at, _) in source.code.match_indices(root) {
            let before = source.code[..at].chars().next_back();
            let continues = before.is_some_and(|c| is_name(c) || c == ':');
            // Inside `mod tests { … }` of such a file, `super` is the module itself.
            let inner = root == supers && nested(&source.code[..at]);
            if !continues && !inner {
                names(&source.code[at + root.len()..], &mut used);
            }
        }
    }
    used.remove(&source.module);
    used
}

/// Whether the end of this code lies inside the braces of a `mod`.
fn nested(code: &str) -> bool {
    let mut opened = code.match_indices("mod ").filter(|(at, _)| {
        let after = &code[at + 4..];
        after.trim_start_matches(is_name).trim_start().starts_with('{')
    });
    opened.any(|(at, _)| {
        let depth = code[at..].chars().fold(0, |depth, c| match c {
            '{' => depth + 1,
            '}' => depth - 1,
            _ => depth,
        });
        depth > 0
    })
}

/// The first names of a path, or of the paths between braces, that are modules: lower case.
fn names(text: &str, found: &mut BTreeSet<String>) {
    let Some(inside) = text.strip_prefix('{') else {
        let name: String = text.chars().take_while(|c| is_name(*c)).collect();
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self" && name != "super" {
            found.insert(name);
        }
        return;
    };
    let mut depth = 0;
    let mut begin = true;
    for (at, c) in inside.char_indices() {
        match c {
            '}' if depth == 0 => return,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => begin = true,
            c if begin && !c.is_whitespace() => {
                names(&inside[at..], found);
                begin = false;
            }
            _ => {}
        }
    }
}

/// Macros and functions of the crate's root that look like modules.
const NO_MODULES: [&str; 1] = ["table"];

/// Module → the modules that it uses.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let mut used = used(source);
        used.retain(|name| !NO_MODULES.contains(&name.as_str()));
        uses.entry(source.module.clone()).or_default().extend(used);
    }
    uses
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        for name in used(source).iter().filter(|name| !NO_MODULES.contains(&name.as_str())) {
            let (user, found) = (floor(&source.module), floor(name));
            if !may_use(user, found) {
                wrong.push(format!("src/{} ({user:?}) uses {name} ({found:?})", source.path));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_floor_is_inhabited_and_every_module_has_one() {
    let modules: BTreeSet<String> = uses().into_keys().collect();
    let table: BTreeSet<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, table);
}

/// No two modules use each other, over however many others.
#[test]
fn there_are_no_circles() {
    let mut left = uses();
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, used)| !used.iter().any(|name| left.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|name| {
            left.remove(name);
        });
    }
    assert!(left.is_empty(), "these use each other: {left:?}");
}

/// Source files with `word` in their code, as a whole name.
fn files_with(word: &str) -> Vec<String> {
    let holds = |source: &&Source| {
        source.code.match_indices(word).any(|(at, _)| {
            let before = source.code[..at].chars().next_back();
            let after = source.code[at + word.len()..].chars().next();
            !before.is_some_and(is_name) && !after.is_some_and(is_name)
        })
    };
    sources().iter().filter(holds).map(|source| source.path.clone()).collect()
}

fn module_of(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn threads_belong_to_the_engines() {
    for word in ["rayon", "spawn"] {
        let wrong: Vec<String> =
            files_with(word).into_iter().filter(|path| floor(module_of(path)) != Engines).collect();
        assert_eq!(wrong, [""; 0], "`{word}` outside of the engines");
    }
    assert!(!files_with("rayon").is_empty(), "nothing is found any more");
}

#[test]
fn polars_stays_behind_the_tables() {
    let wrong: Vec<String> = files_with("polars")
        .into_iter()
        .filter(|path| module_of(path) != "tables" && path != "error.rs")
        .collect();
    assert_eq!(wrong, [""; 0]);
    assert!(files_with("polars").len() > 2, "nothing is found any more");
}

/// Arrays in, arrays out: no files, clocks, logs or randomness of the system.
#[test]
fn mathematics_is_pure() {
    for word in ["fs", "io", "env", "time", "thread", "Instant", "tracing", "ThreadRng", "StdRng"] {
        let path = [format!("std::{word}"), format!("{word}::")];
        let holds = |source: &&Source| {
            path.iter().any(|path| {
                source.code.match_indices(path.as_str()).any(|(at, _)| {
                    !source.code[..at].chars().next_back().is_some_and(|c| is_name(c) || c == ':')
                })
            })
        };
        let sources = sources();
        let mathematics = sources
            .iter()
            .filter(|source| source.path != "lib.rs" && floor(&source.module) == Mathematics);
        let wrong: Vec<&str> =
            mathematics.filter(holds).map(|source| source.path.as_str()).collect();
        assert_eq!(wrong, [""; 0], "`{word}` in mathematics");
    }
}

#[test]
fn only_the_surface_prints() {
    let may = |source: &Source| {
        ["cli", "bin"].contains(&source.module.as_str()) || source.path.ends_with("/tests.rs")
    };
    for word in ["println", "eprintln", "print", "eprint", "dbg"] {
        let calls = |source: &&Source| {
            source
                .code
                .match_indices(&format!("{word}!"))
                .any(|(at, _)| !source.code[..at].chars().next_back().is_some_and(is_name))
        };
        let sources = sources();
        let outside = sources.iter().filter(|source| !may(source));
        let wrong: Vec<&str> = outside.filter(calls).map(|source| source.path.as_str()).collect();
        assert_eq!(wrong, [""; 0], "`{word}!` outside of cli");
    }
}

#[test]
fn unsafe_code_is_one_short_file() {
    let mut files = files_with("unsafe");
    files.retain(|path| path != "lib.rs");
    assert_eq!(files, ["blas/ffi.rs"]);
    let sources = sources();
    let ffi = sources.iter().find(|source| source.path == "blas/ffi.rs").unwrap();
    assert!(ffi.lines <= 50, "src/blas/ffi.rs has {} lines", ffi.lines);
    let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap();
    assert!(lib.code.contains("#![deny(unsafe_code)]"));
    for program in sources.iter().filter(|source| source.module == "bin") {
        assert!(program.code.contains("#![forbid(unsafe_code)]"), "{}", program.path);
        assert!(program.lines <= 20, "src/{} does more than call the library", program.path);
    }
}

#[test]
fn long_files_are_explained() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"));
    let (_, long) = page.as_ref().unwrap().split_once("## Long files").unwrap();
    for source in sources().iter().filter(|source| source.lines > 400) {
        let named = long.contains(&format!("`{}`", source.path));
        assert!(named, "src/{} has {} lines, and no reason why", source.path, source.lines);
    }
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        module: module_of(path).into(),
        code: code(text),
        lines: 0,
    };
    let found = |path: &str, text: &str| used(&source(path, text)).into_iter().collect::<Vec<_>>();
    assert_eq!(found("a.rs", "use crate::{b, c::{d, e}, Error};"), ["b", "c"]);
    assert_eq!(found("a.rs", "fn f() { crate::b::c(); $crate::d!() }"), ["b", "d"]);
    assert_eq!(found("a.rs", "use super::b;"), ["b"]);
    assert_eq!(found("a/mod.rs", "use super::b;"), ["b"]);
    assert_eq!(found("a/c.rs", "use super::b; use super::super::d;"), ["d"]);
    assert_eq!(found("a.rs", "mod tests { use super::b; use crate::c; }"), ["c"]);
    assert_eq!(found("a.rs", "// crate::b\nlet x = \"crate::c\"; /* crate::d */"), [""; 0]);
    assert_eq!(found("a.rs", "r#\"crate::b \" crate::c\"#; '\"'; crate::d::e"), ["d"]);
    assert_eq!(found("a.rs", "crate::a::b; xcrate::c; x::crate::d"), [""; 0]);
    assert!(may_use(Engines, Storage) && may_use(Storage, Storage) && may_use(Storage, Vocabulary));
    assert!(!may_use(Mathematics, Storage) && !may_use(Storage, Mathematics));
    assert!(!may_use(Vocabulary, Engines) && !may_use(Engines, Surface));
}
