"""Archives that other programs write: the `transformers` package itself, and the TransformerLens layout.

    python tests/interop/saved_models.py BIN_FOLDER

Needs requirements-transformers.txt. A small Llama with random weights and tied embeddings is trained for
some steps on random tokens and saved by `save_pretrained`, in several shards, the last step in bf16; a
one-layer network in the layout of TransformerLens is saved beside its buffers. Both are audited and
analysed. Singular values must be NumPy's of what was stored to 1e-6, relative, wherever they are above
the tolerance of table `spectra`; those of the bf16 step besides within 1e-3 of the f32 weights that it was
rounded from, relative to the largest.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

F32, BF16 = 1e-6, 1e-3


def run(bin_folder: Path, *args: object) -> str:
    done = subprocess.run([bin_folder / "groundswell", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, f"{args} ends with {done.returncode}: {done.stderr}"
    return done.stdout


def save_llama(root: Path) -> dict[int, dict[str, torch.Tensor]]:
    """Steps 0, 50 and 100; what was in memory when each was saved, tied tensors under one name."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=160, hidden_size=48, intermediate_size=112, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
                         tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = torch.randint(0, 160, (32, 16))
    kept = {}
    for step in range(101):
        if step % 50 == 0:
            kept[step] = {name: p.detach().clone() for name, p in model.named_parameters()}
            if step == 100:
                model.to(torch.bfloat16)
            model.save_pretrained(root / f"checkpoint-{step}", max_shard_size="100KB")
        if step < 100:
            optimiser.zero_grad()
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimiser.step()
    return kept


def save_transformer_lens(root: Path) -> dict[int, dict[str, torch.Tensor]]:
    """Names, shapes and buffers of a one-layer HookedTransformer for addition modulo 11."""
    torch.manual_seed(1)
    p, d, heads, d_head, d_mlp = 11, 16, 2, 8, 32
    shapes = {
        "embed.W_E": (p + 1, d), "pos_embed.W_pos": (3, d),
        "blocks.0.attn.W_Q": (heads, d, d_head), "blocks.0.attn.b_Q": (heads, d_head),
        "blocks.0.attn.W_K": (heads, d, d_head), "blocks.0.attn.b_K": (heads, d_head),
        "blocks.0.attn.W_V": (heads, d, d_head), "blocks.0.attn.b_V": (heads, d_head),
        "blocks.0.attn.W_O": (heads, d_head, d), "blocks.0.attn.b_O": (d,),
        "blocks.0.mlp.W_in": (d, d_mlp), "blocks.0.mlp.b_in": (d_mlp,),
        "blocks.0.mlp.W_out": (d_mlp, d), "blocks.0.mlp.b_out": (d,),
        "unembed.W_U": (d, p), "unembed.b_U": (p,),
    }
    kept = {}
    for step in (0, 10):
        weights = {name: torch.zeros(shape) if name.rsplit(".", 1)[-1].startswith("b_") else
                   torch.randn(shape) * 0.8 / d**0.5 for name, shape in shapes.items()}
        buffers = {"blocks.0.attn.mask": torch.tril(torch.ones(3, 3, dtype=torch.bool)),
                   "blocks.0.attn.IGNORE": torch.tensor(float("-inf"))}
        kept[step] = weights
        root.mkdir(parents=True, exist_ok=True)
        save_file(weights | buffers, root / f"step_{step}.safetensors")
    return kept


def slices(tensor: torch.Tensor) -> dict[int, np.ndarray]:
    """The matrices of a tensor, in f64."""
    if tensor.ndim < 2:
        return {}
    values = tensor.detach().to(torch.float64).numpy()
    return dict(enumerate(values.reshape(-1, *values.shape[-2:])))


def stored(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]:
        found |= load_file(path)
    return found


def compare(tables: Path, step: int, weights: dict[str, torch.Tensor]) -> tuple[float, float, int]:
    """Largest difference, relative to each value above the tolerance and to the largest of its matrix."""
    of_step = pl.col("step") == step
    values = pl.read_parquet(tables / "singular_values.parquet").filter(of_step)
    ranks = pl.read_parquet(tables / "spectra.parquet").filter(of_step, pl.col("rank").is_not_null())
    ranks = {(t, b): r for t, b, r in ranks.select("tensor", "batch_index", "rank").iter_rows()}
    of_each = to_largest = 0.0
    seen = set()
    for name, tensor in weights.items():
        for index, matrix in slices(tensor).items():
            rows = values.filter(pl.col("tensor") == name, pl.col("batch_index") == index).sort("index")
            ours, theirs = rows["sigma"].to_numpy(), np.linalg.svd(matrix, compute_uv=False)
            assert ours.shape == theirs.shape, f"{name} {index}: {ours.shape}, not {theirs.shape}"
            rank, off = ranks[name, index], np.abs(ours - theirs)
            if theirs[0] > 0:
                to_largest = max(to_largest, off.max() / theirs[0])
                of_each = max(of_each, (off[:rank] / theirs[:rank]).max())
            seen.add((name, index))
    assert seen == set(ranks), f"other matrices: {seen ^ set(ranks)}"
    return of_each, to_largest, len(seen)


def main():
    logging.disable_progress_bar()
    bin_folder = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        llama, lens = work / "llama", work / "lens"
        kept, rounded = save_llama(llama), 100
        shards = len(list((llama / "checkpoint-0").glob("model-*.safetensors")))
        assert shards > 1, "one shard"
        report = json.loads(run(bin_folder, "audit", llama, "--json"))
        run(bin_folder, "analyze", llama, "--out", work / "llama-tables")
        listed = pl.read_parquet(work / "llama-tables/checkpoints.parquet")
        assert listed["step"].to_list() == [0, 50, 100], listed
        assert listed["status"].to_list() == ["ok"] * 3, listed
        assert listed["dtype"].to_list() == ["F32", "F32", "BF16"], listed
        # Embedding and unembedding are one tensor, saved once and counted once.
        parameters = sum(p.numel() for p in kept[0].values())
        assert listed["n_params"].to_list() == [parameters] * 3, listed
        told = [finding["kind"] for finding in report["findings"]]
        assert told == ["dtype_changed", "unverified"], report["findings"]  # f32 to bf16; no digests
        for step in (0, 50, 100):
            weights = stored(llama / f"checkpoint-{step}")
            assert set(weights) == set(kept[step]), set(weights) ^ set(kept[step])
            of_each, to_largest, count = compare(work / "llama-tables", step, weights)
            print(f"transformers, step {step}, {shards} shards, {count} matrices of {listed['dtype'][step // 50]}: "
                  f"NumPy's within {of_each:.1e} of each value, {to_largest:.1e} of the largest")
            assert of_each <= F32, of_each
        of_each, to_largest, _ = compare(work / "llama-tables", rounded, kept[rounded])
        print(f"transformers, step {rounded}: within {to_largest:.1e} of the largest of the f32 weights, "
              f"{of_each:.1e} of each value")
        assert to_largest <= BF16, to_largest

        kept = save_transformer_lens(lens)
        run(bin_folder, "audit", lens)
        facts = ["--task", "add", "--modulus", 11, "--train-fraction", 0.6, "--split", "python:0"]
        run(bin_folder, "analyze", lens, "--out", work / "lens-tables", *facts)
        progress = pl.read_parquet(work / "lens-tables/progress.parquet")
        assert progress["status"].to_list() == ["ok"] * 2 and progress["test_loss"].null_count() == 0, progress
        for step in (0, 10):
            of_each, to_largest, count = compare(work / "lens-tables", step, kept[step])
            print(f"TransformerLens layout, step {step}, {count} matrices: NumPy's within {of_each:.1e} of each "
                  f"value, {to_largest:.1e} of the largest")
            assert of_each <= F32, of_each


if __name__ == "__main__":
    main()
