"""The train losses of PyTorch from a given initialisation: what our trainer must reproduce.

    python benches/peers/parity.py --init FILE.safetensors --steps 200 --dtype f64 --out losses.json

Writes a JSON list: entry u is the train loss, in nats over all output classes, before update u.
Full batch; the split is CPython's random.seed(0); random.shuffle; AdamW with the warm-up
min(u / 10, 1), or `--warmup 0` without; `--freeze-biases` keeps biases out of the optimiser. The
network is the file's: a transformer in either layout, or a two-layer MLP (`--activation`).
`--dtype` is the type of weights and arithmetic; the loss is summed in f64 in both.
"""

import argparse
import json
import os

import torch

import model
from task import MAINLINE_FRACTION, Task, cross_entropy


def train_losses(net, task: Task, steps: int, warmup: int = 10) -> list[float]:
    adamw, warm_up = model.optimiser(net, warmup)
    tokens, labels = task.tokens[task.train], task.labels[task.train]
    losses = []
    for _ in range(steps):
        adamw.zero_grad()
        loss = cross_entropy(net(tokens)[0], labels)
        losses.append(loss.item())
        loss.backward()
        adamw.step()
        warm_up.step()
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--init", required=True, metavar="FILE.safetensors")
    parser.add_argument("--out", required=True, metavar="losses.json")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dtype", choices=model.DTYPES, default="f64")
    parser.add_argument("--variant", choices=model.VARIANTS, default="published")
    parser.add_argument("--activation", choices=model.TwoLayer.ACTIVATIONS, default="relu")
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--freeze-biases", action="store_true")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--train-fraction", type=float, default=MAINLINE_FRACTION)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    weights = model.load_weights(args.init, model.DTYPES[args.dtype])
    task = Task(model.modulus(weights), args.train_fraction, args.split_seed)
    net = model.network(weights, args.variant, args.activation)
    if args.freeze_biases:
        for name, parameter in net.named_parameters():
            parameter.requires_grad = not name.startswith("b_")
    losses = train_losses(net, task, args.steps, args.warmup)
    with open(f"{args.out}.tmp", "w", encoding="utf-8") as file:
        json.dump(losses, file)  # floats by repr: every bit comes back
        file.write("\n")
    os.replace(f"{args.out}.tmp", args.out)


if __name__ == "__main__":
    main()
