"""JSON schemas of the bodies, and examples of them that work.

Knows shapes as numbers and JSON schema (2020-12, as OpenAPI 3.1 has it). Knows nothing of requests or models.
Arrays are described here and nowhere parsed: their numbers go through orjson and NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic.fields import FieldInfo

from service.engine import LATENT_BOUND
from service.http.parameters import (
    Limits,
    Parameters,
    bounds,
    element_of,
    list_lengths,
    longest_text,
    scalar_type,
    words_of,
)
from service.http.problems import PROBLEMS

Schema = dict[str, Any]

#: One number for each image, by name.
FIGURES: Mapping[str, Schema] = MappingProxyType(
    {
        "reconstruction_nll": {
            "type": "number",
            "description": "-log p(x|z) in nats, at one z drawn from q(z|x).",
        },
        "kl": {"type": "number", "description": "KL(q(z|x) ‖ N(0, I)) in nats, in closed form."},
        "elbo": {
            "type": "number",
            "description": "-(reconstruction_nll + kl) in nats: an estimate of a lower bound on log p(x).",
        },
        "bits_per_dim": {
            "type": "number",
            "description": "-elbo ÷ (pixel values · ln 2): falls as images fit better.",
        },
        "log_px": {
            "type": "number",
            "description": "log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x) in nats: an estimate of a bound that "
            "rises with K towards log p(x). Only with importance_samples.",
        },
        "bits_per_dim_iw": {
            "type": "number",
            "description": "-log_px ÷ (pixel values · ln 2). Only with importance_samples.",
        },
    }
)

#: Strokes of a figure seven on a 7 × 7 grid, scaled to whatever size the model takes.
_SEVEN = ("0000000", "0111110", "0000010", "0000100", "0001000", "0010000", "0010000")


@dataclass(frozen=True)
class ExampleModel:
    """What the default model is called and takes, so that the examples can be sent as they stand."""

    name: str = "mnist"

    image_shape: tuple[int, int, int] = (1, 28, 28)
    latent_size: int = 32


def example_image(model: ExampleModel) -> list[list[list[int]]]:
    """One image (C, H, W) of zeros and ones: a seven."""
    channels, height, width = model.image_shape
    plane = [[int(_SEVEN[7 * y // height][7 * x // width]) for x in range(width)] for y in range(height)]
    return [plane] * channels


def example_latent(model: ExampleModel) -> list[float]:
    """One z, well within the prior."""
    return [round(0.5 - (i % 5) * 0.25, 2) for i in range(model.latent_size)]


def parameter_schemas(model: type[Parameters], limits: Limits) -> dict[str, Schema]:
    """One schema per field, in the order of the class."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    schemas: dict[str, Schema] = {}
    for name, field in model.model_fields.items():
        schema: Schema = {
            "type": names[scalar_type(field)],
            "description": " ".join((field.description or "").split()),
        }
        if schema["type"] == "array":
            low, high = bounds(element_of(field), limits)
            fewest, most = list_lengths(field)
            schema["items"] = {"type": "integer", "minimum": low, "maximum": high}
            schema |= {"minItems": fewest, "maxItems": most, "uniqueItems": True}
        else:
            schema |= _bounds(field, limits)
        if isinstance(field.json_schema_extra, dict):
            schema |= field.json_schema_extra
        if field.default is not None:
            schema["default"] = field.default
        if field.examples:
            schema["examples"] = list(field.examples)
        schemas[name] = schema
    return schemas


def _bounds(field: FieldInfo, limits: Limits) -> Schema:
    low, high = bounds(field, limits)
    stated = {
        "minimum": low,
        "maximum": high,
        "maxLength": longest_text(field),
        "enum": list(words_of(field)) or None,
    }
    return {name: value for name, value in stated.items() if value is not None}


def component_schemas(limits: Limits, model: ExampleModel) -> dict[str, Schema]:
    """Everything under `components.schemas` that does not depend on a path.

    Lengths that another model may have are told in words, for the default one, and not as bounds.
    """
    return {
        "Images": _array(
            ("image", limits.max_images),
            ("channel", None),
            ("row", None),
            ("pixel", None),
            leaf={"type": "number", "minimum": 0, "maximum": 1},
            description="(N, C, H, W), each pixel in [0, 1].",
        ),
        "ImagesIn": {
            "description": "(N, C, H, W), or (N, H, W) for one channel; each pixel a number in [0, 1]. "
            f"(C, H, W) of {model.name} is {model.image_shape}.",
            "anyOf": [
                {"$ref": "#/components/schemas/Images"},
                _array(
                    ("image", limits.max_images),
                    ("row", None),
                    ("pixel", None),
                    leaf={"type": "number", "minimum": 0, "maximum": 1},
                    description="(N, H, W) for a model of one channel.",
                ),
            ],
        },
        "Latents": _array(
            ("latent", limits.max_images),
            ("dimension", None),
            leaf={"type": "number"},
            description="(N, latent), one row per image.",
        ),
        "LatentsIn": _array(
            ("latent", limits.max_images),
            ("dimension", None),
            leaf={"type": "number", "minimum": -LATENT_BOUND, "maximum": LATENT_BOUND},
            description="(N, latent), one row per image. A row of "
            f"{model.name} holds {model.latent_size} numbers.",
        ),
        "Problem": _problem_schema(),
        "ModelSummary": _object(
            {
                "model": _text("Label of the version, `name@version`."),
                "name": _text("Name of the model."),
                "version": {"type": "integer", "minimum": 1, "description": "Number of the version."},
                "aliases": _list(_text("Names that point to this version, such as `stable`.")),
                "kind": {
                    "type": "string",
                    "enum": ["vae", "ae"],
                    "description": "An `ae` can be sampled only where a prior was fitted.",
                },
                "image_shape": _list({"type": "integer", "minimum": 1}, "(channels, height, width)."),
                "latent_size": {"type": "integer", "minimum": 1, "description": "Length of one z."},
                "priors": _list(_text("Densities over z to sample from, the best one last.")),
                "labels": _list(_text("Labels whose images /sample can be asked for.")),
                "description": _text("What the publisher says about it."),
            }
        ),
        "Metric": _object(
            {
                "name": _text("Such as `negative_elbo`."),
                "value": {"type": "number"},
                "unit": _text("Such as `nats per image`."),
                "protocol": _text("Data, number of images, binarisation, samples, seed."),
            }
        ),
        "LoadFailure": _object(
            {"model": _text("Name or label."), "reason": _text("What was wrong, with the file named.")}
        ),
    }


def answer_schema(
    gives: tuple[str, ...], facts: dict[str, Schema], *, sometimes: tuple[str, ...] = ()
) -> Schema:
    """The JSON answer of an operation: its facts, then its arrays, those in `sometimes` not always."""
    kinds = {"images": "Images", "z": "Latents", "mu": "Latents", "logvar": "Latents"}
    arrays = {
        name: {"$ref": f"#/components/schemas/{kinds[name]}"} if name in kinds else _list(FIGURES[name])
        for name in (*gives, *sometimes)
    }
    schema = _object({"model": _text("Label of the version that answered."), **facts, **arrays})
    schema["required"] = [name for name in schema["required"] if name not in sometimes]
    return schema


def seed_fact(*, nullable: bool) -> Schema:
    """The schema of `seed` in an answer; `nullable` where nothing may have been drawn."""
    return {
        "type": ["integer", "null"] if nullable else "integer",
        "minimum": 0,
        "maximum": 2**53 - 1,
        "description": "Send it again to get the same bytes."
        + (" Null when nothing was drawn." if nullable else ""),
    }


def model_facts_schema() -> Schema:
    """`GET /models/{name}`: the summary and more."""
    provenance = _object(
        {
            "data": _text("Name and size of the training data."),
            "data_fingerprint": _text("SHA-256 over the training images."),
            "epochs": {"type": "integer", "minimum": 0},
            "seed": {"type": "integer", "minimum": 0},
            "git_revision": _text("Revision of the training code."),
            "created_at": {"type": "string", "format": "date-time"},
            "libraries": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    )
    more = _object(
        {
            "image_range": _list({"type": "number"}, "Smallest and largest pixel value."),
            "preprocessing": _preprocessing_schema(),
            "likelihood": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}},
            },
            "metrics": _list({"$ref": "#/components/schemas/Metric"}),
            "fitted_prior": _fitted_prior_schema(),
            "licence": _text("SPDX expression for the weights."),
            "provenance": provenance,
        }
    )
    limits = Limits(max_images=1, max_stream_images=1, max_score_draws=1)
    summary = component_schemas(limits, ExampleModel())["ModelSummary"]
    return _object({**summary["properties"], **more["properties"]})


def _preprocessing_schema() -> Schema:
    """What a PNG goes through, and what picture files went through in training."""
    levels = {
        "type": ["integer", "null"],
        "description": "Pixels are rounded to so many; null: they are not.",
    }
    schema = _object(
        {
            "fit": _text("With `resize=true`: `crop` scales the middle part, `stretch` each axis by itself."),
            "ground": _text("What transparent pixels become: `black` or `white`."),
            "levels": levels,
        }
    )
    return {**schema, "description": "How a picture file becomes an image of this model."}


def _fitted_prior_schema() -> Schema:
    count: Schema = {"type": "integer", "minimum": 1, "description": "Gaussians of the mixture."}
    share: Schema = {"type": "number", "description": "Share of the images that it was fitted to."}
    label = _object({"label": _text("What to send as `label`."), "components": count, "share": share})
    described = _object(
        {
            "components": count,
            "labels": _list(label, "One mixture for the images of each."),
            "protocol": _text("What it was fitted to, and how."),
            "metrics": _list({"$ref": "#/components/schemas/Metric"}, "On images that it was not fitted to."),
        }
    )
    return {
        "anyOf": [described, {"type": "null"}],
        "description": "Mixtures of Gaussians, fitted after training.",
    }


def models_schema() -> Schema:
    """`GET /models`."""
    return _object(
        {
            "default": _text("Reference that answers when none is named."),
            "models": _list({"$ref": "#/components/schemas/ModelSummary"}),
            "failures": _list({"$ref": "#/components/schemas/LoadFailure"}, "Versions that were refused."),
        }
    )


def status_schema(*values: str, reason: bool = False) -> Schema:
    """`/livez` and `/readyz`."""
    properties: dict[str, Schema] = {"status": {"type": "string", "enum": list(values)}}
    if reason:
        properties["reason"] = _text("The evidence.")
    return _object(properties)


def problem_row_schema() -> Schema:
    """One row of `/problems`."""
    return _object(
        {
            "code": {"type": "string", "enum": list(PROBLEMS)},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "title": _text("What it means."),
            "remedy": _text("What to do about it."),
        }
    )


def limits_schema() -> Schema:
    """`GET /limits`."""
    row = _object(
        {
            "name": _text("The setting's own name, where one changes it."),
            "value": {"type": "number", "description": "The limit."},
            "unit": _text("What the value counts; empty where it is a plain number."),
            "of": _text("What it bounds."),
            "beyond": _text("What happens beyond it."),
            "status": {
                "type": ["integer", "null"],
                "description": "Status that is answered then, if any is.",
            },
            "codes": _list({"type": "string", "enum": list(PROBLEMS)}, "Problems that are answered then."),
            "setting": {
                "anyOf": [
                    _object({"flag": _text("Of `vae-serve run`."), "variable": _text("In the environment.")}),
                    {"type": "null"},
                ],
                "description": "What changes it; null: nothing does.",
            },
        }
    )
    return list_of("limits", row)


def reload_schema() -> Schema:
    """`POST /models/{name}/reload`."""
    return _object(
        {
            "name": _text("The name that was asked for."),
            "loaded": _list(_text("Label of a version, `name@version`."), "What was loaded now."),
            "kept": _list(_text("Label of a version, `name@version`."), "What was loaded before and stays."),
            "failures": _list({"$ref": "#/components/schemas/LoadFailure"}, "What could not be loaded."),
            "others_told": {
                "type": "boolean",
                "description": "Whether there are other workers, which were told to do the same.",
            },
        }
    )


def list_of(name: str, item: Schema) -> Schema:
    """`{name: [item, …]}`."""
    return _object({name: _list(item)})


def _problem_schema() -> Schema:
    item = _object(
        {
            "where": _text("Such as `images[2]` or `query: n`."),
            "expected": _text("What fits."),
            "got": _text("What came; never the text itself."),
            "remedy": _text("What to send instead."),
        }
    )
    schema = _object(
        {
            "type": _text("Address, on this server, of what the code means."),
            "title": _text("What the code means, in words."),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "enum": list(PROBLEMS), "description": "Stable; made for programs."},
            "detail": _text("What was wrong with this request."),
            "remedy": _text("What to do about problems of this code."),
            "request_id": _text("The same as X-Request-Id."),
            "errors": {**_list(item), "maxItems": 10},
        }
    )
    schema["description"] = "RFC 9457. At most 8,000 bytes; never repeats what was sent."
    return schema


def _array(*axes: tuple[str, int | None], leaf: Schema, description: str) -> Schema:
    """Nested arrays, outermost axis first; None is a length that the model fixes."""
    schema = leaf
    for name, most in reversed(axes):
        schema = {"type": "array", "items": schema, "minItems": 1, "title": f"{name}s"}
        if most is not None:
            schema["maxItems"] = most
    return {**schema, "description": description}


def _object(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema, description: str = "") -> Schema:
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}
