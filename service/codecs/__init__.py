"""Bytes to arrays and back: PNG, JPEG, WebP, JSON, npy, text art. Knows no model and no HTTP."""

from service.codecs.errors import CodecError, Defect, InvalidValue, MalformedBody, PictureTooLarge
from service.codecs.images import encode_png
from service.codecs.tensors import (
    decode_npy,
    encode_npy,
    encode_npz,
    images_from_json,
    latents_from_json,
    parse_json_object,
)
from service.codecs.text_art import braille

__all__ = [
    "CodecError",
    "Defect",
    "InvalidValue",
    "MalformedBody",
    "PictureTooLarge",
    "braille",
    "decode_npy",
    "encode_npy",
    "encode_npz",
    "encode_png",
    "images_from_json",
    "latents_from_json",
    "parse_json_object",
]
