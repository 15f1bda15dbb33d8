"""Forwards ports of the host's 127.0.0.1 into the lab: it listens on the host, then enters the lab's network to connect.

Run as `python -m kafka_runbooks_lab.forward HOLDER_PID READY_FD PORT:ADDRESS…`. It ends when the lab does.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import sys

_CLONE_NEWNET = 0x40000000


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection(host, port)
            try:
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
            finally:
                inner_writer.close()
        writer.close()

    server = await asyncio.start_server(connected, sock=listener)
    async with server:
        await server.serve_forever()


async def _forward(holder_pid: int, ready: int, rules: list[str]) -> None:
    holder = os.pidfd_open(holder_pid)
    listeners = []
    for rule in rules:
        port, host, inner = rule.split(":")
        listener = socket.create_server(("127.0.0.1", int(port)))
        listeners.append((listener, host, int(inner)))
    network = os.open(f"/proc/{holder_pid}/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    servers = [asyncio.ensure_future(_serve(*listener)) for listener in listeners]
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(holder, gone.set)
    os.write(ready, b"ready\n")
    os.close(ready)
    await gone.wait()
    for server in servers:
        server.cancel()


if __name__ == "__main__":
    asyncio.run(_forward(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
