"""Time of one landscape point in PyTorch: the forward pass over all p^2 inputs, nothing else.

    python benches/peers/landscape.py [--checkpoint FILE] [--points 5] [--variant published|last]

Points lie on a plane through the checkpoint along two random directions; setting the weights is
part of a point, losses are not. One JSON line with the median seconds per point.
"""

import argparse
import json
import statistics
import time

import torch

import make_init
import model
from task import Task


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="safetensors file [default: drawn weights]")
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="points before the clock starts")
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
    tokens = Task(model.modulus(weights)).tokens
    centre = [parameter.detach().clone() for parameter in net.parameters()]
    generator = torch.Generator().manual_seed(args.seed)
    first, second = (
        [torch.randn(w.shape, generator=generator) * w.std() for w in centre] for _ in range(2)
    )
    side = max(2, args.points + args.warmup)
    times = []
    with torch.no_grad():
        for point in range(args.warmup + args.points):
            x, y = point / (side - 1) - 0.5, 0.5 - point / (side - 1)
            start = time.perf_counter()
            for parameter, w, u, v in zip(net.parameters(), centre, first, second):
                parameter.copy_(w + x * u + y * v)
            net(tokens)
            if point >= args.warmup:
                times.append(time.perf_counter() - start)
    print(json.dumps({
        "name": f"torch landscape point, {args.variant}",
        "seconds_per_point": statistics.median(times),
        "seconds_min": min(times),
        "points": args.points,
        "threads": args.threads,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
