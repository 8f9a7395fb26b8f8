"""The disks of this machine: which there are, why not to write to one, reading and writing.

Linux is asked through ``lsblk --json`` (util-linux 2.37 or newer) and sysfs, macOS through
``diskutil list -plist`` and ``diskutil info -plist``.

A card is opened past the page cache: without O_DIRECT the read-back would come from memory and
prove nothing. Where the system or file system has no O_DIRECT, the cache is dropped before reading.
"""

from __future__ import annotations

import errno
import json
import os
import plistlib
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError

COLUMNS = "NAME,PATH,TYPE,SIZE,RM,RO,TRAN,VENDOR,MODEL,MOUNTPOINTS"
#: Mount points of the running system.
SYSTEM_MOUNTS = {"/", "/boot", "/boot/efi", "/boot/firmware", "/usr", "/var", "/home", "[SWAP]"}
#: Block devices that use a disk without mounting it: LVM, encryption, RAID.
STACKED = ("lvm", "crypt", "raid", "mpath", "md", "dm")

WINDOWS_ADVICE = (
    "on Windows write sdcard.img with Rufus, balenaEtcher or Raspberry Pi Imager, or its parts"
    " with SocToolKit (see README.txt beside the image); cancel when Windows offers to format"
    " the card. WSL sees no card reader unless usbipd and a kernel with usb-storage are set up"
)

SECTOR = 512
#: ENOSPC too: the size was compared before, so a device that is full early has changed.
_GONE = (
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENOSPC,
    getattr(errno, "ENOMEDIUM", errno.EIO),
)
_F_NOCACHE = 48  # macOS <sys/fcntl.h>


@dataclass(frozen=True)
class Device:
    """A whole disk, a loop device or a plain file in place of a card; ``size`` in bytes."""

    path: Path
    size: int
    model: str = ""
    transport: str = ""
    kind: str = "disk"
    removable: bool = False
    read_only: bool = False
    mounts: tuple[str, ...] = ()
    stacked: bool = False

    @property
    def system(self) -> bool:
        return any(mount in SYSTEM_MOUNTS for mount in self.mounts)

    def __str__(self) -> str:
        what = " ".join(word for word in (self.model, self.transport) if word) or self.kind
        return f"{self.path} ({what}, {self.size / 1e9:.2f} GB)"

    def objections(self, needed: int) -> dict[str, str]:
        """Why not to write ``needed`` bytes here: name of the objection and a sentence.

        The user can overrule all but ``too-small`` and ``read-only`` by name.
        """
        reasons: dict[str, str] = {}
        if self.system:
            shown = [mount for mount in self.mounts if mount in SYSTEM_MOUNTS]
            reasons["system"] = f"holds the running system ({', '.join(shown)})"
        elif self.mounts:
            reasons["mounted"] = f"is mounted at {', '.join(self.mounts)}"
        elif self.stacked:
            reasons["mounted"] = "is in use by LVM, encryption or RAID"
        if not self.removable and self.kind != "file":
            reasons["not-removable"] = "is not a removable disk"
        if self.read_only:
            reasons["read-only"] = "is write-protected (an SD card's or adapter's lock switch?)"
        if self.size < needed:
            reasons["too-small"] = f"has {self.size} bytes and the image needs {needed}"
        return reasons


def list_devices() -> list[Device]:
    """All whole disks of this machine. Raises UserError where no tool lists them."""
    if sys.platform.startswith("linux"):
        return parse_lsblk(_ask(["lsblk", "--json", "--bytes", "--output", COLUMNS]), _mmc_type)
    if sys.platform == "darwin":
        return _diskutil_devices()
    raise UserError("cards cannot be written from here", hint=WINDOWS_ADVICE)


def candidates(devices: Sequence[Device]) -> list[Device]:
    """The disks that look like a card: removable, of some size, not the system's."""
    return [item for item in devices if item.removable and item.size and not item.system]


def find_device(name: str) -> Device:
    """The disk, loop device or existing plain file ``name`` (``/dev/sdb``, a by-id link, ...).

    Raises UserError for a partition, a character device, or something that is not there.
    """
    path = Path(name).expanduser()
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(
            f"there is no device {name}: {error.strerror}", hint=candidate_hint()
        ) from error
    real = path.resolve()
    if stat.S_ISREG(status.st_mode):
        writable = os.access(real, os.W_OK)
        return Device(real, status.st_size, kind="file", read_only=not writable)
    if not stat.S_ISBLK(status.st_mode) and not _is_raw_disk(real, status):
        raise UserError(f"{name} is no disk", hint=candidate_hint())
    disk = Path("/dev") / real.name.removeprefix("r") if _is_raw_disk(real, status) else real
    for device in list_devices():
        if device.path == disk:
            return device
    raise UserError(
        f"{name} is a partition or something else that is no whole disk",
        hint=f"the image has its own layout, so it goes on the whole card. {candidate_hint()}",
    )


def candidate_hint() -> str:
    """A line that names the cards that are there now."""
    try:
        cards = candidates(list_devices())
    except UserError:
        return WINDOWS_ADVICE
    if not cards:
        return "no card was found; put it in the reader, then run: invoke flash"
    return "cards found: " + "; ".join(map(str, cards))


def parse_lsblk(text: str, mmc_type: Callable[[str], str]) -> list[Device]:
    """The devices in lsblk's JSON. ``mmc_type`` returns "SD" or "MMC" for mmcblkN.

    Built-in card slots are often not marked as removable, so an SD card counts as removable
    wherever it is; eMMC, which has the same driver, does not.
    """
    try:
        rows = json.loads(text)["blockdevices"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"lsblk gave no list of disks: {error}") from error
    devices = []
    for row in rows:
        if row["type"] not in ("disk", "loop") or row["name"].startswith(("zram", "ram", "nbd")):
            continue
        name = row["name"]
        if name.startswith("mmcblk") and ("boot" in name or "rpmb" in name):
            continue
        sd_card = name.startswith("mmcblk") and mmc_type(name) == "SD"
        words = [(row.get(key) or "").strip() for key in ("vendor", "model")]
        devices.append(
            Device(
                path=Path(row["path"]),
                size=int(row["size"] or 0),
                model=" ".join(word for word in words if word),
                transport=row.get("tran") or ("sd" if sd_card else ""),
                kind=row["type"],
                removable=bool(row["rm"]) or sd_card,
                read_only=bool(row["ro"]),
                mounts=tuple(_mounts(row)),
                stacked=_stacked(row),
            )
        )
    return devices


def _mounts(row: dict[str, Any]) -> list[str]:
    mounts = [mount for mount in row.get("mountpoints") or [] if mount]
    for child in row.get("children") or []:
        mounts += [mount for mount in _mounts(child) if mount not in mounts]
    return mounts


def _stacked(row: dict[str, Any]) -> bool:
    children = row.get("children") or []
    return any(child["type"].startswith(STACKED) or _stacked(child) for child in children)


def _mmc_type(name: str) -> str:
    try:
        return Path(f"/sys/block/{name}/device/type").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _diskutil_devices() -> list[Device]:
    listing = plistlib.loads(_ask(["diskutil", "list", "-plist"]).encode())
    names = listing.get("WholeDisks", [])
    return [
        parse_diskutil(plistlib.loads(_ask(["diskutil", "info", "-plist", name]).encode()), listing)
        for name in names
    ]


def parse_diskutil(info: Mapping[str, Any], listing: Mapping[str, Any]) -> Device:
    """The device in the output of ``diskutil info -plist DISK`` and ``diskutil list -plist``.

    Disks that macOS derives from another one (APFS containers) never count as removable.
    """
    name = info["DeviceIdentifier"]
    mounts = [info["MountPoint"]] if info.get("MountPoint") else []
    for disk in listing.get("AllDisksAndPartitions", []):
        if disk.get("DeviceIdentifier") == name:
            inner = [*disk.get("Partitions", []), *disk.get("APFSVolumes", [])]
            mounts += [item["MountPoint"] for item in inner if item.get("MountPoint")]
    virtual = info.get("VirtualOrPhysical") == "Virtual"
    outside = bool(info.get("RemovableMedia") or info.get("Removable"))
    return Device(
        path=Path("/dev") / name,
        size=int(info.get("TotalSize") or info.get("Size") or 0),
        model=str(info.get("MediaName") or "").strip(),
        transport=str(info.get("BusProtocol") or ""),
        removable=outside and not virtual,
        read_only=not info.get("WritableMedia", True),
        mounts=tuple(mounts),
    )


def _is_raw_disk(path: Path, status: os.stat_result) -> bool:
    return sys.platform == "darwin" and stat.S_ISCHR(status.st_mode) and "rdisk" in path.name


def _ask(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise UserError(
            f"could not find the program {command[0]!r}, which is needed to list the disks",
            hint="install util-linux",
        ) from error
    if done.returncode != 0:
        raise UserError(f"{command[0]} could not list the disks: {done.stderr.strip()}")
    return done.stdout


def write_path(device: Device) -> Path:
    """The node to write to: macOS is about ten times faster on the raw disk."""
    if sys.platform == "darwin" and device.kind != "file":
        return device.path.with_name("r" + device.path.name)
    return device.path


def unmount(device: Device) -> None:
    """Unmount everything on a device."""
    if sys.platform == "darwin":
        _ask(["diskutil", "unmountDisk", str(device.path)])
        return
    for mount in sorted(device.mounts, key=len, reverse=True):
        done = subprocess.run(["umount", mount], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UserError(f"could not unmount {mount}: {done.stderr.strip()}")


class Card:
    """An open device. All offsets are multiples of 512; the caller pads the last sector."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self.position = 0
        is_block = stat.S_ISBLK(path.stat().st_mode)
        flags = os.O_RDWR if write else os.O_RDONLY
        flags |= getattr(os, "O_CLOEXEC", 0)
        if write and is_block and sys.platform.startswith("linux"):
            flags |= os.O_EXCL  # the kernel refuses when something of it is mounted
        self.direct = hasattr(os, "O_DIRECT")
        try:
            self.handle = self._open(flags)
        except OSError as error:
            raise self._explain(error, "open") from error

    def _open(self, flags: int) -> int:
        if self.direct:
            try:
                return os.open(self.path, flags | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:  # tmpfs before Linux 6.6, and others
                    raise
                self.direct = False
        handle = os.open(self.path, flags)
        if sys.platform == "darwin":
            import fcntl

            with suppress(OSError):
                fcntl.fcntl(handle, _F_NOCACHE, 1)
        return handle

    def size(self) -> int:
        return os.lseek(self.handle, 0, os.SEEK_END)

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of ``data``. Raises UserError when the device goes away or refuses."""
        while data:
            self.position = offset
            try:
                count = os.pwrite(self.handle, data, offset)
            except OSError as error:
                if error.errno == errno.EINVAL and self._without_direct():
                    continue
                raise self._explain(error, "write") from error
            data, offset = data[count:], offset + count

    def readinto(self, buffer: memoryview, offset: int) -> int:
        filled = 0
        while filled < len(buffer):
            self.position = offset + filled
            try:
                count = os.preadv(self.handle, [buffer[filled:]], offset + filled)
            except OSError as error:
                if error.errno == errno.EINVAL and self._without_direct():
                    continue
                raise self._explain(error, "read") from error
            if count == 0:
                break
            filled += count
        return filled

    def flush(self) -> None:
        """Wait until the card has everything, and drop it from the page cache."""
        try:
            os.fsync(self.handle)
        except OSError as error:
            raise self._explain(error, "finish writing") from error
        self.forget()

    def forget(self) -> None:
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self.handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        os.close(self.handle)

    def _without_direct(self) -> bool:
        """Some file systems accept O_DIRECT at open and refuse it at the first transfer."""
        if not self.direct:
            return False
        import fcntl

        flags = fcntl.fcntl(self.handle, fcntl.F_GETFL)
        fcntl.fcntl(self.handle, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self.direct = False
        return True

    def _explain(self, error: OSError, doing: str) -> UserError:
        what = f"could not {doing} {self.path}"
        number = error.errno
        if number in _GONE:
            return UserError(
                f"{what}: the device failed or went away at byte {self.position}"
                f" ({error.strerror})",
                hint="the card is not whole; insert it again and flash it again,"
                " with another reader or card if it fails at the same place",
            )
        if number in (errno.EROFS, errno.EPERM):
            return UserError(
                f"{what}: it is write-protected", hint="move the lock switch of the card's adapter"
            )
        if number == errno.EACCES:
            return UserError(f"{what}: permission denied", hint="run it with sudo")
        if number == errno.EBUSY:
            return UserError(
                f"{what}: it is in use", hint="unmount what is on it, and close other programs"
            )
        return UserError(f"{what}: {error.strerror}")


@contextmanager
def open_card(path: Path, *, write: bool) -> Iterator[Card]:
    card = Card(path, write=write)
    try:
        yield card
    finally:
        card.close()
