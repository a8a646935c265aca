"""Write the findings from table `claims`: `python paper/findings.py TABLES OUT.md`.

First what is refuted and what is undecided; then for every claim its number with the interval over runs,
the verdict and its reason as they stand in the table, the numbers behind it, what runs of other settings
say, and what would change it. No verdict is typed here: the same table gives the same bytes, another table
other findings.

Links to figures go to FIGURES/NAME.png, as `figures/draw.py` writes them; --figures names that folder,
relative to OUT.md [default: figures].
"""

import argparse
import json
import os
import random
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))
from tables import TableError, Tables, command, printable  # noqa: E402


@dataclass(frozen=True)
class Claim:
    """What a claim says, which figure shows it, what its number is, and what would change its verdict."""

    says: str
    figure: str
    number: str
    change: str
    # Its number is the step of this row over runs, in which one that never comes is later than all; otherwise
    # it is the number of the verdict.
    step: str | None = None


CLAIMS = {
    "C1": Claim(
        "The way to the final circuit is a steady walk, not a wait and a lucky step", "fig11",
        "Spearman correlation of step and mean key coefficient, from t_mem to t_gen",
        "The other rows of W_E: the keys' walk is directed only if theirs is not; and a window other than "
        "t_mem to t_gen."),
    "C2": Claim(
        "Memorisation determines the output until late", "shares",
        "largest share of the key frequencies in the train loss, up to t_drop",
        "Another way to share out what both parts bring: Shapley's is the mean of both orders, and "
        "`interaction` says how much depends on the order."),
    "C3a": Claim(
        "The circuits of the final algorithm grow from initialisation on", "onset",
        "onset of the keys' mean logit coefficient over t_mem",
        "More frequencies that are no keys (a larger modulus), which sharpen N1 and N5; saves closer "
        "together near step 0.", step="logit_coefficient/t_mem"),
    "C3b": Claim(
        "They grow while the loss visibly falls by memorisation", "onset",
        "onset of the keys' mean logit coefficient over t_peak",
        "As for C3a; and a run in which t_mem and t_peak are closer together.",
        step="logit_coefficient/t_peak"),
    "C4a": Claim(
        "From the first step on, the gradient points a little to a general algorithm", "arrow",
        "share of steps 0 to 50 with z above 3, by the stricter of the two nulls",
        "More permutations of the labels and more saves in the first steps, in which the logits are all "
        "but constant; other initial weights."),
    "C4b": Claim(
        "From the first step on, it points to the one that the run ends with", "arrow",
        "share of steps 0 to 50 with z of the keys' mean rate above 3",
        "Keys that are known without looking at the end of the run, which need no N5; and more "
        "frequencies to draw sets from."),
    "C5": Claim(
        "The circuits are almost right when the test loss begins to fall", "fig10",
        "restricted test accuracy at t_drop",
        "Another definition of t_drop; the keys of other seeds (N4), if they do as well; neurons that "
        "change their frequency late."),
    "C6": Claim(
        "The visible landscape hides the final algorithm", "components",
        "R² of train on excluded loss near the memorised weights",
        "Other planes: two dimensions of many, and a valley may bend out of any of them."),
    "C7": Claim(
        "Almost all change of the loss is that of memorisation", "shares",
        "share of the rest in all change of the train loss, up to t_drop",
        "The same sum with the harmonics of the keys counted to the circuit: here they are in the rest."),
    "C8": Claim(
        "The gradient points to the final algorithm the entire time", "arrow",
        "share of the saves up to t_gen with z above 3, rate of the cross-entropy",
        "Runs without weight decay that generalise (N7), which tell the pull of the data from that of the "
        "decay."),
    "C9": Claim(
        "At the switch, the tuning of the final algorithm becomes faster", "switch",
        "growth of ln c_K after t_drop over that before",
        "Growth on another scale than the logarithm of c_K, whose rate falls as c_K saturates."),
    "C10": Claim(
        "All this holds for networks that cannot memorise as well", "phase_diagram",
        "claims among C3a, C4b, C7 with the same verdict in small and large networks",
        "More runs of either kind, with permuted labels for each, and small networks that generalise."),
    "C11": Claim(
        "The basin that is seen is that of the more influential algorithm", "curvature",
        "Spearman correlation over steps of share_key and the ratio of widths",
        "More steps with planes and Hessians; widths in directions that are not random."),
    "C12": Claim(
        "The basins of the two algorithms add up with little interference", "shares",
        "largest measure of interference from t_mem to t_gen",
        "Another measure of interference than the gain of one part without the other: two parts that both "
        "know the labels have the same to gain."),
    "C13": Claim(
        "Tools cannot tell the slow growth of the circuits from noise", "onset",
        "step of the blind detection over t_gen",
        "Another detector; more runs on permuted labels, to which it compares."),
    "C14": Claim(
        "Counter-position: every new circuit is another basin", "barriers",
        "barrier from the memorised to the final weights (nats)",
        "A curved path between the two: a barrier on the straight one may be a bend of the valley."),
}
JUDGED = (pl.col("statistic") == "verdict") & (pl.col("null_id") == "none")
# As the table says it, and as a sentence begins with it.
OUTCOMES = {"refutes": "Refuted", "undecided": "Undecided", "supports": "Supported"}


# Of the bootstrap: as many draws as table `claims` takes.
DRAWS = 10_000


def number(value: float) -> str:
    """Four digits; a step that never comes is infinite."""
    return "never" if value == float("inf") else f"{value:.4g}"


def spread(low: float | None, high: float | None) -> str:
    """An interval over runs."""
    if low is None or high is None:
        return "no interval"
    return f"95 % interval {number(low)} to {number(high)}"


def steps_over_runs(rows: pl.DataFrame, statistic: str) -> tuple[list[float], list[float] | None]:
    """Values of a step in all runs in which it was looked for, `inf` where it never comes; and the ends of the
    95 % percentile interval of their median under resampling of runs (none of one run)."""
    own = rows.filter((pl.col("statistic") == statistic) & (pl.col("null_id") == "none"))
    values = [float("inf") if row["value"] is None else row["value"]
              for row in own.sort("run").iter_rows(named=True)
              if row["value"] is not None or row["status"] == "not_reached"]
    if len(values) < 2:
        return values, None
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(DRAWS))
    return values, [medians[int(part * (DRAWS - 1))] for part in (0.025, 0.975)]


def measured(claim: str, row: dict, of_runs: pl.DataFrame, runs: int) -> str:
    """The number of a claim, with its interval over runs and of how many it is."""
    about = CLAIMS[claim]
    if about.step:
        values, ends = steps_over_runs(of_runs, about.step)
        middle, (low, high) = statistics.median(values) if values else None, ends or (None, None)
        over = f"{len(values)} of {runs} runs"
    else:
        middle, low, high = row["value"], row["low"], row["high"]
        known = of_runs.filter((pl.col("statistic") == "verdict") & (pl.col("null_id") == "none"))
        over = f"{known['value'].count()} of {runs} runs"
    # C10 compares runs of several sizes: its number is a count over all of them, and not over seeds.
    inside = "a count over runs of all sizes" if claim == "C10" else f"{spread(low, high)}, {over}"
    value = "not measured." if middle is None else f"**{number(middle)}** ({inside})."
    return f"{about.number}: {value}" + ("" if row["p"] is None else f" p = {number(row['p'])}.")


def behind(rows: pl.DataFrame) -> list[str]:
    """The other numbers of a claim, one line each."""
    own = rows.filter((pl.col("statistic") != "verdict") & (pl.col("null_id") == "none")
                      & pl.col("value").is_not_null())
    lines = []
    for row in own.sort("statistic").iter_rows(named=True):
        said = [] if row["verdict"] == "none" else [row["verdict"]]
        said += [printable(row["reason"], 500)] if row["reason"] else []
        lines.append(f"- `{printable(row['statistic'], 120)}` {number(row['value'])} "
                     f"({spread(row['low'], row['high'])}){': ' if said else ''}{'; '.join(said)}")
    return lines


PLANE = re.compile(r"(?P<statistic>.+) on (?P<kind>[a-z]+):.+")


def on_planes(rows: pl.DataFrame) -> list[str]:
    """The numbers that runs have of planes, one line for each kind of plane: its name says steps, which are
    those of one run, so that table `claims` puts no two of them together."""
    groups: dict[tuple[str, str], list[dict]] = {}
    known = rows.filter((pl.col("null_id") == "none") & pl.col("value").is_not_null())
    for row in known.sort("statistic", "run").iter_rows(named=True):
        if found := PLANE.fullmatch(row["statistic"]):
            groups.setdefault((found["kind"], found["statistic"]), []).append(row)
    lines = []
    for (kind, statistic), of_kind in sorted(groups.items()):
        values = [row["value"] for row in of_kind]
        verdicts = [row["verdict"] for row in of_kind]
        plural = {"refutes": "refute", "undecided": "undecided", "supports": "support"}
        said = ", ".join(f"{verdicts.count(one)} {many}" for one, many in plural.items() if one in verdicts)
        lines.append(f"- `{printable(statistic, 120)}` on planes `{kind}` {number(statistics.median(values))} "
                     f"({number(min(values))} to {number(max(values))}, {len(values)} planes)"
                     f"{': ' if said else ''}{said}")
    return lines


def finding(claim: str, rows: pl.DataFrame, runs: list[str], figures: str) -> list[str]:
    """The section of one claim."""
    about = CLAIMS[claim]
    own = rows.filter(pl.col("claim") == claim)
    everywhere = own.filter(pl.col("run") == "all")
    row = next(everywhere.filter(JUDGED).iter_rows(named=True))
    text = measured(claim, row, own.filter(pl.col("run").is_in(runs)), len(runs))
    reason = printable(row["reason"], 2_000).rstrip(".")
    status = "" if row["status"] == "ok" else f" Status: `{row['status']}`."
    lines = [
        f"## {claim}: {about.says}", "",
        f"[Figure `{about.figure}`]({figures}/{about.figure}.png). " + text[0].upper() + text[1:], "",
        f"**{OUTCOMES[row['verdict']]}.** {reason}.{status}", "",
    ]
    if numbers := behind(everywhere) + on_planes(own.filter(pl.col("run").is_in(runs))):
        lines += ["Numbers behind it, medians over the runs that have them:", "", *numbers, ""]
    for other in everywhere.filter(pl.col("null_id") == "N7").iter_rows(named=True):
        lines += [f"Other settings: {printable(other['reason'], 2_000).rstrip('.')}.", ""]
    return [*lines, f"*What would change it:* {about.change}", ""]


def findings(tables: Tables, figures: str) -> str:
    """The whole text."""
    rows = tables.every("claims", ["value", "low", "high", "p", "verdict", "reason", "status"])
    verdicts = rows.filter(JUDGED & (pl.col("run") == "all"))
    found = {row["claim"]: row for row in verdicts.iter_rows(named=True)}
    if found.keys() != CLAIMS.keys():
        odd = sorted(found.keys() ^ CLAIMS.keys())
        raise TableError(f"table `claims` has no verdict over all runs, or an unknown one, of "
                         f"{', '.join(odd)} ({tables.path('claims')}); run `{command('claims')}`")
    for claim, row in found.items():
        if row["verdict"] not in OUTCOMES:
            raise TableError(f"table `claims`: column `verdict` has {row['verdict']!r} for {claim} "
                             f"({tables.path('claims')}); run `{command('claims')}`")
    lines = []
    for verdict, outcome in OUTCOMES.items():
        claims = [claim for claim in CLAIMS if found[claim]["verdict"] == verdict]
        lines.append(f"{outcome}: {', '.join(claims) or 'none'}.")
    runs = json.loads(tables.about("claims", "runs_of_all") or "[]")
    digest = tables.about("claims", "rules_digest") or "unknown"
    names = ", ".join(f"`{printable(str(run))}`" for run in runs)
    lines = ["  \n".join(lines), "", "# Findings", "",
             f"Written by `paper/findings.py` from table `claims`. {len(runs)} runs"
             + (f": {names}." if names else ".")
             + f" Rules: `{digest}` (BLAKE3 of the text in the metadata of the table). Numbers are medians "
             "over runs; p is after Holm's correction over the claims.", ""]
    for claim in CLAIMS:
        lines += finding(claim, rows, runs, figures)
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the findings from table `claims`.")
    parser.add_argument("tables", metavar="TABLES", help="folder with the Parquet tables")
    parser.add_argument("out", metavar="OUT.md", type=Path, help="the file to write")
    parser.add_argument("--figures", default="figures",
                        help="folder of the figures, seen from OUT.md [default: figures]")
    arguments = parser.parse_args()
    try:
        text = findings(Tables(arguments.tables), re.sub(r"/+$", "", arguments.figures))
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    temporary = arguments.out.with_name(f".{arguments.out.name}.tmp")
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, arguments.out)
    except OSError as error:
        print(f"error: findings cannot be written: {error}", file=sys.stderr)
        return 5
    finally:
        temporary.unlink(missing_ok=True)
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
