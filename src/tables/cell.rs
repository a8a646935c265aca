//! The plain types of a table, and the one value type everything about rows is written in.
//!
//! A Rust type becomes a column by [`Scalar`]; what a file, a comparison or a message needs is
//! then done once, on [`Cell`].

use std::cmp::Ordering;
use std::fmt;

use polars::prelude::{
    BooleanChunked, Column, DataType, Float64Chunked, Int64Chunked, IntoColumn, NewChunkedArray,
    PolarsResult, StringChunked,
};

use crate::config::names::named_enum;

named_enum! {
    /// The type of a column, under the name that schema and documentation use.
    Dtype, "column type":
    Int64 = "int64",
    Float64 = "float64",
    String = "string",
    Bool = "bool",
}

impl Dtype {
    /// The same type in the terms of polars.
    #[must_use]
    pub fn polars(self) -> DataType {
        match self {
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::String => DataType::String,
            Self::Bool => DataType::Boolean,
        }
    }
}

/// One value of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    Null,
    Int64(i64),
    Float64(f64),
    String(&'a str),
    Bool(bool),
}

impl Cell<'_> {
    /// False for NaN and ±Inf, which no table may hold.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        !matches!(self, Self::Float64(value) if !value.is_finite())
    }

    /// The order of rows in a table: null first, numbers by value, text by its UTF-8 bytes.
    ///
    /// `-0.0` and `0.0` are one key, as they are for every reader of the file.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int64(a), Self::Int64(b)) => a.cmp(b),
            (Self::Float64(a), Self::Float64(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            // Two cells of one column have one type, so at least one of these is null.
            _ => matches!(other, Self::Null).cmp(&matches!(self, Self::Null)),
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Int64(value) => write!(f, "{value}"),
            Self::Float64(value) => write!(f, "{value}"),
            // Escaped: names come from archives and may hold anything.
            Self::String(value) => write!(f, "{value:?}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// A Rust type that can be a column.
pub trait Scalar: Sized {
    /// What the column holds in the file.
    const DTYPE: Dtype;
    /// Whether a value can be null.
    const NULLABLE: bool = false;

    /// This value, as it stands in a row.
    fn cell(&self) -> Cell<'_>;

    /// The value that a cell stands for; `None` if this type has no such value.
    fn from_cell(cell: Cell<'_>) -> Option<Self>;
}

/// `Scalar` for a type that one kind of cell holds.
macro_rules! scalar {
    ($type:ty, $kind:ident, $value:ident => $cell:expr, $held:ident => $back:expr) => {
        impl Scalar for $type {
            const DTYPE: Dtype = Dtype::$kind;

            fn cell(&self) -> Cell<'_> {
                let $value = self;
                Cell::$kind($cell)
            }

            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                match cell {
                    Cell::$kind($held) => $back,
                    _ => None,
                }
            }
        }
    };
}
pub(super) use scalar;

scalar!(i64, Int64, value => *value, held => Some(held));
scalar!(f64, Float64, value => *value, held => Some(held));
scalar!(bool, Bool, value => *value, held => Some(held));
scalar!(String, String, value => value.as_str(), held => Some(held.to_owned()));

impl<T: Scalar> Scalar for Option<T> {
    const DTYPE: Dtype = T::DTYPE;
    const NULLABLE: bool = true;

    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, T::cell)
    }

    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if cell == Cell::Null { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}

/// The cells of one column as polars holds them. A cell of another type becomes null; there is
/// none, since cells and `dtype` come from one [`Scalar`].
pub(super) fn column<'a>(
    name: &str,
    dtype: Dtype,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Column {
    /// Picks the values of one kind.
    macro_rules! build {
        ($array:ident, $kind:ident) => {
            $array::from_iter_options(
                name.into(),
                cells.map(|cell| match cell {
                    Cell::$kind(value) => Some(value),
                    _ => None,
                }),
            )
            .into_column()
        };
    }
    match dtype {
        Dtype::Int64 => build!(Int64Chunked, Int64),
        Dtype::Float64 => build!(Float64Chunked, Float64),
        Dtype::String => build!(StringChunked, String),
        Dtype::Bool => build!(BooleanChunked, Bool),
    }
}

/// The cells of a column of a frame, in row order.
///
/// # Errors
/// If the column has another type than `dtype`.
pub(super) fn cells<'a>(
    column: &'a Column,
    dtype: Dtype,
) -> PolarsResult<Box<dyn Iterator<Item = Cell<'a>> + 'a>> {
    Ok(match dtype {
        Dtype::Int64 => Box::new(column.i64()?.iter().map(|v| v.map_or(Cell::Null, Cell::Int64))),
        Dtype::Float64 => {
            Box::new(column.f64()?.iter().map(|v| v.map_or(Cell::Null, Cell::Float64)))
        }
        Dtype::String => Box::new(column.str()?.iter().map(|v| v.map_or(Cell::Null, Cell::String))),
        Dtype::Bool => Box::new(column.bool()?.iter().map(|v| v.map_or(Cell::Null, Cell::Bool))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_value_with_null_first() {
        use Cell::{Float64, Int64, Null, String};
        for (a, b, expected) in [
            (Null, Int64(i64::MIN), Ordering::Less),
            (Int64(0), Null, Ordering::Greater),
            (Null, Null, Ordering::Equal),
            (Int64(9), Int64(10), Ordering::Less),
            (Float64(-0.0), Float64(0.0), Ordering::Equal),
            (Float64(-1.0), Float64(5e-324), Ordering::Less),
            (String("Z"), String("a"), Ordering::Less),
            (String("z"), String("é"), Ordering::Less),
        ] {
            assert_eq!(a.compare(&b), expected, "{a} against {b}");
        }
    }

    #[test]
    fn only_nullable_types_take_null() {
        assert_eq!(f64::from_cell(Cell::Null), None);
        assert_eq!(Option::<f64>::from_cell(Cell::Null), Some(None));
        assert_eq!(Option::<i64>::from_cell(Cell::Bool(true)), None);
    }
}
