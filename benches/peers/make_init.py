"""A checkpoint of freshly drawn weights, made by PyTorch, in the layout of an archive.

    python benches/peers/make_init.py OUT.safetensors [--seed S] [--dtype f32|f64]

Sizes are those of the mainline unless given.
"""

import argparse

import model


def add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--modulus", type=int, default=113)
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--d-mlp", type=int, default=512)


def draw(args: argparse.Namespace, dtype) -> dict:
    return model.initial_weights(
        args.modulus, args.d_model, args.heads, args.d_mlp, args.seed, dtype
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT.safetensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=model.DTYPES, default="f32")
    add_sizes(parser)
    args = parser.parse_args()
    model.save_weights(draw(args, model.DTYPES[args.dtype]), args.out)


if __name__ == "__main__":
    main()
