"""Asks the fork server, where there is one, to run what this process was started for; see `stages.fork_server`."""

import json
import os
import secrets
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

ADDRESS = "DIVA_FORK_SERVER"
SERVER = "stages.fork_server"
NUMBER = struct.Struct("<i")  # a length, or an exit status
ACCEPTED = b"+"


def new_address() -> str:
    """A name that nobody else knows, of a socket of this machine."""
    return f"diva-{secrets.token_hex(16)}"


def run_elsewhere() -> None:
    """End this process as a fork of the server ends in its place; return where there is none, or none that serves."""
    address, command = os.environ.get(ADDRESS), sys.orig_argv[1:]
    if not address or command[:1] != ["-m"] or command[1] == SERVER:  # whose forks have its words
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.connect(f"\0{address}")
        if owner(server) == os.getuid() and accepted(server, command[1:]):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fork has it, too
            end(server.recv(NUMBER.size))


def accepted(server: socket.socket, command: list[str]) -> bool:
    """Whether the server runs a module with its arguments for a process like this one."""
    text = json.dumps({"command": command, "environment": dict(os.environ), **description()}).encode()
    socket.send_fds(server, [NUMBER.pack(len(text))], [0, 1, 2])
    server.sendall(text)
    return server.recv(1) == ACCEPTED


def description() -> dict[str, object]:
    """What must be equal in both processes, beside their environments."""
    return {"folder": str(Path.cwd()), "path": sys.path, "prefix": sys.prefix, "version": sys.version}


def owner(connection: socket.socket) -> int:
    """Of the process at the other end: its login's number."""
    about = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", about)[1])


def end(answer: bytes) -> None:
    """Exit with a status; by the signal that ended the fork, if one did; with 1 where the server went."""
    status = NUMBER.unpack(answer)[0] if len(answer) == NUMBER.size else 1
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
