//! The programs as their users meet them: run, and looked at by exit code, text and bytes.
#![allow(clippy::unwrap_used)] // also outside of `#[test]`

#[macro_use]
mod support;

mod analyze_cli;
mod architecture;
mod arrow_cli;
mod audit_cli;
mod bad_files;
mod blind;
mod choices;
mod claims_cli;
mod curvature_cli;
mod determinism;
mod dynamics;
mod examples;
mod fixture;
mod foreign;
mod foreign_analysis;
mod kernel_cli;
mod lines_cli;
mod networks;
mod numbers;
mod onset_cli;
mod permuted;
mod planes_cli;
mod resume;
mod scale;
mod schema_cli;
mod shards;
mod shares_cli;
mod split;
mod sweep_cli;
mod toy_cli;
mod train_cli;
