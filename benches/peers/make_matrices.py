"""A folder of checkpoints of random matrices: input for the comparison of spectra.

    python benches/peers/make_matrices.py FOLDER [--checkpoints 1000] [--matrices 10]
        [--rows 128] [--cols 512] [--seed 0]

Writes FOLDER/step_00000000.safetensors, ... with tensors `layers.<i>.weight`, f32, normal with
variance 1 / cols, plus a rank-one spike, so that no spectrum is a plain bulk.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--matrices", type=int, default=10)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--cols", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    args.folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(args.seed)
    shape, scale = (args.rows, args.cols), np.float32(args.cols**-0.5)
    for step in range(args.checkpoints):
        tensors = {}
        for i in range(args.matrices):
            bulk = generator.standard_normal(shape, dtype=np.float32) * scale
            u = generator.standard_normal((args.rows, 1), dtype=np.float32) * args.rows**-0.5
            v = generator.standard_normal((1, args.cols), dtype=np.float32) * scale
            tensors[f"layers.{i}.weight"] = (bulk + 3 * u * v).astype(np.float32)
        path = args.folder / f"step_{step:08d}.safetensors"
        save_file(tensors, f"{path}.tmp")
        Path(f"{path}.tmp").rename(path)


if __name__ == "__main__":
    main()
