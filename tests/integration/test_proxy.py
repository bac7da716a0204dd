"""Owns the proof that each fault of the test proxy is what it says, and ends; needs no Kafka."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from analytics.demo.broker import free_port
from tests.services.proxy import CHUNK_BYTES_MAX, HOST, Proxy

SECONDS_MAX = 5.0
PATIENCE_SECONDS = 0.15
MESSAGE = b"hello"


class Echo:
    """Sends back what it gets, each connection in a thread; counts what it got."""

    def __init__(self) -> None:
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self.got_bytes = 0
        self.resets = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(CHUNK_BYTES_MAX):
                    self.got_bytes += len(data)
                    connection.sendall(data)
            except ConnectionResetError:
                self.resets += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server that echoes."""
    with contextlib.closing(Echo()) as server:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """A proxy before the echo."""
    with Proxy(echo.port) as running:
        yield running


def test_bytes_pass_both_ways_and_are_counted(proxy: Proxy) -> None:
    sent = bytes(range(256)) * 8_000

    with connected(proxy) as client:
        sending = threading.Thread(target=client.sendall, args=[sent])
        sending.start()
        received = received_from(client, len(sent))
        sending.join()

    assert received == sent
    assert (proxy.counts.connections, proxy.counts.passed_bytes) == (1, 2 * len(sent))


def test_an_end_passes_and_leaves_the_other_way_open(proxy: Proxy) -> None:
    with connected(proxy) as client:
        client.sendall(MESSAGE)
        client.shutdown(socket.SHUT_WR)

        assert received_from(client, len(MESSAGE)) == MESSAGE
        assert client.recv(1) == b""
    wait_until(lambda: proxy.standing == 0)
    assert proxy.counts.resets == 0


def test_a_client_that_goes_in_disorder_takes_the_other_side_with_it(
    proxy: Proxy, echo: Echo
) -> None:
    with connected(proxy) as client:
        assert answer(client) == MESSAGE
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    wait_until(lambda: echo.resets == 1)
    assert proxy.counts.resets == 0


def test_a_connection_is_reset_while_nobody_listens_upstream() -> None:
    with Proxy(free_port()) as proxy:
        with pytest.raises(ConnectionResetError), connected(proxy) as client:
            client.recv(1)

        assert proxy.counts.refused == 1


def test_delay_makes_a_round_trip_longer_until_it_is_healed(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.delay(0.2, jitter=0.05)
        late = seconds_of_an_answer(client)
        proxy.heal()
        healed = seconds_of_an_answer(client)

    assert late >= 0.15
    assert healed < 0.1
    assert proxy.counts.delayed == 2


def test_delay_with_jitter_keeps_the_order(proxy: Proxy) -> None:
    sent = bytes(range(100))
    with connected(proxy) as client:
        proxy.delay(0.02, jitter=0.02)
        for number in sent:
            client.sendall(bytes([number]))
            time.sleep(0.001)

        assert received_from(client, len(sent)) == sent
    assert proxy.counts.delayed > 50


def test_a_narrow_link_is_shared_until_it_is_healed(proxy: Proxy) -> None:
    proxy.narrow(100_000)
    with connected(proxy) as one, connected(proxy) as other:
        began = time.monotonic()
        for client in (one, other):
            client.sendall(bytes(20_000))
        for client in (one, other):
            received_from(client, 20_000)
        narrow = time.monotonic() - began
        proxy.heal()
        healed = seconds_of_an_answer(one, bytes(20_000))

    assert 0.35 <= narrow < 1.5
    assert healed < 0.2
    assert proxy.counts.throttled >= 8


def test_a_reset_cuts_what_stands_and_new_connections_live(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as one, connected(proxy) as other:
        assert answer(one) == answer(other) == MESSAGE

        assert proxy.reset() == 2

        for client in (one, other):
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    wait_until(lambda: echo.resets == 2)
    with connected(proxy) as client:
        assert answer(client) == MESSAGE
    assert proxy.counts.resets == 2


def test_connections_are_cut_after_so_many_bytes_until_it_is_healed(proxy: Proxy) -> None:
    proxy.reset_after(1_000)
    with connected(proxy) as client:
        client.sendall(bytes(600))
        assert len(received_until_reset(client)) == 400
    with connected(proxy) as client:
        assert answer(client) == MESSAGE
    assert proxy.counts.resets == 1

    proxy.heal()

    with connected(proxy) as client:
        client.sendall(bytes(600))
        assert len(received_from(client, 600)) == 600


def test_a_black_hole_holds_everything_back_and_gives_it_back(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as old:
        assert answer(old) == MESSAGE
        proxy.black_hole()
        with connected(proxy) as new:
            for client in (old, new):
                client.sendall(MESSAGE)
                client.settimeout(PATIENCE_SECONDS)
                with pytest.raises(TimeoutError):
                    client.recv(1)
            assert (echo.got_bytes, proxy.standing) == (len(MESSAGE), 2)
            assert proxy.counts.swallowed_bytes == 2 * len(MESSAGE)

            proxy.heal()

            for client in (old, new):
                client.settimeout(SECONDS_MAX)
                assert received_from(client, len(MESSAGE)) == MESSAGE


def test_in_a_black_hole_nobody_learns_that_the_other_side_is_gone(
    proxy: Proxy, echo: Echo
) -> None:
    with connected(proxy) as client:
        assert answer(client) == MESSAGE
        proxy.black_hole()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(PATIENCE_SECONDS)
    assert (echo.resets, proxy.standing) == (0, 1)

    proxy.heal()

    wait_until(lambda: echo.resets == 1)


def test_stranded_connections_hang_for_ever_and_new_ones_live(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as old:
        assert answer(old) == MESSAGE

        assert proxy.strand() == 1
        old.sendall(MESSAGE)
        proxy.heal()

        with connected(proxy) as new:
            assert answer(new) == MESSAGE
        old.settimeout(PATIENCE_SECONDS)
        with pytest.raises(TimeoutError):
            old.recv(1)
    assert echo.got_bytes == 2 * len(MESSAGE)
    assert (proxy.counts.stranded, proxy.counts.swallowed_bytes) == (1, len(MESSAGE))


def test_a_sender_is_stopped_when_nothing_passes(proxy: Proxy) -> None:
    proxy.black_hole()
    with connected(proxy) as client:
        client.settimeout(PATIENCE_SECONDS)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(64 << 20))

    assert 0 < proxy.counts.swallowed_bytes < 4 << 20


def test_counts_can_be_told_since_an_earlier_time(proxy: Proxy) -> None:
    with connected(proxy) as client:
        answer(client)
        earlier = proxy.counts
        answer(client)

    assert proxy.counts.since(earlier).passed_bytes == 2 * len(MESSAGE)
    assert proxy.counts.since(earlier).connections == 0


@contextlib.contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    """A client's connection through the proxy."""
    with socket.create_connection((HOST, proxy.port), timeout=SECONDS_MAX) as client:
        yield client


def answer(client: socket.socket, message: bytes = MESSAGE) -> bytes:
    """What comes back for a message."""
    client.sendall(message)
    return received_from(client, len(message))


def seconds_of_an_answer(client: socket.socket, message: bytes = MESSAGE) -> float:
    """How long a message takes there and back."""
    began = time.monotonic()
    answer(client, message)
    return time.monotonic() - began


def received_from(client: socket.socket, size: int) -> bytes:
    """The next so many bytes, or less when the other side ends."""
    received = bytearray()
    while len(received) < size and (data := client.recv(size - len(received))):
        received += data
    return bytes(received)


def received_until_reset(client: socket.socket) -> bytes:
    """All bytes that come before the connection is reset; fails when it ends in order."""
    received = bytearray()
    with pytest.raises(ConnectionResetError):
        while data := client.recv(CHUNK_BYTES_MAX):
            received += data
    return bytes(received)


def wait_until(condition: Callable[[], bool]) -> None:
    """Block until it is so; AssertionError when it never is."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
