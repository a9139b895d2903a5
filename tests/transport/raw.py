"""HTTP by hand over a TLS connection: requests that no courier would make."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.transport.tls import client_context
from tests.transport.ground import NORTH, Place


class Raw:
    """A connection of `party` to the server of a place."""

    def __init__(self, place: Place, party: Party = NORTH) -> None:
        self.place, self.party = place, party

    async def __aenter__(self) -> "Raw":
        town = self.place.town
        context = client_context(town.credentials(self.party), town.root, town.crl, lambda _: None)
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.place.port, ssl=context, server_hostname="127.0.0.1"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def send(self, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: hub", *(f"{name}: {text}" for name, text in headers.items())]
        with_body = {"Content-Length", "Transfer-Encoding"} & set(headers)
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + (body if with_body else b""))

    async def answer(self) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (None without a body), header fields with small letters."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        return int(head[0].split()[1]), json.loads(body) if body.startswith(b"{") else None, fields

    async def ask(self, method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> Any:
        self.send(method, path, headers, body)
        return await self.answer()

    async def ended(self, seconds: float) -> float:
        """Seconds until the server closes the connection, at most as many as are given."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            async with asyncio.timeout(seconds):
                while await self.reader.read(1 << 16):
                    pass
        except (ConnectionError, TimeoutError):
            pass
        return loop.time() - start
