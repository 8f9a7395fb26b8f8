"""Asks for the IPv4 address of a name by multicast DNS, as a PC does: mdns_question.py NAME."""

from __future__ import annotations

import socket
import struct
import sys

GROUP = ("224.0.0.251", 5353)


def question(name: str) -> bytes:
    """One question for the IPv4 address of ``name``."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 1, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)


def main(name: str) -> int:
    """Ask for ``name`` every second until somebody answers; prints the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        sock.settimeout(1)
        # avahi first claims its name, which takes about a second and longer under QEMU.
        for _ in range(120):
            sock.sendto(question(name), GROUP)
            try:
                answer, sender = sock.recvfrom(1500)
            except TimeoutError:
                continue
            if struct.unpack(">H", answer[6:8])[0]:
                print(f"{socket.inet_ntoa(answer[-4:])} from {sender[0]}")
                return 0
    return 1


if __name__ == "__main__":
    # As a program, it is run by a bare interpreter from its own folder.
    sys.exit(main(sys.argv[1]))
