"""Whole HTTP requests, built once from the server's description of its model.

Knows the native API's paths and bodies. Knows nothing of connections. Images and latents are random numbers
from a seed: a model takes the same time for them, and the same seed sends the same bytes.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import orjson

from service.bench.flags import OPERATIONS
from service.codecs import encode_png

#: Bodies differ, so that no cache on the way can answer; together they stay small compared to the server's
#: own memory.
_DIFFERENT_BODIES = 16
_BYTES_OF_ALL_BODIES = 32 * 1024 * 1024

#: Operation and format → the format of the body (None: no body) and the suffix of the response.
_SENT_AND_ASKED: Final[Mapping[tuple[str, str], tuple[str | None, str]]] = {
    ("encode", "json"): ("json", "json"),
    ("encode", "npy"): ("npy", "npz"),
    ("encode", "png"): ("png", "json"),
    ("decode", "json"): ("json", "json"),
    ("decode", "npy"): ("npy", "npy"),
    ("decode", "png"): ("json", "png"),
    ("decode", "txt"): ("json", "txt"),
    ("sample", "json"): (None, "json"),
    ("sample", "npy"): (None, "npy"),
    ("sample", "png"): (None, "png"),
    ("sample", "txt"): (None, "txt"),
    ("reconstruct", "json"): ("json", "json"),
    ("reconstruct", "npy"): ("npy", "npy"),
    ("reconstruct", "png"): ("png", "png"),
    ("reconstruct", "txt"): ("json", "txt"),
}
_CONTENT_TYPES: Final = {"json": "application/json", "npy": "application/x-npy", "png": "image/png"}


class WrongRequest(ValueError):
    """An invalid request; the message contains a valid alternative."""


@dataclass(frozen=True)
class Target:
    """The address of the server."""

    host: str
    port: int
    prefix: str = ""
    """Path before the API's own, without a slash at its end: for a proxy with a prefix."""
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str) -> Target:
        """`http://host:port/prefix`; the scheme may be left out, and the default port is 80 or 443.

        Raises:
            WrongRequest: It is no such URL.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        expected = "expected http://HOST:PORT, such as http://127.0.0.1:8000"
        try:
            port = parts.port
        except ValueError as error:
            raise WrongRequest(f"{url[:80]!r}: {error}; {expected}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise WrongRequest(f"{url[:80]!r}: {expected}")
        if parts.username is not None:
            raise WrongRequest("the URL contains a user name; API keys come from VAE_BENCH_API_KEY")
        is_tls = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=port or (443 if is_tls else 80),
            prefix=parts.path.rstrip("/"),
            tls=ssl.create_default_context() if is_tls else None,
        )

    @property
    def authority(self) -> str:
        """Host and port as in a Host header; an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class ModelFacts:
    """The facts that bodies are built from."""

    label: str
    """name@version, as the server resolved it."""
    image_shape: tuple[int, int, int]
    latent_size: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ModelFacts:
        """From the response to GET /models/{name}, or one element of GET /models."""
        try:
            channels, height, width = (int(size) for size in document["image_shape"])
            return cls(str(document["model"]), (channels, height, width), int(document["latent_size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WrongRequest(
                f"the server's description of its model is incomplete ({error!r}): is this a vae-serve?"
            ) from None


def render_request(
    target: Target,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """One whole HTTP/1.1 request."""
    lines = [f"{method} {target.prefix}{path} HTTP/1.1", f"Host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def authorization(api_key: str | None) -> dict[str, str]:
    """The header with an API key, if there is one.

    Raises:
        WrongRequest: No header can contain it.
    """
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise WrongRequest(
            "the API key contains a character that is invalid in a header; is it whole and alone?"
        )
    return {"Authorization": f"Bearer {api_key}"}


def facts_path(model: str) -> str:
    """The path of a model's facts."""
    return f"/models/{quote(model, safe='@')}"


def default_model_from(answer: bytes) -> str:
    """The reference of the default model, from GET /models.

    Raises:
        WrongRequest: The response contains none.
    """
    name = _object(answer).get("default")
    if not isinstance(name, str) or not name:
        raise WrongRequest("the server's answer to GET /models names no default: is this a vae-serve?")
    return name


def facts_from(answer: bytes) -> ModelFacts:
    """The facts from the response to `facts_path(model)`.

    Raises:
        WrongRequest: The response does not contain them.
    """
    return ModelFacts.of(_object(answer))


def _object(answer: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise WrongRequest("the server's answer about its models is no JSON object: is this a vae-serve?")
    return document


def build_requests(
    target: Target,
    facts: ModelFacts,
    *,
    operation: str,
    form: str,
    images: int,
    model: str | None = None,
    seed: int = 0,
    headers: Mapping[str, str] | None = None,
) -> list[bytes]:
    """Whole requests, to be sent in turn.

    Args:
        target: The server.
        facts: Shapes of the model.
        operation: Name of the endpoint, such as `encode`.
        form: Format of the body, or of the response if there is no body.
        images: Images, or rows of z, in each request.
        model: Sent as `?model=`; None leaves it out, for the server's default model.
        seed: Seed of the random bodies, and of `/sample`, whose n-th request uses seed + n.
        headers: Sent with each request.

    Raises:
        WrongRequest: The operation has no such format, or does not accept so many images in it.
    """
    sent, asked = _forms_of(operation, form)
    if images < 1:
        raise WrongRequest(f"images: expected at least 1, got {images}")
    if sent == "png" and images != 1:
        raise WrongRequest(f"a PNG body is one image, got images={images}; use --form npy or json")
    rng = np.random.default_rng(seed)
    size = facts.latent_size if operation == "decode" else int(np.prod(facts.image_shape))
    different = max(1, min(_DIFFERENT_BODIES, _BYTES_OF_ALL_BODIES // (images * size * 8)))
    built = []
    for number in range(different):
        query: dict[str, Any] = {} if model is None else {"model": model}
        body = None
        if operation == "sample":
            query |= {"n": images, "seed": seed + number}
        elif operation == "decode":
            body = _body("z", rng.standard_normal((images, facts.latent_size), dtype=np.float32), sent)
        else:
            # Of 8 bits, as in image files, because this determines their digits in JSON.
            pixels = rng.integers(0, 256, (images, *facts.image_shape), dtype=np.uint8)
            body = _body("images", pixels.astype(np.float32) / np.float32(255), sent)
        text = f"?{urlencode(query, safe='@')}" if query else ""
        built.append(
            render_request(
                target,
                f"/{operation}.{asked}{text}",
                method="GET" if body is None else "POST",
                body=body,
                content_type=None if sent is None else _CONTENT_TYPES[sent],
                headers=headers,
            )
        )
    return built


def _forms_of(operation: str, form: str) -> tuple[str | None, str]:
    try:
        return _SENT_AND_ASKED[operation, form]
    except KeyError:
        forms = [answered for name, answered in _SENT_AND_ASKED if name == operation]
        if not forms:
            raise WrongRequest(
                f"operation: expected one of {', '.join(OPERATIONS)}, got {operation!r}"
            ) from None
        raise WrongRequest(f"form of {operation}: expected one of {', '.join(forms)}, got {form!r}") from None


def _body(name: str, array: np.ndarray[Any, np.dtype[np.float32]], form: str | None) -> bytes:
    if form == "png":
        return encode_png(array)
    if form == "npy":
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()
    return orjson.dumps({name: array}, option=orjson.OPT_SERIALIZE_NUMPY)
