use std::fs::OpenOptions;
use std::io::Write;

use super::*;
use crate::archive::sample::file;

const HEADER: &str = r#"{"i":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},
    "w":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},
    "c":{"dtype":"C64","shape":[1],"data_offsets":[16,24]},
    "h":{"dtype":"F16","shape":[],"data_offsets":[24,26]},
    "e":{"dtype":"F64","shape":[0,3],"data_offsets":[26,26]}}"#;

/// A file with [`HEADER`], `w` = [1.5, −2] and `h` = 0.5.
fn example(dir: &Path) -> (PathBuf, Vec<u8>) {
    let mut bytes = file(HEADER, 26);
    let data = bytes.len() - 26;
    bytes[data + 8..data + 12].copy_from_slice(&1.5f32.to_le_bytes());
    bytes[data + 12..data + 16].copy_from_slice(&(-2f32).to_le_bytes());
    bytes[data + 24..].copy_from_slice(&[0x00, 0x38]);
    let path = dir.join("step.safetensors");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn names(contents: &Contents) -> Vec<&str> {
    contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn all_floats_are_loaded_and_the_rest_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = example(dir.path());
    let contents = load(&path, None, true).unwrap();
    assert_eq!(names(&contents), ["w", "h", "e"]);
    assert_eq!(contents.header.tensors.len(), 5);
    let w = &contents.tensors[0];
    assert_eq!((w.dtype, w.values.shape()), (Dtype::F32, &[1, 2][..]));
    assert_eq!(w.values.as_slice().unwrap(), [1.5, -2.0]);
    assert_eq!(contents.tensors[1].values.as_slice().unwrap(), [0.5]);
    assert_eq!(contents.tensors[2].values.shape(), [0, 3]);
    assert_eq!(contents.bytes, bytes.len() as u64);
    let expected = blake3::hash(&bytes).to_hex().to_string();
    assert_eq!(contents.blake3.as_ref(), Some(&expected));
    assert_eq!(digest(&path).unwrap(), (bytes.len() as u64, expected));
    assert_eq!(header(&path).unwrap(), contents.header);
}

#[test]
fn only_what_is_wanted_is_loaded_with_or_without_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = example(dir.path());
    for hash in [false, true] {
        let contents = load(&path, Some(&["h"]), hash).unwrap();
        assert_eq!(names(&contents), ["h"]);
        assert_eq!(contents.tensors[0].values.as_slice().unwrap(), [0.5]);
        let expected = hash.then(|| blake3::hash(&bytes).to_hex().to_string());
        assert_eq!(contents.blake3, expected);
    }
    let error = load(&path, Some(&["x"]), false).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: tensor \"x\" is missing", path.display()));
    for (name, dtype) in [("i", "I32"), ("c", "C64")] {
        let error = load(&path, Some(&[name]), false).unwrap_err();
        let expected = format!("tensor \"{name}\" has dtype {dtype}, which is not supported");
        assert_eq!(error.to_string(), format!("{}: {expected}", path.display()));
        assert_eq!(error.code(), "ST016");
    }
}

#[test]
fn data_longer_than_a_block_arrive_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.safetensors");
    let elements = BLOCK / 4 + 3; // One block and a bit.
    let end = elements * 4 + 1;
    let header = format!(
        r#"{{"u":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}},"w":{{"dtype":"F32","shape":[{elements}],"data_offsets":[1,{end}]}}}}"#
    );
    let mut bytes = file(&header, 1);
    (0..elements).for_each(|i| bytes.extend_from_slice(&(i as f32).to_le_bytes()));
    fs::write(&path, &bytes).unwrap();
    let contents = load(&path, None, true).unwrap();
    let expected = (0..elements).map(|i| i as f64);
    assert!(contents.tensors[0].values.iter().copied().eq(expected));
    assert_eq!(contents.blake3.unwrap(), blake3::hash(&bytes).to_hex().as_str());
}

#[test]
fn every_truncation_is_a_fault_of_the_right_code() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = example(dir.path());
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let code = match length {
            0..8 => "ST001",
            n if n < bytes.len() - 26 => "ST003",
            _ => "ST009",
        };
        assert_eq!(load(&path, None, true).unwrap_err().code(), code, "cut to {length} bytes");
        assert_eq!(header(&path).unwrap_err().code(), code, "cut to {length} bytes");
    }
}

#[test]
fn look_alikes_are_told_from_files_shorter_than_the_look() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    fs::write(&path, b"<html></html>").unwrap();
    let message = header(&path).unwrap_err().to_string();
    assert_eq!(message, format!("{}: looks like HTML", path.display()));
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(dir.path(), None, false).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: not a regular file", dir.path().display()));
    assert_eq!(load(&dir.path().join("x"), None, false).unwrap_err().code(), "AR03");
    assert_eq!(load(Path::new("/dev/zero"), None, false).unwrap_err().code(), "AR17");
}

#[test]
fn an_empty_tensor_of_impossible_size_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let header = r#"{"w":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}"#;
    fs::write(&path, file(header, 0)).unwrap();
    assert_eq!(load(&path, None, false).unwrap_err().code(), "ST011");
}

#[test]
fn a_change_while_reading_costs_one_retry() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = example(dir.path());
    let attempts = |changes: usize| {
        let attempt = std::cell::Cell::new(0);
        let result = stable(&path, |_| {
            attempt.set(attempt.get() + 1);
            if attempt.get() <= changes {
                OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
            }
            Ok(attempt.get())
        });
        result.map_err(|error| (error.code(), error.to_string()))
    };
    assert_eq!(attempts(0), Ok(1));
    assert_eq!(attempts(1), Ok(2));
    let message = format!("{}: changed while being read", path.display());
    assert_eq!(attempts(2), Err(("AR04", message)));

    // Replaced by another file of the same length.
    let replaced = stable(&path, |source| {
        let copy = dir.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        Ok(source.stamp.length)
    });
    assert_eq!(replaced.unwrap_err().code(), "AR04");

    // Removed.
    let gone = stable(&path, |_| {
        fs::remove_file(&path).unwrap();
        Ok(())
    });
    let message = gone.unwrap_err().to_string();
    assert_eq!(message, format!("{}: disappeared while running", path.display()));
}

/// AR05: the file is cut after its header was read.
#[test]
fn a_cut_while_reading_is_a_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = example(dir.path());
    let result = stable(&path, |source| {
        let mut stream = Stream::new(source, Hash::Blake3);
        let header = stream.header()?;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes.len() as u64 - 4).unwrap();
        stream.tensor(&header.tensors[1])?;
        stream.skip(10)
    });
    assert_eq!(result.unwrap_err().code(), "ST009");
}

/// A file of 4 KiB, cut at every length.
#[test]
fn every_truncation_of_4_kib() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("step.safetensors");
    let header = |elements: usize| {
        let end = elements * 4;
        format!(r#"{{"w":{{"dtype":"F32","shape":[{elements}],"data_offsets":[0,{end}]}}}}"#)
    };
    let elements = 1000;
    let padding = 4096 - 8 - header(elements).len() - elements * 4;
    let bytes = file(&(header(elements) + &" ".repeat(padding)), elements * 4);
    assert_eq!(bytes.len(), 4096);
    fs::write(&path, &bytes).unwrap();
    let whole = load(&path, None, true).unwrap();
    assert_eq!((whole.bytes, whole.tensors[0].values.len()), (4096, elements));
    for length in (0..4096u64).rev() {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let data = 4096 - elements as u64 * 4;
        let (code, message) = match length {
            0..8 => {
                ("ST001", format!("file is {length} bytes; a safetensors file needs at least 8"))
            }
            n if n < data => {
                ("ST003", format!("header says {} bytes, only {} available", data - 8, length - 8))
            }
            _ => ("ST009", format!("expected 4096 bytes, file has {length} (truncated)")),
        };
        let error = load(&path, None, true).unwrap_err();
        let expected = format!("{}: {message}", path.display());
        assert_eq!((error.code(), error.to_string()), (code, expected));
    }
}

/// AR17: the beginning of this file of the system cannot be read.
#[test]
fn a_device_that_fails_is_told_with_the_place() {
    let path = Path::new("/proc/self/mem");
    let file = File::open(path).unwrap();
    let stamp = Stamp::from(&file.metadata().unwrap());
    let source = Source { path: path.to_owned(), file, stamp };
    let error = source.read_at(&mut [0; 8], 0).unwrap_err();
    assert!(error.to_string().starts_with("/proc/self/mem: I/O error at offset 0: "), "{error}");
    assert_eq!((error.code(), error.exit_code()), ("AR17", 4));
}

/// AR16
#[test]
fn what_may_not_be_read_says_so() {
    let denied = Error::read(Path::new("F"))(io::Error::from(ErrorKind::PermissionDenied));
    assert_eq!((denied.to_string().as_str(), denied.code()), ("F: permission denied", "AR16"));
}

/// AR15: while there are no descriptors, opening waits for the other threads to close theirs.
#[test]
fn opening_waits_for_descriptors() {
    let attempts = std::cell::Cell::new(0);
    let opened = patiently(|| {
        attempts.set(attempts.get() + 1);
        if attempts.get() < 3 { Err(io::Error::from_raw_os_error(24)) } else { Ok("open") }
    });
    assert_eq!((opened.unwrap(), attempts.get()), ("open", 3));
}

#[test]
fn a_scan_sees_every_byte_of_every_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = example(dir.path());
    let (seen, contents) = scan(&path, true, Vec::new, |seen: &mut Vec<u8>, info, block| {
        assert!(!info.name.is_empty());
        seen.extend_from_slice(block);
    })
    .unwrap();
    assert_eq!(seen, bytes[bytes.len() - 26..]);
    assert_eq!(contents.blake3, load(&path, None, true).unwrap().blake3);
    assert_eq!(contents.sha256.map(|digest| digest.len()), Some(64));
}
