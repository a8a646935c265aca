"""The one-block transformer of the mainline in PyTorch, twice; and what else is trained here.

    x_i = W_E[:, token_i] + W_pos[i]                      A = softmax(causal(q k^T) / sqrt(d_head))
    mid = x + W_O concat_h(A v)       out = mid + W_out relu(W_in mid + b_in) + b_out
    logits = out W_U

- `Published`: as the published training code computes it: every layer at all three positions,
  one einsum per product with the heads as an index, logits of all positions, the last one kept.
- `LastPosition`: the same function by someone who noticed that only the last position is read:
  keys and values at three positions, everything else at one, plain matrix products.

Both take the weights by the names and shapes of an archive and give the same logits up to
rounding (`check.py`).

- `Lens`: the same network with its weights as TransformerLens stores them (transposed), computed in
  that layout, without biases of attention and unembedding.
- `TwoLayer`: logits = W_out act(W_in [onehot(a), onehot(b)]), Gromov (2023), arXiv:2301.02679.

A restatement from the definitions in Nanda et al. (2023),
arXiv:2301.05217, section 3; no code is taken from its release.
"""

import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

NAMES = {
    "embed.W_E": "W_E",
    "pos_embed.W_pos": "W_pos",
    "blocks.0.attn.W_Q": "W_Q",
    "blocks.0.attn.W_K": "W_K",
    "blocks.0.attn.W_V": "W_V",
    "blocks.0.attn.W_O": "W_O",
    "blocks.0.mlp.W_in": "W_in",
    "blocks.0.mlp.b_in": "b_in",
    "blocks.0.mlp.W_out": "W_out",
    "blocks.0.mlp.b_out": "b_out",
    "unembed.W_U": "W_U",
}
MLP_NAMES = {"mlp.W_in": "W_in", "mlp.W_out": "W_out"}
BUFFERS = ("mask", "IGNORE")  # saved beside the parameters by some trainers; never trained
DTYPES = {"f32": torch.float32, "f64": torch.float64}


def initial_weights(p=113, d_model=128, heads=4, d_mlp=512, seed=0, dtype=torch.float32) -> dict:
    """Published initialisation, by archive names: normal with sigma 1/sqrt(d_model), but
    1/sqrt(classes) for W_U; zero biases. p + 1 tokens and classes, the last is "="."""
    if d_model % heads:
        raise SystemExit(f"error: d_model = {d_model} is not a multiple of heads = {heads}")
    generator = torch.Generator().manual_seed(seed)
    d_head, vocab = d_model // heads, p + 1

    def normal(*shape, over=d_model):
        return torch.randn(*shape, generator=generator, dtype=dtype) / math.sqrt(over)

    return {
        "embed.W_E": normal(d_model, vocab),
        "pos_embed.W_pos": normal(3, d_model),
        "blocks.0.attn.W_Q": normal(heads, d_head, d_model),
        "blocks.0.attn.W_K": normal(heads, d_head, d_model),
        "blocks.0.attn.W_V": normal(heads, d_head, d_model),
        "blocks.0.attn.W_O": normal(d_model, heads * d_head),
        "blocks.0.mlp.W_in": normal(d_mlp, d_model),
        "blocks.0.mlp.b_in": torch.zeros(d_mlp, dtype=dtype),
        "blocks.0.mlp.W_out": normal(d_model, d_mlp),
        "blocks.0.mlp.b_out": torch.zeros(d_model, dtype=dtype),
        "unembed.W_U": normal(d_model, vocab, over=vocab),
    }


def lens_weights(p=113, d_model=128, heads=4, d_mlp=512, seed=0, dtype=torch.float32) -> dict:
    """Weights of the TransformerLens demonstration, in its layout: normal with sigma
    0.8/sqrt(d_model), biases zero, p classes; with the biases and buffers that it saves."""
    generator = torch.Generator().manual_seed(seed)
    d_head = d_model // heads

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype) * 0.8 / math.sqrt(d_model)

    attn = {f"W_{c}": normal(heads, d_model, d_head) for c in "QKV"}
    attn |= {"W_O": normal(heads, d_head, d_model), "b_O": torch.zeros(d_model, dtype=dtype)}
    attn |= {f"b_{c}": torch.zeros(heads, d_head, dtype=dtype) for c in "QKV"}
    attn |= {"mask": torch.ones(3, 3, dtype=torch.bool).tril(),
             "IGNORE": torch.tensor(-torch.inf, dtype=dtype)}
    return {
        "embed.W_E": normal(p + 1, d_model),
        "pos_embed.W_pos": normal(3, d_model),
        **{f"blocks.0.attn.{name}": tensor for name, tensor in attn.items()},
        "blocks.0.mlp.W_in": normal(d_model, d_mlp),
        "blocks.0.mlp.b_in": torch.zeros(d_mlp, dtype=dtype),
        "blocks.0.mlp.W_out": normal(d_mlp, d_model),
        "blocks.0.mlp.b_out": torch.zeros(d_model, dtype=dtype),
        "unembed.W_U": normal(d_model, p),
        "unembed.b_U": torch.zeros(p, dtype=dtype),
    }


def mlp_weights(p=113, d_mlp=512, seed=0, dtype=torch.float32) -> dict:
    """W_in of sigma 1/sqrt(2p), W_out of sigma 1/d_mlp."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    return {"mlp.W_in": normal(d_mlp, 2 * p) / math.sqrt(2 * p),
            "mlp.W_out": normal(p, d_mlp) / d_mlp}


def load_weights(path: str | Path, dtype=torch.float32) -> dict:
    """Tensors of a safetensors file as `dtype`, without buffers: a transformer in the published
    layout, or in TransformerLens', or a two-layer MLP."""
    found = load_file(path)
    found = {n: t for n, t in found.items() if n.rsplit(".", 1)[-1] not in BUFFERS}
    names = MLP_NAMES if "mlp.W_in" in found else NAMES
    if is_lens(found):
        zeros = [n for n in found if n.startswith(("blocks.0.attn.b_", "unembed.b_"))]
        if any(found[n].any() for n in zeros):
            raise SystemExit(f"error: {path}: biases of attention or unembedding are not zero")
        found = {n: t for n, t in found.items() if n not in zeros}
    if set(found) != set(names):
        raise SystemExit(
            f"error: {path}: expected {', '.join(names.values())}; missing "
            f"{sorted(set(names) - set(found))}, unknown {sorted(set(found) - set(names))}"
        )
    return {name: found[name].to(dtype) for name in names}


def is_lens(weights: dict) -> bool:
    """Whether W_O has its heads on an axis of their own, as TransformerLens stores it."""
    return weights.get("blocks.0.attn.W_O", torch.zeros(1)).dim() == 3


def save_weights(weights: dict, path: str | Path) -> None:
    temporary = Path(f"{path}.tmp")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
    os.replace(temporary, path)


def modulus(weights: dict) -> int:
    """p: the vocabulary without "="; half the inputs of an MLP."""
    if "mlp.W_in" in weights:
        return weights["mlp.W_in"].shape[1] // 2
    return weights["embed.W_E"].shape[0 if is_lens(weights) else 1] - 1


class Transformer(torch.nn.Module):
    """The parameters, by their short names. `forward(tokens [batch, 3])` gives the logits
    [batch, classes] and the activations [batch, d_mlp], both at the last position."""

    def __init__(self, weights: dict):
        super().__init__()
        for name, short in NAMES.items():
            self.register_parameter(short, torch.nn.Parameter(weights[name].clone()))
        positions = self.W_pos.shape[0]
        causal = torch.ones(positions, positions, dtype=torch.bool).tril()
        self.register_buffer("causal", causal, persistent=False)
        self.d_head = self.W_Q.shape[1]


class Published(Transformer):
    def forward(self, tokens):
        x = self.W_E[:, tokens].permute(1, 2, 0) + self.W_pos[: tokens.shape[1]]  # [batch, pos, d]
        keys = torch.einsum("hid,bpd->bhpi", self.W_K, x)
        queries = torch.einsum("hid,bpd->bhpi", self.W_Q, x)
        values = torch.einsum("hid,bpd->bhpi", self.W_V, x)
        scores = torch.einsum("bhki,bhqi->bhqk", keys, queries)
        scores = scores.masked_fill(~self.causal, -1e10)
        pattern = torch.softmax(scores / math.sqrt(self.d_head), dim=-1)  # [batch, head, to, from]
        mixed = torch.einsum("bhki,bhqk->bhqi", values, pattern)
        mixed = mixed.permute(0, 2, 1, 3).flatten(2)  # [batch, pos, heads * d_head]
        mid = x + torch.einsum("df,bqf->bqd", self.W_O, mixed)
        neurons = torch.relu(torch.einsum("md,bpd->bpm", self.W_in, mid) + self.b_in)
        out = mid + torch.einsum("dm,bpm->bpd", self.W_out, neurons) + self.b_out
        logits = out @ self.W_U  # [batch, pos, classes]
        return logits[:, -1], neurons[:, -1]


class LastPosition(Transformer):
    def forward(self, tokens):
        x = F.embedding(tokens, self.W_E.t()) + self.W_pos[: tokens.shape[1]]  # [batch, pos, d]
        last = x[:, -1]
        batch, positions, _ = x.shape
        by_head = (batch, positions, self.W_Q.shape[0], self.d_head)
        query = F.linear(last, self.W_Q.flatten(0, 1)).view(batch, 1, *by_head[2:])
        keys = F.linear(x, self.W_K.flatten(0, 1)).view(by_head)
        values = F.linear(x, self.W_V.flatten(0, 1)).view(by_head)
        scores = (keys * query).sum(-1) / math.sqrt(self.d_head)  # [batch, pos, head]
        pattern = torch.softmax(scores, dim=1)
        mixed = (pattern[..., None] * values).sum(1).flatten(1)  # [batch, heads * d_head]
        mid = last + F.linear(mixed, self.W_O)
        neurons = torch.relu(F.linear(mid, self.W_in, self.b_in))
        out = mid + F.linear(neurons, self.W_out, self.b_out)
        return out @ self.W_U, neurons


class Lens(Transformer):
    def forward(self, tokens):
        x = self.W_E[tokens] + self.W_pos[: tokens.shape[1]]  # [batch, pos, d]
        queries = torch.einsum("bpd,hdi->bphi", x, self.W_Q)
        keys = torch.einsum("bpd,hdi->bphi", x, self.W_K)
        values = torch.einsum("bpd,hdi->bphi", x, self.W_V)
        scores = torch.einsum("bqhi,bkhi->bhqk", queries, keys) / math.sqrt(self.W_Q.shape[2])
        pattern = torch.softmax(scores.masked_fill(~self.causal, -torch.inf), dim=-1)
        mixed = torch.einsum("bhqk,bkhi->bqhi", pattern, values)
        mid = x + torch.einsum("bqhi,hid->bqd", mixed, self.W_O)
        neurons = torch.relu(mid @ self.W_in + self.b_in)
        logits = (mid + neurons @ self.W_out + self.b_out) @ self.W_U
        return logits[:, -1], neurons[:, -1]


class TwoLayer(torch.nn.Module):
    ACTIVATIONS = {"relu": torch.relu, "gelu": F.gelu, "quadratic": torch.square}

    def __init__(self, weights: dict, activation: str):
        super().__init__()
        for name, short in MLP_NAMES.items():
            self.register_parameter(short, torch.nn.Parameter(weights[name].clone()))
        self.act = self.ACTIVATIONS[activation]

    def forward(self, tokens):
        p = self.W_in.shape[1] // 2
        inputs = F.one_hot(tokens[:, :2], p).flatten(1).to(self.W_in.dtype)  # [batch, 2p]
        neurons = self.act(inputs @ self.W_in.t())
        return neurons @ self.W_out.t(), neurons


VARIANTS = {"published": Published, "last": LastPosition}


def network(weights: dict, variant: str = "published", activation: str = "relu"):
    """The network that these weights belong to."""
    if "mlp.W_in" in weights:
        return TwoLayer(weights, activation)
    return Lens(weights) if is_lens(weights) else VARIANTS[variant](weights)


def optimiser(model: torch.nn.Module, warmup: int = 10):
    """AdamW of the mainline with its warm-up: (optimiser, scheduler). Biases decay too, unless
    `requires_grad` is off."""
    adamw = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=1.0
    )
    warm_up = torch.optim.lr_scheduler.LambdaLR(
        adamw, lambda update: min(update / warmup, 1) if warmup else 1
    )
    return adamw, warm_up
