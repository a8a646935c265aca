//! Item 2 of the checks: from bytes to keys and values of the right types.
//!
//! serde carries errors as text only, so a visitor that finds a fault leaves it in a slot
//! ([`blame`]) and fails with any error. The innermost fault is the first to get there, and stays.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::Error as Unexplained;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};

use super::{Dtype, MAX_RANK, MAX_TENSORS, TensorInfo};
use crate::error::{Fault, Name};

type Metadata = BTreeMap<String, String>;

/// Metadata and tensors, these in the order of the file.
pub(super) fn parse(json: &[u8]) -> Result<(Metadata, Vec<TensorInfo>), Fault> {
    let text =
        str::from_utf8(json).map_err(|error| Fault::NotUtf8 { offset: error.valid_up_to() })?;
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = (&mut found).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if let Err(error) = parsed {
        // A fault counts only in a text that is JSON to its end, however far the visitor came.
        let error = serde_json::from_str::<Anything>(text).err().unwrap_or(error);
        let place = format!("line {} column {}", error.line(), error.column());
        let fault = found.fault.filter(|_| error.is_data());
        return Err(fault.unwrap_or(Fault::NotJson { problem: place }));
    }
    if let Some(name) = first_duplicate(&found.tensors) {
        return Err(Fault::Duplicate { tensor: Name(name.to_owned()) });
    }
    if found.tensors.is_empty() {
        return Err(Fault::NoTensors);
    }
    Ok((found.metadata.unwrap_or_default(), found.tensors))
}

fn first_duplicate(tensors: &[TensorInfo]) -> Option<&str> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Keep `fault` as the reason of a failure, unless a reason is known already.
fn blame<T, E>(
    result: Result<T, E>,
    slot: &mut Option<Fault>,
    fault: impl FnOnce() -> Fault,
) -> Result<T, E> {
    result.inspect_err(|_| {
        slot.get_or_insert_with(fault);
    })
}

/// Fail for the reason in the slot.
fn failed<E: Error>() -> E {
    E::custom("see the fault")
}

/// The whole header, as far as it was read.
#[derive(Default)]
struct Found {
    metadata: Option<Metadata>,
    tensors: Vec<TensorInfo>,
    fault: Option<Fault>,
}

impl<'de> DeserializeSeed<'de> for &mut Found {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Found {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                let value = map.next_value::<Strings>();
                let value = blame(value, &mut self.fault, || Fault::Metadata)?;
                let second = self.metadata.replace(value.0).map_or(Ok(()), |_| Err(failed()));
                blame(second, &mut self.fault, || Fault::Metadata)?;
                continue;
            }
            if self.tensors.len() == MAX_TENSORS {
                return blame(Err(failed()), &mut self.fault, || Fault::TooManyTensors);
            }
            let entry = Entry { name: &name, fault: &mut self.fault };
            let tensor = map.next_value_seed(entry);
            let no_object =
                || Fault::Entry { tensor: Name(name.clone()), problem: "not an object".into() };
            let (dtype, shape, begin, end) = blame(tensor, &mut self.fault, no_object)?;
            self.tensors.push(TensorInfo { name, dtype, shape, begin, end });
        }
        Ok(())
    }
}

/// One tensor: `{"dtype": …, "shape": […], "data_offsets": [begin, end]}`, in any order.
struct Entry<'a> {
    name: &'a str,
    fault: &'a mut Option<Fault>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = (Dtype, Vec<usize>, u64, u64);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = (Dtype, Vec<usize>, u64, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { name, fault } = self;
        let name = || Name(name.to_owned());
        let entry = |problem: &str| Fault::Entry { tensor: name(), problem: problem.to_owned() };
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let first = match key.as_str() {
                "dtype" => {
                    let text = map.next_value::<String>();
                    let text = blame(text, fault, || entry("dtype is not a string"))?;
                    let known = Dtype::deserialize(text.as_str().into_deserializer());
                    let known = known.map_err(|_: Unexplained| failed());
                    let unknown = || Fault::UnknownDtype { tensor: name(), dtype: Name(text) };
                    dtype.replace(blame(known, fault, unknown)?).is_none()
                }
                "shape" => {
                    let sizes = map.next_value::<Numbers>();
                    let sizes =
                        blame(sizes, fault, || entry("shape is not a list of whole numbers"))?;
                    if sizes.count > MAX_RANK {
                        let rank = || Fault::Rank { tensor: name(), rank: sizes.count };
                        return blame(Err(failed()), fault, rank);
                    }
                    let sizes = sizes.first.into_iter().map(usize::try_from);
                    let sizes = sizes.collect::<Result<Vec<usize>, _>>().map_err(|_| failed());
                    let sizes = blame(sizes, fault, || Fault::ShapeOverflow { tensor: name() })?;
                    shape.replace(sizes).is_none()
                }
                "data_offsets" => {
                    let pair = map.next_value::<Numbers>().and_then(|numbers| {
                        match (numbers.count, numbers.first.as_slice()) {
                            (2, &[begin, end]) if begin <= end => Ok((begin, end)),
                            _ => Err(failed()),
                        }
                    });
                    let pair = blame(pair, fault, || Fault::Offsets { tensor: name() })?;
                    offsets.replace(pair).is_none()
                }
                _ => {
                    return blame(Err(failed()), fault, || Fault::Offsets { tensor: name() });
                }
            };
            let once = if first { Ok(()) } else { Err(failed()) };
            blame(once, fault, || entry(&format!("{key} stands twice")))?;
        }
        let Some((begin, end)) = offsets else {
            return blame(Err(failed()), fault, || Fault::Offsets { tensor: name() });
        };
        let dtype = blame(dtype.ok_or_else(failed), fault, || entry("no dtype"))?;
        let shape = blame(shape.ok_or_else(failed), fault, || entry("no shape"))?;
        Ok((dtype, shape, begin, end))
    }
}

/// A list of whole numbers of at least 0: all are counted, as many as a rank may have are kept.
struct Numbers {
    first: Vec<u64>,
    count: usize,
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of whole numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut numbers = Numbers { first: Vec::new(), count: 0 };
                while let Some(number) = list.next_element::<u64>()? {
                    numbers.count += 1;
                    if numbers.count <= MAX_RANK {
                        numbers.first.push(number);
                    }
                }
                Ok(numbers)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// An object of strings without a duplicate key.
struct Strings(Metadata);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Strings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
                let mut strings = Metadata::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if strings.insert(key, value).is_some() {
                        return Err(failed());
                    }
                }
                Ok(Strings(strings))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Any JSON at all, thrown away. Unlike serde's `IgnoredAny` it keeps to the limit of depth 128.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

/// Visitor methods for values without an inside.
macro_rules! throw_away {
    ($($method:ident($value:ty)),+) => { $(
        fn $method<E: Error>(self, _: $value) -> Result<Self, E> {
            Ok(self)
        }
    )+ };
}

impl<'de> Visitor<'de> for Anything {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    throw_away!(visit_bool(bool), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_str(&str));

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}
