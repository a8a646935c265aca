"""What paper/reproduction.py promises: `python tests/interop/reproduction.py TABLES`.

- The same tables give the same text; `--into` replaces what is between the markers and nothing else.
- A run that has generalised must pass the checks; one that fails them is named, with exit code 1. One that
  has not generalised is not held to them.
- Without a table of the experiments their numbers are dashes; without `progress` stderr says what to run.
"""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

PROGRAM = Path(__file__).resolve().parents[2] / "paper" / "reproduction.py"
LAST = pl.col("step") == pl.col("step").max()


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True,
                          check=False)


def rewrite(file: Path, **last) -> None:
    """Columns of a table at the last checkpoint, replaced; the metadata stays."""
    metadata = pl.read_parquet_metadata(file)
    rows = pl.read_parquet(file)
    changed = [pl.when(LAST).then(value).otherwise(pl.col(name)).alias(name)
               for name, value in last.items()]
    metadata = {key: value for key, value in metadata.items() if key.startswith("groundswell.")}
    rows.with_columns(changed).write_parquet(file, metadata=metadata)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    source = Path(arguments[0])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        seeds, page = folder / "seeds", folder / "page.md"
        seeds.mkdir()
        for name in ("progress", "frequencies", "neurons", "ablations", "circuits", "readouts"):
            (seeds / f"{name}.parquet").write_bytes((source / f"{name}.parquet").read_bytes())
        result = run(folder)
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
        assert "has not generalised" in result.stdout and "nan" not in result.stdout.lower()
        assert "ln p" in result.stdout and "`attention_linear`" in result.stdout

        page.write_text("before\n<!-- paper/reproduction.py -->\nold\n<!-- end -->\nafter\n")
        for _ in range(2):
            assert run(folder, "--into", page).returncode == 0
            assert page.read_text() == (f"before\n<!-- paper/reproduction.py -->\n{result.stdout}"
                                        "<!-- end -->\nafter\n")
        page.write_text("no markers\n")
        refused = run(folder, "--into", page)
        assert refused.returncode == 1 and "no lines" in refused.stderr
        assert page.read_text() == "no markers\n"

        # As if it had generalised: by numbers that pass, and by one that does not.
        p = 7
        fine = {"test_accuracy": 1.0, "train_loss": 1e-3, "test_loss": 1e-3,
                "restricted_loss_all": 1e-3, "excluded_loss_train": math.log(p) + 1}
        rewrite(seeds / "progress.parquet", **fine)
        rewrite(seeds / "frequencies.parquet", excluded_loss_train=1.01e-3)
        passed = run(folder)
        assert passed.returncode == 0 and "**" not in passed.stdout, passed.stdout
        for column, value, file in [("excluded_loss_train", math.log(p) - 0.1, "progress"),
                                    ("restricted_loss_all", 1.1e-2, "progress"),
                                    ("excluded_loss_train", 1.06e-3, "frequencies")]:
            rewrite(seeds / "progress.parquet", **fine)
            rewrite(seeds / "frequencies.parquet", excluded_loss_train=1.01e-3)
            rewrite(seeds / f"{file}.parquet", **{column: value})
            failed = run(folder)
            assert failed.returncode == 1 and "fails a check" in failed.stderr, (column, file)
            assert "**no**" in failed.stdout

        # Weights that still shrink: cleanup goes on, and nothing is held against the run.
        rows = pl.read_parquet(seeds / "progress.parquet")
        late = pl.lit(rows["step"].max() - 1).cast(pl.Int64).alias("step")
        before = rows.filter(LAST).with_columns(late, pl.col("sum_sq_weights") * 1.03)
        metadata = pl.read_parquet_metadata(seeds / "progress.parquet")
        metadata = {key: value for key, value in metadata.items() if key.startswith("groundswell.")}
        pl.concat([rows, before]).sort("step").write_parquet(seeds / "progress.parquet",
                                                             metadata=metadata)
        moving = run(folder)
        assert moving.returncode == 0 and "not at rest (3.0 %)" in moving.stdout, moving.stdout

        (seeds / "ablations.parquet").unlink()
        assert "| – |" in run(folder).stdout
        (seeds / "progress.parquet").unlink()
        missing = run(folder)
        assert missing.returncode == 1 and "run `groundswell analyze" in missing.stderr
        assert "Traceback" not in missing.stderr
    print("reproduction: text, markers and checks are what they promise")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
