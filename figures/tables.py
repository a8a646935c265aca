"""Reading the Parquet tables of `groundswell analyze`, with errors that name the cure.

A figure asks for a table and the columns it needs and gets the rows of one run, sorted by key.
What is missing raises `TableError`, one line: table, column, and the command that makes it.
"""

import json
import re
from pathlib import Path

import polars as pl

KEYS = {
    "training": ["step"],
    "progress": ["step"],
    "frequencies": ["step", "frequency"],
    "fourier": ["step", "object", "frequency"],
    "neurons": ["step", "neuron"],
    "ablations": ["step", "ablation"],
    "circuits": ["step", "object", "head"],
    "readouts": ["step", "frequency"],
    "activations": ["step", "object", "index", "i", "j"],
    "spectra": ["step", "tensor", "batch_index"],
    "singular_values": ["step", "tensor", "batch_index", "index"],
    "movement": ["step", "tensor"],
    "trajectory": ["step"],
    "interpolation": ["from_step", "to_step", "to_run", "alignment", "alpha"],
    "barriers": ["from_step", "to_step", "to_run", "alignment"],
    "surface": ["plane", "i", "j"],
    "plane_points": ["plane", "step"],
    "curvature": ["step", "loss", "index"],
    "spectral_density": ["step", "loss", "probe", "index"],
    "arrow": ["step", "frequency"],
    "shares": ["step"],
    "onset": ["statistic", "target"],
    "claims": ["claim", "statistic", "null_id"],
    "toy": ["model", "setting", "step"],
    "toy_slice": ["model", "setting", "step", "i", "j"],
}
WITHOUT_RUN = {"toy", "toy_slice"}
# What makes a table that a plain analysis does not make.
COMMANDS = {
    "ablations": "analyze ARCHIVE --out TABLES --measures ablations --at last",
    "circuits": "analyze ARCHIVE --out TABLES --measures circuits --at last",
    "readouts": "analyze ARCHIVE --out TABLES --measures circuits --at last",
    "activations": "analyze ARCHIVE --out TABLES --measures activations --at last",
    "interpolation": "landscape ARCHIVE --out TABLES --from memorised --to last --points 25",
    "barriers": "landscape ARCHIVE --out TABLES --from memorised --to last --points 25",
    "surface": "landscape ARCHIVE --out TABLES --plane three:first,memorised,last",
    "plane_points": "landscape ARCHIVE --out TABLES --plane three:first,memorised,last",
    "curvature": "landscape ARCHIVE --out TABLES --curvature first,memorised,last",
    "spectral_density": "landscape ARCHIVE --out TABLES --curvature first,memorised,last",
    "arrow": "arrow ARCHIVE --out TABLES",
    "shares": "shares ARCHIVE --out TABLES",
    "onset": "onset ARCHIVE --out TABLES",
    "claims": "claims ARCHIVE --out TABLES",
    "toy": "toy --out TABLES",
    "toy_slice": "toy --out TABLES",
}


class TableError(Exception):
    """A table, a column or a run that a figure needs is not there."""


def command(table: str) -> str:
    """The command line that makes `table`."""
    if table in COMMANDS:
        return f"groundswell {COMMANDS[table]}"
    measure = "spectra" if table == "singular_values" else table
    return f"groundswell analyze ARCHIVE --out TABLES --measures {measure}"


def printable(name: str, longest: int = 44) -> str:
    """`name` on one line: control characters as escapes, the middle of a long name left out."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return text


class Tables:
    """The tables in one folder, seen through one run (default: the first by name).

    Of several runs, those whose whole names match `runs` (default: all).
    """

    def __init__(self, folder: str | Path, run: str | None = None, runs: str | None = None):
        self.folder = Path(folder)
        self.run = run
        self.pattern = runs
        if not self.folder.is_dir():
            raise TableError(
                f"{printable(str(folder), 200)}: no such folder of tables; "
                "run `groundswell analyze ARCHIVE --out TABLES`"
            )

    def path(self, table: str) -> Path:
        path = self.folder / f"{table}.parquet"
        if not path.is_file():
            if (self.folder / table).is_dir():
                raise TableError(
                    f"table `{table}` is still in shards in {self.folder / table}; "
                    f"run `groundswell merge {self.folder}`"
                )
            raise TableError(
                f"table `{table}` is missing: no file {path}; run `{command(table)}`"
            )
        return path

    def _checked(self, table: str, columns: list[str]) -> pl.DataFrame:
        """`columns` and the key of all runs, in no order; at least one row."""
        path = self.path(table)
        run = [] if table in WITHOUT_RUN else ["run"]
        wanted = [*run, *KEYS[table], *(c for c in columns if c not in KEYS[table])]
        try:
            present = pl.read_parquet_schema(path)
            absent = [c for c in wanted if c not in present]
            if absent:
                raise TableError(
                    f"table `{table}` has no column `{absent[0]}` ({path}); "
                    f"it was written by another version: run `{command(table)}`"
                )
            rows = pl.read_parquet(path, columns=wanted)
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise TableError(
                f"table `{table}` cannot be read ({path}: {reason}); "
                f"delete the file, then run `{command(table)}`"
            ) from error
        if rows.is_empty():
            raise TableError(
                f"table `{table}` is empty, so column `{(columns or wanted)[0]}` has no value ({path}); "
                f"run `{command(table)}`"
            )
        return rows

    def read(self, table: str, columns: list[str]) -> pl.DataFrame:
        """Rows of this run: `columns` and the key, sorted by key. Null stays null."""
        path, rows = self.path(table), self._checked(table, columns)
        if table in WITHOUT_RUN:
            return rows.sort(KEYS[table])
        if self.run is None:
            self.run = rows["run"].min()
        mine = rows.filter(pl.col("run") == self.run)
        if mine.is_empty():
            names = ", ".join(repr(name) for name in rows["run"].unique().sort()[:5])
            raise TableError(
                f"table `{table}` has no row for run {self.run!r}, only for {names} ({path}); "
                f"choose one with --run or run `{command(table)}`"
            )
        return mine.sort(KEYS[table])

    def runs(self, table: str) -> list[str]:
        """Names of all runs in a table."""
        return self.every(table, [])["run"].unique().sort().to_list()

    def every(self, table: str, columns: list[str]) -> pl.DataFrame:
        """Rows of all runs that are meant: `columns` and the key, sorted by key."""
        rows = self._checked(table, columns)
        if self.pattern is not None:
            names = rows["run"].unique().to_list()
            meant = [name for name in names if re.fullmatch(self.pattern, name)]
            rows = rows.filter(pl.col("run").is_in(meant))
            if rows.is_empty():
                raise TableError(
                    f"table `{table}` has no run whose name is like {self.pattern!r} ({self.path(table)}); "
                    f"choose others with --runs or run `{command(table)}`"
                )
        return rows.sort("run", *KEYS[table])

    def configs(self, table: str) -> dict[str, dict]:
        """Configuration of every run, from the metadata of the file."""
        try:
            metadata = pl.read_parquet_metadata(self.path(table))
            configs = json.loads(metadata.get("groundswell.config", "{}"))
        except (ValueError, pl.exceptions.PolarsError):
            return {}
        return {run: config for run, config in configs.items() if isinstance(config, dict)}

    def about(self, table: str, key: str) -> str | None:
        """An entry of the metadata of a file, `groundswell.KEY`."""
        try:
            return pl.read_parquet_metadata(self.path(table)).get(f"groundswell.{key}")
        except pl.exceptions.PolarsError:
            return None

    def seed(self, table: str) -> int | None:
        """Seed of this run, if the file says: metadata `groundswell.seed`, or "seed" in the JSON
        of `groundswell.config` (directly or under the run's name)."""
        metadata = pl.read_parquet_metadata(self.path(table))
        if "groundswell.seed" in metadata:
            return int(metadata["groundswell.seed"])
        try:
            config = json.loads(metadata.get("groundswell.config", "{}"))
            return config.get(self.run, config).get("seed")
        except (ValueError, AttributeError):
            return None
