"""The client of a VAE service for asyncio: the methods of `client.Client`, awaited.

Knows connections, time and the retry policy. Knows nothing of bodies or limits: `operations` has them.
`tests/clients_python` hold its signatures and docstrings equal to those of `Client`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import Literal, NoReturn, TypeVar

import httpx2

from vae_client import operations, searching, server_limits
from vae_client.answers import Limit, ModelSummary
from vae_client.client import RETRY, delay_of
from vae_client.context import Context
from vae_client.errors import InvalidInput, Refused, VaeError
from vae_client.images_in import ImagesLike
from vae_client.latents import Latents
from vae_client.operations import Fit, Invert, LatentsLike, Prior
from vae_client.results import (
    Images,
    LatentPath,
    Neighbours,
    Posterior,
    Reconstructions,
    Result,
    Samples,
    Scores,
)
from vae_client.retry import Retry, Tries
from vae_client.streaming import Block, Draw
from vae_client.transport import arguments, environment_proxies, failure, shown
from vae_client.wire import Answer, Call, Plan, problem

R = TypeVar("R")


class AsyncClient:
    """A client of one server. Its connections are kept open, for the tasks of one event loop.

    Every method raises `vae_client.Refused` if the server answers with a problem, and
    `vae_client.ConnectionFailed` if it does not answer.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout_s: float | None = 60.0,
        retry: Retry = RETRY,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """A client. No request is made yet.

        Args:
            url: Address of the server; a path in it is a prefix of every path.
            api_key: Key of the server, if it requires one.
            model: `name`, `name@version` or `name@alias`; None is the default model of the server.
            timeout_s: Seconds that a connection, and each wait for more of an answer, may take; None has no
                end.
            retry: When a request is repeated.
            transport: Another transport of httpx2, such as one with a certificate of its own.

        Raises:
            InvalidInput: The address, the key, the time limit or a proxy of the environment cannot be used.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._retry = retry
        self._context = Context(model)
        self._is_owner = True
        self._arguments = {"transport": transport, **arguments(url, api_key, timeout_s)}
        with environment_proxies():
            self._http = httpx2.AsyncClient(**self._arguments)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self._url)!r}, model={self._context.model!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__}: cannot be copied or sent to another process, because it holds "
            "connections and perhaps a key. Use threads, or make a client in each process."
        )

    @property
    def model(self) -> str | None:
        """The reference that requests send; None is the default model of the server."""
        return self._context.model

    async def close(self) -> None:
        """Close the connections; a client made by `pinned` leaves them open."""
        if self._is_owner:
            await self._http.aclose()

    async def sample(
        self,
        n: int = 1,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        prior: Prior | None = None,
        label: str | int | None = None,
    ) -> Samples:
        """New images, drawn from a prior.

        Args:
            n: Number of images, at most `max_stream_images` of the server.
            seed: The same seed of the same version gives the same images, and image i does not depend on `n`.
                None chooses one, which the result contains.
            temperature: Factor on the noise, 0 to 10; None is 1.
            prior: None is the best prior of the version.
            label: Images of this label only.

        Returns:
            The images and, up to `max_images` of the server, their `z`.
        """
        return await self._run(
            operations.sample(self._context, n, seed=seed, temperature=temperature, prior=prior, label=label)
        )

    def sample_many(
        self,
        n: int,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        prior: Prior | None = None,
        label: str | int | None = None,
        batch: int = 256,
    ) -> AsyncGenerator[Samples, None]:
        """Any number of new images, in parts, of which one is in memory at a time.

        The first 65,536 images are those of `seed`. One seed has no more, so every further block of 65,536
        has a seed derived from it: `seed` and `first_row` of each part name its place. A stream that breaks
        begins again after the last image that came.

        Args:
            n: Number of images.
            seed: As in `sample`.
            temperature: As in `sample`.
            prior: As in `sample`.
            label: As in `sample`.
            batch: Most images of a part.

        Returns:
            Parts without `z`.
        """
        draw = Draw(
            self._context, n, seed=seed, temperature=temperature, prior=prior, label=label, batch=batch
        )
        return self._parts(draw)

    async def encode(
        self,
        images: ImagesLike,
        *,
        fit: Fit | None = None,
        invert: Invert | None = None,
        resize: bool | None = None,
    ) -> Posterior:
        """The posterior of each image: `mu, logvar = client.encode(...)`.

        Args:
            images: A path, bytes of a file, a PIL image, an array, a result with images, or a list of any.
                An array is (H, W), (N, H, W) or (N, C, H, W), uint8 or float in [0, 1].
            fit: Picture files: how a picture of any size comes to the model's size.
            invert: Picture files: whether dark on light becomes light on dark; `auto` looks at the border.
            resize: Picture files: as `fit`, in the way of the training.

        Returns:
            `mu` and `logvar`, which know their version.
        """
        return await self._run(
            operations.encode(self._context, images, fit=fit, invert=invert, resize=resize)
        )

    async def decode(self, z: LatentsLike) -> Images:
        """The image of each latent.

        Args:
            z: Latents, a posterior (its `mu`), a result with `z`, or an array (N, latent).

        Raises:
            VersionMismatch: The latents are of another version.
        """
        return await self._run(operations.decode(self._context, z))

    async def reconstruct(
        self,
        images: ImagesLike,
        *,
        sample: bool = False,
        seed: int | None = None,
        fit: Fit | None = None,
        invert: Invert | None = None,
        resize: bool | None = None,
    ) -> Reconstructions:
        """Each image encoded and decoded.

        Args:
            images: As in `encode`.
            sample: False decodes mu. True draws z from the posterior; then one request must have room for
                all images, because the draw of image i depends on i.
            seed: Seed of that draw.
            fit: As in `encode`.
            invert: As in `encode`.
            resize: As in `encode`.

        Raises:
            NotSplittable: `sample`, and more images than one request may have.
        """
        return await self._run(
            operations.reconstruct(
                self._context, images, sample=sample, seed=seed, fit=fit, invert=invert, resize=resize
            )
        )

    async def interpolate(
        self,
        start: ImagesLike | LatentsLike,
        end: ImagesLike | LatentsLike,
        *,
        steps: int = 8,
        method: Literal["slerp", "lerp"] | None = None,
        fit: Fit | None = None,
        invert: Invert | None = None,
        resize: bool | None = None,
    ) -> LatentPath:
        """Images on the path between two images or latents.

        Args:
            start: One latent, one row of a result with `z`, or one image as in `encode`. An array of one or
                two axes is a latent.
            end: As `start`.
            steps: Number of images, both ends included.
            method: `slerp` goes along an arc, `lerp` straight; None lets the server choose.
            fit: As in `encode`.
            invert: As in `encode`.
            resize: As in `encode`.

        Raises:
            VersionMismatch: A latent is of another version.
        """
        return await self._run(
            operations.interpolate(
                self._context, start, end, steps=steps, method=method, fit=fit, invert=invert, resize=resize
            )
        )

    async def traverse(
        self,
        start: ImagesLike | LatentsLike | None = None,
        *,
        dims: int | Iterable[int] | None = None,
        steps: int | None = None,
        spacing: Literal["quantile", "linear"] | None = None,
        span: float | None = None,
        fit: Fit | None = None,
        invert: Invert | None = None,
        resize: bool | None = None,
    ) -> LatentPath:
        """Images along one or two latent dimensions.

        Args:
            start: One latent or image, as in `interpolate`; None is the origin.
            dims: One or two latent indices; None is the first two.
            steps: Points along each.
            spacing: `quantile` or `linear`.
            span: Extent to either side of 0, in standard deviations of the prior.
            fit: As in `encode`.
            invert: As in `encode`.
            resize: As in `encode`.

        Raises:
            VersionMismatch: The latent is of another version.
        """
        return await self._run(
            operations.traverse(
                self._context, start, dims=dims, steps=steps, spacing=spacing, span=span,
                fit=fit, invert=invert, resize=resize,
            )
        )  # fmt: skip

    async def score(
        self,
        images: ImagesLike,
        *,
        importance_samples: int | None = None,
        seed: int | None = None,
        binarise: Literal["dynamic", "none"] | None = None,
        flag: bool | None = None,
        fit: Fit | None = None,
        invert: Invert | None = None,
        resize: bool | None = None,
    ) -> Scores:
        """How likely the model finds each image, in nats.

        Args:
            images: As in `encode`; one request must have room for all, because the draws of image i depend
                on i.
            importance_samples: Posterior draws of each image for `log_px`; None leaves it out.
            seed: Seed of the draws.
            binarise: How grey pixels become binary ones; None lets the server choose.
            flag: True compares each image with the normal images of a version from `vae-store calibrate`:
                `flags`, and a quantile of each figure.
            fit: As in `encode`.
            invert: As in `encode`.
            resize: As in `encode`.

        Raises:
            NotSplittable: More images than one request may have.
        """
        return await self._run(
            operations.score(
                self._context, images, importance_samples=importance_samples, seed=seed, binarise=binarise,
                flag=flag, fit=fit, invert=invert, resize=resize,
            )
        )  # fmt: skip

    async def nearest(
        self,
        query: ImagesLike | LatentsLike,
        among: LatentsLike,
        *,
        k: int = 1,
        distance: Literal["euclidean", "mahalanobis"] | None = None,
        fit: Fit | None = None,
        invert: Invert | None = None,
        resize: bool | None = None,
    ) -> Neighbours:
        """The `k` nearest of stored latents, for each latent or image.

        Args:
            query: Latents, or images as in `encode`. An array of one or two axes is latents.
            among: The stored latents, (M, latent), of any number.
            k: Neighbours of each.
            distance: `mahalanobis` measures in standard deviations of the posterior, and only from images.
            fit: As in `encode`.
            invert: As in `encode`.
            resize: As in `encode`.

        Raises:
            VersionMismatch: The latents are of several versions, or of another one than the server has.
        """
        return await self._run(
            searching.nearest(
                self._context, query, among, k=k, distance=distance, fit=fit, invert=invert, resize=resize
            )
        )

    async def models(self) -> list[ModelSummary]:
        """The versions that the server has loaded."""
        return await self._run(operations.models())

    async def limits(self) -> dict[str, Limit]:
        """Every limit of the server, by name."""
        return await self._run(server_limits.limits(self._context))

    async def pinned(self, to: Result | Latents | str | None = None) -> AsyncClient:
        """A client bound to one version, with the connections of this one.

        Args:
            to: A result, latents or a label such as `mnist@4`. None is the version that answered last or, if
                none has, the one that the model of this client means now.
        """
        label = await self._run(operations.label_of(self._context, to))
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._context = Context(label, self._context.limits, summaries=self._context.summaries)
        bound._is_owner = False
        return bound

    async def _run(self, plan: Plan[R]) -> R:
        """Send every request of a plan, and return its result."""
        try:
            call = next(plan)
            while True:
                call = plan.send(await self._send(call))
        except StopIteration as done:
            result: R = done.value
            return result

    async def _send(self, call: Call) -> Answer:
        """The answer to a request, which is repeated as the policy allows."""
        tries = self._retry.begin()
        while True:
            request = self._request(call)
            try:
                response = await self._http.send(request)
            except httpx2.RequestError as error:
                await self._wait(tries, self._failure(error, tries), error)
                continue
            if response.status_code < 300:
                elapsed_s = tries.clock() - tries.begun
                return Answer(call, response.headers, response.content, elapsed_s, tries.count)
            refusal = problem(call, response.status_code, response.headers, response.content, tries.count)
            await self._wait(tries, refusal)

    async def _parts(self, draw: Draw) -> AsyncGenerator[Samples, None]:
        await self._run(draw.check())
        for block in draw.blocks():
            tries = self._retry.begin()
            while not block.is_complete:
                before = block.delivered
                try:
                    async with contextlib.aclosing(self._stream(block, tries)) as parts:
                        async for part in parts:
                            yield part
                except httpx2.RequestError as error:
                    problem_ = self._failure(error, tries)
                    if block.delivered > before:
                        tries = self._retry.begin()
                    await self._wait(tries, problem_, error)
                except Refused as refusal:
                    await self._wait(tries, refusal)

    async def _stream(self, block: Block, tries: Tries) -> AsyncGenerator[Samples, None]:
        """The parts of one answer."""
        request = self._request(block.call)
        response = await self._http.send(request, stream=True)
        try:
            if response.status_code >= 300:
                content = await response.aread()
                raise problem(block.call, response.status_code, response.headers, content, tries.count)
            block.begin(response.headers, tries.clock() - tries.begun, tries.count)
            async for piece in response.aiter_bytes():
                for part in block.feed(piece):
                    yield part
        finally:
            await response.aclose()
        block.end()

    def _failure(self, error: httpx2.RequestError, tries: Tries) -> VaeError:
        by_environment = self._arguments["transport"] is None
        return failure(error, self._url, self._timeout_s, tries.count, by_environment=by_environment)

    async def _wait(self, tries: Tries, failed: VaeError, cause: Exception | None = None) -> None:
        """Wait until the next try, or raise the failure if there is none."""
        delay_s = delay_of(tries, failed, cause)
        if delay_s is None:
            raise failed from cause
        await asyncio.sleep(delay_s)

    def _request(self, call: Call) -> httpx2.Request:
        self._stay()
        return self._http.build_request(url=call.path, **call.arguments())

    def _stay(self) -> None:
        """Connections belong to the event loop that opened them."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise InvalidInput(
                "AsyncClient: its connections belong to another event loop, such as that of an earlier "
                "asyncio.run. Make a client for each loop."
            )
