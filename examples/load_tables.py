"""Open every table with polars, pandas and DuckDB, each with no option at all.

    python examples/load_tables.py [TABLES] [ROWS]

TABLES is the folder written by `groundswell analyze --out TABLES`; without it, that of `make demo`. A reader that is not installed
is said to be missing and the others go on; exit code 1 if none could read, 2 on wrong usage.
"""

import sys
from importlib import import_module
from pathlib import Path

# What a user would type; everything else in this file is printing.
READERS = {
    "polars": lambda polars, path: polars.read_parquet(path),
    "pandas": lambda pandas, path: pandas.read_parquet(path),
    "duckdb": lambda duckdb, path: duckdb.read_parquet(path),
}


def main(arguments: list[str]) -> int:
    if len(arguments) > 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder = Path(arguments[0] if arguments else "demo/tables")
    rows = int(arguments[1]) if len(arguments) == 2 else 3
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        print(f"error: no *.parquet in {folder}; run `groundswell analyze ARCHIVE --out {folder}`",
              file=sys.stderr)
        return 1

    modules = {}
    for name in READERS:
        try:
            modules[name] = import_module(name)
        except ImportError:
            print(f"{name} is not installed; try `pip install {name}`\n")

    complete = True
    for path in paths:
        for name, module in modules.items():
            print(f"== {path.stem} with {name}")
            try:
                table = READERS[name](module, str(path))
                text = str(table.limit(rows) if name == "duckdb" else table.head(rows))
            except Exception as error:  # the readers' own error types share no base class
                text, complete = f"cannot be read: {error}", False
            print(text.rstrip(), end="\n\n")
    return 0 if modules and complete else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # `… | head`: the reader has seen enough
        sys.stderr.close()
