"""The requests, topic by topic, and the table of topics.

Each topic is a function that fills a notebook; its name is the name of its file.
"""

from __future__ import annotations

from collections.abc import Callable

from recorded.notebook import Notebook
from recorded.topics import (
    access,
    arrays,
    bounds,
    command_lines,
    drawing,
    forms,
    imported,
    inference,
    pages,
    refusals,
    walks,
    wire,
)

Topic = Callable[[Notebook], None]

TOPICS: dict[str, Topic] = {
    "encode": arrays.encode,
    "decode": arrays.decode,
    "reconstruct": arrays.reconstruct,
    "score": arrays.score,
    "nearest": arrays.nearest,
    "sample": drawing.sample,
    "interpolate": walks.interpolate,
    "traverse": walks.traverse,
    "negotiation": forms.negotiation,
    "media-types": forms.media_types,
    "pictures": forms.pictures,
    "json-refused": refusals.json_bodies,
    "files-refused": refusals.files,
    "parameters-refused": refusals.parameters,
    "models": pages.models,
    "pages": pages.people,
    "openapi": pages.openapi,
    "operation": pages.operation,
    "methods": pages.methods,
    "reload": pages.reload,
    "keys": access.keys,
    "hosts": access.hosts,
    "origins": access.origins,
    "public-address": access.public_address,
    "open-inference": inference.protocol,
    "remote-vae": imported.remote,
    "imported": imported.imported,
    "bounds": bounds.bounds,
    "wire": wire.wire,
    "wire-bounds": wire.bounds,
    "command-lines": command_lines.helps,
    "limits-and-document": command_lines.printed,
}
