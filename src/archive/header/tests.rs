//! One test per way to be broken, with its message; then the reference crate as the judge.

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;
use crate::archive::sample::{file, raw_file};

/// As [`crate::archive::read`] does it, on a file in memory.
fn parse(file: &[u8]) -> Result<Header, Fault> {
    let length = file.len() as u64;
    let first = file.first_chunk().ok_or(Fault::TooShort { found: length })?;
    let n = json_length(*first, length).map_err(|fault| look_alike(file).unwrap_or(fault))?;
    Header::parse(&file[8..8 + n as usize], length)
}

fn refused(file: &[u8]) -> (&'static str, String) {
    let fault = parse(file).unwrap_err();
    (fault.code(), fault.to_string())
}

/// A header of one tensor `w`.
fn one(entry: &str) -> String {
    format!(r#"{{"w":{{{entry}}}}}"#)
}

const GOOD: &str = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;

#[test]
fn a_good_header_is_read_in_the_order_of_its_data() {
    let header = r#" {"b":{"data_offsets":[4,8],"dtype":"F32","shape":[]},
        "__metadata__":{"run":"r","step":"3"},
        "a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}} "#;
    let found = parse(&file(header, 8)).unwrap();
    assert_eq!(found.data_start, 8 + header.len() as u64);
    assert_eq!(found.metadata["step"], "3");
    let names: Vec<_> = found.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let (b, shape) = (found.tensor("b").unwrap(), Vec::<usize>::new());
    assert_eq!((b.dtype, &b.shape, b.begin, b.end), (Dtype::F32, &shape, 4, 8));
}

#[test]
fn lengths() {
    for length in 0..8 {
        let message = format!("file is {length} bytes; a safetensors file needs at least 8");
        assert_eq!(refused(&vec![b'{'; length]), ("ST001", message));
    }
    for n in [100_000_001u64, 1 << 63, u64::MAX] {
        let file = [&n.to_le_bytes()[..], b"{}"].concat();
        assert_eq!(refused(&file), ("ST002", format!("header length {n} exceeds 100000000")));
    }
    let cut = [&5u64.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(refused(&cut), ("ST003", "header says 5 bytes, only 2 available".into()));
}

#[test]
fn text_that_is_no_header() {
    let expect = |header: &[u8], code, message: &str| {
        assert_eq!(refused(&raw_file(header, 0)), (code, message.into()));
    };
    expect(b"{\"\xff\":1}", "ST004", "header is not UTF-8 at byte 2");
    expect(b"", "ST005", "header is not valid JSON: line 1 column 0");
    expect(b"{\"w\":\n}", "ST005", "header is not valid JSON: line 2 column 1");
    expect(b"[]", "ST005", "header is not valid JSON: line 1 column 0");
    expect(b"{}\0", "ST005", "header is not valid JSON: line 1 column 3");
    expect(b"{}", "ST005", "no tensors");
    expect(br#"{"__metadata__":{}}"#, "ST005", "no tensors");
    // What comes after a fault must be JSON, too; otherwise the fault is that it is not.
    expect(br#"{"w":5,"#, "ST005", "header is not valid JSON: line 1 column 7");
}

#[test]
fn depth_is_limited_to_128() {
    let nested =
        |depth: usize| format!("{}{}", r#"{"w":"#.repeat(depth - 1), "{}") + &"}".repeat(depth - 1);
    assert_eq!(refused(&file(&nested(127), 0)).0, "ST010");
    let (code, message) = refused(&file(&nested(129), 0));
    assert_eq!(code, "ST005", "{message}");
}

#[test]
fn places_of_the_data() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"b":{{"dtype":"U8","shape":[4],"data_offsets":[{b}]}},"a":{{"dtype":"U8","shape":[4],"data_offsets":[{a}]}}}}"#
        )
    };
    let expect = |header: &str, data, code, message: &str| {
        assert_eq!(refused(&file(header, data)), (code, message.into()));
    };
    expect(&two("0,4", "2,6"), 6, "ST006", r#"tensor "b" [2,6) overlaps "a""#);
    expect(&two("0,4", "0,4"), 4, "ST006", r#"tensor "b" [0,4) overlaps "a""#);
    expect(&two("0,4", "6,10"), 10, "ST007", "bytes [4,6) belong to no tensor");
    expect(&two("1,5", "5,9"), 9, "ST007", "bytes [0,1) belong to no tensor");
    expect(&two("0,4", "4,8"), 9, "ST008", "1 bytes after the last tensor");
    let promised = file(&two("0,4", "4,8"), 8).len();
    let cut = format!("expected {promised} bytes, file has {} (truncated)", promised - 3);
    expect(&two("0,4", "4,8"), 5, "ST009", &cut);
    for offsets in ["4,0", "0", "0,4,8", "-1,3", "0.0,4.0", "0,18446744073709551616", "null"] {
        expect(&two("0,4", offsets), 8, "ST010", r#"invalid data_offsets for "b""#);
    }
    let extra = one(&format!("{GOOD},\"strides\":[1]"));
    expect(&extra, 8, "ST010", r#"invalid data_offsets for "w""#);
    let none = one(r#""dtype":"F32","shape":[2]"#);
    expect(&none, 8, "ST010", r#"invalid data_offsets for "w""#);
}

/// The reference adds the last offset to the length of the header without a check.
#[test]
fn offsets_at_the_end_of_the_numbers() {
    let entry =
        |end: u64| one(&format!(r#""dtype":"U8","shape":[{end}],"data_offsets":[0,{end}]"#));
    // Items 3 and 4 pass: only in bits is the shape too large, by a factor of 8.
    let (code, _) = refused(&file(&entry(u64::MAX), 0));
    assert_eq!(code, "ST011");
    let (code, _) = refused(&file(&entry(u64::MAX / 8), 0));
    assert_eq!(code, "ST009");
}

#[test]
fn shapes() {
    let expect = |entry: &str, data, code, message: &str| {
        assert_eq!(refused(&file(&one(entry), data)), (code, message.into()));
    };
    for shape in ["4294967296,4294967296,4", "8,2305843009213693951", "4294967296,4294967296,0"] {
        let entry = format!(r#""dtype":"F32","shape":[{shape}],"data_offsets":[0,8]"#);
        expect(&entry, 8, "ST011", r#"shape of "w" overflows"#);
    }
    expect(
        r#""dtype":"F32","shape":[2,3],"data_offsets":[0,20]"#,
        20,
        "ST012",
        r#"tensor "w": shape [2,3] F32 needs 24 bytes, has 20"#,
    );
    expect(
        r#""dtype":"F4","shape":[3],"data_offsets":[0,1]"#,
        1,
        "ST017",
        r#"tensor "w" is not byte aligned"#,
    );
    let ones = |rank: usize| {
        let shape = vec!["1"; rank].join(",");
        format!(r#""dtype":"F32","shape":[{shape}],"data_offsets":[0,4]"#)
    };
    assert_eq!(parse(&file(&one(&ones(64)), 4)).unwrap().tensors[0].shape, [1; 64]);
    expect(&ones(65), 4, "ST019", r#"rank 65 exceeds 64 (tensor "w")"#);
    for (entry, problem) in [
        (
            r#""dtype":"F32","shape":[2.0],"data_offsets":[0,8]"#,
            "shape is not a list of whole numbers",
        ),
        (r#""dtype":"F32","shape":2,"data_offsets":[0,8]"#, "shape is not a list of whole numbers"),
        (r#""dtype":32,"shape":[2],"data_offsets":[0,8]"#, "dtype is not a string"),
        (r#""dtype":"F32","data_offsets":[0,8]"#, "no shape"),
        (r#""shape":[2],"data_offsets":[0,8]"#, "no dtype"),
        (r#""dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]"#, "dtype stands twice"),
    ] {
        expect(entry, 8, "ST010", &format!(r#"invalid entry for "w": {problem}"#));
    }
    let list = file(r#"{"w":["F32",[2],[0,8]]}"#, 8);
    assert_eq!(refused(&list).1, r#"invalid entry for "w": not an object"#);
}

#[test]
fn keys() {
    for second in ["w", r"\u0077"] {
        let header = format!(r#"{{"w":{{{GOOD}}},"{second}":{{{GOOD}}}}}"#);
        let expected = r#"duplicate tensor name "w""#;
        assert_eq!(refused(&file(&header, 8)), ("ST013", expected.into()));
    }
    for metadata in [
        r#""__metadata__":5"#,
        r#""__metadata__":null"#,
        r#""__metadata__":{"a":1}"#,
        r#""__metadata__":{"a":"1","\u0061":"2"}"#,
        r#""__metadata__":{},"__metadata__":{}"#,
    ] {
        let header = format!(r#"{{{metadata},"w":{{{GOOD}}}}}"#);
        let expected = "__metadata__ must map strings to strings";
        assert_eq!(refused(&file(&header, 8)), ("ST014", expected.into()));
    }
    for dtype in ["F7", "f32", ""] {
        let header = one(&GOOD.replace("F32", dtype));
        let expected = format!(r#"unknown dtype "{dtype}" (tensor "w")"#);
        assert_eq!(refused(&file(&header, 8)), ("ST015", expected));
    }
}

#[test]
fn tensors_are_counted() {
    let entry = r#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let header = |count: usize| {
        let entries: Vec<String> = (0..count).map(|i| format!("\"{i}\"{entry}")).collect();
        format!("{{{}}}", entries.join(","))
    };
    assert_eq!(parse(&file(&header(MAX_TENSORS), 0)).unwrap().tensors.len(), MAX_TENSORS);
    let message = "too many tensors: more than 1000000";
    assert_eq!(refused(&file(&header(MAX_TENSORS + 1), 0)), ("ST020", message.into()));
}

#[test]
fn empty_tensors_and_scalars_are_fine() {
    let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "z":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},
        "y":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}"#;
    let found = parse(&file(header, 8)).unwrap();
    let names: Vec<_> = found.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["z", "w", "y"]);
}

#[test]
fn names_are_kept_exactly_and_shown_escaped() {
    let name = r"\u0000\n\u001b[31m\u202e../x";
    let header = format!(r#"{{"{name}":{{{GOOD}}}}}"#);
    assert_eq!(parse(&file(&header, 8)).unwrap().tensors[0].name, "\0\n\u{1b}[31m\u{202e}../x");
    let (_, message) = refused(&file(&header.replace("[0,8]", "[8,0]"), 8));
    assert_eq!(message, r#"invalid data_offsets for "\0\n\u{1b}[31m\u{202e}../x""#);
}

#[test]
fn look_alikes() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    assert_eq!(refused(pointer), ("ST024", "this is a Git LFS pointer".into()));
    for (start, kind) in [
        (&b"<!DOCTYPE html><html>"[..], "HTML"),
        (b"\n\n <html lang=en>", "HTML"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "zip"),
        (b"\x80\x02}q\0(X\x05\0\0\0", "pickle"),
        (b"\x80\x04\x95\x05\0\0\0\0\0\0\0", "pickle"), // N = 93,651,072: possible, but for the file.
    ] {
        assert_eq!(refused(start), ("ST025", format!("looks like {kind}")));
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = file(&one(GOOD), 8);
    for length in 0..whole.len() {
        let code = match length {
            0..8 => "ST001",
            n if n < whole.len() - 8 => "ST003",
            _ => "ST009",
        };
        assert_eq!(refused(&whole[..length]).0, code, "cut to {length} bytes");
    }
}

/// A header with everything in it, as a text to be damaged.
fn valid() -> Vec<u8> {
    let header = r#"{"__metadata__":{"run":"r","step":"12"},
        "w":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},
        "h":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},
        "e":{"dtype":"I64","shape":[0],"data_offsets":[12,12]}}"#;
    file(header, 12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What is accepted here, the reference accepts, and reads in the same way.
    #[test]
    fn the_reference_accepts_what_is_accepted_here(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..4),
    ) {
        let mut bytes = valid();
        for (index, kind, value) in edits {
            let i = index.index(bytes.len());
            let common = b"0123456789{}[],:\"\\ .-eF"[usize::from(value) % 23];
            match kind {
                0 => bytes[i] ^= 1 << (value % 8),
                1 => bytes[i] = common,
                2 => bytes.insert(i, common),
                _ => drop(bytes.remove(i)),
            }
            // Most edits that change the length would fail at once on the length field.
            let length = bytes.len() as u64;
            if kind >= 2 && length > 20 {
                bytes[..8].copy_from_slice(&(length - 8 - 12).to_le_bytes());
            }
        }
        let reference = SafeTensors::read_metadata(&bytes);
        if let Ok(ours) = parse(&bytes) {
            prop_assert!(reference.is_ok(), "{:?}: {}", reference, String::from_utf8_lossy(&bytes));
            let (n, theirs) = reference.unwrap();
            prop_assert_eq!(ours.data_start, 8 + n as u64);
            prop_assert_eq!(ours.tensors.len(), theirs.tensors().len());
            for tensor in &ours.tensors {
                let info = theirs.info(&tensor.name).unwrap();
                prop_assert_eq!(&info.shape, &tensor.shape);
                prop_assert_eq!(info.dtype, tensor.dtype);
                let offsets = (tensor.begin as usize, tensor.end as usize);
                prop_assert_eq!(info.data_offsets, offsets);
            }
            let metadata = theirs.metadata().clone().unwrap_or_default();
            prop_assert_eq!(ours.metadata, metadata.into_iter().collect());
        }
    }
}
