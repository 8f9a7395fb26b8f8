"""What an image may have: the list, and what is against it, seen by both checks."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.card import allowed
from pico_image.card.filesystem import Entry
from pico_image.config import configuration, render
from pico_image.config.target import Target
from pico_image.image import build

BOARD = ROOT / "board/luckfox-pico"
VARIANT = "luckfox-pico-plus"
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\npico:x:1000:1000::/home/pico:/bin/sh\nwww-data:x:33:33::/:/\n"
)
#: The scripts that Buildroot installs for our defconfig, besides the overlay's.
INIT = "rcS rcK S01seedrng S01syslogd S02klogd S02sysctl S40network S50avahi-daemon S50sshd"


@dataclasses.dataclass
class File:
    """A file of a root file system; ``link`` makes it a symbolic link, ``kind`` something else."""

    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    link: str | None = None
    kind: bytes = tarfile.REGTYPE


Files = dict[str, File]


def system() -> Files:
    """A root file system as Buildroot leaves it for our defconfig, as far as the checks look."""
    files = {f"/etc/init.d/{name}": File(b"#!/bin/sh\n", 0o755) for name in INIT.split()}
    for layer in ("overlay", "bench"):
        for path in (BOARD / layer / "etc/init.d").iterdir():
            files[f"/etc/init.d/{path.name}"] = File(path.read_bytes(), 0o755)
    return files | {
        # busybox's inittab after its hook for the console, in the words of init(8).
        "/etc/inittab": File(
            b"# /etc/inittab\n::sysinit:/bin/mount -t proc proc /proc\n"
            b"null::sysinit:/bin/ln -sf /proc/self/fd /dev/fd\n"
            b"#::sysinit:/sbin/swapon -a\n::sysinit:/etc/init.d/rcS\n"
            b"console::respawn:/sbin/getty -L  console 0 vt100 # GENERIC_SERIAL\n"
            b"::shutdown:/etc/init.d/rcK\n"
        ),
        "/etc/passwd": File(PASSWD.encode()),
        "/etc/group": File(b"root:x:0:\nwww-data:x:33:\npico:x:1000:\nnpu:x:200:pico\n"),
        "/etc/shadow": File(b"root:*:::::::\npico:*:::::::\n", 0o600),
        "/etc/network/nfs_check": File(b"#!/bin/sh\n", 0o755),
        "/etc/network/if-pre-up.d/wait_iface": File(b"#!/bin/sh\n", 0o755),
        "/bin/busybox": File(b"\0[\0ash\0udhcpc\0udhcpd\0telnet\0", 0o4755),
        "/bin/ash": File(link="busybox"),
        "/usr/sbin/udhcpd": File(link="../../bin/busybox"),
        "/usr/bin/telnet": File(link="../../bin/busybox"),
        "/usr/sbin/sshd": File(b"ELF", 0o755),
        "/usr/sbin/avahi-daemon": File(b"ELF", 0o755),
        "/usr/share/doc/httpd": File(b"a text of that name\n"),
        "/home/pico/notes": File(b"mine", owner=(1000, 1000)),
        "/var/www": File(kind=tarfile.DIRTYPE, mode=0o755, owner=(33, 33)),
        "/var/log": File(link="../tmp"),
        "/tmp": File(kind=tarfile.DIRTYPE, mode=0o1777),
    }  # fmt: skip


def archive(files: Files, path: Path, top: str = ".") -> Path:
    """The rootfs.tar of a system: a hard link is a member of its own kind."""
    with tarfile.open(path, "w") as tar:
        for name, file in files.items():
            member = tarfile.TarInfo(f"{top}{name}".lstrip("/"))
            member.mode, (member.uid, member.gid) = file.mode, file.owner
            member.type = tarfile.SYMTYPE if file.link else file.kind
            member.linkname = file.link or "./bin/busybox"
            member.size = len(file.content) if member.type == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(file.content))
    return path


def folder(files: Files, top: Path) -> Path:
    """The same as Buildroot's target folder at the time of post-build.sh: before fakeroot."""
    for name, file in files.items():
        path = top / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.link:
            path.symlink_to(file.link)
        elif file.kind == tarfile.DIRTYPE:
            path.mkdir()
            path.chmod(0o755 if name == "/tmp" else file.mode)
        elif file.kind == tarfile.LNKTYPE:
            os.link(top / "bin/busybox", path)
        elif file.kind == tarfile.FIFOTYPE:
            os.mkfifo(path)
        else:
            path.write_bytes(file.content)
            path.chmod(0o755 if name == "/bin/busybox" else file.mode)
    return top


def run_hook(top: Path, *lines: str, **environment: str) -> subprocess.CompletedProcess[str]:
    busybox = shutil.which("busybox")
    shell = [busybox, "ash"] if busybox else ["sh"]
    return subprocess.run(
        [*shell, str(BOARD / "post-build.sh"), str(top), *lines],
        capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def target() -> Target:
    return Target.of(configuration.load(), VARIANT)


def seen_on_the_host(target: Target, files: Files, tmp_path: Path) -> str:
    with pytest.raises(UserError) as error:
        allowed.check_archive(target, archive(files, tmp_path / "rootfs.tar"), None)
    assert "configs" not in error.value.message and "allowed:" in (error.value.hint or "")
    return error.value.message


def program(name: str, mode: int = 0o755) -> Files:
    return {name: File(b"ELF", mode)}


def replaced(name: str, old: str, new: str) -> Files:
    text = system()[name].content.decode()
    assert old in text
    return {name: File(text.replace(old, new).encode(), system()[name].mode)}


LINK = "../../bin/busybox"
#: Name: what is added to a good system, what the host says, what post-build.sh says; None where the
#: owners and modes of Buildroot's tables, or accounts, decide, which come after it.
FAULTS: dict[str, tuple[Files, str, str | None]] = {
    "the script of telnet": (
        {"/etc/init.d/S50telnet": File(link=LINK)},
        r"/etc/init\.d/S50telnet: S50telnet may not be in an image \(a login without encryption",
        r"/etc/init\.d/S50telnet: S50telnet may not be in an image \(a login without encryption",
    ),
    "its applet": (
        {"/bin/busybox": File(b"\0ash\0telnetd\0", 0o4755)},
        r"/bin/busybox has the applet telnetd \(.*\): set CONFIG_TELNETD to n",
        r"busybox has the applet telnetd \(.*\): set CONFIG_TELNETD to n \(make busybox-menuconfig",
    ),
    "a link to busybox": (
        {"/usr/sbin/telnetd": File(link=LINK)},
        "/usr/sbin/telnetd: telnetd may not be in an image",
        "/usr/sbin/telnetd: telnetd may not be in an image",
    ),
    "a hard link": (
        {"/opt/in.telnetd": File(kind=tarfile.LNKTYPE, mode=0o755)},
        r"/opt/in\.telnetd: in\.telnetd may not be in an image",
        r"/opt/in\.telnetd: in\.telnetd may not be in an image",
    ),
    "capitals": (
        program("/opt/TelnetD"), "/opt/TelnetD: telnetd may not", "/opt/TelnetD: telnetd may not",
    ),
    "adbd that cannot be started yet": (
        program("/usr/bin/adbd", 0o644), "adbd: adbd may not", "adbd: adbd may not",
    ),
    "udev": (program("/sbin/udevd"), "/sbin/udevd: udevd may not", "/sbin/udevd: udevd may not"),
    "a web server": (
        program("/usr/sbin/lighttpd"),
        r"lighttpd: lighttpd may not be in an image \(web\)",
        r"lighttpd: lighttpd may not be in an image \(web\)",
    ),
    "an applet that listens": (
        {"/bin/busybox": File(b"\0ash\0httpd\0", 0o4755)},
        r"busybox has the applet httpd \(web\)", r"busybox has the applet httpd \(web\)",
    ),
    "a script of a package": (
        program("/etc/init.d/S50mosquitto"),
        r"/etc/init\.d/S50mosquitto: an init script that is not allowed",
        r"/etc/init\.d/S50mosquitto: an init script that is not allowed",
    ),
    "a script in small letters": (
        program("/etc/init.d/s50SSHD"), "s50SSHD: an init script", "s50SSHD: an init script",
    ),
    "a hidden script": (
        program("/etc/init.d/.S50sshd"), r"\.S50sshd: an init script", r"\.S50sshd: an init script",
    ),
    "rc.local": (
        program("/etc/rc.local"), r"/etc/rc\.local starts programs", r"/etc/rc\.local starts prog",
    ),
    "inetd": (
        {"/etc/inetd.conf": File(b"telnet stream tcp nowait root /bin/sh\n")},
        r"/etc/inetd\.conf starts programs \(programs that a connection starts\)",
        r"/etc/inetd\.conf starts programs \(programs that a connection starts\)",
    ),
    "cron": (
        {"/etc/cron.d/backup": File(b"* * * * * root reboot\n")},
        r"/etc/cron\.d/backup starts programs \(by the clock\)",
        r"/etc/cron\.d/backup starts programs \(by the clock\)",
    ),
    "a script of an interface": (
        program("/etc/network/if-up.d/server"), "if-up.d/server starts", "if-up.d/server starts",
    ),
    "a shell on the console": (
        replaced("/etc/inittab", "/sbin/getty -L  console 0 vt100", "-/bin/sh"),
        r"/etc/inittab:6 starts -/bin/sh, which is not allowed", "inittab starts -/bin/sh ?, which",
    ),
    "telnetd in inittab": (
        replaced("/etc/inittab", "/sbin/getty -L  console 0 vt100", "/opt/t -l /bin/sh"),
        "inittab:6 starts /opt/t -l /bin/sh, which is not", "starts /opt/t -l /bin/sh ?, wh",
    ),
    "a getty without a login": (
        replaced("/etc/inittab", "getty -L", "getty -Ln -l /bin/sh"),
        "inittab:6 starts a getty without a login: /sbin/getty -Ln", "a getty without a login",
    ),
    "a second root": (
        {"/etc/passwd": File(f"{PASSWD}toor:x:0:0::/root:/bin/sh\n".encode())},
        "/etc/passwd: toor has the user number 0", "/etc/passwd: toor has the user number 0",
    ),
    "accounts on another partition": (
        {"/etc/passwd": File(link="/userdata/passwd")},
        "/etc/passwd is no file, so what is in it cannot be seen", "/etc/passwd is a link, so what",
    ),
    "a second busybox": (
        {"/opt/busybox.suid": File(b"\0sh\0ftpd\0", 0o755)},
        r"busybox\.suid has the applet ftpd \(files\)", r"busybox has the applet ftpd \(files\)",
    ),
    "an account without a password": (
        {"/etc/shadow": File(b"root:*:::::::\npico::::::::\n", 0o600)},
        "/etc/shadow: pico has no password", None,  # post-build.sh locks it
    ),
    "the same in passwd": (
        {"/etc/passwd": File(PASSWD.replace("pico:x", "pico:").encode())},
        "/etc/passwd: pico has no password", "/etc/passwd: pico has no password",
    ),
    "keys of an overlay": (
        {"/root/.ssh/authorized_keys": File(b"ssh-ed25519 AAAA\n", 0o600)},
        r"/root/\.ssh/authorized_keys has keys that the build was not given", None,
    ),
    "keys elsewhere": (
        {"/etc/dropbear/authorized_keys": File(b"ssh-ed25519 AAAA\n", 0o600)},
        "/etc/dropbear/authorized_keys: keys that may log in",
        "/etc/dropbear/authorized_keys: keys that may log in",
    ),
    "setuid": (
        program("/usr/bin/mine", 0o4755),
        r"/usr/bin/mine runs with the rights of 0:0 \(mode 4755\), allowed is none",
        r"/usr/bin/mine runs with the rights of its owner \(setuid\)",
    ),
    "setgid": (
        program("/usr/bin/mine", 0o2755), r"/usr/bin/mine runs .*2755", "/usr/bin/mine runs with",
    ),
    "a busybox that everybody may change": (
        {"/bin/busybox": File(b"\0ash\0", 0o4777)},
        r"/bin/busybox runs .*\(mode 4777\), allowed is root:root 4755", None,
    ),
    "files of the one who built": (
        {"/usr/bin/npu-bench": File(b"ELF", 0o755, (1005, 1005))},
        "/usr/bin/npu-bench belong to 1005:1005", None,
    ),
    "root's file in the hands of pico": (
        {"/etc/hosts": File(b"", owner=(1000, 1000))}, "/etc/hosts belong to 1000:1000", None,
    ),
    "a settings file that a group may change": (
        {"/etc/hosts": File(b"", 0o664)},
        r"/etc/hosts can be written by the group 0 \(mode 664\)", "/etc/hosts can be written by",
    ),
    "a folder that everybody may change": (
        {"/opt": File(kind=tarfile.DIRTYPE, mode=0o777)},
        r"/opt can be written by everybody \(mode 777\)", "/opt can be written by others than",
    ),
    "/tmp without its sticky bit": (
        {"/tmp": File(kind=tarfile.DIRTYPE, mode=0o777)}, "/tmp can be written by everybody", None,
    ),
    "a device node": (
        {"/dev/mem": File(kind=tarfile.CHRTYPE, mode=0o600)}, "/dev/mem is a device node", None,
    ),
    "a pipe": (
        {"/run/initctl": File(kind=tarfile.FIFOTYPE, mode=0o600)},
        "/run/initctl is a pipe", "/run/initctl is a device node, a pipe or a socket",
    ),
    "init.d elsewhere": (
        {name: None for name in system() if name.startswith("/etc/init.d/")}  # type: ignore[dict-item]
        | {"/etc/init.d": File(link="../opt/start")},
        r"/etc/init\.d is no folder", r"/etc/init\.d is no folder",
    ),
}  # fmt: skip


def with_fault(name: str) -> Files:
    files = system() | FAULTS[name][0]
    return {path: file for path, file in files.items() if file is not None}


def test_a_good_system_passes(target: Target, tmp_path: Path) -> None:
    allowed.check_archive(target, archive(system(), tmp_path / "rootfs.tar"), None)
    done = run_hook(folder(system(), tmp_path / "target"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(target: Target, tmp_path: Path, name: str) -> None:
    _, host, hook = FAULTS[name]
    message = seen_on_the_host(target, with_fault(name), tmp_path)
    assert re.search(host, message), message
    if name == "a device node":
        return  # only root makes one; a pipe takes the same way through the script
    done = run_hook(folder(with_fault(name), tmp_path / "target"))
    if hook is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and re.search(hook, done.stderr), done.stderr
        assert "docs/buildroot.md" in done.stderr


def test_names_without_a_dot_are_read_too(target: Target, tmp_path: Path) -> None:
    path = archive(with_fault("a second root"), tmp_path / "rootfs.tar", top="")
    with pytest.raises(UserError, match="toor has the user number 0"):
        allowed.check_archive(target, path, None)


def test_every_fault_is_told_at_once(target: Target, tmp_path: Path) -> None:
    names = ("a web server", "udev", "setgid", "cron")
    files = system()
    for name in names:
        files |= FAULTS[name][0]
    message = seen_on_the_host(target, files, tmp_path)
    done = run_hook(folder(files, tmp_path / "target"))
    for name in names:
        assert re.search(FAULTS[name][1], message)
        assert re.search(FAULTS[name][2] or "", done.stderr)


def test_a_whole_tree_of_a_stranger_is_one_line(target: Target, tmp_path: Path) -> None:
    files = {name: dataclasses.replace(file, owner=(1005, 100)) for name, file in system().items()}
    files |= {"/bin/busybox": system()["/bin/busybox"]}
    message = seen_on_the_host(target, files, tmp_path)
    assert message.count("1005:100") == 1 and re.search(r" and \d\d more belong", message)


def handed(tmp_path: Path, keys: bytes) -> Path:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "authorized_keys").write_bytes(keys)
    (inputs / "permit-root-login").write_text("prohibit-password\n")
    return inputs


def test_the_keys_of_the_build_pass(target: Target, tmp_path: Path) -> None:
    inputs = handed(tmp_path, b"ssh-ed25519 AAAA me\n")
    top = folder(system(), tmp_path / "target")
    for _ in range(2):  # Buildroot runs it again on every make
        assert run_hook(top, PICO_IMAGE_INPUTS=str(inputs)).returncode == 0
    assert (top / "root/.ssh/authorized_keys").read_bytes() == b"ssh-ed25519 AAAA me\n"
    files = system() | {
        "/root/.ssh/authorized_keys": File(b"ssh-ed25519 AAAA me\n", 0o600),
        "/home/pico/.ssh/authorized_keys": File(b"ssh-ed25519 AAAA me\n", 0o600, (1000, 1000)),
    }
    path = archive(files, tmp_path / "rootfs.tar")
    allowed.check_archive(target, path, inputs)
    (inputs / "authorized_keys").write_bytes(b"ssh-ed25519 BBBB other\n")
    with pytest.raises(UserError, match="has keys that the build was not given"):
        allowed.check_archive(target, path, inputs)


def test_the_hook_refuses_keys_that_were_not_handed_in(tmp_path: Path) -> None:
    top = folder(with_fault("keys of an overlay"), tmp_path / "target")
    inputs = handed(tmp_path, b"")
    (inputs / "authorized_keys").unlink()
    done = run_hook(top, PICO_IMAGE_INPUTS=str(inputs))
    assert done.returncode == 1
    assert "/root/.ssh/authorized_keys is in the root file system" in done.stderr


# -- the list itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("init S50x", "'init S50x' has no reason"),
        ("init S50x #", "'init S50x' has no reason"),
        ("script S50x # why", "unknown kind 'script'; known: init, inittab, start, service"),
        ("init S50x S51x # why", "'S50x S51x' is not what follows init: NAME"),
        ("service x tcp # why", "'x tcp' is not what follows service: PROGRAM PROTOCOL/PORT"),
        ("service x tcp/99999 any # why", "'tcp/99999' is no port"),
        ("setuid /bin/x root 4755 # why", "is not what follows setuid: PATH USER:GROUP MODE"),
        ("setuid /bin/x root:root 0755 # why", "is not what follows setuid"),
        ("owner root * # why", "'root [*]' is not what follows owner: USER:GROUP PATTERN"),
        ("writable tmp 1777 # why", "'tmp 1777' is not what follows writable: PATH MODE"),
        ("device # why", "'' is not what follows device: PATH"),
    ],
)
def test_a_fault_of_the_list_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "allowed.txt"
    path.write_text(f"# a list\n\ninit rcS # starts the others\n{line}\n")
    with pytest.raises(ConfigError, match=rf"allowed\.txt:4: .*{message}"):
        allowed.read(path)


def test_a_missing_list_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"allowed\.txt: could not read what an image may have"):
        allowed.rules_of(tmp_path)


def test_what_may_listen_is_told_with_its_port(target: Target) -> None:
    """For whoever compares the ports that are really open."""
    known = {(each.program, each.protocol, each.port) for each in allowed.rules(target).services()}
    assert {
        ("sshd", "tcp", 22),
        ("avahi-daemon", "udp", 5353),
        ("avahi-daemon", "udp", None),
    } <= known
    assert {each for each in known if each[1] == "tcp"} == {("sshd", "tcp", 22)}
    emulator = allowed.rules(Target.of(target.config, "emulator")).services()
    assert ("dropbear", 22) in {(each.program, each.port) for each in emulator}


def test_boards_have_none_of_the_emulators_lines(target: Target, tmp_path: Path) -> None:
    path = "/etc/init.d/S50dropbear"
    message = seen_on_the_host(target, system() | program(path), tmp_path)
    assert f"{path}: an init script that is not allowed" in message


def test_the_scripts_of_this_project_are_in_the_list_and_no_others_of_it() -> None:
    ours = {
        path.name for layer in ("overlay", "bench") for path in (BOARD / layer).rglob("init.d/*")
    }
    reasons = allowed.rules_of().words("init")
    marked = {name for name, reason in reasons.items() if reason.startswith(("ours", "npu-bench"))}
    assert marked == ours
    emulators = {path.name for path in (BOARD / "emulator/etc/init.d").iterdir()}
    known = allowed.rules_of(emulated=True).words("init").keys()
    assert known - reasons.keys() == emulators - {"rcS", "rcK"}


def test_what_no_image_has_is_in_no_line_that_allows_it() -> None:
    rules = allowed.rules_of(emulated=True)
    never = rules.words("never").keys()
    assert {"telnetd", "adbd", "udevd"} <= never
    for kind in ("init", "service", "start", "inittab"):
        assert not never & rules.words(kind).keys()


# -- a variant's lines -------------------------------------------------------------------


@pytest.fixture
def variant(tmp_path: Path) -> Callable[[str], Target]:
    """Writes a variant of a copy of the project with these lines at its end; its target."""
    root = tmp_path / "project"
    for name in ("configs", "board", "package"):
        shutil.copytree(ROOT / name, root / name)

    def write(lines: str) -> Target:
        board = "" if "\nboard: " in lines else "board: luckfox-pico-mini\n"
        text = f"extends: _minimal\ntitle: T\n{board}{lines}"
        (root / "configs/variants/mine.yml").write_text(text)
        return Target.of(configuration.load(root), "mine")

    return write


BROKER = """allowed:
  - init S50mosquitto
  - service mosquitto tcp/1883 any
  - owner 1883:1883 /var/lib/mosquitto/*
"""


def broker() -> Files:
    return (
        system()
        | program("/etc/init.d/S50mosquitto")
        | program("/usr/sbin/mosquitto")
        | {"/var/lib/mosquitto/db": File(b"", owner=(1883, 1883))}
    )


def test_a_variant_allows_a_service_by_name(
    variant: Callable[[str], Target], tmp_path: Path
) -> None:
    """In YAML, through the defconfig and Buildroot's variable, to the hook; and on the host."""
    target = variant(f"extra_symbols:\n  BR2_PACKAGE_MOSQUITTO: y\n{BROKER}")
    allowed.check(target)
    path = archive(broker(), tmp_path / "rootfs.tar")
    allowed.check_archive(target, path, None)
    assert ("mosquitto", 1883) in {(s.program, s.port) for s in allowed.rules(target).services()}
    text = render.defconfig(target.config, "mine")
    (value,) = re.findall(r'^BR2_ROOTFS_POST_SCRIPT_ARGS="(.*)"$', text, re.M)
    assert "# from configs/variants/mine.yml:6\nBR2_ROOTFS_POST_SCRIPT_ARGS" in text
    top = folder(broker(), tmp_path / "target")
    hook = BOARD / "post-build.sh"
    for words, status in ((value, 0), ("'init S50mosquitto'", 1), ("", 1)):
        # As Buildroot's Makefile calls it: the words of the variable go through a shell.
        done = subprocess.run(
            f"{hook} {top} {words}", shell=True, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
    assert "S50mosquitto" in done.stderr and "mosquitto may not be in an image" in done.stderr
    # Another variant still refuses it.
    with pytest.raises(UserError, match="mosquitto may not be in an image"):
        allowed.check_archive(variant(""), path, None)


def test_the_image_says_what_its_variant_allowed(variant: Callable[[str], Target]) -> None:
    target = variant(BROKER)
    assert 'ALLOWED="init S50mosquitto; service mosquitto tcp/1883 any; owner' in target.release()
    assert "ALLOWED" not in variant("").release()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("allowed:\n  - init S50x\n  - service telnetd tcp/23 any\n",
         r"mine\.yml:6: allowed: 'telnetd' cannot be allowed: a login without encryption"),
        ("allowed: [init S50telnet]\n", r"mine\.yml:4: allowed: 'S50telnet' cannot be allowed"),
        ("allowed: [inittab /usr/sbin/TELNETD]\n", r"mine\.yml:4: .*TELNETD' cannot be allowed"),
        ("allowed: [start /usr/bin/adbd]\n", r"mine\.yml:4: .*adbd' cannot be allowed: a root sh"),
        ("allowed:\n  - init S50x\n  - allow x\n", r"mine\.yml:6: allowed: unknown kind 'allow'"),
        ("allowed:\n  - never telnetd\n", r"mine\.yml:5: allowed: unknown kind 'never'"),
        ("allowed:\n  - service x tcp/http any\n", r"mine\.yml:5: .*is not what follows service"),
        ("allowed:\n  - init S5$(reboot)\n", r"mine\.yml:5: allowed\.0: letters, digits, spaces"),
        ("allowed:\n  - \"init S50x'\"\n", r"mine\.yml:5: allowed\.0: letters, digits, spaces"),
        ("extra_symbols:\n  BR2_PACKAGE_HTOP: y\n  BR2_PACKAGE_DROPBEAR: y\n",
         r"mine\.yml:6: BR2_PACKAGE_DROPBEAR brings dropbear, which listens"),
    ],
)  # fmt: skip
def test_a_variants_fault_is_told_with_file_and_line_before_any_stage(
    variant: Callable[[str], Target], lines: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        allowed.check(variant(lines))


def test_packages_without_a_service_need_no_line(variant: Callable[[str], Target]) -> None:
    symbols = "".join(
        f"  BR2_PACKAGE_{name}: y\n" for name in ("HTOP", "NANO", "RSYNC", "DROPBEAR")
    )
    allowed.check(variant(f"extra_symbols:\n{symbols}allowed: [service dropbear tcp/2222 any]\n"))


def test_the_hook_itself_refuses_what_no_variant_may_allow(tmp_path: Path) -> None:
    """Whoever sets BR2_ROOTFS_POST_SCRIPT_ARGS by hand."""
    top = folder(with_fault("a link to busybox"), tmp_path / "target")
    done = run_hook(top, "service telnetd tcp/23 any", "listen here")
    assert done.returncode == 1
    assert "telnetd cannot be allowed: a login without encryption" in done.stderr
    assert "/usr/sbin/telnetd: telnetd may not be" in done.stderr
    assert "unknown kind of line: listen here" in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("etc/init.d/S60mine", "#!/bin/sh\n", r"/etc/init\.d/S60mine: an init script that is not"),
        ("usr/sbin/dropbear", "ELF", "/usr/sbin/dropbear: dropbear may not be in an image"),
        ("etc/rc.local", "#!/bin/sh\n", "/etc/rc.local starts programs"),
        ("etc/passwd", "root:x:0:0::/:/bin/sh\nme:x:0:0::/:/bin/sh\n", "me has the user number 0"),
        ("root/.ssh/authorized_keys2", "ssh-rsa AAAA\n", "authorized_keys2: keys that may log in"),
    ],
)
@pytest.mark.parametrize(
    "named", ["$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/mine", "/src/board/mine"]
)
def test_an_overlay_that_brings_a_service_is_told_before_any_stage(
    variant: Callable[[str], Target], file: str, content: str, message: str, named: str
) -> None:
    target = variant(f"extra_symbols:\n  BR2_ROOTFS_OVERLAY: {named}\n")
    path = target.config.root / "board/mine" / file
    path.parent.mkdir(parents=True)
    allowed.check(target)
    path.write_text(content)
    path.chmod(0o755)
    with pytest.raises(UserError, match=rf"(?s)the overlay board/mine has what .*{message}"):
        allowed.check(target)


@pytest.mark.parametrize("board", ["luckfox-pico-mini", "emulator"])
def test_build_image_tells_it_before_it_converts_a_model_or_asks_an_engine(
    variant: Callable[[str], Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    target = variant(f"allowed: [service adbd tcp/5555 any]\nboard: {board}\npackages: []\n")
    with pytest.raises(ConfigError, match=r"mine\.yml:3: allowed: 'adbd' cannot be allowed"):
        build.build_image(Console(stream=io.StringIO()), target)
    assert not (tmp_path / "out").exists()


def test_our_own_overlay_is_looked_at(variant: Callable[[str], Target]) -> None:
    target = variant("")
    link = target.config.root / "board/luckfox-pico/overlay/etc/init.d/S50telnet"
    link.symlink_to("/bin/true")
    with pytest.raises(UserError, match=r"overlay board/luckfox-pico/overlay .*\n.*S50telnet may"):
        allowed.check(target)


# -- Buildroot's own tree ----------------------------------------------------------------


@pytest.fixture(scope="session")
def buildroot() -> Path:
    path = os.environ.get("BUILDROOT_DIR")
    if not path:
        pytest.skip("BUILDROOT_DIR does not name a Buildroot tree")
    return Path(path)


#: Installed on a condition that our defconfigs do not meet: mdev makes the device nodes, busybox
#: has a watchdog, a telnet server, an address of one's own invention.
CONDITIONAL = {"S10mdev", "S15watchdog", "S50telnet", "S05avahi-setup.sh"}


@pytest.fixture(scope="session")
def packages(buildroot: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Buildroot's variables for the variant with Ethernet and the benchmark."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("app", "board", "br2-external", "configs", "package"):
        shutil.copytree(ROOT / name, root / name)
    loaded = configuration.load(root)
    render.write(loaded, [VARIANT])
    make: list[Any] = ["make", "-s", "-C", buildroot, f"O={root / 'output'}"]
    make += [f"BR2_EXTERNAL={root / 'br2-external'}"]
    names = "PACKAGES PACKAGES_PERMISSIONS_TABLE PACKAGES_DEVICES_TABLE PACKAGES_USERS"
    subprocess.run([*make, render.defconfig_name(VARIANT)], check=True, capture_output=True)
    answer = subprocess.run(
        [*make, "printvars", f"VARS={names}", "QUOTED_VARS=YES"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return dict(re.findall(r"^(\w+)='(.*?)'$", answer, re.M | re.S))


@pytest.mark.external
def test_each_script_of_the_list_is_that_packages_in_buildroot(buildroot: Path) -> None:
    seen = 0
    for name, reason in allowed.rules_of().words("init").items():
        package = re.split(r"[ :,]", reason)[0]
        if package in ("ours", "npu-bench"):
            continue
        inside = {path.name for path in (buildroot / "package" / package).rglob("*")}
        assert name in inside, f"{name} is not in package/{package}"
        seen += 1
    assert seen == len(INIT.split())


@pytest.mark.external
def test_each_script_of_the_packages_in_use_is_in_the_list(
    buildroot: Path, packages: dict[str, str]
) -> None:
    used = packages["PACKAGES"].split()
    assert {"busybox", "openssh", "avahi", "initscripts", "npu-bench"} <= set(used)
    scripts = {
        path.name
        for name in used
        for path in (buildroot / "package" / name).glob("**/[SK][0-9][0-9]*")
    }
    assert scripts - CONDITIONAL <= allowed.rules_of().words("init").keys()
    assert "S50sshd" in scripts and scripts & CONDITIONAL == CONDITIONAL


@pytest.mark.external
def test_modes_and_owners_of_buildroots_tables_are_in_the_list(
    buildroot: Path, packages: dict[str, str]
) -> None:
    """Each row of the tables, as makedevs applies it, against the list."""
    rows = packages["PACKAGES_PERMISSIONS_TABLE"].splitlines()
    rows += (buildroot / "system/device_table.txt").read_text().splitlines()
    assert packages.get("PACKAGES_DEVICES_TABLE", "").strip() == ""
    skeleton = (buildroot / "system/skeleton/etc/passwd").read_bytes()
    group = (buildroot / "system/skeleton/etc/group").read_bytes()
    entries = []
    for row in (line.split() for line in rows):
        if not row or row[0].startswith("#"):
            continue
        path, kind, mode, uid, gid = row[:5]
        assert kind in "dfFr"
        format_bits = stat.S_IFDIR if kind == "d" else stat.S_IFREG
        user, group_of_it = (0 if word == "root" else int(word) for word in (uid, gid))
        entries.append(Entry(path, format_bits | int(mode, 8), user, group_of_it, 0))
    assert {"/bin/busybox", "/tmp", "/var/www"} <= {entry.path for entry in entries}

    def read(path: str) -> bytes:
        return {"/etc/passwd": skeleton, "/etc/group": group}.get(path, b"")

    assert allowed.problems(entries, allowed.rules_of(), read) == []
    # And no line for what the tables do not have.
    setuid = {rule.words[0] for rule in allowed.rules_of().of("setuid")}
    assert setuid == {each.path for each in entries if each.mode & 0o4000}


@pytest.mark.external
def test_busybox_of_our_configuration_has_no_applet_that_is_refused(
    buildroot: Path, tmp_path: Path
) -> None:
    """Buildroot's busybox.config with our fragment, merged as package/pkg-kconfig.mk does it."""
    rules = allowed.rules_of()
    services = {each.program for each in rules.services()}
    names = {*rules.words("listens"), *rules.words("never")} - services
    lines = {f"CONFIG_{name.upper()}=y" for name in names}
    base = buildroot / "package/busybox/busybox.config"
    assert lines & set(base.read_text().splitlines()) == {"CONFIG_DNSD=y", "CONFIG_INETD=y"}
    subprocess.run(
        [buildroot / "support/kconfig/merge_config.sh", "-m", "-O", tmp_path, base,
         BOARD / "busybox.fragment"],
        cwd=buildroot, check=True, capture_output=True,
    )  # fmt: skip
    assert not lines & set((tmp_path / ".config").read_text().splitlines())
