"""A rootfs.tar as Buildroot would make one, out of the emulator's own programs.

Owners and modes are those of the built root file system, read back. In place of what only the
emulator has come stand-ins for what Buildroot 2023.02.6 brings: the inittab of its busybox with a
getty, /etc/fstab, rcS and rcK, scripts that start daemons, the skeleton's links below /var, users,
busybox with its owner's rights. SSH is the emulator's server under OpenSSH's name and place.
"""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path

from pico_image.card import filesystem
from pico_image.card.blocks import Slice
from pico_image.card.filesystem import Entry
from pico_image.image import access

INITTAB = """\
::sysinit:/bin/mount -t proc proc /proc
::sysinit:/bin/mount -o remount,rw /
::sysinit:/bin/mkdir -p /dev/pts /dev/shm
::sysinit:/bin/mount -a
::sysinit:/bin/mkdir -p /run/lock/subsys
null::sysinit:/bin/ln -sf /proc/self/fd /dev/fd
::sysinit:/bin/hostname -F /etc/hostname
::sysinit:/etc/init.d/rcS
console::respawn:/sbin/getty -L console 0 vt100
::shutdown:/etc/init.d/rcK
::shutdown:/bin/umount -a -r
"""
FSTAB = """\
/dev/root / ext2 rw,noauto 0 1
proc /proc proc defaults 0 0
devpts /dev/pts devpts defaults,gid=5,mode=620,ptmxmode=0666 0 0
tmpfs /dev/shm tmpfs mode=0777 0 0
tmpfs /tmp tmpfs mode=1777 0 0
tmpfs /run tmpfs mode=0755,nosuid,nodev 0 0
sysfs /sys sysfs defaults 0 0
"""
RUN_ALL = """\
#!/bin/sh
for script in $(ls {order} /etc/init.d/S??*); do
    [ -f "$script" ] && "$script" {action}
done
"""
#: With a file of its own for the process number, as busybox's daemons write none.
DAEMON = """\
#!/bin/sh
case $1 in
    start)
        printf 'Starting {name}: '
        if start-stop-daemon -S -b -m -q -p /run/{name}.pid -x /sbin/{name} -- -n; then
            echo OK
        else
            echo FAIL
        fi
        ;;
    stop) start-stop-daemon -K -q -p /run/{name}.pid ;;
esac
"""
NETWORK = """\
#!/bin/sh
[ "$1" = start ] || exit 0
printf 'Starting network: '
ifconfig lo up && echo OK || echo FAIL
"""
SSHD = """\
#!/bin/sh
[ "$1" = start ] || exit 0
[ -s /etc/ssh/key ] || dropbearkey -t ed25519 -f /etc/ssh/key >/dev/null 2>&1
printf 'Starting sshd: '
/usr/sbin/sshd -r /etc/ssh/key -s && echo OK || echo FAIL
"""
PROFILE = """\
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
[ "$(id -u)" -eq 0 ] && PS1='# ' || PS1='$ '
"""
#: The emulator's own.
LEFT_OUT = ("/etc/init.d/S50dropbear", "/var/log")
PICO, SSHD_USER = 1000, 101


def files(password: str, server: Path) -> dict[str, tuple[int, bytes]]:
    """Permissions and content by path; ``server`` is the folder of the SSH server's programs."""
    hashed = access.hash_password(password, "-6")
    texts = {
        "/etc/inittab": (0o644, INITTAB),
        "/etc/fstab": (0o644, FSTAB),
        "/etc/profile": (0o644, PROFILE),
        "/etc/passwd": (
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
            f"sshd:x:{SSHD_USER}:{SSHD_USER}:SSH drop priv user:/var/empty:/bin/false\n"
            f"pico:x:{PICO}:{PICO}:Luckfox Pico user:/home/pico:/bin/sh\n",
        ),
        "/etc/shadow": (
            0o600,
            f"root:{hashed}:::::::\nnobody:*:::::::\nsshd:*:::::::\npico:*:::::::\n",
        ),
        "/etc/group": (
            0o644,
            f"root:x:0:\ntty:x:5:\nsshd:x:{SSHD_USER}:\nnpu:x:200:pico\npico:x:{PICO}:\n"
            "nogroup:x:65534:\n",
        ),
        "/etc/init.d/rcS": (0o755, RUN_ALL.format(order="", action="start")),
        "/etc/init.d/rcK": (0o755, RUN_ALL.format(order="-r", action="stop")),
        "/etc/init.d/S40network": (0o755, NETWORK),
        "/etc/init.d/S50sshd": (0o755, SSHD),
    }
    for script, name in (("S01syslogd", "syslogd"), ("S02klogd", "klogd")):
        texts[f"/etc/init.d/{script}"] = (0o755, DAEMON.format(name=name))
    found = {path: (mode, text.encode()) for path, (mode, text) in texts.items()}
    found["/usr/sbin/sshd"] = (0o755, (server / "dropbear").read_bytes())
    found["/usr/sbin/dropbearkey"] = (0o755, (server / "dropbearkey").read_bytes())
    return found


FOLDERS: Mapping[str, tuple[int, int]] = {
    "/etc/ssh": (0, 0o755), "/home/pico": (PICO, 0o755), "/var/empty": (0, 0o755),
}  # fmt: skip
LINKS = {"/var/log": "../tmp", "/var/run": "../run", "/etc/resolv.conf": "../tmp/resolv.conf"}


def archive(rootfs: Path, password: str, server: Path, folder: Path) -> Path:
    """``folder``/rootfs.tar of the built emulator's ``rootfs`` (rootfs.img)."""
    tree = folder / "tree"
    filesystem.extract(Slice(rootfs), tree)
    ours = files(password, server)
    path = folder / "rootfs.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(_member("/", stat.S_IFDIR | 0o755, 0))
        for entry in filesystem.list_files(Slice(rootfs)):
            if entry.path not in (*LEFT_OUT, *ours, *LINKS, "/lost+found"):
                _add(tar, entry, tree)
        for name, (owner, mode) in FOLDERS.items():
            tar.addfile(_member(name, stat.S_IFDIR | mode, owner))
        for name, target in LINKS.items():
            link = _member(name, stat.S_IFLNK | 0o777, 0)
            link.linkname = target
            tar.addfile(link)
        for name, (mode, content) in sorted(ours.items()):
            member = _member(name, stat.S_IFREG | mode, 0)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def _add(tar: tarfile.TarFile, entry: Entry, tree: Path) -> None:
    mode = entry.mode | (0o4000 if entry.path == "/bin/busybox" else 0)
    member = _member(entry.path, mode, entry.uid)
    source = tree / entry.path.lstrip("/")
    if member.issym():
        member.linkname = str(source.readlink())
        tar.addfile(member)
    elif member.isfile():
        member.size = source.stat().st_size
        with source.open("rb") as stream:
            tar.addfile(member, stream)
    else:
        tar.addfile(member)


def _member(path: str, mode: int, owner: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f".{path}".rstrip("/"))
    types = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE}
    member.type = types.get(stat.S_IFMT(mode), tarfile.REGTYPE)
    member.mode, member.uid, member.gid = stat.S_IMODE(mode), owner, owner
    return member
