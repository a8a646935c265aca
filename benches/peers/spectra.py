"""Time of the singular values of a folder of checkpoints.

    python benches/peers/spectra.py FOLDER [--processes 2] [--dtype f64|stored] [--limit N]
    python benches/peers/spectra.py FOLDER --tool weightwatcher

- `numpy`: a pool of processes, each with one BLAS thread, `numpy.linalg.svdvals` on every matrix
  (on every slice of a 3-D tensor), nothing derived, nothing written.
- `weightwatcher`: one module per checkpoint, a linear layer per matrix, `analyze()` with its
  defaults; 3-D tensors as one layer per slice. Needs requirements-weightwatcher.txt.

FOLDER is searched for *.safetensors, in subfolders too. `--dtype f64` (default) computes in f64,
which is what our spectra promise; `stored` in the type of the file, which is faster and loses
singular values below 1e-7 of the largest. One JSON line; "seconds" covers reading and computing
from the first file to the last, with processes already started and modules imported.
"""

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np

DTYPES = ("f64", "stored")


def matrices(path: Path, dtype: str) -> dict:
    """Every 2-D tensor, and every slice of every 3-D one, by name; BF16 files are refused."""
    from safetensors.numpy import load_file

    found = {}
    for name, tensor in load_file(path).items():
        if dtype == "f64" or tensor.dtype == np.float16:  # LAPACK has no f16
            tensor = tensor.astype(np.float64 if dtype == "f64" else np.float32)
        if tensor.ndim == 2:
            found[name] = tensor
        elif tensor.ndim == 3:
            found.update({f"{name}.{i}": matrix for i, matrix in enumerate(tensor)})
    return found


def numpy_values(job) -> tuple[int, float]:
    """(matrices, sum of squared singular values) of one checkpoint."""
    path, dtype = job
    values = [np.linalg.svdvals(matrix) for matrix in matrices(path, dtype).values()]
    return len(values), float(sum((v.astype(np.float64) ** 2).sum() for v in values))


def weightwatcher_values(job) -> tuple[int, float]:
    """The same two numbers from WeightWatcher's table: its `norm` is the squared Frobenius norm."""
    import torch
    import weightwatcher

    path, _ = job
    net = torch.nn.Module()
    for name, matrix in matrices(path, "stored").items():
        rows, cols = matrix.shape
        layer = torch.nn.Linear(cols, rows, bias=False)
        layer.weight.data = torch.from_numpy(np.ascontiguousarray(matrix))
        net.add_module(name.replace(".", "_"), layer)
    with contextlib.redirect_stdout(io.StringIO()):
        table = weightwatcher.WeightWatcher(model=net).analyze()
    return len(table), float(table["norm"].sum())


TOOLS = {"numpy": numpy_values, "weightwatcher": weightwatcher_values}


def prepare(tool: str) -> None:
    """Imports and a first call, before the clock starts."""
    np.linalg.svdvals(np.eye(3))
    if tool == "weightwatcher":
        logging.disable(logging.WARNING)
        with contextlib.redirect_stdout(io.StringIO()):
            import weightwatcher  # noqa: F401


def ready(_) -> None:
    time.sleep(0.2)  # long enough for every process to take one


def measure(tool: str, jobs: list, processes: int) -> tuple[list, float]:
    if processes == 1:
        prepare(tool)
        start = time.perf_counter()
        return [TOOLS[tool](job) for job in jobs], time.perf_counter() - start
    with multiprocessing.get_context("spawn").Pool(processes, prepare, (tool,)) as pool:
        pool.map(ready, range(processes), chunksize=1)
        start = time.perf_counter()
        found = list(pool.imap(TOOLS[tool], jobs, chunksize=1))
        return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--tool", choices=TOOLS, default="numpy")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dtype", choices=DTYPES, default="f64", help="numpy only")
    parser.add_argument("--limit", type=int, help="only the first N checkpoints")
    args = parser.parse_args()

    paths = sorted(args.folder.rglob("*.safetensors"))[: args.limit]
    if not paths:
        sys.exit(f"error: {args.folder}: no *.safetensors in it")
    jobs = [(path, args.dtype) for path in paths]
    found, seconds = measure(args.tool, jobs, args.processes)
    print(json.dumps({
        "name": f"{args.tool} spectra",
        "seconds": seconds,
        "seconds_per_checkpoint": seconds / len(paths),
        "checkpoints": len(paths),
        "matrices": sum(count for count, _ in found),
        "frobenius_sq_sum": sum(total for _, total in found),
        "dtype": args.dtype if args.tool == "numpy" else "weightwatcher's own",
        "processes": args.processes,
        "numpy": np.__version__,
    }))


if __name__ == "__main__":
    main()
