//! The split of the published runs, against the language that made it.

use std::path::Path;
use std::process::Command;

use groundswell::config::Settings;
use groundswell::tasks::Dataset;

/// The first ⌊0.3 · 113²⌋ indices and the rest, in CPython's order.
fn by_cpython(seed: &str) -> Vec<usize> {
    let program = "import random, sys; order = list(range(113 * 113)); \
                   random.seed(int(sys.argv[1])); random.shuffle(order); print(*order)";
    let output = Command::new("python3").args(["-c", program, seed]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|index| index.parse().unwrap()).collect()
}

#[test]
fn the_split_is_that_of_cpython_index_by_index() {
    for seed in ["0", "1", "598"] {
        let order = by_cpython(seed);
        let split = format!("split = 'python:{seed}'");
        let settings = Settings::from_toml(&split, Path::new("test")).unwrap();
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let data = Dataset::new(&config, None).unwrap();
        assert_eq!(data.train, order[..3830], "train, seed {seed}");
        assert_eq!(data.test, order[3830..], "test, seed {seed}");
    }
}
