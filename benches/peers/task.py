"""Addition modulo p: inputs, labels, the split of the published runs, and the loss.

Conventions: input `(a, b)` is row `a p + b` and reads `[a, b, =]`, where token p is "=". Splits
are lists of rows. Logits cover all classes of the file; measures drop "=" and keep the first p.
"""

import math
import random

import torch
import torch.nn.functional as F

MAINLINE_FRACTION = 0.3


class Task:
    """All p^2 inputs, and their split by CPython's `random.seed(seed); random.shuffle`."""

    def __init__(self, p: int, train_fraction: float = MAINLINE_FRACTION, seed: int = 0):
        if p < 3 or p % 2 != 1:
            raise SystemExit(f"error: modulus p = {p} is not an odd number of at least 3")
        self.p = p
        a = torch.arange(p).repeat_interleave(p)
        b = torch.arange(p).repeat(p)
        self.tokens = torch.stack([a, b, torch.full_like(a, p)], dim=1)  # [p^2, 3]
        self.labels = (a + b) % p  # [p^2]
        order = list(range(p * p))
        random.seed(seed)
        random.shuffle(order)
        count = math.floor(train_fraction * (p * p))
        self.train = torch.tensor(order[:count], dtype=torch.long)
        self.test = torch.tensor(order[count:], dtype=torch.long)
        self.all = torch.arange(p * p)

    def splits(self) -> dict[str, torch.Tensor]:
        return {"all": self.all, "train": self.train, "test": self.test}


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, dtype=torch.float64) -> torch.Tensor:
    """Mean of -log softmax(logits)[label] over the rows, in nats; in f64 unless told otherwise."""
    log_probabilities = F.log_softmax(logits.to(dtype), dim=-1)
    return -log_probabilities.gather(-1, labels[:, None]).mean()


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(dim=-1) == labels).double().mean().item()
