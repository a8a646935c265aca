"""Convert checkpoints that torch saved (.pt .pth .bin .ckpt) to safetensors.

    python examples/from_torch.py FILE OUT.safetensors [--key model_state_dict]
    python examples/from_torch.py FOLDER OUT_FOLDER    [--key model_state_dict]

A pickle can run any program when it is opened, so groundswell never opens one. Do this once, on files
whose origin you trust; torch is asked to load tensors only (`weights_only=True`), which has been
circumvented before. Of a folder, every such file is converted to the same path in OUT_FOLDER. Where
a file holds more than a state dict, --key names the entry that does; without it, the first of
"model", "model_state_dict", "state_dict" that is there is taken. Tensors are kept as they are, in
their dtype; those that share memory are written once each. Needs `pip install torch safetensors`.
"""

import argparse
import os
import sys
from pathlib import Path

PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
USUAL_KEYS = ("model", "model_state_dict", "state_dict")
STATES = ("optim", "scheduler", "rng_state", "training_args")  # saved beside the weights


def tensors(loaded: object, key: str | None, is_tensor) -> dict:
    """The state dict in what a file holds."""
    if key is not None:
        if not isinstance(loaded, dict) or key not in loaded:
            keys = ", ".join(map(repr, loaded)) if isinstance(loaded, dict) else type(loaded).__name__
            raise ValueError(f"no entry {key!r}; there is: {keys}")
        loaded = loaded[key]
    elif isinstance(loaded, dict) and not any(map(is_tensor, loaded.values())):
        loaded = next((loaded[k] for k in USUAL_KEYS if k in loaded), loaded)
    if not isinstance(loaded, dict):
        raise ValueError(f"holds a {type(loaded).__name__}, not a state dict")
    found = {str(name): value for name, value in loaded.items() if is_tensor(value)}
    if not found:
        raise ValueError(f"no tensors; entries: {', '.join(map(repr, loaded))} (see --key)")
    return found


def convert(source: Path, target: Path, key: str | None) -> int:
    """Write one file under its final name when it is complete; returns the number of tensors."""
    import torch
    from safetensors.torch import save_file

    loaded = torch.load(source, map_location="cpu", weights_only=True)
    found = tensors(loaded, key, lambda value: isinstance(value, torch.Tensor))
    # Clones, because safetensors refuses tensors that share memory.
    found = {name: value.detach().clone().contiguous() for name, value in found.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    save_file(found, temporary)
    os.replace(temporary, target)
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, metavar="FILE|FOLDER")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument("--key", help="entry of the file that holds the state dict")
    arguments = parser.parse_args()
    source, target = arguments.source, arguments.target
    if not source.exists():
        print(f"error: {source}: no such file or folder", file=sys.stderr)
        return 2
    pairs = [(source, target)]
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in PICKLES)
        files = [path for path in files if not path.name.startswith(STATES)]
        pairs = [(path, target / path.relative_to(source).with_suffix(".safetensors")) for path in files]
    failed = 0
    for path, out in pairs:
        try:
            print(f"{out}: {convert(path, out, arguments.key)} tensors")
        except ImportError as error:
            print(f"error: {error}; try `pip install torch safetensors`", file=sys.stderr)
            return 2
        except Exception as error:  # whatever torch says of a file: the others go on
            print(f"error: {path}: {error}", file=sys.stderr)
            failed += 1
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
