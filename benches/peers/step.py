"""Time of one PyTorch training step: forward on the training pairs, backward, AdamW update.

    python benches/peers/step.py [--variant published|last] [--threads 2] [--steps 20]

One JSON line: {"name", "ms_per_step_median", "ms_min", "steps", "threads", "torch"}. Data and
weights are made before the clock starts; the published loop's test evaluation, which follows
every one of its updates, is left out unless `--test-evaluation` asks for it.
"""

import argparse
import json
import statistics
import time

import torch

import make_init
import model
from task import Task, cross_entropy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=model.VARIANTS, default="published")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts")
    parser.add_argument("--loss", choices=model.DTYPES, default="f64", help="log-softmax in")
    parser.add_argument("--test-evaluation", action="store_true")
    parser.add_argument("--init", help="safetensors file to start from [default: drawn]")
    parser.add_argument("--seed", type=int, default=0)
    make_init.add_sizes(parser)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    weights = model.load_weights(args.init) if args.init else make_init.draw(args, torch.float32)
    net = model.VARIANTS[args.variant](weights)
    adamw, warm_up = model.optimiser(net)
    task = Task(model.modulus(weights))
    tokens, labels = task.tokens[task.train], task.labels[task.train]
    test_tokens, test_labels = task.tokens[task.test], task.labels[task.test]
    loss_type = model.DTYPES[args.loss]

    def step():
        loss = cross_entropy(net(tokens)[0], labels, loss_type)
        loss.backward()
        adamw.step()
        warm_up.step()
        adamw.zero_grad()
        if args.test_evaluation:
            with torch.no_grad():
                cross_entropy(net(test_tokens)[0], test_labels, loss_type).item()
        return loss.item()

    for _ in range(args.warmup):
        step()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    name = f"torch step, {args.variant}" + (", test evaluation" * args.test_evaluation)
    print(json.dumps({
        "name": name,
        "ms_per_step_median": statistics.median(times),
        "ms_min": min(times),
        "steps": args.steps,
        "threads": args.threads,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
