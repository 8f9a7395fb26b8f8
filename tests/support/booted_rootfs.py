"""What every root file system of a board must show when it is booted in QEMU, on its console.

For tests/emulator, which puts one together of the emulator's programs, and for tests/buildroot,
which takes Buildroot's. Kernel messages are on the console (``loglevel=7``), so that mounts are
seen between the messages of the scripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.card import allowed, filesystem
from pico_image.card.allowed import Service
from pico_image.config.target import Target
from pico_image.emulator import board_card, bootloader
from pico_image.emulator.qemu import Machine, boot
from tests.support.result_schema import validated
from tests.support.secrets_check import known_ways_in

#: What shows on the console that an init script ran; none for those that say nothing.
SIGNS = {
    "S01seedrng": r"Seeding \d+ bits|Saving \d+ bits",
    "S01syslogd": r"Starting syslogd: ",
    "S02klogd": r"Starting klogd: ",
    "S02sysctl": r"Running sysctl: ",
    "S19growfs": r"^growfs: rootfs may grow from",
    "S20linkmount": r"EXT4-fs \(mmcblk0p6\): mounted filesystem",
    "S21appinit": r"^npu: no \S*rknpu\.ko ",
    "S40network": r"Starting network: ",
    "S50sshd": r"Starting sshd: ",
}
#: Nothing of it may be on the console before the login.
COMPLAINTS = (
    *(
        "not found",
        "No such",
        "can't",
        "could not",
        "cannot",
        "FAIL",
        "Usage:",
        "usage:",
        "unbound",
    ),
    *("Permission denied", "syntax error", "bad number", "EXT4-fs error", "Kernel panic", "Oops"),
)
#: One inference of each kind: on a busy machine one of EfficientNet-Lite0 takes 5 s here.
BENCH = "npu-bench --quick --pictures 1 --rounds 1 --warmup-runs 0 --min-runs 1 --min-secs 0"


def log_in(machine: Machine, password: str, user: str = "root") -> str:
    """Log in at the getty of the console; what it showed since power-on before."""
    machine.wait_for(r"login: ", what="a login on the console")
    shown = machine.transcript().replace("\r", "")
    machine.send(user)
    machine.wait_for(r"Password: ", what="the question for a password")
    machine.send(password)
    answer = machine.wait_for(r"^\S* ?# |Login incorrect", what="a shell after the login")
    assert "incorrect" not in answer[0], "the password of the image does not open it"
    ask(machine, "dmesg -n 1")  # the kernel's messages would come between a command's
    return shown


def ask(machine: Machine, command: str) -> str:
    """What a command prints that must work."""
    status, text = machine.run(command)
    assert status == 0, f"{command}: {status}\n{text}"
    return text


def init_scripts(machine: Machine) -> list[str]:
    """Their names; not by ls, which colours its output in Buildroot's busybox."""
    return [path.rpartition("/")[2] for path in ask(machine, "echo /etc/init.d/S*").split()]


def check_init_order(shown: str, scripts: Iterable[str]) -> None:
    """Every script of the image that says something did, in the order of their names, no other."""
    names = sorted(scripts)
    signs = {
        name: [m.start() for m in re.finditer(sign, shown, re.M)] for name, sign in SIGNS.items()
    }
    assert {"S19growfs", "S20linkmount", "S21appinit"} <= set(names)
    expected = [name for name in names if name in SIGNS]
    absent = [name for name in expected if not signs[name]]
    assert not absent, f"no sign of {absent} in:\n{shown}"
    order = sorted(expected, key=lambda name: signs[name][0])
    assert order == expected, f"they ran in another order: {order}"
    others = [name for name in SIGNS if signs[name] and name not in names]
    assert not others, f"{others} are not in /etc/init.d and ran"


def complaints(shown: str) -> list[str]:
    """Lines of the console that tell of a fault; the kernel's own begin with the time."""
    lines = [line for line in shown.splitlines() if any(word in line for word in COMPLAINTS)]
    return [
        line for line in lines if not re.match(r"\[ *\d+\.\d+\] (?!EXT4-fs|Kernel|.*Oops)", line)
    ]


def check_mounts(text: str) -> None:
    """``text`` is /proc/mounts: the card's partitions where S20linkmount puts them."""
    mounts = {
        fields[1]: (fields[0], set(fields[3].split(",")))
        for line in text.splitlines()
        if len(fields := line.split()) > 3
    }
    assert mounts["/"][0] in ("/dev/mmcblk0p7", "/dev/root") and "rw" in mounts["/"][1], text
    for place, device in (("/oem", "/dev/mmcblk0p5"), ("/userdata", "/dev/mmcblk0p6")):
        assert mounts[place][0] == device, text
        assert {"rw", "nosuid", "nodev", "noatime"} <= mounts[place][1], text
    assert {"/proc", "/sys", "/dev", "/dev/pts", "/tmp", "/run"} <= set(mounts), text


@dataclass(frozen=True)
class Listener:
    """A socket that waits for anybody: from other machines, too, unless ``local``."""

    program: str
    protocol: str
    port: int
    local: bool


#: Inodes of sockets by program, then the kernel's tables. No program of the image has all of it:
#: Buildroot's netstat does not know programs.
_SOCKETS = (
    "for p in /proc/[0-9]*; do for f in $p/fd/*; do case $(readlink $f) in socket:*) "
    "echo program $(readlink $f) $(cat $p/comm);; esac; done; done 2>/dev/null; "
    'for t in tcp tcp6 udp udp6; do sed "s/^/$t /" /proc/net/$t 2>/dev/null; done; true'
)


def listeners(machine: Machine) -> list[Listener]:
    """All sockets of TCP that listen and of UDP that receive."""
    owners: dict[str, str] = {}
    found = []
    for line in ask(machine, _SOCKETS).splitlines():
        words = line.split()
        if words[:1] == ["program"]:
            owners[words[1].removeprefix("socket:[").rstrip("]")] = words[2]
        elif len(words) > 10 and words[1].rstrip(":").isdigit():
            protocol = words[0].rstrip("6")
            address, _, port = words[2].partition(":")
            remote = int(words[3].partition(":")[2], 16)
            # 0A: LISTEN; a UDP socket without a peer receives from everybody.
            if words[4] == "0A" or (protocol == "udp" and remote == 0):
                local = address.endswith("0100007F") or address == f"{'0' * 24}01000000"
                program = owners.get(words[10], "the kernel")
                found.append(Listener(program, protocol, int(port, 16), local))
    return found


def not_allowed(found: Iterable[Listener], services: Iterable[Service]) -> list[str]:
    """The listeners that no line of the list permits; what stays on the machine is free."""
    known = {(each.program, each.protocol, each.port) for each in services}
    return [
        f"{each.program} {each.protocol}/{each.port}"
        for each in found
        if not each.local
        and not known & {(each.program, each.protocol, port) for port in (each.port, None)}
    ]


def check_users(machine: Machine, folder: Path) -> None:
    """``folder`` is an empty one: known passwords are looked for there."""
    (folder / "etc").mkdir()
    for name in ("passwd", "shadow", "group"):
        (folder / "etc" / name).write_text(ask(machine, f"cat /etc/{name}").replace("\r", ""))
    _none(known_ways_in(folder))
    accounts = (folder / "etc/passwd").read_text().splitlines()
    assert [line for line in accounts if line.split(":")[2] == "0"] == accounts[:1]
    listed = ask(machine, "ls -ln /etc/shadow").split()
    assert (listed[0], listed[2]) == ("-rw-------", "0"), listed
    status, text = machine.run("su pico -c 'id; cat /etc/shadow'")
    assert status != 0 and "Permission denied" in text, text
    assert re.search(r"uid=1000\(pico\) gid=1000\(pico\).*\(npu\)", text), text
    assert "root:" not in text
    assert machine.run("su pico -c 'echo x >/etc/passwd'")[0] != 0


def check_npu_absent(machine: Machine) -> None:
    """The machine has no NPU: nothing pretends, and the doctor says it."""
    assert machine.run("ls /dev/rknpu /proc/rknpu")[0] != 0
    said = ask(machine, "/etc/init.d/S21appinit start")
    assert re.search(SIGNS["S21appinit"], said, re.MULTILINE), said
    _, text = machine.run("npu-doctor --output /tmp/doctor.json")
    assert "this is an emulator" in text, text
    # Of an image without neon-runner it says that the files for the processor are missing.
    problems = re.findall(r"^problem +(\S+):", text, re.MULTILINE)
    assert problems == ([] if cpu_models(machine) else ["models"]), text


def check_benchmark(machine: Machine, model: str) -> None:
    """One model on the CPU gives a whole result on the card.

    The NPU's part fails in an image with Rockchip's runtime. Of the 64 MB this kernel leaves 46:
    with Buildroot's servers 31 are free, and EfficientNet-Lite0 as float32 was refused or killed
    for want of memory.
    """
    _, text = machine.run(f"{BENCH} --model {model}", 900)
    line = r"^npu-bench: (?:FAILED: .*; )?result (/userdata/bench/\S+\.json)$"
    path = re.search(line, text.replace("\r", ""), re.MULTILINE)
    assert path, text
    result = validated(ask(machine, f"cat {path[1]}"))
    assert result["emulated"]
    runs = [each for part in result["models"] for each in part["configurations"]]
    cpu = {each["precision"]: each for each in runs if each["engine"] == "cpu"}
    assert set(cpu) == {"float32", "int8"}
    for precision, run in cpu.items():
        refused = precision == "float32" and "memory" in str(run["failure"])
        assert refused or (run["failure"] is None and run["pictures"]), run


def cpu_models(machine: Machine) -> list[str]:
    """Models that the image has for neon-runner."""
    text = ask(machine, "echo /usr/share/npu-models/*/int8.tflite")
    return [path.split("/")[-2] for path in text.split() if "*" not in path]


WRITE = (
    "(n=0; while :; do n=$((n + 1)); echo whole-$n >/userdata/cut-$n; sync; echo reported $n; done)"
)


def cut_while_writing(machine: Machine, card: Path) -> int:
    """Cut the power while files are written; how many were reported. The card is left dirty."""
    machine.send(WRITE)
    match = machine.wait_for(r"^reported (\d\d)\r?$", what="files that are written")
    machine.kill()
    userdata = bootloader.read_card(card).parts["userdata"]
    superblock = filesystem.read_superblock(userdata)
    assert superblock is not None and superblock.needs_recovery, "the cut left nothing to repair"
    return int(match[1])


def check_repaired(machine: Machine, reported: int) -> None:
    """After a cut: S20linkmount replayed the journal before it mounted, nothing is lost."""
    log = ask(machine, "cat /tmp/e2fsck.log")
    assert "recovering journal" in log, log
    check_mounts(ask(machine, "cat /proc/mounts"))
    for number in range(1, reported + 1):
        assert ask(machine, f"cat /userdata/cut-{number}").split() == [f"whole-{number}"]


def booted(
    console: Console, card: Path, *, ethernet: bool = False
) -> AbstractContextManager[Machine]:
    """A machine with the kernel's messages on its console."""
    return boot(console, card, append="loglevel=7", ethernet=ethernet)


def check_clean(card: Path) -> None:
    """After a power-off nothing is left to repair."""
    for name in ("rootfs", "oem", "userdata"):
        superblock = filesystem.read_superblock(bootloader.read_card(card).parts[name])
        assert superblock is not None
        assert superblock.state == "clean" and not superblock.needs_recovery, name


def _none(problems: list[str]) -> None:
    """In this module pytest does not show the two sides of a comparison."""
    assert not problems, "\n".join(problems)


def check_all(target: Target, rootfs: Path, password: str, folder: Path) -> None:
    """Everything above, of one root file system; ``folder`` is an empty one."""
    console = Console()
    card = bootloader.working_copy(
        board_card.make(console, target, rootfs, folder), folder / "copy"
    )
    with booted(console, card, ethernet=target.board.ethernet) as machine:
        shown = log_in(machine, password)
        check_init_order(shown, init_scripts(machine))
        _none(complaints(shown))
        check_mounts(ask(machine, "cat /proc/mounts"))
        _none(not_allowed(listeners(machine), allowed.rules(target).services()))
        (folder / "accounts").mkdir()
        check_users(machine, folder / "accounts")
        check_npu_absent(machine)
        for model in cpu_models(machine):
            check_benchmark(machine, model)
        reported = cut_while_writing(machine, card)
    with booted(console, card, ethernet=target.board.ethernet) as machine:
        _none(complaints(log_in(machine, password)))
        check_repaired(machine, reported)
        machine.poweroff()
    check_clean(card)
