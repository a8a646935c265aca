"""What paper/findings.py promises: `python tests/interop/findings.py TABLES`.

- The same table gives the same bytes; the verdicts, numbers and reasons are those of the table.
- A step that never comes in a run is later than all others, in the median and its interval.
- Without the table, or without a verdict of a claim, the exit code is 1, stderr says what to run, and the
  file that was there stays as it is.
"""

import importlib.util
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

PROGRAM = Path(__file__).resolve().parents[2] / "paper" / "findings.py"
OUTCOMES = {"Refuted": "refutes", "Undecided": "undecided", "Supported": "supports"}


def write(tables: Path, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, PROGRAM, tables, out], capture_output=True, text=True,
                          check=False)


def judged() -> pl.Expr:
    """The verdicts over all runs."""
    return ((pl.col("run") == "all") & (pl.col("statistic") == "verdict")
            & (pl.col("null_id") == "none"))


def shuffled(rows: pl.DataFrame) -> pl.DataFrame:
    """Other verdicts, numbers and reasons, drawn from a fixed seed; some numbers null."""
    draw = random.Random(0)
    parts = [rows.filter(~judged())]
    for claim in rows.filter(judged()).iter_rows(named=True):
        value = draw.choice([None, draw.random()])
        changed = claim | {
            "verdict": draw.choice(list(OUTCOMES.values())), "value": value,
            "low": value and value / 2, "high": value and value * 2,
            "reason": f"drawn: {draw.randrange(10**6)} of | them",
        }
        parts.append(pl.DataFrame([changed], schema=rows.schema))
    return pl.concat(parts)


def check_text(text: str, rows: pl.DataFrame) -> None:
    """What stands in `text` is what stands in the table."""
    lines = text.splitlines()
    all_runs = rows.filter(judged()).rows_by_key("claim", named=True, unique=True)
    for line, (outcome, verdict) in zip(lines, OUTCOMES.items()):
        named = line.strip().removeprefix(f"{outcome}: ").rstrip(".")
        expected = {claim for claim, row in all_runs.items() if row["verdict"] == verdict}
        assert set(named.split(", ")) == (expected or {"none"}), line
    for claim, row in all_runs.items():
        section = text.split(f"## {claim}: ")[1].split("\n## ")[0]
        outcome = next(name for name, verdict in OUTCOMES.items() if verdict == row["verdict"])
        assert f"**{outcome}.** {row['reason'].rstrip('.')}." in section, section
        number = "not measured" if row["value"] is None else f"**{row['value']:.4g}**"
        # The number of C3 is not that of the verdict.
        assert number in section or claim in ("C3a", "C3b"), section
        assert "What would change it" in section, section
        assert "](figures/" in section and "nan" not in section.lower(), section


def check_never() -> None:
    """Medians and intervals of a step that some runs never reach, and that was not looked for in others."""
    spec = importlib.util.spec_from_file_location("findings", PROGRAM)
    findings = importlib.util.module_from_spec(spec)
    sys.modules["findings"] = findings
    spec.loader.exec_module(findings)

    def measured(values: list[float | None], statuses: list[str]) -> str:
        count = len(values)
        rows = pl.DataFrame({
            "run": [f"seed-{i}" for i in range(count)], "statistic": ["logit_coefficient/t_mem"] * count,
            "null_id": ["none"] * count, "value": values, "status": statuses,
        }, schema_overrides={"value": pl.Float64})
        return findings.measured("C3a", {"p": None}, rows, count)

    ok, never = "ok", "not_reached"
    text = measured([0.1, 0.2, 0.3, 0.4, 0.5], [ok] * 5)
    assert "**0.3** (95 % interval 0.1 to 0.5, 5 of 5 runs)" in text, text
    text = measured([0.1, None, 0.3, None, 0.2], [ok, never, ok, never, ok])
    assert "**0.3** (95 % interval 0.1 to never, 5 of 5 runs)" in text, text
    text = measured([None] * 5, [never] * 5)
    assert "**never** (95 % interval never to never, 5 of 5 runs)" in text, text
    text = measured([0.1, None, None, None, None], [ok, *["missing"] * 4])
    assert "**0.1** (no interval, 1 of 5 runs)" in text, text
    assert "not measured" in measured([None] * 5, ["missing"] * 5)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    check_never()
    source = Path(arguments[0]) / "claims.parquet"
    with tempfile.TemporaryDirectory() as folder:
        out, tables = Path(folder) / "findings.md", Path(folder) / "tables"
        tables.mkdir()
        copy = tables / "claims.parquet"
        rows = pl.read_parquet(source)
        copy.write_bytes(source.read_bytes())
        for content in (rows, shuffled(rows)):
            if content is not rows:
                content.write_parquet(copy)
            texts = []
            for _ in range(2):
                result = write(tables, out)
                assert (result.returncode, result.stderr) == (0, ""), result.stderr
                texts.append(out.read_bytes())
            assert texts[0] == texts[1], "findings differ from one writing to the next"
            check_text(texts[0].decode(), content)
        rows.filter(~(judged() & (pl.col("claim") == "C5"))).write_parquet(copy)
        faults = [("C5", write(tables, out))]
        copy.unlink()
        faults.append(("table `claims` is missing", write(tables, out)))
        for said, result in faults:
            assert result.returncode == 1 and said in result.stderr, result
            assert "run `groundswell claims " in result.stderr, result.stderr
            assert out.read_bytes() == texts[0], "old findings changed"
        print("findings: the same bytes twice, and nothing but what table claims says")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except AssertionError as error:
        sys.exit(f"error: {error}")
