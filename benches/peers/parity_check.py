"""Does our trainer compute PyTorch's losses? Both sides from the same init file, made by PyTorch.

    python benches/peers/parity_check.py [--steps 200] [--seeds 5]
        [--networks published transformer-lens mlp "mlp, relu"]

For each network both sides train in f64 and in f32, full batch, and write their train losses before
each update; PyTorch's f64 sequence is the reference. Markdown rows on stdout:

- f64, largest relative difference of the two: at most 1e-8, else exit code 1;
- f32, first 100 steps, ours against PyTorch's: at most 1e-4;
- f32, largest distance from the reference: ours at most PyTorch's, by step 100 and at the end. Which of
  two programs is nearer is chance (below), so this is asked over several initialisations: the median of
  ours over PyTorch's, at most 1, and in how many of them ours is nearer. The first two rows show the
  worst of them.

Rounding grows chaotically in f32: AdamW divides by the size of the gradient, so a coordinate whose
gradient is rounding moves as far as any other, and ReLU's kinks amplify it. Where PyTorch itself is
1e-3 away from the reference, no other program can be within 1e-4 of it; the rows show both. Exit
code 0 whether the f32 rows are met or not; `--strict` makes a missed one exit code 3.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
F64_LIMIT, F32_LIMIT, F32_STEPS = 1e-8, 1e-4, 100

# name: (options of our side, options of PyTorch's side)
NETWORKS = {
    "published": ([], []),
    "transformer-lens": (["--preset", "transformer-lens"], ["--warmup", "0", "--freeze-biases"]),
    "mlp": (["--architecture", "mlp", "--activation", "quadratic"], ["--activation", "quadratic"]),
    "mlp, relu": (["--architecture", "mlp"], []),
}


def run(*command) -> None:
    done = subprocess.run([str(part) for part in command], check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"error: exit code {done.returncode} from: {' '.join(map(str, command))}")


def sequences(name: str, seed: int, steps: int, threads: int, folder: Path) -> dict[str, list[float]]:
    """The losses of both sides in both types: "ours f64", "torch f32", ..."""
    init, out = folder / "init.safetensors", folder / "losses.json"
    network = name.partition(",")[0]
    run(sys.executable, HERE / "make_init.py", init, "--network", network, "--seed", seed)
    ours, theirs = NETWORKS[name]
    common = ["--init", init, "--out", out, "--steps", steps, "--threads", threads]
    found = {}
    for dtype in ("f64", "f32"):
        run("cargo", "bench", "--locked", "--quiet", "--bench", "parity", "--",
            *common, "--dtype", dtype, *ours)
        found[f"ours {dtype}"] = json.loads(out.read_text())
        run(sys.executable, HERE / "parity.py", *common, "--dtype", dtype, *theirs)
        found[f"torch {dtype}"] = json.loads(out.read_text())
    assert all(len(losses) == steps for losses in found.values())
    return found


def distances(losses: list[float], reference: list[float]) -> list[float]:
    return [abs(x - y) / abs(y) for x, y in zip(losses, reference)]


def compare(all_found: list[dict[str, list[float]]]) -> list[tuple[str, str, str, bool]]:
    """(what, value, target, met) for each requirement, over initialisations; the first is that of
    f64."""
    steps = len(all_found[0]["ours f64"])
    f64 = max(max(distances(f["ours f64"], f["torch f64"])) for f in all_found)
    early = max(max(distances(f["ours f32"], f["torch f32"])[:F32_STEPS]) for f in all_found)
    rows = [
        (f"f64, {steps} steps, largest relative difference", f"{f64:.1e}", f"≤ {F64_LIMIT:.0e}",
         f64 <= F64_LIMIT),
        (f"f32, first {F32_STEPS} steps, the same", f"{early:.1e}", f"≤ {F32_LIMIT:.0e}",
         early <= F32_LIMIT),
    ]
    for last in sorted({min(F32_STEPS, steps), steps}):
        pairs = [[max(distances(f[f"{side} f32"], f["torch f64"])[:last])
                  for side in ("ours", "torch")] for f in all_found]
        ratio = statistics.median(ours / torch for ours, torch in pairs)
        nearer = sum(ours <= torch for ours, torch in pairs)
        ours, torch = (statistics.median(side) for side in zip(*pairs))
        rows.append((f"f32, {last} steps, largest distance from f64: ours, PyTorch's; their ratio",
                     f"{ours:.1e}, {torch:.1e}; {ratio:.2f} (nearer in {nearer} of {len(pairs)})",
                     "≤ 1", ratio <= 1))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5, help="number of initialisations")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--keep", type=Path, help="folder for the sequences, as JSON")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    wrong = missed = False
    print("| network | losses against PyTorch | found | target | met |\n|---|---|---|---|---|")
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            found = [sequences(name, seed, args.steps, args.threads, Path(folder))
                     for seed in range(args.seeds)]
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"{name.replace(', ', '-')}.json").write_text(json.dumps(found))
        for index, (what, value, target, met) in enumerate(compare(found)):
            wrong |= index == 0 and not met
            missed |= not met
            print(f"| {name} | {what} | {value} | {target} | {'yes' if met else 'no'} |",
                  flush=True)
    return 1 if wrong else 3 if missed and args.strict else 0


if __name__ == "__main__":
    sys.exit(main())
