"""The repository of the protocol: the list of models, and loading and unloading by name.

Knows the registry and the store's names. Knows nothing of requests. The transport checks the right to
administrate.
"""

from __future__ import annotations

import asyncio
import logging

from service.api.open_inference.metadata import IndexEntry, ready_entry, unavailable_entry
from service.api.open_inference.names import ModelNames
from service.app_state import AppState
from service.engine import UnknownModel
from service.log_fields import fields

_log = logging.getLogger(__name__)


class Repository:
    """The models of one application, for programs that administrate it."""

    def __init__(self, app_state: AppState, names: ModelNames) -> None:
        self._app_state = app_state
        self._names = names
        self._one_at_a_time = asyncio.Lock()

    def index(self, *, ready: bool = False) -> list[IndexEntry]:
        """Every model in memory, and every one that cannot be served.

        Args:
            ready: Only those that can answer.
        """
        entries = [ready_entry(model) for model in self._names.loaded()]
        if not ready:
            for failure in self._app_state.failures():
                name, _, version = failure.model.partition("@")
                entries.append(unavailable_entry(name, version, failure.reason))
            entries += [
                unavailable_entry(name, "", "unloaded") for name in self._app_state.registry.unloaded()
            ]
        return entries

    async def load(self, name: str) -> None:
        """Read the store again, and load the model of this name, also if it was unloaded.

        The four models of a name are one: to load `digits-encoder` is to load `digits`.

        Raises:
            UnknownModel: The store has no such model.
            ModelUnavailable: It has, and the model cannot be served.
        """
        app_state = self._app_state
        base, _ = self._names.split(name)
        async with self._one_at_a_time:
            app_state.registry.allow(base)
            # Not in the pool that requests share: loading takes seconds.
            await asyncio.to_thread(app_state.load_all)
        await self._names.find(name)
        self._after("model loaded over the protocol", base)

    async def unload(self, name: str) -> None:
        """Remove the model of this name from service until it is loaded again. The store does not change.

        Raises:
            UnknownModel: The store has no such model.
        """
        app_state = self._app_state
        base, _ = self._names.split(name)
        if not app_state.registry.has_name(base):
            raise UnknownModel(base, self._names.known())
        async with self._one_at_a_time:
            await asyncio.to_thread(app_state.registry.unload, base)
        self._after("model unloaded over the protocol", base)

    def _after(self, event: str, name: str) -> None:
        if self._app_state.reload_siblings is not None:
            self._app_state.reload_siblings()
        _log.info(event, extra=fields(name=name))
