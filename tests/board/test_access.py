"""Who gets in, who is refused, and what is said when there is nobody."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import UserError
from pico_image.board.ssh import Connection, Unreachable
from tests.board.boards import Board, free_port, key_pair
from tests.support import port_scan


@pytest.mark.qemu
@pytest.mark.slow
def test_nothing_but_ssh_answers_a_port_scan(board: Board) -> None:
    def scan() -> dict[int, bytes]:
        found = {port: port_scan.banner(out) for port, out in board.forwards.items()}
        return {port: said for port, said in found.items() if said is not None}

    before = scan()
    assert set(before) == {22}
    assert before[22].startswith(b"SSH-2.0-")
    # The ports that were not tried, and UDP, as the board sees them.
    listening = board.sh("netstat -ltun | tail -n +3").splitlines()
    assert listening and all(line.split()[3].endswith(":22") for line in listening)
    # The scan sees what is there: a second server, on the port of adb.
    board.sh(
        "/usr/sbin/dropbear -s -p 5555 -P /run/second.pid"
        " -r /etc/dropbear/dropbear_ed25519_host_key"
    )
    try:
        assert set(scan()) == {22, 5555}
    finally:
        board.sh("kill $(cat /run/second.pid)")
    assert "root:*:" in board.sh("cat /etc/shadow")


@pytest.mark.qemu
@pytest.mark.slow
def test_a_remote_command_and_a_login_have_the_home_of_their_account(board: Board) -> None:
    """The vendor's /etc/profile.d/RkEnv.sh made it /oem for everybody."""
    assert board.sh("echo $HOME; pwd").split() == ["/root", "/root"]
    # A login greets first.
    assert board.sh("sh -lc 'echo $HOME; pwd'").splitlines()[-2:] == ["/root", "/root"]
    # Ethernet that is up, as the one that this command came by, stays as it is.
    address = board.sh("cat /sys/class/net/eth0/address")
    assert board.sh("/etc/init.d/S39ethernet start; cat /sys/class/net/eth0/address") == address


@pytest.mark.qemu
@pytest.mark.slow
def test_no_key_fits(board: Board, tmp_path: Path) -> None:
    stranger = replace(board.connection, identity=key_pair(tmp_path, "other"))
    with pytest.raises(Unreachable, match="no key fits") as caught:
        stranger.release()
    assert "--ssh-key" in (caught.value.hint or "")


@pytest.mark.qemu
@pytest.mark.slow
def test_another_board_under_the_same_name(board: Board, tmp_path: Path) -> None:
    public = key_pair(tmp_path, "host").with_suffix(".pub").read_text().split()
    known = tmp_path / "known hosts"
    known.write_text(f"[127.0.0.1]:{board.connection.port} {public[0]} {public[1]}\n")
    changed = replace(board.connection, known_hosts=known)
    with pytest.raises(Unreachable, match="its host key changed") as caught:
        changed.release()
    forget = (caught.value.hint or "").rpartition("right board: ")[2]
    subprocess.run(forget, shell=True, check=True, capture_output=True)
    assert changed.release()["VARIANT"] == "emulator-ssh"


@pytest.mark.qemu
@pytest.mark.slow
def test_password_is_not_even_asked_for(board: Board) -> None:
    command = board.connection.command("true")
    command[1:1] = ["-o", "PreferredAuthentications=password,keyboard-interactive"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 255
    assert "publickey" in done.stderr
    assert "password" not in done.stderr.partition("(")[2]


def refused(connection: Connection) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        connection.release()
    return caught.value


def test_unknown_host(nowhere: Callable[..., Connection]) -> None:
    error = refused(nowhere("no-such-board.invalid"))
    assert "there is no host with the name no-such-board.invalid" in error.message
    assert "172.32.0.93" in (error.hint or "")


def test_nothing_listens(nowhere: Callable[..., Connection]) -> None:
    error = refused(nowhere("127.0.0.1", port=free_port()))
    assert "no SSH server answers" in error.message


def test_line_that_ends_at_once(nowhere: Callable[..., Connection]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        client, _ = listener.accept()
        client.close()

    threading.Thread(target=hang_up, daemon=True).start()
    error = refused(nowhere("127.0.0.1", port=listener.getsockname()[1]))
    listener.close()
    assert "was lost" in error.message


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("-oProxyCommand=touch${IFS}/tmp/x", {}),
        ("", {}),
        ("a b", {}),
        ("board", {"port": 0}),
        ("board", {"port": 70000}),
        ("-l@board", {}),
    ],
)
def test_names_that_are_none(
    nowhere: Callable[..., Connection], host: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"cannot be the name|must be from 1 to 65535"):
        nowhere(host, **options)


def test_user_in_the_name(nowhere: Callable[..., Connection], tmp_path: Path) -> None:
    connection = nowhere("pico@172.32.0.93")
    assert (connection.user, connection.host) == ("pico", "172.32.0.93")
    assert connection.flags == "--host pico@172.32.0.93"
    key = tmp_path / "a key"
    key.touch()
    other = nowhere("127.0.0.1", port=2222, identity=key)
    assert other.flags == f"--host 127.0.0.1 --port 2222 --identity '{key}'"
    assert other.by_hand("rm x/*") == f"ssh -p 2222 -i '{key}' root@127.0.0.1 'rm x/*'"
    assert connection.by_hand("true") == "ssh pico@172.32.0.93 true"


def test_missing_private_key(nowhere: Callable[..., Connection], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no private key"):
        nowhere("board", identity=tmp_path / "absent")


def test_no_ssh_client(
    nowhere: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="could not find the program ssh"):
        nowhere("127.0.0.1").release()


def test_two_boards_with_one_name(
    nowhere: Callable[..., Connection],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(*_: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, 22)) for address in ("172.32.0.93", "192.168.1.20")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    nowhere("pico.local").warn_about_twins()
    assert "two boards with one name" in capsys.readouterr().err
    nowhere("192.168.1.20").warn_about_twins()
    assert capsys.readouterr().err == ""
