"""A checkpoint of freshly drawn weights, made by PyTorch, in the layout of an archive.

    python benches/peers/make_init.py OUT.safetensors [--seed S] [--dtype f32|f64]
        [--network published|transformer-lens|mlp]

Sizes are those of the mainline unless given. The second network is that of the TransformerLens
demonstration, in its layout; the third the two-layer MLP.
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
    parser.add_argument("--network", choices=["published", "transformer-lens", "mlp"],
                        default="published")
    add_sizes(parser)
    args = parser.parse_args()
    dtype = model.DTYPES[args.dtype]
    if args.network == "mlp":
        weights = model.mlp_weights(args.modulus, args.d_mlp, args.seed, dtype)
    elif args.network == "transformer-lens":
        weights = model.lens_weights(
            args.modulus, args.d_model, args.heads, args.d_mlp, args.seed, dtype
        )
    else:
        weights = draw(args, dtype)
    model.save_weights(weights, args.out)


if __name__ == "__main__":
    main()
