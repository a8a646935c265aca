"""The phases of a grokking run, from table `progress`.

Nanda et al. (2023, arXiv:2301.05217, section 5.2) read three phases off their Figure 7 by eye:
memorisation to step 1.4k, circuit formation to 9.4k, cleanup to 14k. Here each boundary is a rule,
so that it can be computed for any run. "First" always means the first saved step.

```text
memorised    first step with train accuracy >= 0.999 (0.99 if that never happens)
generalised  first step with test accuracy >= 0.99
peak         step of the largest test loss up to `generalised`; memorisation ends here
knee         in [peak, generalised], where  ln test_loss  is furthest above its chord:
             argmax_t  ln l(t) - [ (1-u) ln l(peak) + u ln l(generalised) ],
             u = (t - peak) / (generalised - peak);  circuit formation ends here
settled      first step with  ln l(t) <= 0.05 ln l(peak) + 0.95 ln l(end);  cleanup ends here.
             l(end) is the median test loss over the last tenth of the steps
```

Why the knee: in circuit formation the test loss hardly moves, in cleanup it collapses. At the knee
its slope d ln l/dt equals the mean slope between peak and generalisation: before, it falls more
slowly than on average, after, faster. The rule has no threshold to tune and no unit. At the peak
the test loss starts to be affected by the generalising circuit; training accuracy reaches 1 far
earlier, and in the paper that early part belongs to memorisation too.

A boundary that a run never reaches is None, and so are those after it.

    python figures/phases.py TABLES [--run NAME]     prints the Markdown tables of docs/mainline.md
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import polars as pl

from tables import TableError, Tables, printable

PAPER = {"peak": 1_400, "knee": 9_400, "settled": 14_000}
FVE = 0.85  # a neuron belongs to a frequency from this share of its variance on


@dataclass(frozen=True)
class Phases:
    """Saved steps at which something happens first; None if it never does."""

    memorised: int | None
    generalised: int | None
    peak: int | None
    knee: int | None
    settled: int | None

    def spans(self) -> list[tuple[str, int, int]]:
        """(name, start, end) of the phases that the run went through, in order."""
        bounds = [0, self.peak, self.knee, self.settled]
        names = ["memorisation", "circuit formation", "cleanup"]
        return [
            (name, start, end)
            for name, start, end in zip(names, bounds, bounds[1:])
            if start is not None and end is not None
        ]


def first(step: np.ndarray, condition: np.ndarray) -> int | None:
    """First of `step` where `condition` holds (null compares as false)."""
    hits = np.flatnonzero(condition)
    return int(step[hits[0]]) if len(hits) else None


def find(progress: pl.DataFrame) -> Phases:
    """Phases of one run: `progress` sorted by step, with test_loss, train_ and test_accuracy."""
    step = progress["step"].to_numpy()
    train_accuracy = progress["train_accuracy"].cast(pl.Float64).to_numpy()
    test_accuracy = progress["test_accuracy"].cast(pl.Float64).to_numpy()
    loss = progress["test_loss"].cast(pl.Float64).to_numpy()

    memorised = first(step, train_accuracy >= 0.999)
    if memorised is None:
        memorised = first(step, train_accuracy >= 0.99)
    generalised = first(step, test_accuracy >= 0.99)
    peak = knee = settled = None
    usable = np.isfinite(loss) & (loss > 0)
    if memorised is not None and generalised is not None:
        before = usable & (step <= generalised)
        if before.any():
            peak = int(step[before][np.argmax(loss[before])])
    if peak is not None and peak < generalised:
        part = usable & (step >= peak) & (step <= generalised)
        t, y = step[part], np.log(loss[part])
        u = (t - t[0]) / max(t[-1] - t[0], 1)
        knee = int(t[np.argmax(y - (1 - u) * y[0] - u * y[-1])])
        tail = usable & (step >= step[-1] - 0.1 * (step[-1] - step[0]))
        end = np.log(np.median(loss[tail])) if tail.any() else y[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            low = usable & (step > knee) & (np.log(loss) <= 0.05 * y[0] + 0.95 * end)
        settled = first(step, low)
    return Phases(memorised, generalised, peak, knee, settled)


def of_run(tables: Tables) -> Phases:
    """Phases of the run of `tables`."""
    return find(tables.read("progress", ["test_loss", "train_accuracy", "test_accuracy"]))


def key_frequencies(progress: pl.DataFrame) -> list[int]:
    """The key set, from its text form: "14,35,41" in the last row that has one."""
    texts = progress["key_frequencies"].drop_nulls()
    return [int(k) for k in texts[-1].split(",") if k.strip()] if len(texts) else []


def report(tables: Tables) -> str:
    """Phases, keys, neurons and final losses of one run as Markdown."""
    losses = ["train_loss", "test_loss", "restricted_loss_all", "restricted_loss_test",
              "excluded_loss_train", "excluded_loss_test"]
    others = ["train_accuracy", "test_accuracy", "restricted_accuracy_test", "gini_w_e",
              "gini_w_l", "sum_sq_weights", "logit_fve", "logit_fve_centred"]
    progress = tables.read("progress", [*losses, *others, "key_frequencies"])
    phases = find(progress)

    def step(value):
        return "–" if value is None else f"{value:,}"

    def ratio(value, unit):
        return "–" if value is None or not unit else f"{value / unit:.2f}"

    out = [
        f"Run `{printable(tables.run)}`, {len(progress)} checkpoints, steps "
        f"{progress['step'].min():,} to {progress['step'].max():,}.",
        "",
        "| phase boundary | step | ÷ end of memorisation | paper | ÷ end of memorisation |",
        "|---|---:|---:|---:|---:|",
    ]
    rows = [("train accuracy ≥ 0.999", "memorised"),
            ("memorisation ends (test loss peaks)", "peak"),
            ("circuit formation ends (knee of the test loss)", "knee"),
            ("test accuracy ≥ 0.99", "generalised"),
            ("cleanup ends (test loss has settled)", "settled")]
    for name, field in rows:
        value, paper = getattr(phases, field), PAPER.get(field)
        out.append(f"| {name} | {step(value)} | {ratio(value, phases.peak)} | {step(paper)} | "
                   f"{ratio(paper, PAPER['peak'])} |")

    keys = key_frequencies(progress)
    out += ["", f"Key frequencies: {', '.join(map(str, keys)) or 'none'}.", ""]
    neurons = tables.read("neurons", ["frequency", "fve"])
    last = neurons["step"].max()
    neurons = neurons.filter(pl.col("step") == last)
    tuned = neurons.filter(pl.col("fve") >= FVE)
    counts = dict(tuned.drop_nulls("frequency").group_by("frequency").len().iter_rows())
    out += ["| frequency | key | neurons with FVE ≥ 0.85 |", "|---:|---|---:|"]
    for k in sorted({*keys, *counts}):
        out.append(f"| {k} | {'yes' if k in keys else 'no'} | {counts.get(k, 0)} |")
    out += [f"| any | | {len(tuned)} of {len(neurons)} ({len(tuned) / len(neurons):.1%}) |", ""]

    final = progress.tail(1)
    out += [f"| at step {final['step'][0]:,} | |", "|---|---:|"]
    for column in [*losses, *others]:
        value = final[column][0]
        out.append(f"| `{column}` | {'null' if value is None else format(value, '.6g')} |")
    return "\n".join(out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Phases of a run as Markdown.")
    parser.add_argument("tables", metavar="TABLES", help="folder with the Parquet tables")
    parser.add_argument("--run", help="name of the run [default: the first by name]")
    arguments = parser.parse_args()
    try:
        print(report(Tables(arguments.tables, arguments.run)))
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
