"""Where a service listens: names and ports to sockets, and who can reach them."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from ipaddress import ip_address

from promptseg.errors import ConfigError, reason

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Connections that wait to be taken up, beyond which the system turns them away.
BACKLOG = 1024


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what listens at `host`.

    Raises:
        ConfigError: it is no address of this machine.
    """
    return ip_address(_resolved(host, 0)[1].partition("%")[0]).is_loopback


def bind(host: str, port: int) -> socket.socket:
    """Take the port of an address; nothing is answered before someone listens.

    Raises:
        ConfigError: it is taken, not allowed, or no address of this machine.
    """
    family, address = _resolved(host, port)
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # On Windows the same option lets two programs have one port.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((address, port))
    except OSError as error:
        taken.close()
        raise _refusal(host, port, error) from error
    taken.set_inheritable(False)
    return taken


def listen(taken: socket.socket) -> None:
    """Begin to take connections up.

    Raises:
        ConfigError: another program began to listen there first.
    """
    try:
        taken.listen(BACKLOG)
    except OSError as error:
        host, port = taken.getsockname()[:2]
        raise _refusal(host, port, error) from error


def url(taken: socket.socket, *, tls: bool) -> str:
    """Return how the service is addressed, with the port that it got."""
    host, port = taken.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}"


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """Return the first address that a name stands for; an empty one stands for all."""
    with suppress(ValueError):
        version = ip_address(host.partition("%")[0]).version
        return (socket.AF_INET if version == 4 else socket.AF_INET6), host
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"`host` is an address of this machine, got `{host}`",
            hint="127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses",
        ) from error
    return found[0][0], str(found[0][4][0])


def _refusal(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"port {port} of {host} is taken by another program",
            hint="Choose another with `--port`; 0 takes a free one",
        )
    return ConfigError(
        f"cannot listen at port {port} of {host}: {reason(error)}",
        hint="Choose an address of this machine with `--host`, and a port above 1023 with `--port`",
    )
