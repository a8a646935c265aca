"""Do the peers compute what they claim to? Seconds, at small sizes.

    python benches/peers/check.py

The two networks agree in value and gradient; both agree with the definition written out for one
input; the split is CPython's; AdamW written out is torch's, warm-up included; ideal trigonometric
logits have their closed-form measures in both variants, and wrong numbers are told from right ones;
the driver finds numbers in output and rounds no ratio up to its target.
"""

import math
import random
import tempfile
from pathlib import Path

import torch

import compare
import measures
import model
from task import Task, cross_entropy

SIZES = dict(p=7, d_model=12, heads=3, d_mlp=20, seed=1, dtype=torch.float64)


def assert_close(x, y, tolerance, what):
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    error = (x - y).abs().max().item()
    assert error <= tolerance * max(1.0, y.abs().max().item()), f"{what}: off by {error}"


def logits_by_hand(w: dict, tokens: list[int]) -> torch.Tensor:
    """One input, last position, loops over heads and positions."""
    x = [w["embed.W_E"][:, t] + w["pos_embed.W_pos"][i] for i, t in enumerate(tokens)]
    mixed = []
    for query, key, value in zip(*(w[f"blocks.0.attn.W_{c}"] for c in "QKV")):
        asked = query @ x[-1]
        scores = torch.stack([asked @ (key @ v) / math.sqrt(len(asked)) for v in x])
        share = scores.exp() / scores.exp().sum()
        mixed.append(sum(s * (value @ v) for s, v in zip(share, x)))
    mid = x[-1] + w["blocks.0.attn.W_O"] @ torch.cat(mixed)
    neurons = (w["blocks.0.mlp.W_in"] @ mid + w["blocks.0.mlp.b_in"]).clamp(min=0)
    out = mid + w["blocks.0.mlp.W_out"] @ neurons + w["blocks.0.mlp.b_out"]
    return out @ w["unembed.W_U"]


def check_networks():
    task, w = Task(7, 0.6), model.initial_weights(**SIZES)
    w = {n: t + 0.1 if t.dim() == 1 else t for n, t in w.items()}  # biases that matter
    nets = [variant(w) for variant in model.VARIANTS.values()]
    for net in nets:
        cross_entropy(net(task.tokens)[0], task.labels).backward()
    for first, second in zip(*(net.named_parameters() for net in nets)):
        assert first[1].grad.abs().max() > 0, first[0]
        assert_close(second[1].grad, first[1].grad, 1e-12, f"gradient of {first[0]}")
    with torch.no_grad():
        logits, neurons = nets[0](task.tokens)
        assert_close(nets[1](task.tokens)[0], logits, 1e-12, "logits")
        assert_close(nets[1](task.tokens)[1], neurons, 1e-12, "neurons")
        for row in (0, 17, 48):
            by_hand = logits_by_hand(w, task.tokens[row].tolist())
            assert_close(logits[row], by_hand, 1e-12, f"logits of input {row}")


def check_other_networks():
    """The TransformerLens network is the published one with its weights transposed; the MLP's logits
    are sums over neurons of the squares of two columns."""
    task = Task(7, 0.6)
    theirs = model.lens_weights(**SIZES)
    dropped = ("b_Q", "b_K", "b_V", "b_O", "b_U", *model.BUFFERS)
    theirs = {n: t for n, t in theirs.items() if n.rsplit(".", 1)[-1] not in dropped}
    ours = {}
    for name, t in theirs.items():
        short = model.NAMES[name]
        if short in ("W_E", "W_in", "W_out"):
            t = t.t()
        elif short in ("W_Q", "W_K", "W_V"):
            t = torch.stack([head.t() for head in t])
        elif short == "W_O":
            t = torch.cat([head.t() for head in t], dim=1)
        ours[name] = t
    with torch.no_grad():
        logits = model.network(theirs)(task.tokens)[0]
        assert logits.shape == (49, 7)
        assert_close(logits, model.network(ours)(task.tokens)[0], 1e-12, "TransformerLens logits")

    w = model.mlp_weights(p=7, d_mlp=20, seed=1, dtype=torch.float64)
    with torch.no_grad():
        logits, neurons = model.network(w, activation="quadratic")(task.tokens)
    for row in (0, 17, 48):
        a, b, _ = task.tokens[row].tolist()
        by_hand = (w["mlp.W_in"][:, a] + w["mlp.W_in"][:, 7 + b]) ** 2
        assert_close(neurons[row], by_hand, 1e-14, f"neurons of input {row}")
        assert_close(logits[row], w["mlp.W_out"] @ by_hand, 1e-14, f"logits of input {row}")


def check_split():
    task = Task(5, 0.3)
    order = [14, 0, 23, 18, 6, 5, 7]
    assert task.train.tolist() == order, task.train
    pairs = [(a, b) for a in range(113) for b in range(113)]
    random.seed(0)
    random.shuffle(pairs)
    task = Task(113)
    assert len(task.train) == 3830 and len(task.test) == 8939
    assert [tuple(t[:2]) for t in task.tokens[task.train].tolist()] == pairs[:3830]
    assert pairs[0] == (18, 34) and task.train.sum().item() == 24672933


def check_optimiser():
    """theta <- theta (1 - eta), then theta <- theta - eta / (1 - b1^t) m / (sqrt(v') + eps) with
    v' = v / (1 - b2^t); weight decay is 1, and eta is 0 at the first update."""
    task, w = Task(7, 0.6), model.initial_weights(**SIZES)
    net = model.Published(w)
    adamw, warm_up = model.optimiser(net)
    theta, m, v = net.W_E.detach().clone(), 0, 0
    for u in range(13):
        adamw.zero_grad()
        cross_entropy(net(task.tokens[task.train])[0], task.labels[task.train]).backward()
        g, t, eta = net.W_E.grad.clone(), u + 1, 1e-3 * min(u / 10, 1)
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
        theta = theta * (1 - eta)
        theta -= eta / (1 - 0.9**t) * m / ((v / (1 - 0.98**t)).sqrt() + 1e-8)
        adamw.step()
        warm_up.step()
        assert_close(net.W_E.detach(), theta, 1e-13, f"W_E after update {u}")


class Ideal(torch.nn.Module):
    """A network without weights: logits A cos w_k(a + b - c), one neuron cos w_k(a + b)."""

    def __init__(self, p, k, amplitude):
        super().__init__()
        self.p, self.k, self.amplitude = p, k, amplitude

    def forward(self, tokens):
        turns = 2 * math.pi * self.k / self.p
        s = (tokens[:, 0] + tokens[:, 1])[:, None]
        c = torch.arange(self.p + 1)[None, :]
        return self.amplitude * torch.cos(turns * (s - c)), torch.cos(turns * s)


def check_measures():
    p, amplitude = 11, 3.0
    for k in (1, 5):  # the first and the last frequency
        w = model.initial_weights(p, 12, 3, 20)
        classes = torch.arange(p + 1) * 2 * math.pi * k / p
        w["unembed.W_U"] = torch.zeros_like(w["unembed.W_U"])
        w["unembed.W_U"][0], w["unembed.W_U"][1] = classes.cos(), classes.sin()
        task, constants = Task(p, 0.6), measures.Constants(p)
        found = []
        for function, _ in measures.VARIANTS.values():
            numbers = function(w, Ideal(p, k, amplitude), task, constants, measures.Clock())
            found.append(numbers)
            assert numbers["keys"] == [k], numbers["keys"]
            plain = math.log(sum(math.exp(amplitude * math.cos(2 * math.pi * c / p))
                                 for c in range(p))) - amplitude
            for split in task.splits():
                assert_close(numbers[f"loss.{split}"], plain, 1e-6, "loss")
                assert_close(numbers[f"restricted_loss.{split}"], plain, 1e-6, "restricted")
                assert_close(numbers[f"excluded_loss.{split}"], math.log(p), 1e-6, "excluded")
            assert numbers["restricted_accuracy"] == 1.0
            assert_close(numbers["logit_fve"], 1.0, 1e-6, "FVE")
            expected = torch.zeros((p - 1) // 2)
            expected[k - 1] = amplitude * math.sqrt(p**3 / 2)
            assert_close(numbers["logit_coefficient"], expected, 1e-6, "coefficients")
            assert numbers["neuron_frequency"].tolist() == [k]
            assert_close(numbers["neuron_fve"], torch.ones(1), 1e-6, "neuron FVE")
        assert measures.disagreements(*found) == []
        wrong = found[1] | {"logit_coefficient": found[1]["logit_coefficient"].roll(1)}
        assert measures.disagreements(found[0], wrong) == ["logit_coefficient"]


def check_files():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.safetensors"
        w = model.initial_weights(p=13, d_model=12, heads=3, d_mlp=20)
        model.save_weights(w, path)
        read = model.load_weights(path)
        assert all(torch.equal(read[name], w[name]) for name in w)
        task, constants = Task(13), measures.Constants(13)
        both = [measures.run(v, path, task, constants)[0] for v in measures.VARIANTS]
        assert measures.disagreements(*both) == []


def check_driver():
    output = 'compiling\n{"ms": 1.5}\n{"parts": {"ms": 2}}\n{"ok": true}\n3\n'
    assert compare.number_in(output, "ms") == 1.5
    assert compare.number_in(output, "parts.ms") == 2.0
    assert compare.number_in(output, "ok") is None and compare.number_in(output, "s") is None
    assert [compare.rounded(r, up=False) for r in (13.98, 14.0, 1.1, 0.29)] == [
        "13.9", "14.0", "1.10", "0.29"
    ]
    assert [compare.rounded(r, up=True) for r in (1.601, 1.1)] == ["1.61", "1.10"]


def main():
    torch.set_num_threads(1)
    for check in (check_networks, check_other_networks, check_split, check_optimiser, check_measures, check_files,
                  check_driver):
        check()
        print(f"{check.__name__}: ok")


if __name__ == "__main__":
    main()
