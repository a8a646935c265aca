"""Time of all measures of one checkpoint in PyTorch, part by part.

    python benches/peers/measures.py --checkpoint FILE [--threads 2]
        [--variant published|vectorised] [--without PART,PART] [--no-check]

- `published`: the published functions, one after the other, each as it is defined: the forward
  pass at all positions, projections by dense vectors over all p^2 inputs, one cosine cube per
  frequency for the logit coefficients, a loop over neurons and frequencies.
- `vectorised`: the same numbers by matrix products and batches, forward at the last position.

After timing, the other variant is run too, and the two must agree. One JSON line: "seconds" is
the sum of the medians in "parts" (constants, such as the Fourier basis, are made before).
`--without` leaves parts out of run and sum: per_frequency_losses (not in the published loop over
checkpoints), logits_2d, neurons, singular_values, load.

A restatement of the measures of Nanda et al. (2023), arXiv:2301.05217, from their definitions:
P_k the projection of the logits, class by class, on cos and sin of w_k (a + b) over the inputs;
restricted CE(mean + sum_K P_k L); excluded CE(L - sum_K P_k L); keys by the norms of
W_L = W_U^T W_out, threshold 1/4 of the largest.
"""

import argparse
import contextlib
import json
import math
import statistics
import sys
import time

import torch

import model
from task import MAINLINE_FRACTION, Task, accuracy, cross_entropy

KEY_THRESHOLD = 0.25
OPTIONAL = ("load", "logits_2d", "neurons", "per_frequency_losses", "singular_values")


class Clock:
    """Seconds of every part; `skips(part)` says that it was left out."""

    def __init__(self, without=()):
        self.without = set(without)
        self.seconds = {}

    def skips(self, part: str) -> bool:
        return part in self.without

    @contextlib.contextmanager
    def part(self, name: str):
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Constants:
    """What depends on p alone, made once for all checkpoints."""

    def __init__(self, p: int):
        half = (p - 1) // 2
        self.frequencies = list(range(1, half + 1))
        x = torch.arange(p)
        turns = torch.arange(1, half + 1)[:, None] * x % p  # [k, x]: k x mod p, exact
        angle = 2 * math.pi * turns.double() / p
        rows = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1).flatten(0, 1)
        flat = torch.full((1, p), 1 / math.sqrt(p), dtype=torch.float64)
        basis = torch.cat([flat, math.sqrt(2 / p) * rows])  # [p, p], orthonormal rows
        self.basis = basis.float()
        s = (x[:, None] + x[None, :]).flatten() % p  # [p^2]
        # (sqrt 2 / p) cos and sin of w_k (a + b): orthonormal over the p^2 inputs.
        self.sum_directions = (math.sqrt(2) / p * rows[:, s]).float()  # [2 half, p^2]
        self.by_sum = (math.sqrt(2) / p * rows).float()  # [2 half, p]: the same by s
        self.by_class = rows.float()  # [2 half, p]
        self.s = s


# ---------------------------------------------------------------------------- both variants


def objects(w: dict, p: int) -> dict:
    """Matrices [p, n] over tokens or classes, without "=", whose Fourier norms are reported."""
    embed, unembed = w["embed.W_E"], w["unembed.W_U"]
    found = {
        "W_E": embed[:, :p].T,
        "W_U": unembed[:, :p].T,
        "W_L": unembed[:, :p].T @ w["blocks.0.mlp.W_out"],
    }
    query, key, value = (w[f"blocks.0.attn.W_{c}"] for c in "QKV")
    heads, d_head, _ = value.shape
    asks = embed[:, p] + w["pos_embed.W_pos"][2]
    for h in range(heads):
        w_o = w["blocks.0.attn.W_O"][:, h * d_head : (h + 1) * d_head]
        found[f"W_neur.{h}"] = (w["blocks.0.mlp.W_in"] @ (w_o @ (value[h] @ embed[:, :p]))).T
        found[f"attn.{h}"] = ((query[h] @ asks) @ (key[h] @ embed[:, :p]))[:, None]
    return found


def frequency_norms(row_norms: torch.Tensor) -> torch.Tensor:
    """sqrt(cos^2 + sin^2) per frequency, [(p - 1) / 2]."""
    return row_norms[1:].view(-1, 2).norm(dim=1)


def gini(x: torch.Tensor) -> float:
    """sum_i (2i - n - 1) x_(i) / (n sum x), x ascending; NaN if all are zero."""
    x, n = x.double().sort().values, len(x)
    i = torch.arange(1, n + 1)
    return (((2 * i - n - 1) * x).sum() / (n * x.sum())).item()


def weight_measures(w: dict, p: int, constants: Constants) -> dict:
    """Fourier norms of every object, Gini coefficients, sum of squares."""
    out = {}
    for name, matrix in objects(w, p).items():
        out[f"fourier.{name}"] = (constants.basis @ matrix).norm(dim=1)
    for name in ("W_E", "W_L"):
        out[f"gini.{name}"] = gini(out[f"fourier.{name}"])
    out["sum_sq_weights"] = sum((t.double() ** 2).sum() for t in w.values()).item()
    return out


def key_frequencies(w_l_rows: torch.Tensor) -> list[int]:
    norms = frequency_norms(w_l_rows)
    return (torch.nonzero(norms > KEY_THRESHOLD * norms.max()).flatten() + 1).tolist()


def plain_losses(logits: torch.Tensor, task: Task) -> dict:
    out = {}
    for split, rows in task.splits().items():
        out[f"loss.{split}"] = cross_entropy(logits[rows], task.labels[rows]).item()
        out[f"accuracy.{split}"] = accuracy(logits[rows], task.labels[rows])
    return out


def coefficient_measures(c: torch.Tensor, logits: torch.Tensor, keys: list[int]) -> dict:
    """Coefficients, cosines, and the shares of variance of the keys."""
    total = logits.pow(2).sum().double()
    centred = (logits - logits.mean(dim=1, keepdim=True)).pow(2).sum().double()
    energy = c[[k - 1 for k in keys]].double().pow(2).sum()
    return {
        "logits_norm": total.sqrt().item(),
        "logit_coefficient": c,
        "logit_cosine": c / total.sqrt(),
        "logit_fve": (energy / total).item(),
        "logit_fve_centred": (energy / centred).item(),
    }


# ---------------------------------------------------------------------------- published manner


def component(logits: torch.Tensor, k: int, constants: Constants) -> torch.Tensor:
    """P_k L by two dense vectors of p^2 entries, made from products of one-dimensional terms:
    cos w(a+b) = cos cos - sin sin, sin w(a+b) = sin cos + cos sin."""
    cos, sin = constants.basis[2 * k - 1], constants.basis[2 * k]
    cos_sum = (torch.outer(cos, cos) - torch.outer(sin, sin)).flatten() / math.sqrt(2)
    sin_sum = (torch.outer(sin, cos) + torch.outer(cos, sin)).flatten() / math.sqrt(2)
    along_cos = cos_sum[:, None] * (cos_sum @ logits)[None, :]
    along_sin = sin_sum[:, None] * (sin_sum @ logits)[None, :]
    return along_cos + along_sin


def fourier_2d(table: torch.Tensor, constants: Constants) -> torch.Tensor:
    """F G F^T for each column G of [p^2, n]: [p, p, n]."""
    p = len(constants.basis)
    grid = table.view(p, p, -1)
    return torch.einsum("abn,fa,gb->fgn", grid, constants.basis, constants.basis)


def published(w: dict, net, task: Task, constants: Constants, clock: Clock) -> dict:
    p, labels = task.p, task.labels
    with clock.part("forward"):
        logits, neurons = net(task.tokens)
        logits = logits[:, :p]
    with clock.part("losses"):
        out = plain_losses(logits, task)
    with clock.part("weights"):
        out |= weight_measures(w, p, constants)
        keys = key_frequencies(out["fourier.W_L"])
    with clock.part("excluded"):
        excluded = logits.clone()
        for k in keys:
            excluded -= component(logits, k, constants)
        for split, rows in task.splits().items():
            out[f"excluded_loss.{split}"] = cross_entropy(excluded[rows], labels[rows]).item()
    with clock.part("restricted"):
        restricted = logits.mean(dim=0, keepdim=True).repeat(p * p, 1)
        for k in keys:
            restricted += component(logits, k, constants)
        for split, rows in task.splits().items():
            out[f"restricted_loss.{split}"] = cross_entropy(restricted[rows], labels[rows]).item()
        out["restricted_accuracy"] = accuracy(restricted[task.test], labels[task.test])
    with clock.part("coefficients"):
        a = torch.arange(p)[:, None, None]
        b = torch.arange(p)[None, :, None]
        c = torch.arange(p)[None, None, :]
        found = []
        for k in constants.frequencies:
            cube = torch.cos(2 * math.pi * k / p * (a + b - c)).view(p * p, p)
            found.append((logits * cube).sum() * math.sqrt(2 / p**3))
        out |= coefficient_measures(torch.stack(found), logits, keys)
    if not clock.skips("logits_2d"):
        with clock.part("logits_2d"):
            out["logits_2d"] = fourier_2d(logits, constants).pow(2).sum(dim=2).sqrt()
    if not clock.skips("neurons"):
        with clock.part("neurons_2d"):
            spectrum = fourier_2d(neurons - neurons.mean(dim=0), constants)
        with clock.part("neuron_frequencies"):
            out |= neuron_loop(spectrum, neurons.abs().max().item(), p, constants)
    if not clock.skips("singular_values"):
        with clock.part("singular_values"):
            for name, tensor in w.items():
                for i, matrix in enumerate(tensor if tensor.dim() == 3 else [tensor]):
                    if matrix.dim() == 2:
                        out[f"sigma.{name}.{i}"] = torch.linalg.svdvals(matrix)
    if not clock.skips("per_frequency_losses"):
        with clock.part("per_frequency_losses"):
            mean, rows, without, alone = logits.mean(dim=0), task.train, [], []
            for k in constants.frequencies:
                part = component(logits, k, constants)
                without.append(cross_entropy(logits[rows] - part[rows], labels[rows]))
                alone.append(cross_entropy(mean + part, labels))
            out["excluded_loss_train"] = torch.stack(without)
            out["restricted_loss_all"] = torch.stack(alone)
    out["keys"] = keys
    return out


def neuron_loop(spectrum, largest: float, p: int, constants: Constants) -> dict:
    """For every neuron, the frequency k whose terms {0, 2k-1, 2k}^2 hold the largest share of its
    variance, and that share; 0 and 0.0 for a dead neuron."""
    frequencies, shares = [], []
    floor = p**2 * (1e-6 * largest) ** 2
    for neuron in range(spectrum.shape[2]):
        grid = spectrum[:, :, neuron]
        total = grid.pow(2).sum().item()
        best, best_share = 0, 0.0
        if total > floor:
            for k in constants.frequencies:
                terms = torch.tensor([0, 2 * k - 1, 2 * k])
                share = grid[terms[:, None], terms].pow(2).sum().item() / total
                if share > best_share:
                    best, best_share = k, share
        frequencies.append(best)
        shares.append(best_share)
    return {"neuron_frequency": torch.tensor(frequencies), "neuron_fve": torch.tensor(shares)}


# ---------------------------------------------------------------------------- vectorised


def vectorised(w: dict, net, task: Task, constants: Constants, clock: Clock) -> dict:
    p, labels, s = task.p, task.labels, constants.s
    with clock.part("forward"):
        logits, neurons = net(task.tokens)
        logits = logits[:, :p].contiguous()
    with clock.part("losses"):
        out = vectorised_losses("loss.{}", "accuracy.{}", logits, task)
    with clock.part("weights"):
        out |= weight_measures(w, p, constants)
        keys = key_frequencies(out["fourier.W_L"])
    with clock.part("projections"):
        along = constants.sum_directions @ logits  # [2 half, p]: all frequencies in one product
        mean = logits.mean(dim=0)
        of_keys = torch.tensor([2 * k - 2 + i for k in keys for i in (0, 1)], dtype=torch.long)
        key_part = constants.by_sum[of_keys].T @ along[of_keys]  # [s, p]: depends on a + b only
    with clock.part("excluded"):
        out |= vectorised_losses("excluded_loss.{}", None, logits - key_part[s], task)
    with clock.part("restricted"):
        # One row per s; a split only decides how often it counts.
        by_sum = torch.log_softmax((mean + key_part).double(), dim=1).diagonal()
        right = ((mean + key_part).argmax(dim=1) == torch.arange(p)).double()
        for split, rows in task.splits().items():
            out[f"restricted_loss.{split}"] = -by_sum[s[rows]].mean().item()
        out["restricted_accuracy"] = right[s[task.test]].mean().item()
    with clock.part("coefficients"):
        # cos w(s - c) = cos ws cos wc + sin ws sin wc, and u_k = (sqrt 2 / p) cos ws.
        c = (along * constants.by_class).view(-1, 2 * p).sum(dim=1) / math.sqrt(p)
        out |= coefficient_measures(c, logits, keys)
    if not clock.skips("logits_2d"):
        with clock.part("logits_2d"):
            out["logits_2d"] = products_2d(logits, constants).pow_(2).sum(dim=2).sqrt()
    if not clock.skips("neurons"):
        with clock.part("neurons"):
            out |= neuron_shares(neurons, p, constants)
    if not clock.skips("singular_values"):
        with clock.part("singular_values"):
            heads = ["blocks.0.attn.W_Q", "blocks.0.attn.W_K", "blocks.0.attn.W_V"]
            batch = torch.linalg.svdvals(torch.cat([w[name] for name in heads]))
            slices = len(batch) // len(heads)
            for j, values in enumerate(batch):
                out[f"sigma.{heads[j // slices]}.{j % slices}"] = values
            for name, tensor in w.items():
                if tensor.dim() == 2:
                    out[f"sigma.{name}.0"] = torch.linalg.svdvals(tensor)
    if not clock.skips("per_frequency_losses"):
        with clock.part("per_frequency_losses"):
            parts = constants.by_sum.view(-1, 2, p).transpose(1, 2) @ along.view(-1, 2, p)
            alone = torch.log_softmax((mean + parts).double(), dim=2)  # [k, s, class]
            out["restricted_loss_all"] = -alone.diagonal(dim1=1, dim2=2).mean(dim=1)
            rows, train_logits = s[task.train], logits[task.train]
            out["excluded_loss_train"] = torch.stack([
                torch.nn.functional.cross_entropy((train_logits - part[rows]).double(), rows)
                for part in parts
            ])
    out["keys"] = keys
    return out


def vectorised_losses(loss_name, accuracy_name, logits: torch.Tensor, task: Task) -> dict:
    """Losses (and accuracies) of the three splits from one pass over all inputs."""
    wide = logits.double()
    losses = torch.nn.functional.cross_entropy(wide, task.labels, reduction="none")
    out = {}
    for split, rows in task.splits().items():
        out[loss_name.format(split)] = losses[rows].mean().item()
    if accuracy_name:
        right = (logits.argmax(dim=1) == task.labels).double()
        for split, rows in task.splits().items():
            out[accuracy_name.format(split)] = right[rows].mean().item()
    return out


def products_2d(table: torch.Tensor, constants: Constants) -> torch.Tensor:
    """F G F^T of every column of [p^2, n] by two matrix products: [p, p, n]."""
    p, n = len(constants.basis), table.shape[1]
    over_a = constants.basis @ table.reshape(p, p * n)
    return constants.basis @ over_a.view(p, p, n)  # batched over the first axis


def neuron_shares(neurons: torch.Tensor, p: int, constants: Constants) -> dict:
    energy = products_2d(neurons - neurons.mean(dim=0), constants).pow_(2)  # [p, p, neuron]
    total = energy.sum(dim=(0, 1))
    k = torch.tensor(constants.frequencies)
    terms = torch.stack([torch.zeros_like(k), 2 * k - 1, 2 * k], dim=1)  # [k, 3]
    blocks = energy[terms[:, :, None], terms[:, None, :]].sum(dim=(1, 2))  # [k, neuron]
    alive = total > p**2 * (1e-6 * neurons.abs().max()) ** 2
    share, best = (blocks / total).max(dim=0)
    zero = torch.zeros((), dtype=torch.long)
    return {
        "neuron_frequency": torch.where(alive, best + 1, zero),
        "neuron_fve": torch.where(alive, share, 0.0),
    }


# ---------------------------------------------------------------------------- agreement


RELATIVE = 1e-4  # of the number, for a loss; of the largest of its kind, for the rest
# A coefficient is a sum over p^3 products in f32, and the entries of the cosine cube, of arguments
# up to 2 pi p, are off by up to 4e-5: together near 6e-7 of the norm of the logits when measured.
OF_THE_NORM = 2e-6
ABSOLUTE_LOSS = 1e-12  # losses of a grokked network go down to 1e-8
ABSOLUTE = 1e-9  # shares and Gini coefficients lie between 0 and 1


def disagreements(ours: dict, theirs: dict) -> list[str]:
    """Names of the numbers on which two variants differ; empty if they agree. A neuron's frequency
    may differ where both give the same share: a tie."""
    names = set(ours) ^ set(theirs)
    for name in set(ours) & set(theirs):
        x, y = (torch.as_tensor(v[name], dtype=torch.float64) for v in (ours, theirs))
        if name == "neuron_frequency":
            shares = (torch.as_tensor(v["neuron_fve"]).double() for v in (ours, theirs))
            first, second = shares
            agree = bool(((x == y) | ((first - second).abs() <= RELATIVE * first)).all())
        elif x.shape != y.shape:
            agree = False
        elif name in ("logit_coefficient", "logit_cosine"):
            norm = 1.0 if name == "logit_cosine" else theirs["logits_norm"]
            agree = bool(((x - y).abs() <= OF_THE_NORM * norm).all())
        elif "loss" in name or x.dim() == 0:
            absolute = ABSOLUTE_LOSS if "loss" in name else ABSOLUTE
            agree = torch.allclose(x, y, rtol=RELATIVE, atol=absolute, equal_nan=True)
        else:
            agree = bool(((x - y).abs() <= RELATIVE * x.abs().max()).all())
        if not agree:
            names.add(name)
    return sorted(names)


VARIANTS = {
    "published": (published, model.Published),
    "vectorised": (vectorised, model.LastPosition),
}


def run(variant: str, path: str, task: Task, constants: Constants, without=()):
    """(numbers, seconds of every part) of one checkpoint, read from its file."""
    clock = Clock(without)
    function, network = VARIANTS[variant]
    start = time.perf_counter()
    w = model.load_weights(path)
    net = network(w)
    if not clock.skips("load"):
        clock.seconds["load"] = time.perf_counter() - start
    with torch.no_grad():
        numbers = function(w, net, task, constants, clock)
    return numbers, clock.seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, metavar="FILE")
    parser.add_argument("--variant", choices=VARIANTS, default="published")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="the median of each part counts")
    parser.add_argument("--warmup", type=int, default=1, help="runs before the clock starts")
    parser.add_argument("--without", default="", metavar="PARTS", help=", ".join(OPTIONAL))
    parser.add_argument("--train-fraction", type=float, default=MAINLINE_FRACTION)
    parser.add_argument("--no-check", action="store_true", help="do not compare the variants")
    args = parser.parse_args()
    without = [part for part in args.without.split(",") if part]
    if unknown := set(without) - set(OPTIONAL):
        parser.error(f"--without {','.join(sorted(unknown))}: choose from {', '.join(OPTIONAL)}")

    torch.set_num_threads(args.threads)
    p = model.modulus(model.load_weights(args.checkpoint))
    task, constants = Task(p, args.train_fraction), Constants(p)
    runs = []
    for turn in range(args.warmup + args.repeats):
        numbers, seconds = run(args.variant, args.checkpoint, task, constants, without)
        if turn >= args.warmup:
            runs.append(seconds)
    if not args.no_check:
        other = next(name for name in VARIANTS if name != args.variant)
        expected, _ = run(other, args.checkpoint, task, constants, without)
        if wrong := disagreements(expected, numbers):
            sys.exit(f"error: the two variants disagree on {', '.join(wrong)}")
    parts = {part: statistics.median(r[part] for r in runs) for part in runs[0]}
    print(json.dumps({
        "name": f"torch measures, {args.variant}",
        "seconds": sum(parts.values()),
        "parts": parts,
        "without": without,
        "keys": numbers["keys"],
        "repeats": args.repeats,
        "threads": args.threads,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
