"""Which TCP ports of an emulated machine answer, asked from the host through forwarded ports."""

from __future__ import annotations

import socket

#: Shells, files, web servers, cameras, message brokers, databases, debuggers: adb is 5555.
PORTS = (
    *(
        20,
        21,
        22,
        23,
        25,
        53,
        69,
        79,
        80,
        81,
        110,
        111,
        139,
        143,
        443,
        445,
        512,
        513,
        514,
        515,
        554,
    ),
    *(631, 873, 1234, 1883, 2049, 2222, 2323, 3000, 3306, 3389, 5000, 5037, 5353, 5555, 5900, 6379),
    *(7000, 8000, 8080, 8081, 8443, 8554, 8883, 9000, 9090, 9100, 10000, 50000, 55555),
)


def banner(port: int, seconds: float = 60.0) -> bytes | None:
    """What a server behind a forwarded port says first; empty when it waits, None without one.

    QEMU takes the connection whoever listens, and ends it when the machine refuses.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as line:
            try:
                return line.recv(64) or None
            except TimeoutError:
                return b""
    except ConnectionError:
        return None
