"""Compare two commands, run in turn, and print a row of a markdown table.

    python benches/peers/compare.py --name "mainline step" --target 14 --pairs 5 \
        --key ms_per_step_median --ours 'COMMAND' --peer 'COMMAND'

Runs ours, peer, ours, peer, ... Each command is a shell line that prints a JSON object with a
number under the key, on a line of its own; the last such line counts. `--key wall` is the seconds
the command itself takes. The ratio is peer / ours pair by pair, so that a slow minute of the
machine hits both sides; the row has its median and range, and says whether it is at least the
target. `--at-most T` compares the other way round: ours / peer must not exceed T.

The row goes to stdout, every single number to stderr. Exit code 0 whether met or not, 1 if a
command fails or prints no such number; `--strict` makes a missed target exit code 3.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time

HEADER = ("| work | ours | peer | ratio, median (range) | target | met |\n"
          "|---|---|---|---|---|---|")


class Failure(Exception):
    """A command that gave no number."""


def number_in(text: str, key: str) -> float | None:
    """The number under `key` (dots go down) in the last line of `text` that has one."""
    for line in reversed(text.splitlines()):
        try:
            value = json.loads(line)
            for part in key.split("."):
                value = value[part]
        except (ValueError, KeyError, TypeError, IndexError):
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None


def measure(command: str, key: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=False)
    wall = time.perf_counter() - start
    if done.returncode != 0:
        raise Failure(f"exit code {done.returncode} from: {command}")
    value = wall if key == "wall" else number_in(done.stdout, key)
    if value is None:
        raise Failure(f"no JSON line with a number under `{key}` from: {command}")
    if not 0 < value < float("inf"):
        raise Failure(f"`{key}` is {value}, not a positive number, from: {command}")
    return value


def short(value: float) -> str:
    return f"{value:.4g}"


def rounded(ratio: float, up: bool) -> str:
    """To three digits, away from the target: 13.98 is never shown as 14.0, nor 1.601 as 1.60."""
    digits = 2 if ratio < 10 else 1
    scaled = round(ratio * 10**digits, 6)  # 1.1 * 100 is 110.00000000000001
    return f"{(math.ceil if up else math.floor)(scaled) / 10**digits:.{digits}f}"


def row(args, ours: list[float], peer: list[float]) -> tuple[str, bool]:
    down = args.at_most is not None
    ratios = [o / p if down else p / o for o, p in zip(ours, peer)]
    ratio = statistics.median(ratios)
    if down:
        target, met = f"≤ {args.at_most:g}×", ratio <= args.at_most
    elif args.target is not None:
        target, met = f"≥ {args.target:g}×", ratio >= args.target
    else:
        target, met = "", True
    cells = [
        args.name,
        f"{short(statistics.median(ours))} {args.unit}".strip(),
        f"{short(statistics.median(peer))} {args.unit}".strip(),
        f"{rounded(ratio, down)}× ({rounded(min(ratios), down)}–{rounded(max(ratios), down)})",
        target,
        ("yes" if met else "no") if target else "",
    ]
    return "| " + " | ".join(cells) + " |", met


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--ours", required=True, metavar="COMMAND")
    parser.add_argument("--peer", required=True, metavar="COMMAND")
    parser.add_argument("--key", required=True, help="of both, or `wall`; dots go down")
    parser.add_argument("--ours-key", help="where ours prints it under another name")
    parser.add_argument("--peer-key")
    parser.add_argument("--ours-scale", type=float, default=1.0, help="brings ours to the unit")
    parser.add_argument("--peer-scale", type=float, default=1.0)
    parser.add_argument("--unit", default="", help="printed after both medians")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--target", type=float, help="peer / ours at least this")
    goal.add_argument("--at-most", type=float, help="ours / peer at most this")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--header", action="store_true", help="print the table's head first")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error("--pairs must be at least 1")

    ours, peer = [], []
    try:
        for pair in range(1, args.pairs + 1):
            ours.append(args.ours_scale * measure(args.ours, args.ours_key or args.key))
            peer.append(args.peer_scale * measure(args.peer, args.peer_key or args.key))
            print(f"{args.name}: pair {pair} of {args.pairs}: ours {short(ours[-1])}, "
                  f"peer {short(peer[-1])}", file=sys.stderr)
    except Failure as failure:
        sys.exit(f"error: {args.name}: {failure}")
    line, met = row(args, ours, peer)
    if args.header:
        print(HEADER)
    print(line, flush=True)
    sys.exit(3 if args.strict and not met else 0)


if __name__ == "__main__":
    main()
