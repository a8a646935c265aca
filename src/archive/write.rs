//! Tensors to the bytes of a safetensors file.
//!
//! The same tensors give the same bytes: the metadata stand first, sorted by key, and the tensors
//! in the order given. (The reference crate writes its metadata in the order of a hash map.) As
//! the reference does, F64 tensors go before F32 ones and the header is filled up with spaces to a
//! multiple of eight bytes, so every element is aligned in the file.

use std::collections::{BTreeMap, BTreeSet};

use super::header::Dtype;
use crate::error::{Error, Result};

/// A tensor to be saved.
#[derive(Debug, Clone, Copy)]
pub struct TensorRef<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub data: Data<'a>,
}

/// The elements of a tensor, row-major.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl Data<'_> {
    const fn dtype(self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
        }
    }

    const fn elements(self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::F64(data) => data.len(),
        }
    }

    fn write_to(self, bytes: &mut Vec<u8>) {
        match self {
            Self::F32(data) => data.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
            Self::F64(data) => data.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
        }
    }
}

/// The bytes of a safetensors file.
///
/// # Errors
/// [`Error::Internal`] if a name is used twice, a shape does not fit its data, or there is no
/// tensor: no reader would take such a file.
pub fn to_bytes(tensors: &[TensorRef<'_>], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    check(tensors)?;
    let mut tensors: Vec<_> = tensors.iter().collect();
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.data.dtype())); // Stable.

    let mut entries = Vec::new();
    if !metadata.is_empty() {
        entries.push(format!("\"__metadata__\":{}", json(metadata)?));
    }
    let mut end = 0;
    for tensor in &tensors {
        let (begin, dtype) = (end, tensor.data.dtype());
        end += tensor.data.elements() * dtype.bitsize() / 8;
        entries.push(format!(
            "{}:{{\"dtype\":\"{dtype}\",\"shape\":{},\"data_offsets\":[{begin},{end}]}}",
            json(tensor.name)?,
            json(tensor.shape)?,
        ));
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));

    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    tensors.iter().for_each(|tensor| tensor.data.write_to(&mut bytes));
    Ok(bytes)
}

fn check(tensors: &[TensorRef<'_>]) -> Result<()> {
    let mut names = BTreeSet::from(["__metadata__"]);
    for TensorRef { name, shape, data } in tensors {
        if !names.insert(name) {
            return Err(Error::Internal(format!("two tensors {name:?} in one file")));
        }
        if shape.iter().product::<usize>() != data.elements() {
            let elements = data.elements();
            let problem = format!("tensor {name:?} of shape {shape:?} with {elements} elements");
            return Err(Error::Internal(problem));
        }
    }
    if tensors.is_empty() {
        return Err(Error::Internal("a checkpoint without tensors".into()));
    }
    Ok(())
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;
    use crate::archive::header::Header;

    fn metadata() -> BTreeMap<String, String> {
        [("step", "3"), ("run", "a \"b\"\n")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn the_reference_reads_what_we_write() {
        let (single, double) = ([1.5f32, -0.0, f32::MIN_POSITIVE], [0.1f64, f64::MAX]);
        let tensors = [
            TensorRef { name: "b", shape: &[3, 1], data: Data::F32(&single) },
            TensorRef { name: "a\"\u{1b}é", shape: &[2], data: Data::F64(&double) },
            TensorRef { name: "empty", shape: &[0, 4], data: Data::F32(&[]) },
            TensorRef { name: "scalar", shape: &[], data: Data::F32(&[7.0]) },
        ];
        let bytes = to_bytes(&tensors, &metadata()).unwrap();
        let reference = SafeTensors::deserialize(&bytes).unwrap();
        let (n, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(n % 8, 0, "the data are aligned");
        assert_eq!(header.metadata().as_ref().unwrap()["run"], "a \"b\"\n");
        for tensor in &tensors {
            let found = reference.tensor(tensor.name).unwrap();
            let mut expected = Vec::new();
            tensor.data.write_to(&mut expected);
            assert_eq!((found.shape(), found.data()), (tensor.shape, expected.as_slice()));
        }
        let ours = Header::parse(&bytes[8..8 + n], bytes.len() as u64).unwrap();
        assert_eq!(ours.metadata, metadata());
        let names: Vec<_> = ours.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names[0], "a\"\u{1b}é", "F64 first");
    }

    #[test]
    fn files_that_nobody_could_read_are_refused() {
        let one = |name, shape| TensorRef { name, shape, data: Data::F32(&[1.0]) };
        for (tensors, problem) in [
            (vec![], "a checkpoint without tensors"),
            (vec![one("w", &[1]), one("w", &[1])], "two tensors \"w\" in one file"),
            (vec![one("__metadata__", &[1])], "two tensors \"__metadata__\" in one file"),
            (vec![one("w", &[2])], "tensor \"w\" of shape [2] with 1 elements"),
        ] {
            let error = to_bytes(&tensors, &BTreeMap::new()).unwrap_err();
            assert_eq!(error.to_string(), format!("internal error: {problem}"));
        }
    }
}
