//! The command line: parse, call the engines, report. The only place that prints.
//!
//! Results go to stdout; progress, logs and errors to stderr. There are no bars and no colours
//! where stderr is no terminal; a plain line every ten seconds takes their place.

pub mod report;
pub mod signals;
pub mod train;
