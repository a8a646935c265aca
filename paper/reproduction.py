"""Our numbers beside those that the paper prints: `python paper/reproduction.py TABLES`.

TABLES is what `make paper` writes to, with folders `seeds` and `fractions`. Prints Markdown, which
docs/reproduction.md holds between its markers; `--into FILE` puts it there. A number whose table is
missing is a dash. The exit code is 1 where a finished run fails one of the checks at the end.

The paper is arXiv:2301.05217 v3; what is said of it here is read off its text and tables.
"""

import argparse
import math
import sys
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
import many  # noqa: E402
import phases  # noqa: E402
from tables import TableError, Tables, printable  # noqa: E402

BEGIN, END = "<!-- paper/reproduction.py -->", "<!-- end -->"
CLEAR = phases.FVE
# Printed in the paper. Section 4.2 to 4.4 and tables 1 and 2; of its mainline run.
PAPER_KEYS = ["14 35 41 42 52", "2 9 19 31", "40 44 53", "31 45 49 52"]
PAPER_LOSS = 2.412e-7
PAPER_READOUTS = [93.2, 93.5, 96.8, 96.5, 97.0, 97.0, 96.4, 96.4, 97.4, 98.2]
PAPER_HEADS = [99.03, 98.49, 99.07, 97.91]
PAPER_ABLATIONS = {
    "neurons_quadratic": 2.48e-7, "w_l_keys": 1.19e-7, "w_l_complement": 5.27,
    "logits_sum_dirs": 5.54e-8, "logits_block3x3": 7.24e-8, "attention_linear": 2.12e-7,
    "attention_zero": 24.3, "attention_skip_zero": 19.1, "mlp_skip_zero": 9.12e-7,
    "mlp_skip_mean": 7.25e-7,
}
PAPER_ONE_FREQUENCY = [2.0e-4, 4.6e-4, 1.9e-3, 5.2e-3, 2.4e-2]
DASH = "–"
REST = 0.02  # change of the sum of squared weights in the last tenth of the steps


def number(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}g}"


def step(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def percent(value: float | None, digits: int = 1) -> str:
    return DASH if value is None else f"{100 * value:.{digits}f}"


def span(values: list[float], show=number) -> str:
    """One value, or the smallest and the largest."""
    values = [value for value in values if value is not None]
    if not values:
        return DASH
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown; numbers to the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return ["| " + " | ".join(row) + " |" for row in [heads]] + ["|" + "|".join(rule) + "|"] + \
        ["| " + " | ".join(row) + " |" for row in rows] + [""]


class Run:
    """The tables of one run at its last checkpoint."""

    def __init__(self, folder: Path, name: str):
        self.name = name
        self.tables = Tables(folder, name)
        self.progress = self.tables.read("progress", [
            "train_loss", "test_loss", "train_accuracy", "test_accuracy", "key_frequencies",
            "excluded_loss_train", "restricted_loss_all", "logit_fve", "logit_fve_centred",
            "sum_sq_weights"])
        self.final = self.progress.tail(1).row(0, named=True)
        self.phases = phases.find(self.progress)
        self.keys = phases.key_frequencies(self.progress)
        self.config = self.tables.configs("progress").get(name, {})

    def last(self, name: str, columns: list[str]) -> pl.DataFrame | None:
        """Rows of a table at the last checkpoint; None if it is not there."""
        try:
            rows = self.tables.read(name, columns)
        except TableError:
            return None
        return rows.filter(pl.col("step") == rows["step"].max())

    def loss(self) -> float:
        """On all pairs."""
        share = self.config.get("train_fraction", 0.3)
        return share * self.final["train_loss"] + (1 - share) * self.final["test_loss"]


def seeds(runs: list[Run]) -> list[str]:
    rows = []
    for run in runs:
        neurons = run.last("neurons", ["frequency", "fve"])
        clear = neurons.filter(pl.col("fve") >= CLEAR)
        counts = dict(clear.group_by("frequency").len().iter_rows())
        found = run.phases
        rows.append([
            f"`{printable(run.name)}`", " ".join(map(str, run.keys)),
            " ".join(str(counts.get(k, 0)) for k in run.keys),
            percent(len(clear) / len(neurons)), number(run.loss()),
            percent(run.final["logit_fve"]), number(run.final["sum_sq_weights"], 4),
            step(found.memorised), step(found.peak), step(found.knee), step(found.generalised),
            step(found.settled)])
    rows.append(["paper, mainline", PAPER_KEYS[0], "44 93 145 87 64", "84.6", number(PAPER_LOSS),
                 "95", "942 to 955", DASH, "1,400", "9,400", DASH, "14,000"])
    rows += [["paper, other seeds", keys, *[DASH] * 10] for keys in PAPER_KEYS[1:]]
    heads = ["run", "key frequencies", "neurons of each", "clear neurons, %", "loss, all pairs",
             "logit FVE, %", "Σθ²", "memorised", "test loss peaks", "knee", "generalised",
             "settled"]
    ratios = [[run.phases.knee / run.phases.peak, run.phases.settled / run.phases.peak]
              for run in runs if run.phases.peak and run.phases.settled]
    said = ["In units of the step at which memorisation ends (the test loss peaks), circuit formation "
            f"ends at {span([r[0] for r in ratios])} and cleanup at {span([r[1] for r in ratios])}; "
            f"in the paper at {9400 / 1400:.1f} and {14000 / 1400:.1f}.", ""]
    return ["### Five seeds", "", *table(heads, rows), *said]


def of_weights(runs: list[Run]) -> list[str]:
    """Tables 1 and 2 of the paper, and what is left of W_L."""
    rows = []
    for run in runs:
        readouts = run.last("readouts", ["is_key", "cos_share", "sin_share"])
        circuits = run.last("circuits", ["object", "head", "frequency", "frequency_share",
                                         "residual_share"])
        if readouts is None or circuits is None:
            continue
        keys = readouts.filter("is_key")
        shares = [s for row in keys.select("cos_share", "sin_share").rows() for s in row
                  if s is not None]
        heads = circuits.filter(pl.col("object") == "score").sort("head")
        w_l = circuits.filter(pl.col("object") == "W_L")["residual_share"][0]
        rows.append([f"`{printable(run.name)}`", span(shares, percent),
                     " ".join(map(str, heads["frequency"])),
                     " ".join(percent(share, 2) for share in heads["frequency_share"]),
                     percent(w_l, 2)])
    rows.append(["paper", span([s / 100 for s in PAPER_READOUTS], percent), "35 42 52 42",
                 " ".join(f"{share:.2f}" for share in PAPER_HEADS), "< 0.55"])
    heads = ["run", "table 1: what a key row of W_L reads is its wave, %",
             "table 2: frequency of each head's scores", "its share, %", "rest of W_L, %"]
    return ["### Weights and neurons", "", *table(heads, rows)]


def ablations(runs: list[Run]) -> list[str]:
    found = {run.name: run.last("ablations", ["loss_all"]) for run in runs}
    found = {name: dict(rows.select("ablation", "loss_all").iter_rows())
             for name, rows in found.items() if rows is not None}
    rows = []
    for name in ["none", *PAPER_ABLATIONS]:
        paper = PAPER_ABLATIONS.get(name, PAPER_LOSS)
        ours = [losses[name] for losses in found.values()]
        ratios = [losses[name] / losses["none"] for losses in found.values()]
        rows.append([f"`{name}`", span(ours), number(paper), span(ratios),
                     number(paper / PAPER_LOSS)])
    one = [loss for losses in found.values() for name, loss in losses.items()
           if name.startswith("neurons_without_")]
    ratios = [loss / losses["none"] for losses in found.values() for name, loss in losses.items()
              if name.startswith("neurons_without_")]
    rows.append(["one key out of the neurons", span(one), span(PAPER_ONE_FREQUENCY), span(ratios),
                 span([loss / PAPER_LOSS for loss in PAPER_ONE_FREQUENCY])])
    heads = ["ablation", "loss, all pairs", "paper", "over the loss of the whole", "paper"]
    return ["### Ablations", "", *table(heads, rows)]


def fractions(folder: Path) -> list[str]:
    found, _ = many.milestones(Tables(folder), "train_fraction")
    rows = [[f"{value:g}", *(step(getattr(run, name)) for name in ("memorised", "peak", "generalised")),
             number(run.generalised / run.memorised, 2) if run.generalised and run.memorised else DASH]
            for value, runs in found.items() for run in runs]
    heads = ["share of the pairs", "memorised", "test loss peaks", "generalised",
             "generalised ÷ memorised"]
    return ["### Data fractions", "", *table(heads, rows)]


def unrest(progress: pl.DataFrame) -> float:
    """By which share the sum of squared weights changed in the last tenth of the steps: cleanup is over
    when it comes to rest."""
    late = progress.filter(pl.col("step") >= 0.9 * pl.col("step").max())["sum_sq_weights"]
    return late.max() / late.min() - 1


def checks(runs: list[Run]) -> tuple[list[str], bool]:
    """What the measures must say of every run that has generalised and come to rest."""
    rows, sound = [], True
    for run in runs:
        final, name = run.final, f"`{printable(run.name)}`"
        if (final["test_accuracy"] or 0) < 0.99:
            rows.append([name, DASH, DASH, DASH, "has not generalised"])
            continue
        chance = math.log(run.config["modulus"])
        singles = run.last("frequencies", ["is_key", "excluded_loss_train"]).filter(~pl.col("is_key"))
        changes = [abs(loss / final["train_loss"] - 1) for loss in singles["excluded_loss_train"]]
        excluded, ratio = final["excluded_loss_train"], final["restricted_loss_all"] / run.loss()
        change = max(changes, default=0.0)
        fine = [excluded > chance, ratio <= 10, change < 0.05]
        moving = unrest(run.progress)
        finished = moving < REST
        sound &= all(fine) or not finished
        verdict = f"not at rest ({percent(moving)} %)" if not finished else \
            "yes" if all(fine) else "**no**"
        rows.append([name, f"{excluded:.2f} > {chance:.2f}" if fine[0] else f"{excluded:.2f}",
                     number(ratio), percent(change), verdict])
    heads = ["run", "excluded loss on training pairs, against ln p", "restricted loss ÷ loss",
             "largest change by excluding one other frequency, %", "all hold"]
    return ["### Checks on finished runs", "", *table(heads, rows)], sound


def report(folder: Path) -> tuple[str, bool]:
    named = lambda sweep: [Run(folder / sweep, name) for name in
                           sorted(Tables(folder / sweep).runs("progress"), key=many.natural)]
    runs = named("seeds")
    lines = [*seeds(runs), *of_weights(runs), *ablations(runs)]
    others = []
    if (folder / "fractions").is_dir():
        lines += fractions(folder / "fractions")
        others = named("fractions")
    told, sound = checks([*runs, *others])
    return "\n".join([*lines, *told]).rstrip() + "\n", sound


def main() -> int:
    parser = argparse.ArgumentParser(description="Our numbers beside the paper's, as Markdown.")
    parser.add_argument("tables", metavar="TABLES", type=Path, help="folder with seeds and fractions")
    parser.add_argument("--into", type=Path, help="a Markdown file with markers, to be updated")
    arguments = parser.parse_args()
    try:
        text, sound = report(arguments.tables)
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.into is None:
        print(text, end="")
    else:
        old = arguments.into.read_text()
        if BEGIN not in old or END not in old:
            print(f"error: {arguments.into} has no lines {BEGIN} and {END}", file=sys.stderr)
            return 1
        head, rest = old.split(BEGIN, 1)
        arguments.into.write_text(f"{head}{BEGIN}\n{text}{END}{rest.split(END, 1)[1]}")
    if not sound:
        print("error: a finished run fails a check, see the last table", file=sys.stderr)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
