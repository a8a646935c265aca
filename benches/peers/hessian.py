"""Largest eigenvalues of the Hessian of the train loss at one checkpoint, by PyTorch autograd.

    python benches/peers/hessian.py [--checkpoint FILE] [--top 20] [--variant published|last]

Lanczos steps with full reorthogonalisation on products H v = grad(grad(loss) . v), the graph of the
gradient built once and kept; the same start, the same rule for stopping and the same loss (mean
cross-entropy over the p residues, training pairs of the mainline) as ours. One JSON line: seconds
for all of it, number of products, seconds of a product, the eigenvalues.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

import make_init
import model
from task import Task, cross_entropy

TOLERANCE = 1e-3  # of the largest eigenvalue
LOOK = 10  # steps between two looks at the residuals


class Products:
    """Products with the Hessian, and how long they take."""

    def __init__(self, loss, parameters):
        self.parameters = list(parameters)
        self.gradient = torch.autograd.grad(loss, self.parameters, create_graph=True)
        self.seconds = []

    def __call__(self, v):
        start = time.perf_counter()
        pieces = torch.split(v, [p.numel() for p in self.parameters])
        inner = sum((g * x.view_as(g)).sum() for g, x in zip(self.gradient, pieces))
        product = torch.autograd.grad(inner, self.parameters, retain_graph=True)
        product = torch.cat([x.reshape(-1) for x in product])
        self.seconds.append(time.perf_counter() - start)
        return product


def top(product, start, count):
    """The `count` largest eigenvalues and their residuals."""
    basis = [start / start.norm()]
    alpha, beta = [], []
    while True:
        w = product(basis[-1])
        alpha.append(float(w @ basis[-1]))
        stacked = torch.stack(basis)
        w = w - stacked.T @ (stacked @ w)
        w = w - stacked.T @ (stacked @ w)
        beta.append(float(w.norm()))
        basis.append(w / beta[-1])
        m = len(alpha)
        if m < 2 * count or m % LOOK:
            continue
        values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
        values, last = values[::-1], np.abs(vectors[-1, ::-1])
        residuals = beta[-1] * last[:count]
        if (residuals <= TOLERANCE * np.abs(values).max()).all() or m >= 10 * count + 40:
            return values[:count], residuals


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="safetensors file [default: drawn weights]")
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--variant", choices=model.VARIANTS, default="published")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    make_init.add_sizes(parser)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    if args.checkpoint:
        weights = model.load_weights(args.checkpoint)
    else:
        weights = make_init.draw(args, torch.float32)
    net = model.VARIANTS[args.variant](weights)
    task = Task(model.modulus(weights))
    p = model.modulus(weights)
    tokens, labels = task.tokens[task.train], task.labels[task.train]
    generator = torch.Generator().manual_seed(args.seed)
    count = sum(parameter.numel() for parameter in net.parameters())
    signs = 2.0 * torch.randint(0, 2, (count,), generator=generator).float() - 1.0

    began = time.perf_counter()
    loss = cross_entropy(net(tokens)[0][:, :p], labels, torch.float64)
    product = Products(loss, net.parameters())
    values, residuals = top(product, signs, args.top)
    seconds = time.perf_counter() - began
    print(json.dumps({
        "name": f"torch Hessian, {args.variant}",
        "seconds": seconds,
        "products": len(product.seconds),
        "seconds_per_product": statistics.median(product.seconds),
        "eigenvalues": list(map(float, values)),
        "largest_residual": float(max(residuals)),
        "threads": args.threads,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
