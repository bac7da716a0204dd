"""Owns the ports of servers that a test stops and starts again; must not start one."""

import contextlib
import itertools
import os

from analytics.demo.broker import EmbeddedBrokerError, free_port

#: Below what the kernel gives to outgoing connections, or one of those could hold the port of a
#: server that is down; from another place in each process that runs tests.
_PORTS = itertools.count(10_240 + os.getpid() * 16 % 6_000)


def steady_port(n: int = 1) -> int:
    """The first of ``n`` ports in a row that are free, and that nobody is given meanwhile."""
    for candidate in _PORTS:
        with contextlib.suppress(EmbeddedBrokerError):
            for one in range(candidate, candidate + n):
                free_port(one)
            for _ in range(n - 1):
                next(_PORTS)
            return candidate
    raise AssertionError("a count has no end")
