"""Draw figures from Parquet tables: `python figures/draw.py TABLES OUT [NAME …] [--run NAME] [--runs RE]`.

Prints each path written. A figure is replaced only when its PDF and PNG are both complete; one
whose tables lack something is left as it was, with one line on stderr, and the exit code is 1.
"""

import argparse
import importlib
import os
import re
import sys
from pathlib import Path

from tables import TableError, Tables

# Each a module with draw(tables).
FIGURES = ["loss", "fig3", "fig5", "fig6", "fig7", "fig8", "fig10", "fig11", "fig12", "svd",
           "movement", "trajectory", "lines", "components", "components3d", "barriers",
           "curvature", "toy"]
# Of tables that are made on request, or about several runs: drawn when they are named.
SEVERAL = ["fig2", "fig4", "fig16", "fig17", "fig18", "fig19", "fig20", "decays", "moduli",
           "arrow", "shares", "onset", "switch", "phase_diagram"]


def write(folder: Path, name: str, files: dict[str, bytes]) -> list[Path]:
    """Write `name`.pdf and `name`.png: temporary siblings first, renamed when all are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    try:
        for kind, content in files.items():
            path = folder / f"{name}.{kind}"
            temporary = folder / f".{name}.{kind}.tmp"
            pairs.append((temporary, path))
            temporary.write_bytes(content)
        for temporary, path in pairs:
            os.replace(temporary, path)
    finally:
        for temporary, _ in pairs:
            temporary.unlink(missing_ok=True)
    return [path for _, path in pairs]


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw figures from Parquet tables.")
    parser.add_argument("tables", metavar="TABLES", help="folder with the Parquet tables")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the figures")
    parser.add_argument("names", metavar="NAME", nargs="*",
                        help=f"figures to draw [default: {', '.join(FIGURES)}]; "
                             f"when they are named: {', '.join(SEVERAL)}")
    parser.add_argument("--run", help="name of the run [default: the first by name]")
    parser.add_argument("--runs", metavar="RE",
                        help="names of the runs that a figure of several is about [default: all]")
    arguments = parser.parse_args()
    try:
        re.compile(arguments.runs or "")
    except re.error as error:
        parser.error(f"--runs {arguments.runs!r} is no regular expression: {error}")
    known = [*FIGURES, *SEVERAL]
    for name in set(arguments.names) - set(known):
        parser.error(f"no figure {name!r}; there are {', '.join(known)}")
    try:
        Tables(arguments.tables)
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    import style  # only now: matplotlib takes a second to load

    failed = False
    for name in arguments.names or FIGURES:
        try:
            figure = importlib.import_module(name).draw(Tables(arguments.tables, arguments.run, arguments.runs))
            for path in write(arguments.out, name, style.render(figure)):
                print(path, flush=True)
        except TableError as error:
            print(f"error: figure `{name}`: {error}", file=sys.stderr)
            failed = True
        except OSError as error:
            print(f"error: figure `{name}` cannot be written: {error}", file=sys.stderr)
            return 5
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
