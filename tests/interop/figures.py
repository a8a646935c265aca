"""What the figures promise: `python tests/interop/figures.py TABLES`.

- Drawn twice they have the same bytes, in another folder, time zone and language.
- If a table is missing, empty, cut or lacks a column, the exit code is 1, stderr names table and
  column, and the figures that were there stay as they are, those of other tables included.
- Any run name can be drawn; of several runs those that are named.

Prints one line per promise; exit code 1 at the first that is broken.
"""

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import polars as pl

FIGURES = Path(__file__).resolve().parents[2] / "figures"
sys.path.insert(0, str(FIGURES))
# Every table that figures read: a column that they cannot do without, and those figures.
NEEDED = {
    "progress": ("test_loss", {"loss", "fig7", "fig10"}),
    "frequencies": ("is_key", {"fig6", "fig11", "fig12"}),
    "fourier": ("cos_norm", {"fig3", "fig8"}),
    "neurons": ("fve", {"fig5"}),
    "movement": ("cosine_of_steps", {"movement"}),
    "trajectory": ("residual_fraction", {"trajectory"}),
    "spectra": ("frobenius_sq", {"svd"}),
    "singular_values": ("sigma", {"svd"}),
    "interpolation": ("train_loss", {"lines"}),
    "barriers": ("barrier_linear", {"lines", "barriers"}),
    "surface": ("train_loss", {"components", "components3d"}),
    "plane_points": ("residual_fraction", {"components", "components3d"}),
    "curvature": ("eigenvalue", {"curvature"}),
    "spectral_density": ("node", {"curvature"}),
    "toy": ("output_b", {"toy"}),
    "toy_slice": ("loss_b", {"toy"}),
}
# The same of figures that are drawn when they are named.
NEEDED_BY_CLAIMS = {
    "arrow": ("z_nonkey", {"arrow"}),
    "shares": ("share_key_test", {"shares", "switch"}),
    "onset": ("t_gen", {"onset", "phase_diagram"}),
    "claims": ("verdict", {"phase_diagram"}),
}


def draw(tables: Path, out: Path, *names: str, **environment: str) -> subprocess.CompletedProcess:
    """A process of its own, as `make figures` starts it."""
    command = [sys.executable, FIGURES / "draw.py", tables, out, *names]
    return subprocess.run(command, capture_output=True, text=True,
                          env=os.environ | environment, check=False)


def draw_here(tables: Path, out: Path, *names: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the same in this process: its libraries take a second."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (mock.patch("sys.argv", ["draw.py", str(tables), str(out), *names]),
          contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr)):
        code = importlib.import_module("draw").main()
    return code, stdout.getvalue(), stderr.getvalue()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def drawn() -> list[str]:
    """Names of all figures, as `draw.py` lists them."""
    return importlib.import_module("draw").FIGURES


def test_same_bytes(tables: Path, work: Path) -> dict[str, bytes]:
    first = draw(tables, work / "out")
    assert first.returncode == 0, first.stderr
    expected = files(work / "out")
    names = [f"{name}.{kind}" for name in sorted(drawn()) for kind in ("pdf", "png")]
    assert sorted(expected) == names, sorted(expected)
    assert first.stdout.splitlines() == [
        str(work / "out" / f"{name}.{kind}") for name in drawn() for kind in ("pdf", "png")]
    for name, content in expected.items():
        start = b"%PDF" if name.endswith(".pdf") else b"\x89PNG"
        assert content.startswith(start) and len(content) > 2_000, name

    second = draw(tables, work / "again", TZ="Asia/Kathmandu", LANG="C", LC_ALL="C")
    assert second.returncode == 0, second.stderr
    again = files(work / "again")
    differing = [name for name in expected if again[name] != expected[name]]
    assert not differing, f"{differing} differ from one drawing to the next"
    return expected


def copy(tables: Path, work: Path) -> Path:
    folder = work / "tables"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in tables.glob("*.parquet"):
        shutil.copy(path, folder)
    return folder


def test_faults(tables: Path, work: Path, expected: dict[str, bytes]) -> None:
    assert {name for _, figures in NEEDED.values() for name in figures} == set(drawn())
    for table, (column, figures) in NEEDED.items():
        rows = pl.read_parquet(tables / f"{table}.parquet")
        faults = {
            "column": lambda path: rows.drop(column).write_parquet(path),
            "empty": lambda path: rows.clear().write_parquet(path),
            "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
            "missing": lambda path: path.unlink(),
        }
        said = {
            "column": f"table `{table}` has no column `{column}`",
            "empty": f"table `{table}` is empty, so column `",
            "cut": f"table `{table}` cannot be read",
            "missing": f"table `{table}` is missing",
        }
        for fault, damage in faults.items():
            damaged = copy(tables, work)
            damage(damaged / f"{table}.parquet")
            code, stdout, stderr = draw_here(damaged, work / "out", *sorted(figures))
            place = f"{table}, {fault}: {stderr}"
            assert (code, stdout) == (1, ""), place
            lines = stderr.splitlines()
            assert {line.split("`")[1] for line in lines} == figures, place
            for line in lines:
                assert line.startswith("error: figure `") and said[fault] in line, place
                assert "run `groundswell " in line, place
            assert files(work / "out") == expected, f"{table}, {fault}: old figures changed"

    # Of several figures, a bad table costs its own only.
    damaged = copy(tables, work)
    (damaged / "barriers.parquet").unlink()
    code, stdout, stderr = draw_here(damaged, work / "out", "lines", "fig3")
    assert code == 1 and stderr.startswith("error: figure `lines`: "), stderr
    assert stdout.splitlines() == [str(work / "out" / f"fig3.{kind}") for kind in ("pdf", "png")]
    assert files(work / "out") == expected, "figures changed"


def test_several(tables: Path, work: Path) -> int:
    """Figures about several runs, and on request, are drawn of one, and have the same bytes twice."""
    names = importlib.import_module("draw").SEVERAL
    for folder in ("several", "again several"):
        code, _, stderr = draw_here(tables, work / folder, *names)
        assert (code, stderr) == (0, ""), stderr
    expected = files(work / "several")
    assert len(expected) == 2 * len(names), sorted(expected)
    assert files(work / "again several") == expected
    for table, (column, figures) in NEEDED_BY_CLAIMS.items():
        damaged = copy(tables, work)
        path = damaged / f"{table}.parquet"
        for fault in ("has no column", "is missing"):
            if fault == "is missing":
                path.unlink()
            else:
                pl.read_parquet(path).drop(column).write_parquet(path)
            code, stdout, stderr = draw_here(damaged, work / "several", *sorted(figures))
            place = f"{table}, {fault}: {stderr}"
            assert (code, stdout) == (1, ""), place
            assert {line.split("`")[1] for line in stderr.splitlines()} == figures, place
            assert stderr.count(f"table `{table}` {fault}") == len(figures), place
            assert files(work / "several") == expected, place
    return len(names)


def test_choices() -> None:
    """Which frequencies an arrow is compared with, and what the runs of a cell say together."""
    arrow, diagram = (importlib.import_module(name) for name in ("arrow", "phase_diagram"))
    # Of 3 and 5 modulo 23: 6 and 10, 9 and 8, 8 and 2. In the group of order 10, 2 + 4 is 4.
    assert arrow.plain([3, 5], {11}, 23) == [1, 4, 7]
    assert arrow.plain([2, 4], set(), 10) == [1, 3, 5]
    grid = diagram.Grid({(8, 0.3): ["a", "b", "c", "d"]})
    for verdicts, letter in (("supports supports supports undecided", "S"), ("undecided refutes", "?"),
                             ("refutes refutes undecided undecided", "?"),
                             ("supports refutes refutes refutes", "±")):
        found = diagram.verdicts_of(grid, dict(zip("abcd", verdicts.split())))
        assert found[8, 0.3][0] == letter, verdicts


def test_without_tables(work: Path) -> None:
    result = draw(work / "nowhere", work / "new")
    assert result.returncode == 1, result
    assert "no such folder of tables" in result.stderr and not (work / "new").exists(), result
    result = draw(work / "tables", work / "new", "fig33")
    assert result.returncode == 2 and "fig33" in result.stderr, result


def test_run_names(tables: Path, work: Path) -> None:
    """Names that mean something to mathtext or a terminal are text like any other."""
    for name in ("$x_{", "a\x1b[31m\nb", "n" * 300):
        renamed = copy(tables, work)
        for path in renamed.glob("*.parquet"):
            table = pl.read_parquet(path)
            if table.height and "run" in table.columns:
                table.with_columns(run=pl.lit(name)).write_parquet(path)
        code, _, stderr = draw_here(renamed, work / "named", "loss")
        assert (code, stderr) == (0, ""), f"{name!r}: {stderr}"


def test_runs(tables: Path, work: Path) -> None:
    """A figure of several runs is about those that are named."""
    both = copy(tables, work)
    for path in both.glob("*.parquet"):
        table = pl.read_parquet(path)
        if "run" in table.columns:
            pl.concat([table, table.with_columns(run="other/" + pl.col("run"))]).write_parquet(path)
    (run,) = pl.read_parquet(tables / "onset.parquet")["run"].unique()
    expected = {name: content for name, content in files(work / "several").items() if "onset" in name}
    for folder, options, is_same in (("named", ["--runs", re.escape(run)], True), ("both", [], False)):
        code, _, stderr = draw_here(both, work / f"runs {folder}", "onset", *options)
        assert (code, stderr) == (0, ""), stderr
        assert (files(work / f"runs {folder}") == expected) == is_same, folder
    code, _, stderr = draw_here(both, work / "runs none", "onset", "--runs", "ther/.*")
    assert code == 1 and "no run whose name is like 'ther/.*'" in stderr, stderr
    result = draw(both, work / "runs none", "onset", "--runs", "(")
    assert result.returncode == 2 and "no regular expression" in result.stderr, result


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    tables = Path(arguments[0])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        expected = test_same_bytes(tables, work)
        print(f"{len(expected)} files of {len(drawn())} figures: the same bytes twice")
        test_faults(tables, work, expected)
        print(f"{len(NEEDED)} tables missing, empty, cut or without a column: named, figures kept")
        print(f"{test_several(tables, work)} figures that are drawn when they are named: the same")
        test_choices()
        test_without_tables(work)
        test_run_names(tables, work)
        print("any run name is drawn")
        test_runs(tables, work)
        print("of several runs, those that are named")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except AssertionError as error:
        sys.exit(f"error: {error}")
