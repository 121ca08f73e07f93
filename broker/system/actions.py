"""What operators can have done: reload the configuration, close a client, ask one to leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.monitor.state import Server
from broker.system.answers import NOT_READY
from broker.system.gojson import Shape, decode, shape_of


class Failure(Exception):
    """It was not done, for this reason."""


@dataclass(slots=True, frozen=True)
class ClientRequest:
    """Which client."""

    cid: int = field(default=0, metadata={"kind": "uint64"})


RELOAD_PATIENCE: Final = 60.0  # seconds; the supervisor's own is shorter
KICK: Final = "KickClientReq"
LDM: Final = "LDMClientReq"
_SHAPES: Final[dict[str, dict[type, Shape]]] = {
    name: {ClientRequest: shape_of(name, ClientRequest)} for name in (KICK, LDM)
}


def client_number(body: bytes, go_name: str) -> int:
    """The client that a body names, which may be none of ours. Raises JsonError, also without a body."""
    wanted: ClientRequest = decode(body, f"server.{go_name}", _SHAPES[go_name])[ClientRequest]
    return wanted.cid


class Reloads:
    """The supervisor reloads the configuration; we ask it to, and wait for what comes of it."""

    __slots__ = ("_number", "_tell", "_waiting")

    def __init__(self, tell: Callable[[dict[str, object]], None]) -> None:
        """``tell`` speaks to the supervisor."""
        self._tell = tell
        self._number = 0
        self._waiting: dict[int, asyncio.Future[str]] = {}

    async def __call__(self) -> str:
        """Why it could not be done, or nothing."""
        self._number += 1
        number = self._number
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._tell({"op": "reload", "id": number})
        try:
            return await asyncio.wait_for(self._waiting[number], RELOAD_PATIENCE)
        except TimeoutError:
            return "no word from the supervisor"
        finally:
            del self._waiting[number]

    def heard(self, message: Mapping[str, Any]) -> None:
        """The supervisor has answered."""
        waiting = self._waiting.get(message["id"])
        if waiting is not None and not waiting.done():
            waiting.set_result(str(message["error"]))


class Actions:
    """Each raises Failure."""

    __slots__ = ("_reload", "_server")

    def __init__(self, server: Server, reload: Callable[[], Awaitable[str]]) -> None:
        """``reload`` reads the configuration again and tells why it could not, if so."""
        self._server = server
        self._reload = reload

    async def reload(self) -> None:
        """Read the configuration file again."""
        reason = await self._reload()
        if reason:
            raise Failure(reason)

    async def kick(self, cid: int) -> None:
        """Close a client."""
        if not await self._ask("kick", cid):
            raise Failure("no such client or leafnode id")

    async def lame_duck(self, cid: int) -> None:
        """Tell a client that it had better go elsewhere."""
        told = await self._ask("lame_duck", cid)
        if not told:
            raise Failure("no such client id")
        if NOT_READY in told:
            raise Failure(
                "client does not support Lame Duck Mode or is not ready to receive the notification"
            )

    async def _ask(self, what: str, cid: int) -> list[bytes]:
        answers = await self._server.questions.ask({"op": what, "cid": cid})
        return [part for parts in answers.values() for part in parts]
