"""Every reader sees the same tables: `python tests/interop/interop.py TABLES`.

Each *.parquet of TABLES is read with polars, pandas, pyarrow and DuckDB, with no option. Asserts

- the same names, types and cells, floats to the last bit, and no NaN or infinity in the file;
- for every column and each of  =  !=  <  <=  >  >=  IS NULL  the same rows, where polars, pyarrow
  and DuckDB push the predicate into the file, whose statistics may then skip row groups.

Null is neither equal nor unequal to anything. The one exception is pandas in memory, where a null
number is NaN and NaN != x holds: there `!=` needs `notna()` beside it. The last line counts what
was compared; exit code 1 if anything differs.
"""

import math
import operator
import struct
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

COMPARE = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
           ">": operator.gt, ">=": operator.ge}
# No string_view: pyarrow 26 reads it, but can run no filter on a table that has one.
PLAIN = {"int64": int, "double": float, "string": str, "large_string": str, "bool": bool}


# ---------------------------------------------------------------------------- rows


def bits(cell):
    """A cell that equals another only if every bit does: -0.0 is not 0.0."""
    return struct.pack("<d", cell) if isinstance(cell, float) else cell


def same(rows: list[tuple], expected: list[tuple]) -> bool:
    return [[bits(c) for c in row] for row in rows] == [[bits(c) for c in row] for row in expected]


def of_pandas(frame: pandas.DataFrame, types: list[type]) -> list[tuple]:
    """Rows with None for null: pandas has NaN there, and makes float of a nullable integer."""
    columns = [[None if missing else kind(value) for value, missing in zip(column, column.isna())]
               for kind, (_, column) in zip(types, frame.items())]
    return list(zip(*columns)) if len(frame) else []


def of_pyarrow(table: pyarrow.Table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns))) if len(table) else []


# ---------------------------------------------------------------------------- checks


def check_cells(path: str) -> tuple[list[str], list[type], list[tuple]]:
    """Names, types and rows of a table, the same from every reader."""
    schema = pyarrow.parquet.read_schema(path)
    names = schema.names
    for field in schema:
        assert str(field.type) in PLAIN, f"{path}: {field.name} is {field.type}, no plain type"
    types = [PLAIN[str(field.type)] for field in schema]

    frame = polars.read_parquet(path)
    rows = frame.rows()
    relation = duckdb.read_parquet(path)
    found = {"pandas": pandas.read_parquet(path), "pyarrow": pyarrow.parquet.read_table(path)}
    assert frame.columns == names == list(found["pandas"].columns) == relation.columns, path
    for row in rows:
        for name, kind, cell in zip(names, types, row):
            assert cell is None or type(cell) is kind, f"{path}: {name} holds {cell!r}"
            finite = not isinstance(cell, float) or math.isfinite(cell)
            assert finite, f"{path}: {name} holds {cell!r}, not null"
    for reader, other in {"pandas": of_pandas(found["pandas"], types),
                          "pyarrow": of_pyarrow(found["pyarrow"]),
                          "duckdb": relation.fetchall()}.items():
        assert same(other, rows), f"{path}: {reader} reads other cells than polars"
    return names, types, rows


def check_predicates(path: str, names: list[str], rows: list[tuple]) -> dict:
    """How many predicates selected no row, some rows and all rows."""
    selected = {"none": 0, "some": 0, "all": 0}
    lazy, dataset = polars.scan_parquet(path), pyarrow.dataset.dataset(path)
    frame, connection = pandas.read_parquet(path), duckdb.connect()

    def compare(what: str, expected: list[tuple], found: dict[str, list[tuple]]) -> None:
        for reader, other in found.items():
            assert other == expected, (
                f"{path}: {what}: {reader} gives {len(other)} rows, not these {len(expected)}")
        share = "none" if not expected else "all" if len(expected) == len(rows) else "some"
        selected[share] += 1

    for index, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        select = f"SELECT * FROM read_parquet(?) WHERE {quoted}"
        compare(
            f"{name} IS NULL",
            [row for row in rows if row[index] is None],
            {
                "polars": lazy.filter(polars.col(name).is_null()).collect().rows(),
                "pandas": [rows[at] for at in frame.index[frame[name].isna()]],
                "pyarrow": of_pyarrow(
                    dataset.to_table(filter=pyarrow.compute.field(name).is_null())),
                "duckdb": connection.execute(f"{select} IS NULL", [path]).fetchall(),
            },
        )
        values = sorted({row[index] for row in rows if row[index] is not None})
        if not values:
            continue
        # The smallest, the largest and one between: at the first two, statistics decide.
        for value in {values[0], values[len(values) // 2], values[-1]}:
            for symbol, holds in COMPARE.items():
                mask = holds(frame[name], value)
                compare(
                    f"{name} {symbol} {value!r}",
                    [row for row in rows if row[index] is not None and holds(row[index], value)],
                    {
                        "polars": lazy.filter(holds(polars.col(name), value)).collect().rows(),
                        "pandas": [rows[at] for at in frame.index[mask & frame[name].notna()]],
                        "pyarrow": of_pyarrow(dataset.to_table(
                            filter=holds(pyarrow.compute.field(name), pyarrow.scalar(value)))),
                        "duckdb": connection.execute(
                            f"{select} {symbol} ?", [path, value]).fetchall(),
                    },
                )
    return selected


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    paths = sorted(Path(arguments[0]).glob("*.parquet"))
    assert paths, f"no *.parquet in {arguments[0]}"
    cells, total, with_null = 0, {"none": 0, "some": 0, "all": 0}, set()
    for path in map(str, paths):
        names, types, rows = check_cells(path)
        cells += len(names) * len(rows)
        for share, count in check_predicates(path, names, rows).items():
            total[share] += count
        for index, kind in enumerate(types):
            column = [row[index] for row in rows]
            if None in column and len(set(column)) > 2:
                with_null.add(kind)
    # Predicates that select everything or nothing would show little.
    assert total["some"] > total["none"] and total["some"] > total["all"], total
    assert {float, int} <= with_null, f"no column with nulls among {with_null}"
    count = sum(total.values())
    print(f"{len(paths)} tables, {cells} cells, {count} predicates: four readers agree")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except AssertionError as error:
        sys.exit(f"error: {error}")
