"""Which tensors `examples/from_torch.py` finds in what a file holds; needs no torch."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).parents[2] / "examples/from_torch.py"
spec = importlib.util.spec_from_file_location("from_torch", PATH)
from_torch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(from_torch)

STATE = {"w": 1.0, "b": 2.0}


def found(loaded: object, key: str | None = None) -> object:
    """The tensors found (floats stand for them), or the message."""
    try:
        return from_torch.tensors(loaded, key, lambda value: isinstance(value, float))
    except ValueError as error:
        return str(error)


assert found(STATE) == STATE
assert found(STATE | {"step": 5}) == STATE
assert found({"epoch": 3, "model_state_dict": STATE, "optimizer": {}}) == STATE
assert found({"net": STATE}, "net") == STATE
assert found({"net": STATE}, "model") == "no entry 'model'; there is: 'net'"
assert found({"net": STATE}) == "no tensors; entries: 'net' (see --key)"
assert found([1.0]) == "holds a list, not a state dict"
print("from_torch.py finds state dicts")
