"""Ways to a host's engine other than its unix socket: its API on TCP, and its BuildKit as a `remote` node.

For a bench, `python -m integration.testbed.relay --engine SOCKET` serves a node until it is interrupted or its
stdin ends. On 0.0.0.0 it is a thousand nodes, as all of 127.0.0.0/8 is local.
"""

import argparse
import asyncio
import contextlib
import resource
import ssl
import sys
from pathlib import Path
from typing import Final

from .listener import LOOPBACK, Address, Handler, Listener

# How the engine hands out the BuildKit that it embeds (moby/moby, client/hijack.go DialHijack).
_UPGRADE: Final = b"POST /grpc HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
_CHUNK: Final = 1 << 16


def remote_node(
    engine: Path, at: Address = LOOPBACK, tls: ssl.SSLContext | None = None, *, latency: float = 0.0
) -> Listener:
    """Serve the BuildKit that is in an engine as buildkitd would, for the `remote` driver.

    Args:
        engine: the engine's unix socket. While nothing answers there, connections are accepted and closed.
        at: where to listen.
        tls: for TLS; see `certs.server_context`.
        latency: seconds by which each piece of data is delayed, in both directions.
    """
    return Listener(_to(engine, _UPGRADE, latency), at, tls)


def engine_api(engine: Path, at: Address = LOOPBACK, tls: ssl.SSLContext | None = None) -> Listener:
    """Serve an engine's API, for DOCKER_HOST and Docker contexts with a `tcp://` address.

    TLS has no half-closed connections here: an `exec` whose stdin ends is over.
    """
    return Listener(_to(engine, b"", 0.0), at, tls)


def _to(engine: Path, greeting: bytes, latency: float) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_unix_connection(engine)
        try:
            if greeting:
                to_engine.write(greeting)
                if b" 101 " not in await from_engine.readuntil(b"\r\n\r\n"):
                    return
            upstream = asyncio.ensure_future(_pump(reader, to_engine, latency))
            try:
                await _pump(from_engine, writer, latency)
            finally:
                upstream.cancel()
        finally:
            to_engine.close()

    return handle


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, latency: float) -> None:
    """Move bytes until the source ends, and then end the sink, so that the other direction ends too."""
    try:
        while data := await source.read(_CHUNK):
            if latency:
                await asyncio.sleep(latency)
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
        else:
            sink.close()
    except OSError:  # either side is gone
        sink.close()


def main() -> None:
    """Serve a node for another program."""
    parser = argparse.ArgumentParser(prog="python -m integration.testbed.relay", description=__doc__)
    parser.add_argument("--engine", type=Path, required=True, help="the engine's unix socket")
    parser.add_argument("--listen", default="127.0.0.1:0", help="HOST:PORT; %(default)s")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds by which data is delayed")
    arguments = parser.parse_args()
    # two for each connection
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, _, port = arguments.listen.rpartition(":")
    with remote_node(arguments.engine, (host, int(port)), latency=arguments.latency) as node:
        print(node.endpoint, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
