"""`python -m vae_client`: the calls of the client on the command line.

Knows flags and files. Knows nothing of requests. It writes files, or tables on standard output. An error is
one line on standard error, with exit code 1; an interrupt exits with 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_client.arrays import to_npy, to_npz
from vae_client.client import Client
from vae_client.errors import InvalidInput, VaeError
from vae_client.latents import Latents
from vae_client.results import Images, Posterior
from vae_client.transport import __version__

_FILE = "file to write: .png (a sheet), .npy or .npz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Those of the command line; None takes `sys.argv`.

    Returns:
        The exit code.
    """
    asked = parser().parse_args(arguments)
    try:
        _check_name(asked)
        with Client(asked.url, api_key=asked.api_key, model=asked.model, timeout_s=asked.timeout_s) as client:
            return int(asked.run(client, asked) or 0)
    except (VaeError, OSError) as error:
        print(f"vae-client: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _check_name(asked: argparse.Namespace) -> None:
    """Before any request: a name without a format would lose its result."""
    out = getattr(asked, "out", None)
    if out is not None and Path(out).suffix.lower() not in asked.formats:
        *others, last = asked.formats
        raise InvalidInput(f"{out}: expected a name that ends in {', '.join(others)} or {last}.")


def _sample(client: Client, asked: argparse.Namespace) -> None:
    drawn = client.sample(
        asked.n,
        seed=asked.seed,
        label=asked.label,
        prior=asked.prior,
        temperature=asked.temperature,
    )
    _write(drawn, asked)
    print(f"seed {drawn.seed}", file=sys.stderr)


def _encode(client: Client, asked: argparse.Namespace) -> None:
    posterior = client.encode(asked.pictures, **_picture_flags(asked))
    _warn(posterior)
    _write_latents(posterior, asked.out)


def _decode(client: Client, asked: argparse.Namespace) -> None:
    _write(client.decode(_latents(asked.latents)), asked)


def _reconstruct(client: Client, asked: argparse.Namespace) -> None:
    images = client.reconstruct(asked.pictures, sample=asked.sample, seed=asked.seed, **_picture_flags(asked))
    _warn(images)
    _write(images, asked)


def _interpolate(client: Client, asked: argparse.Namespace) -> None:
    _write(client.interpolate(asked.start, asked.end, steps=asked.steps, **_picture_flags(asked)), asked)


def _score(client: Client, asked: argparse.Namespace) -> None:
    scores = client.score(
        asked.pictures,
        importance_samples=asked.importance_samples,
        seed=asked.seed,
        flag=asked.flag or None,
        **_picture_flags(asked),
    )
    _warn(scores)
    columns = {name: [f"{each:.3f}" for each in values] for name, values in scores.columns().items()}
    if scores.flags is not None:
        columns["flag"] = ["yes" if flag else "no" for flag in scores.flags]
    print("\t".join(["picture", *columns]))
    for index, row in enumerate(zip(*columns.values(), strict=True)):
        print("\t".join([str(index), *row]))


def _models(client: Client, asked: argparse.Namespace) -> None:  # noqa: ARG001
    for model in client.models():
        print(f"{model['model']}\t{','.join(model['aliases'])}\t{model['description']}")


def _limits(client: Client, asked: argparse.Namespace) -> None:  # noqa: ARG001
    for name, limit in client.limits().items():
        print(f"{name}\t{limit['value']:g} {limit['unit']}")


def _write(images: Images, asked: argparse.Namespace) -> None:
    images.save(asked.out, columns=asked.columns, scale=asked.scale)
    print(f"{asked.out}: {len(images)} images of {images.model}", file=sys.stderr)


def _write_latents(posterior: Posterior, out: str) -> None:
    path = Path(out)
    if path.suffix.lower() == ".npz":
        data = to_npz(mu=posterior.mu, logvar=posterior.logvar, model=np.array(posterior.model))
    else:
        data = to_npy(np.asarray(posterior.mu))
    path.write_bytes(data)
    print(f"{out}: {len(posterior)} posteriors of {posterior.model}", file=sys.stderr)


def _latents(path: str) -> object:
    """Latents of an npy file, or `mu` or `z` of an npz file, with the version that it states."""
    try:
        read = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: expected an npy or npz file of latents: {error}") from error
    if isinstance(read, np.ndarray):
        return read
    with read:
        name = next((each for each in ("mu", "z") if each in read.files), None)
        if name is None:
            raise InvalidInput(f"{path}: expected an array mu or z, got {', '.join(read.files)}.")
        return Latents(read[name], str(read["model"]) if "model" in read.files else None)


def _warn(result: object) -> None:
    for warning in getattr(result, "warnings", ()):
        print(f"vae-client: {warning}", file=sys.stderr)


def _picture_flags(asked: argparse.Namespace) -> dict[str, Any]:
    return {"fit": asked.fit, "invert": asked.invert}


def parser() -> argparse.ArgumentParser:
    """The flags of every command."""
    made = argparse.ArgumentParser(prog="vae-client", description="Calls a VAE service.")
    made.add_argument("--version", action="version", version=f"vae-client {__version__}")
    _add_connection(made)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    made.set_defaults(formats=())

    sample = commands.add_parser("sample", help="new images")
    sample.add_argument("-n", type=int, default=1, help="number of images")
    sample.add_argument("--seed", type=int, help="the same seed gives the same images")
    sample.add_argument("--label", help="images of this label only")
    sample.add_argument("--prior", choices=("standard", "fitted", "learned"), help="the prior of z")
    sample.add_argument("--temperature", type=float, help="factor on the noise")
    _add_out(sample)
    sample.set_defaults(run=_sample)

    encode = commands.add_parser("encode", help="pictures to latents")
    _add_pictures(encode)
    encode.add_argument("-o", "--out", required=True, help="file to write: .npy (mu) or .npz (mu and logvar)")
    encode.set_defaults(run=_encode, formats=(".npy", ".npz"))

    decode = commands.add_parser("decode", help="latents to images")
    decode.add_argument("latents", help="npy file of rows of latents, or npz file with mu or z")
    _add_out(decode)
    decode.set_defaults(run=_decode)

    reconstruct = commands.add_parser("reconstruct", help="pictures encoded and decoded")
    _add_pictures(reconstruct)
    reconstruct.add_argument("--sample", action="store_true", help="draw z from the posterior")
    reconstruct.add_argument("--seed", type=int, help="seed of that draw")
    _add_out(reconstruct)
    reconstruct.set_defaults(run=_reconstruct)

    interpolate = commands.add_parser("interpolate", help="images between two pictures")
    interpolate.add_argument("start", help="a picture file")
    interpolate.add_argument("end", help="a picture file")
    interpolate.add_argument("--steps", type=int, default=8, help="number of images")
    _add_picture_flags(interpolate)
    _add_out(interpolate)
    interpolate.set_defaults(run=_interpolate)

    score = commands.add_parser("score", help="how likely the model finds each picture, in nats")
    _add_pictures(score)
    score.add_argument("--importance-samples", type=int, help="posterior draws of each for log_px")
    score.add_argument("--seed", type=int, help="seed of the draws")
    score.add_argument("--flag", action="store_true", help="compare with the images of vae-store calibrate")
    score.set_defaults(run=_score)

    commands.add_parser("models", help="list the loaded versions").set_defaults(run=_models)
    commands.add_parser("limits", help="list the limits of the server").set_defaults(run=_limits)
    for command in commands.choices.values():
        _add_connection(command, argparse.SUPPRESS)
    return made


def _add_connection(command: argparse.ArgumentParser, absent: str | None = None) -> None:
    """Flags that may be before the name of the command or after it.

    Args:
        command: The parser of one place.
        absent: Default of all flags, where the other place has the real one.
    """
    group = command.add_argument_group("server")
    group.add_argument(
        "--url",
        default=absent or os.environ.get("VAECLIENT_URL", "http://localhost:8000"),
        help="address of the server (VAECLIENT_URL)",
    )
    group.add_argument(
        "--api-key",
        default=absent or os.environ.get("VAECLIENT_API_KEY"),
        help="key of the server; better in VAECLIENT_API_KEY, because other users see command lines",
    )
    group.add_argument("--model", default=absent, help="name, name@version or name@alias")
    group.add_argument(
        "--timeout-s", type=float, default=absent or 60.0, help="seconds to wait for an answer"
    )


def _add_pictures(command: argparse.ArgumentParser) -> None:
    command.add_argument("pictures", nargs="+", help="PNG, JPEG, WebP or npy files")
    _add_picture_flags(command)


def _add_picture_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--fit", choices=("contain", "cover", "stretch", "mnist"), help="accept any size")
    command.add_argument("--invert", choices=("no", "yes", "auto"), help="turn dark on light")


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--out", required=True, help=_FILE)
    command.set_defaults(formats=(".png", ".npy", ".npz"))
    command.add_argument("--columns", type=int, help="images in a row of the sheet")
    command.add_argument("--scale", type=int, default=1, help="side of the square for each pixel")


if __name__ == "__main__":
    sys.exit(main())
