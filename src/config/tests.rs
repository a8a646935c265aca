//! Layers of settings, messages, presets, and what each architecture refuses.

use super::*;

fn refused(toml: &str) -> Error {
    let settings = Settings::from_toml(toml, Path::new("run.toml"));
    let preset = Settings::preset("nanda2023").unwrap();
    settings.and_then(|settings| settings.or(preset).resolve()).unwrap_err()
}

#[test]
fn presets_are_complete() {
    for preset in PRESETS {
        let config = Settings::preset(preset.name).unwrap().resolve().unwrap();
        assert!(config.save_at.count(config.steps) >= 300, "{}", preset.name);
    }
}

#[test]
fn options_override_the_file_and_the_file_the_preset() {
    let file = Settings::from_toml("modulus = 59\nlr = 0.01", Path::new("run.toml")).unwrap();
    let options = Settings { lr: Some(0.5), ..Settings::default() };
    let preset = Settings::preset("nanda2023").unwrap();
    let config = options.or(file).or(preset).resolve().unwrap();
    assert_eq!((config.lr, config.modulus, config.d_model), (0.5, 59, Some(128)));
}

#[test]
fn unknown_keys_are_placed_and_the_nearest_is_named() {
    let error = refused("modulus = 59\nweight_decy = 1.0\n");
    assert_eq!(
        error.to_string(),
        "run.toml:2:1: unknown key `weight_decy`; did you mean `weight_decay`?"
    );
}

#[test]
fn values_of_the_wrong_type_or_name_are_placed() {
    assert!(refused("lr = \"fast\"").to_string().starts_with("run.toml:1:6: invalid type"));
    let message = refused("\n  task = \"ad\"").to_string();
    assert_eq!(message, "run.toml:2:10: unknown task `ad`; did you mean `add`?");
}

#[test]
fn impossible_settings_are_refused_with_the_reason() {
    for (toml, reason) in [
        ("modulus = 112", "modulus p = 112 is not an odd number of at least 3"),
        ("task = 'div'\nmodulus = 111", "task div needs a prime modulus, and 111 is not prime"),
        ("train_fraction = 1.5", "train-fraction: 1.5 is not in (0, 1]"),
        ("train_fraction = 0.0", "train-fraction: 0 is not in (0, 1]"),
        ("heads = 3", "heads: 3 heads do not divide d-model 128"),
        ("biases = 'absent'", "biases: a transformer has biases, so they cannot be absent"),
        ("architecture = 'mlp'\nheads = 4", "heads: an mlp has no attention heads"),
        ("architecture = 'mlp'\nd_model = 4", "d-model: an mlp has no residual stream"),
        ("architecture = 'mlp'\noutputs = 'tokens'", "outputs: an mlp has no token `=`"),
        ("architecture = 'mlp'\nbiases = 'trained'", "biases: an mlp has no biases"),
        ("architecture = 'mlp'\ninit = 'transformer-lens'", "init: an mlp has no weights of"),
        ("lr = nan", "lr: NaN is not a finite number of at least 0"),
        ("beta2 = 1.0", "beta2: 1 is not in [0, 1)"),
    ] {
        let error = refused(toml);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn run_config_survives_json() {
    for toml in ["", "architecture = 'mlp'"] {
        let settings = Settings::from_toml(toml, Path::new("run.toml")).unwrap();
        let config = settings.or(Settings::preset("nanda2023").unwrap()).resolve().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), config);
    }
}

/// What a choice of architecture puts aside, and what it does not.
#[test]
fn settings_of_another_architecture_fall_away_below_the_choice_only() {
    let toml = |text: &str| Settings::from_toml(text, Path::new("run.toml")).unwrap();
    let (preset, mlp) = (|| Settings::preset("nanda2023").unwrap(), "architecture = 'mlp'");
    let config = toml(mlp).or(toml("heads = 8")).or(preset()).resolve().unwrap();
    assert_eq!(
        (config.architecture, config.heads, config.d_model),
        (Architecture::Mlp, None, None)
    );
    assert_eq!((config.outputs, config.biases), (Outputs::Residues, Biases::Absent));
    assert_eq!((config.classes(), config.d_mlp), (113, 512));

    let over = toml("heads = 8").or(toml(mlp)).or(preset()).resolve().unwrap_err();
    assert!(over.to_string().contains("an mlp has no attention heads"), "{over}");
    let back = toml("architecture = 'transformer'").or(toml(mlp)).or(preset());
    assert_eq!(back.resolve().unwrap(), preset().resolve().unwrap());
    let lens = toml(mlp).or(Settings::preset("transformer-lens").unwrap()).resolve().unwrap();
    assert_eq!((lens.init, lens.warmup), (Init::Paper, 0));
    let plain = preset().resolve().unwrap();
    assert_eq!((plain.classes(), plain.biases), (114, Biases::Trained));
    assert!(plain.differences(&config).contains(&"heads is not said there, 4 here".to_owned()));
}

/// What makes the demonstration another run than the published one.
#[test]
fn transformer_lens_has_113_outputs_and_frozen_biases() {
    let config = Settings::preset("transformer-lens").unwrap().resolve().unwrap();
    assert_eq!((config.classes(), config.biases), (113, Biases::Frozen));
    assert_eq!((config.init, config.warmup, config.steps), (Init::TransformerLens, 0, 25_000));
}
