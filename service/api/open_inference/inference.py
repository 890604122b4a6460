"""One request for inference: its tensors, checked, through one operation of the engine.

Knows tensors, parameters and the engine's operations. Knows nothing of JSON, of gRPC's messages or of HTTP.

    read the one input ─▶ encode | reconstruct | decode | latents of seeds ─▶ the requested outputs

An output that no one requests is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.echo import did_you_mean, echo
from service import engine
from service.api.open_inference.messages import SHARED_MEMORY, InferenceRequest, InputTensor, OutputTensor
from service.api.open_inference.names import Part, ServedModel
from service.api.open_inference.parameters import (
    InferenceParameters,
    PictureParameters,
    SamplerParameters,
    read_parameters,
)
from service.api.open_inference.tensors import TensorSpec, array_from_raw, array_from_values, check_spec
from service.api.request_images import read_pictures
from service.codecs.errors import InvalidValue
from service.codecs.picture_reader import stated_pixels
from service.codecs.ranges import finite_float32, unit_interval
from service.codecs.shapes import Axes
from service.engine import Call
from service.http.parameters import Limits

#: Maximum sizes of tensors that are read on the event loop: about half a millisecond of work each.
_QUICK_BYTES: Final = 1_048_576
_QUICK_VALUES: Final = 20_000
_QUICK_SEEDS: Final = 8
#: Parameters of tensors that have an effect elsewhere, or none.
_OF_TENSORS: Final = frozenset({"binary_data", "binary_data_size", "content_type"})


class Work(NamedTuple):
    """The checked contents of a request."""

    array: NDArray[Any]
    """Images or latents, float32, or seeds, int64."""
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the names, shapes and parameters of a request mean for a model: everything but the data."""

    spec: TensorSpec
    """The input."""
    shape: tuple[int, ...]
    outputs: tuple[tuple[str, str, Mapping[str, object]], ...]
    """Name, data type and parameters of each output, in the requested order."""
    wanted: frozenset[str]
    """Names of the outputs."""
    parameters: InferenceParameters
    limits: Limits
    is_bounded: bool = True
    """Whether images are pixels in [0, 1]."""
    latent_shape: tuple[int, ...] = ()
    """Shape of one latent in the response, if it is not flat."""


def plan(model: ServedModel, request: InferenceRequest, limits: Limits) -> Plan:
    """Check everything but the data of a request.

    Raises:
        InvalidValue: A name, a data type, a shape or a number of rows that the model does not accept.
        ProblemError: `invalid-value`, about a parameter.
    """
    chosen = choose_outputs(model, request)
    parameters = read_parameters(model.part, request.parameters, limits)
    spec, tensor = choose_input(model, request)
    shape = check_spec(spec, datatype=tensor.datatype, shape=tensor.shape)
    axes = Axes(spec.name, spec.row, is_image=spec.name == "x")
    axes.check_count(shape[0], max_rows=min(limits.max_images, model.max_batch))
    datatypes = {each.name: each.datatype for each in model.outputs}
    outputs = tuple((name, datatypes[name], own) for name, own in chosen.items())
    queued = model.loaded.queued
    return Plan(
        spec,
        shape,
        outputs,
        frozenset(chosen),
        parameters,
        limits,
        is_bounded=queued.is_bounded,
        latent_shape=queued.latent_shape,
    )


def choose_input(model: ServedModel, request: InferenceRequest) -> tuple[TensorSpec, InputTensor]:
    """The input of a request and its specification.

    Raises:
        InvalidValue: No input, an unknown one, one twice, or several of which there may be one.
    """
    specs = {spec.name: spec for spec in model.accepted_inputs}
    names = " or ".join(specs)
    for at, tensor in enumerate(request.inputs):
        if tensor.name not in specs:
            hint = did_you_mean(tensor.name, specs)
            raise InvalidValue(
                f"inputs[{at}]: name", names, echo(tensor.name), f"{hint} Correct or leave it out.".strip()
            )
        _check_parameters(f"inputs[{at}]", tensor.parameters)
    if len(request.inputs) != 1:
        got = ", ".join(echo(tensor.name) for tensor in request.inputs[:4]) or "none"
        raise InvalidValue("inputs", f"exactly one tensor, {names}", got, f"Send {names}, once.")
    tensor = request.inputs[0]
    return specs[tensor.name], tensor


def choose_outputs(model: ServedModel, request: InferenceRequest) -> dict[str, Mapping[str, object]]:
    """The requested outputs in their order, each with its parameters; all of them if none is named.

    Raises:
        InvalidValue: An unknown output, or one twice.
    """
    names = [spec.name for spec in model.outputs]
    if not request.outputs:
        return {name: {} for name in names}
    chosen: dict[str, Mapping[str, object]] = {}
    for at, output in enumerate(request.outputs):
        if output.name not in names:
            hint = did_you_mean(output.name, names)
            expected = f"one of {', '.join(names)}"
            remedy = f"{hint} Correct or leave it out.".strip()
            raise InvalidValue(f"outputs[{at}]: name", expected, echo(output.name), remedy)
        if output.name in chosen:
            raise InvalidValue(f"outputs[{at}]: name", "each output once", echo(output.name), "Name it once.")
        _check_parameters(f"outputs[{at}]", output.parameters)
        chosen[output.name] = output.parameters
    return chosen


def _check_parameters(where: str, parameters: Mapping[str, object]) -> None:
    """Reject parameters of a tensor that this server does not have; a known one is read elsewhere."""
    for name in parameters:
        if name.startswith(SHARED_MEMORY):
            raise InvalidValue(
                f"{where}: parameters",
                "a tensor in the request itself",
                "one in shared memory",
                "Send and receive tensors in the body: this server has no shared memory with its clients.",
            )
        if name == "classification" and parameters[name] != 0:
            raise InvalidValue(
                f"{where}: parameters",
                "an output with all its values",
                "`classification`",
                "Leave it out: the outputs of this server are no classes.",
            )
        if name not in _OF_TENSORS and name != "classification" and not name.startswith("triton_"):
            known = ", ".join(sorted(_OF_TENSORS))
            raise InvalidValue(f"{where}: parameters", f"one of {known}", echo(name), "Leave it out.")


def is_quick_to_read(tensor: InputTensor) -> bool:
    """Whether `read_input` may run on the event loop."""
    if tensor.raw is not None:
        return len(tensor.raw) <= _QUICK_BYTES
    return len(tensor.values if tensor.values is not None else ()) <= _QUICK_VALUES


def read_files(plan: Plan, tensor: InputTensor) -> list[bytes]:
    """The pictures of an input of BYTES, as they came.

    Raises:
        InvalidValue: Another number of elements, or one of another type.
        MalformedBody: Bytes that are not the tensor.
    """
    files: list[bytes] = _array(plan, tensor).tolist()
    return files


def pixels_of(files: Sequence[bytes]) -> list[int]:
    """Pixels of each picture, as its header states them."""
    return [stated_pixels(file) for file in files]


def decode_files(
    files: Sequence[bytes],
    pixels: Sequence[int],
    model: ServedModel,
    plan: Plan,
    check: Callable[[], None],
) -> Work:
    """The images of pictures.

    Args:
        files: The pictures.
        pixels: The result of `pixels_of`.
        model: The model.
        plan: The meaning of the request.
        check: Raises if the result is no longer wanted; called before each picture.

    Raises:
        CodecError: As `service.api.request_images.read_pictures`.
    """
    assert isinstance(plan.parameters, PictureParameters), "models that take images have them"
    images, _ = read_pictures(
        files,
        pixels,
        shape=model.loaded.image_shape,
        limits=plan.limits,
        preprocessing=model.loaded.manifest.image.preprocessing,
        reading=plan.parameters.reading,
        is_one=False,
        name="image",
        check=check,
    )
    return Work(images, len(images))


def read_input(plan: Plan, tensor: InputTensor) -> Work:
    """The numbers of the input as the engine takes them.

    Raises:
        InvalidValue: A value of another type or out of range, or another number of values.
        MalformedBody: Bytes that are not the tensor.
    """
    array, name = _array(plan, tensor), plan.spec.name
    if name == "x":
        within = unit_interval if plan.is_bounded else finite_float32
        array = within(_native(array), where=name)
    elif name == "z":
        array = finite_float32(_native(array), where=name)
        array = array.reshape(len(array), -1)  # the engine's latents are flat
    else:
        array = _seeds(array)
    return Work(array, plan.shape[0])


def _array(plan: Plan, tensor: InputTensor) -> NDArray[Any]:
    spec, shape = plan.spec, plan.shape
    if tensor.raw is not None:
        return array_from_raw(spec.name, tensor.datatype, shape, tensor.raw)
    values = tensor.values if tensor.values is not None else ()
    return array_from_values(spec.name, tensor.datatype, shape, values)


def _native(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _seeds(seeds: NDArray[Any]) -> NDArray[np.int64]:
    for at in np.flatnonzero((seeds < 0) | (seeds > engine.LARGEST_SEED))[:1]:
        expected = f"an integer from 0 to {engine.LARGEST_SEED}"
        raise InvalidValue(f"seed[{at}]", expected, str(int(seeds[at])), "Choose another seed.")
    return seeds.astype(np.int64, copy=False)


#: Runs a function in a thread.
InThread = Callable[..., Any]


async def run(
    model: ServedModel,
    work: Work,
    plan: Plan,
    *,
    call: Call,
    in_thread: InThread,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, object]]:
    """The requested outputs, and the facts of the draw, if there was one.

    Args:
        model: The model.
        work: Its checked input.
        plan: The meaning of the request.
        call: Deadline and connection of the request.
        in_thread: Runs a long computation without a model outside the event loop.

    Raises:
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    subject, array = model.loaded.queued, work.array
    if model.part is Part.SAMPLER:
        assert isinstance(plan.parameters, SamplerParameters), "models that draw have them"
        return await _sample(model, array, plan.wanted, plan.parameters, call=call, in_thread=in_thread)
    if model.part is Part.DECODER:
        return {"x_hat": await engine.decode(subject, array, call=call)}, {}
    if "x_hat" in plan.wanted:
        back = await engine.reconstruct(subject, array, call=call)
        return {"mu": back.mu, "logvar": back.logvar, "x_hat": back.x_hat}, {}
    posterior = await engine.encode(subject, array, call=call)
    return {"mu": posterior.mu, "logvar": posterior.logvar}, {}


async def _sample(
    model: ServedModel,
    seeds: NDArray[np.int64],
    wanted: frozenset[str],
    parameters: SamplerParameters,
    *,
    call: Call,
    in_thread: InThread,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, object]]:
    """z of each seed, and its image if that is requested."""
    subject = model.loaded.queued
    plan = engine.plan_sample(
        subject,
        n=1,
        max_images=1,
        seed=0,
        temperature=1.0 if parameters.temperature is None else parameters.temperature,
        prior=parameters.prior,
        label=parameters.label,
    )

    def latents() -> NDArray[np.float32]:
        return engine.latents_of_seeds(plan, seeds.tolist())

    drawn = latents() if len(seeds) <= _QUICK_SEEDS else await in_thread(latents)
    found = {"z": drawn}
    if plan.density.is_of_u:
        z, x_hat = await engine.decode_draw(subject, plan.density, drawn, call)
        found = {"z": z, "x_hat": x_hat} if "x_hat" in wanted else {"z": z}
    elif "x_hat" in wanted:
        found["x_hat"] = await engine.decode(subject, drawn, call=call)
    facts: dict[str, object] = {"temperature": plan.temperature, "prior": plan.density.prior}
    if plan.density.label is not None:
        facts["label"] = plan.density.label
    return found, facts


def output_tensors(plan: Plan, arrays: Mapping[str, NDArray[np.float32]]) -> list[OutputTensor]:
    """The tensors of a response, in the requested order."""
    if plan.latent_shape:
        shape = plan.latent_shape
        arrays = {
            name: array if name == "x_hat" else array.reshape(len(array), *shape)
            for name, array in arrays.items()
        }
    return [
        OutputTensor(name, datatype, np.ascontiguousarray(arrays[name]), parameters)
        for name, datatype, parameters in plan.outputs
    ]


def values_of(outputs: Sequence[OutputTensor]) -> int:
    """Total number of values."""
    size = 0
    for output in outputs:
        size += output.array.size
    return size
