//! The only unsafe code of the library: OpenBLAS's own questions and its thread switch.
//!
//! Sound because: the signatures are those of OpenBLAS's `cblas.h` (0.3.x); the strings it returns
//! are static, NUL-terminated and never freed; setting the number of threads is guarded by the one
//! caller, `blas::one_thread`, which does it once before any product.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn openblas_set_num_threads(threads: c_int);
    fn openblas_get_num_threads() -> c_int;
    fn openblas_get_parallel() -> c_int;
    fn openblas_get_config() -> *const c_char;
    fn openblas_get_corename() -> *const c_char;
}

pub(super) fn set_threads(threads: i32) {
    unsafe { openblas_set_num_threads(threads) }
}

pub(super) fn threads() -> i32 {
    unsafe { openblas_get_num_threads() }
}

/// 0: serial build, 1: its own threads, 2: OpenMP.
pub(super) fn parallel() -> i32 {
    unsafe { openblas_get_parallel() }
}

pub(super) fn config() -> String {
    unsafe { CStr::from_ptr(openblas_get_config()) }.to_string_lossy().into_owned()
}

pub(super) fn core_name() -> String {
    unsafe { CStr::from_ptr(openblas_get_corename()) }.to_string_lossy().into_owned()
}
