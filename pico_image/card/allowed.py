"""What a root file system may have, and what in one is against it.

``board/luckfox-pico/allowed.txt`` is the list; its head has the syntax. ``post-build.sh`` reads it
in Buildroot. Here it is held against archives and images, and before any stage against the overlays
that will go into one.

Names, modes, owners and the text of a few files are all that files show. Not seen: a program under
a name that the list does not know (``listens``), a listener in a script or a settings file of an
allowed name, a port that a setting changes, a server that is started by hand or from another
partition. The emulator's boot compares the ports that are really open with ``Rules.services``.
"""

from __future__ import annotations

import re
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.card import archive
from pico_image.card.filesystem import Entry
from pico_image.config.configuration import Origin
from pico_image.config.target import Target

BOARD = Path("board/luckfox-pico")
LIST = BOARD / "allowed.txt"
#: More lines for what Buildroot does not make.
EMULATORS = BOARD / "emulator/allowed.txt"
HINT = (
    "take out what brings it, or allow it by name in the variant's file under `allowed:`"
    " (docs/buildroot.md, What may be in an image)"
)
#: Reads a file by its path in the root file system; empty when there is none.
Reader = Callable[[str], bytes]

_OWNER = r"[\w-]+:[\w-]+"
#: Kinds of lines: their form, and the pattern of the words after the kind.
_PERMISSIONS = {
    "init": ("NAME", r"[\w.+-]+"),
    "inittab": ("PROGRAM...", r"-?/\S+( -?/\S+)*"),
    "start": ("PATH", r"/\S+"),
    "service": ("PROGRAM PROTOCOL/PORT INTERFACE", r"[\w.+-]+ (tcp|udp)/(\d{1,5}|\*) \S+"),
    "setuid": ("PATH USER:GROUP MODE", rf"/\S+ {_OWNER} [2467][0-7]{{3}}"),
    "owner": ("USER:GROUP PATTERN...", rf"{_OWNER} [/*]\S*( /\S*)*"),
    "writable": ("PATH MODE", r"/\S+ [0-7]{3,4}"),
    "device": ("PATH", r"/\S+"),
    "keys": ("PATH", r"/\S+"),
}
#: What both checks know; no variant adds to it.
_TABLES = {
    "listens": ("NAME...", r"\S+( \S+)*"),
    "starts": ("PATH...", r"/\S+( /\S+)*"),
    "never": ("NAME...", r"\S+( \S+)*"),
}


@dataclass(frozen=True)
class Rule:
    """One line of the list: its kind, the words after it, its reason."""

    kind: str
    words: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Service:
    """A program that may listen; ``port`` None: any. ``where``: an interface's pattern, or any."""

    program: str
    protocol: str
    port: int | None
    where: str


@dataclass(frozen=True)
class Rules:
    """The lines that count for one root file system."""

    lines: tuple[Rule, ...]

    def of(self, kind: str) -> list[Rule]:
        return [rule for rule in self.lines if rule.kind == kind]

    def words(self, kind: str) -> dict[str, str]:
        """All words of the lines of a kind, with their reasons."""
        return {word: rule.reason for rule in self.of(kind) for word in rule.words}

    def services(self) -> list[Service]:
        """What may listen: a port that is open and in none of these was not allowed."""
        found = []
        for program, socket, where in (rule.words for rule in self.of("service")):
            protocol, _, port = socket.partition("/")
            found.append(Service(program, protocol, int(port) if port != "*" else None, where))
        return found


def read(path: Path) -> list[Rule]:
    """The lines of a list. Raises ConfigError (file and line) for one that is not understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, None, f"could not read what an image may have: {error}") from error
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words, mark, reason = line.partition("#")
        if not words.strip():
            continue
        if not (mark and reason.strip()):
            raise ConfigError(path, number, f"{words.strip()!r} has no reason: add `# REASON`")
        try:
            rules.append(_parse(words, reason.strip(), {**_PERMISSIONS, **_TABLES}))
        except ValueError as error:
            raise ConfigError(path, number, str(error)) from error
    return rules


def permission(line: str) -> Rule:
    """A line of a variant. Raises ValueError when it is not understood."""
    return _parse(line, "the variant", _PERMISSIONS)


def _parse(line: str, reason: str, kinds: dict[str, tuple[str, str]]) -> Rule:
    kind, *words = line.split() or [""]
    if kind not in kinds:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(kinds)}")
    form, pattern = kinds[kind]
    if not re.fullmatch(pattern, " ".join(words)):
        raise ValueError(f"{' '.join(words)!r} is not what follows {kind}: {form}")
    if kind == "service" and words[1].rpartition("/")[2] not in ("*", *map(str, range(65536))):
        raise ValueError(f"{words[1]!r} is no port: 0 to 65535, or *")
    return Rule(kind, tuple(words), reason)


def rules_of(root: Path = ROOT, *, emulated: bool = False, more: Iterable[Rule] = ()) -> Rules:
    """The list of the project in ``root``, with the emulator's lines and ``more``."""
    lines = read(root / LIST)
    if emulated:
        lines += read(root / EMULATORS)
    return Rules((*lines, *more))


def rules(target: Target) -> Rules:
    """What the root file system of a target may have, with the lines of its variant.

    Raises ConfigError for a bad line of either, and for one that allows what no image may have.
    """
    root = target.config.root
    known = rules_of(root, emulated=target.emulated)
    never = known.words("never")
    more = []
    origins = target.config.origins[f"variant {target.name}"]
    for number, line in enumerate(target.variant.allowed):
        origin = origins.get(f"allowed.{number}", Origin("configs/variants", None))
        try:
            rule = permission(line)
        except ValueError as error:
            raise ConfigError(root / origin.file, origin.line, f"allowed: {error}") from error
        for word in rule.words:
            if (name := _name(word)) in never:
                raise ConfigError(
                    root / origin.file, origin.line,
                    f"allowed: {word!r} cannot be allowed: {never[name]}",
                    hint="no image of this project has it; SSH is the way in (--ssh-key)",
                )  # fmt: skip
        more.append(rule)
    return Rules((*known.lines, *more))


def _name(path: str) -> str:
    """The name of a program or script, as ``never`` has it."""
    name = path.rpartition("/")[2]
    return name if re.match(r"S\d\d", name) else name.lower()


# -- before the stages -------------------------------------------------------------------


def check(target: Target) -> None:
    """Check what is known of a target's root file system before anything is built.

    The overlays' files are on the host. Raises ConfigError for a bad line, and for a package that
    is known to listen and is not allowed; UserError for an overlay's files.
    """
    permitted = rules(target)
    root = target.config.root
    listens, services = permitted.words("listens"), {each.program for each in permitted.services()}
    for symbol, value in target.variant.extra_symbols.items():
        name = symbol.removeprefix("BR2_PACKAGE_").lower().replace("_", "-")
        for program in (name, f"{name}d"):
            if value == "y" and program in listens and program not in services:
                raise target.error(
                    f"extra_symbols.{symbol}",
                    f"{symbol} brings {program}, which listens ({listens[program]})",
                    hint=f"allow it, too: `allowed: [service {program} tcp/PORT any]`, and its init"
                    " script: `init S50...`",
                )
    for folder in _overlays(target):
        found = problems(entries_of(folder), permitted, partial(_bytes, folder))
        shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
        refuse(found, f"the overlay {shown}")


def _overlays(target: Target) -> list[Path]:
    """Folders that Buildroot copies into the target, as far as their names can be resolved here."""
    root = target.config.root
    text = target.variant.extra_symbols.get("BR2_ROOTFS_OVERLAY", "")
    text = text.strip('"').replace("$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)", str(root / "br2-external"))
    named = [Path(re.sub("^/src/", f"{root}/", word)).resolve() for word in text.split()]
    ours = (root / BOARD / "overlay").resolve()
    return [folder for folder in dict.fromkeys((ours, *named)) if folder.is_dir()]


def entries_of(folder: Path) -> list[Entry]:
    """What is below a folder of the host, as Buildroot installs it: root's, 0755 or 0644."""
    entries = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        mode = 0o755 if stat.S_ISDIR(status.st_mode) or status.st_mode & 0o100 else 0o644
        name = f"/{path.relative_to(folder).as_posix()}"
        entries.append(Entry(name, stat.S_IFMT(status.st_mode) | mode, 0, 0, status.st_size))
    return entries


def _bytes(folder: Path, path: str) -> bytes:
    file = folder / path.lstrip("/")
    return file.read_bytes() if file.is_file() else b""


# -- a whole root file system ------------------------------------------------------------


def check_archive(target: Target, rootfs: Path, login: Path | None) -> None:
    """Check a target's rootfs.tar: owners and modes of Buildroot's tables are in it.

    ``login`` is the folder of private inputs: the keys in the archive must be those. Raises
    UserError with everything that is not allowed, and for an archive that cannot be read.
    """
    handed = login / "authorized_keys" if login else None
    keys = handed.read_bytes() if handed and handed.is_file() else b""
    entries = archive.entries_of(rootfs)
    with tarfile.open(rootfs) as tar:
        # "./etc/passwd" by Buildroot, "etc/passwd" by others.
        members = {f"/{member.name.removeprefix('./')}": member for member in tar}

        def text(path: str) -> bytes:
            member = members.get(path)
            stream = tar.extractfile(member) if member and not member.issym() else None
            return stream.read() if stream else b""

        found = problems(entries, rules(target), text, keys)
    refuse(found, f"the root file system of {target.name}")


def refuse(found: Sequence[str], what: str) -> None:
    """Raise UserError for problems, a line each."""
    if found:
        lines = "".join(f"\n  {text}" for text in found)
        raise UserError(f"{what} has what {LIST} does not allow:{lines}", hint=HINT)


@dataclass(frozen=True)
class _System:
    """A root file system, or the part of one that an overlay brings."""

    entries: list[Entry]
    rules: Rules
    read: Reader
    keys: bytes | None
    #: Accounts and groups by name: their numbers.
    users: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)

    def owner(self, words: str) -> tuple[int | None, int | None]:
        """The numbers of USER:GROUP; None for a name that this system does not have."""
        user, _, group = words.partition(":")
        return _number(user, self.users), _number(group, self.groups)


def _number(name: str, known: dict[str, int]) -> int | None:
    return int(name) if name.isdigit() else known.get(name, 0 if name == "root" else None)


def problems(
    entries: Iterable[Entry],
    rules: Rules,
    read: Reader = lambda _: b"",
    keys: bytes | None = None,
) -> list[str]:
    """What is in a root file system, or an overlay, and not in the list; a line each.

    ``read`` gives the text of files. ``keys`` are the public keys that the build handed in; None
    when that is not known: then only their places are checked.
    """
    entries = sorted(entries, key=lambda entry: entry.path)
    users = {row[0]: int(row[2]) for row in _rows(read("/etc/passwd")) if row[2].isdigit()}
    groups = {row[0]: int(row[2]) for row in _rows(read("/etc/group")) if row[2].isdigit()}
    system = _System(entries, rules, read, keys, users, groups)
    found: list[str] = []
    for look in (_programs, _scripts, _inittab, _accounts, _ways_in, _modes, _owners):
        found += look(system)
    return list(dict.fromkeys(found))


def _rows(text: bytes) -> list[list[str]]:
    """Lines of passwd, shadow or group that have at least three fields."""
    rows = [line.split(":") for line in text.decode("utf-8", "replace").splitlines()]
    return [row for row in rows if len(row) >= 3]


def _programs(system: _System) -> Iterator[str]:
    """Programs that listen, by the names of files, links and busybox's applets."""
    never, listens = system.rules.words("never"), system.rules.words("listens")
    services = {each.program for each in system.rules.services()}
    names = {**listens, **never}
    refused = {name: names[name] for name in names.keys() - (services - never.keys())}
    for entry in system.entries:
        name = _name(entry.path)
        runs = stat.S_ISLNK(entry.mode) or entry.mode & 0o111
        if not entry.is_folder and name in refused and (runs or name in never):
            yield f"{entry.path}: {name} may not be in an image ({refused[name]})"
        if name.startswith("busybox") and stat.S_ISREG(entry.mode) and runs:
            applets = system.read(entry.path)
            for each, reason in sorted(refused.items()):
                if f"\0{each}\0".encode() in applets:
                    yield (
                        f"{entry.path} has the applet {each} ({reason}): set"
                        f" CONFIG_{each.upper()} to n in its configuration"
                    )


def _scripts(system: _System) -> Iterator[str]:
    """Files from which programs start by themselves."""
    scripts, starts = system.rules.words("init"), system.rules.words("start")
    places = system.rules.words("starts")
    for entry in system.entries:
        path = entry.path
        if path == "/etc/init.d" and not entry.is_folder:
            yield f"{path} is no folder, so its scripts cannot be seen"
        elif path.startswith("/etc/init.d/"):
            if path.removeprefix("/etc/init.d/") not in scripts:
                yield f"{path}: an init script that is not allowed"
        elif not entry.is_folder and path not in starts:
            above = [
                f"/{'/'.join(path.split('/')[1:end])}" for end in range(2, path.count("/") + 2)
            ]
            for place in [each for each in above if each in places]:
                yield f"{path} starts programs ({places[place]})"


#: Settings that are read. A link may lead to another partition.
_READ = ("/etc/group", "/etc/inittab", "/etc/passwd", "/etc/shadow")


def _inittab(system: _System) -> Iterator[str]:
    programs = system.rules.words("inittab")
    text = system.read("/etc/inittab").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split(":", 3)[-1].split()
        if not words or line.lstrip().startswith("#"):
            continue
        if words[0] not in programs:
            yield f"/etc/inittab:{number} starts {' '.join(words)}, which is not allowed"
        elif any(re.match(r"-\w*[nl]", word) for word in words[1:]) and "getty" in words[0]:
            yield f"/etc/inittab:{number} starts a getty without a login: {' '.join(words)}"


def _accounts(system: _System) -> Iterator[str]:
    for entry in system.entries:
        if entry.path in _READ and not stat.S_ISREG(entry.mode):
            yield f"{entry.path} is no file, so what is in it cannot be seen"
    accounts = _rows(system.read("/etc/passwd"))
    for number, row in enumerate(accounts):
        if row[2].isdigit() and int(row[2]) == 0 and (row[0] != "root" or number > 0):
            yield f"/etc/passwd: {row[0]} has the user number 0, which is root's alone"
    for file, rows in (("passwd", accounts), ("shadow", _rows(system.read("/etc/shadow")))):
        for row in rows:
            if not row[1]:
                yield f"/etc/{file}: {row[0]} has no password, so everybody can log in"


def _ways_in(system: _System) -> Iterator[str]:
    """Files of public keys."""
    places = system.rules.words("keys")
    for entry in system.entries:
        if entry.is_folder or not entry.path.rpartition("/")[2].startswith("authorized_keys"):
            continue
        if entry.path not in places:
            yield f"{entry.path}: keys that may log in, and the build puts none there"
        elif system.keys is not None and system.read(entry.path) != system.keys:
            yield f"{entry.path} has keys that the build was not given (--ssh-key)"


def _modes(system: _System) -> Iterator[str]:
    setuid = {rule.words[0]: rule.words[1:] for rule in system.rules.of("setuid")}
    writable = {rule.words[0]: rule.words[1] for rule in system.rules.of("writable")}
    devices = system.rules.words("device")
    for entry in system.entries:
        mode, path = stat.S_IMODE(entry.mode), entry.path
        if stat.S_ISLNK(entry.mode):
            continue
        if stat.S_ISREG(entry.mode) and mode & 0o6000:
            owner, permitted = setuid.get(path, ("", ""))
            if f"{mode:o}" != permitted or (entry.uid, entry.gid) != system.owner(owner):
                yield (
                    f"{path} runs with the rights of {entry.uid}:{entry.gid} (mode {mode:o}),"
                    f" allowed is {f'{owner} {permitted}' if owner else 'none'}"
                )
        elif not (stat.S_ISREG(entry.mode) or entry.is_folder):
            if path not in devices:
                yield f"{path} is a {_SPECIAL.get(stat.S_IFMT(entry.mode), 'special file')}"
            continue
        if mode & 0o002 and f"{mode:o}" != writable.get(path, "").lstrip("0"):
            yield f"{path} can be written by everybody (mode {mode:o})"
        elif mode & 0o020 and (entry.gid != 0 or path.startswith("/etc/")):
            yield f"{path} can be written by the group {entry.gid} (mode {mode:o})"


_SPECIAL = {
    stat.S_IFCHR: "device node",
    stat.S_IFBLK: "device node",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


def _owners(system: _System) -> Iterator[str]:
    """Owners that are not allowed: a line for each, as a whole tree may be theirs."""
    permitted = [
        (system.owner(rule.words[0]), pattern)
        for rule in system.rules.of("owner")
        for pattern in rule.words[1:]
    ]
    strangers: dict[tuple[int, int], list[str]] = {}
    for entry in system.entries:
        owner = (entry.uid, entry.gid)
        if not any(owner == other and fnmatchcase(entry.path, each) for other, each in permitted):
            strangers.setdefault(owner, []).append(entry.path)
    for (uid, gid), paths in strangers.items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        yield f"{', '.join(paths[:3])}{more} belong to {uid}:{gid}"
