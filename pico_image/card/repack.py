"""Take an image apart, or change its NPU memory, boot arguments and partition sizes.

The environment holds all of these; where partitions move, only their bytes move. The image is
composed as in a build, without the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, scratch_folder, sha256_file, write_text
from pico_image.card import filesystem
from pico_image.card.blocks import CHUNK, Slice, SpanSet, data_spans, zero_runs
from pico_image.card.compose import Composed, compose
from pico_image.card.contents import content_of
from pico_image.card.env import ENV_SIZE, env_image, env_text
from pico_image.card.image_file import (
    BUILD_INFO,
    COMPRESSED,
    Source,
    build_info_path,
    open_source,
)
from pico_image.card.verify import update_sums
from pico_image.config.partitions import PartitionTable, parse_size

CMA = "rk_dma_heap_cma"
MIB = 1 << 20


@dataclass(frozen=True)
class Changes:
    """Changes of an image.

    ``cma`` is the NPU's memory ("8M"), ``sizes`` maps partitions to new sizes ({"oem": "64M"}),
    ``set_arguments`` are kernel arguments to set ("quiet", "loglevel=4"), ``drop_arguments``
    names of arguments to remove, ``layout`` is a new partition string for the same parts.
    """

    cma: str | None = None
    sizes: Mapping[str, str] = field(default_factory=dict)
    set_arguments: Sequence[str] = ()
    drop_arguments: Sequence[str] = ()
    layout: str | None = None

    def arguments(self, text: str) -> str:
        """The changed kernel arguments: set ones replace the old or follow at the end."""
        new_words = list(self.set_arguments)
        if self.cma is not None:
            new_words.append(f"{CMA}={cma_size(self.cma)}")
        for word in new_words:
            if not word or any(char.isspace() for char in word) or word.startswith("="):
                raise UserError(
                    f"{word!r} is no kernel argument", hint="write them as NAME or NAME=VALUE"
                )
        words = text.split()
        for name in self.drop_arguments:
            kept = [word for word in words if word.partition("=")[0] != name]
            if len(kept) == len(words):
                raise UserError(
                    f"there is no kernel argument {name!r} to drop",
                    hint=f"there are: {text.strip()}",
                )
            words = kept
        for word in new_words:
            name = word.partition("=")[0]
            places = [at for at, old in enumerate(words) if old.partition("=")[0] == name]
            if places:
                words[places[0]] = word
                words = [old for at, old in enumerate(words) if at not in places[1:]]
            else:
                words.append(word)
        # The vendor's string begins with a space, which U-Boot counts on when it joins arguments.
        return " " + " ".join(words)

    def table(self, old: PartitionTable) -> PartitionTable:
        """The changed layout. Raises UserError when a part of the boot chain would move."""
        table = old
        if self.layout is not None:
            table = PartitionTable.parse(self.layout)
            if table.device is None and old.device:
                table = table.with_device(old.device)
            before = [part.name for part in old]
            after = [part.name for part in table]
            if before != after:
                raise UserError(
                    f"the new layout has the partitions {', '.join(after)} and the image"
                    f" {', '.join(before)}: boot arguments and scripts go by their numbers",
                    hint="keep names and order; sizes and offsets may change",
                )
        if self.sizes:
            table = table.resized(self.sizes)
        for name in ("env", "idblock", "uboot"):
            if name in table and table[name].offset != old[name].offset:
                raise UserError(
                    f"{name} would move from byte {old[name].offset} to"
                    f" {table[name].offset}, and the boot ROM and its loaders look for it there",
                    hint="env, idblock and uboot keep their places; change what follows them",
                )
        return table


def _changed(source: Source, changes: Changes) -> tuple[PartitionTable, dict[str, str], bytes]:
    """The changed layout, boot variables and ``env.img``."""
    if not any(astuple(changes)):
        raise UserError(
            "nothing was asked to change",
            hint="for example: invoke repack --cma 8M, or --size oem=64M",
        )
    table = changes.table(source.table)
    variables = {
        **source.variables,
        "blkdevparts": str(table),
        "sys_bootargs": changes.arguments(source.variables.get("sys_bootargs", "")),
    }
    old_env = source.parts.get("env")
    return table, variables, env_image(variables, old_env.length() if old_env else ENV_SIZE)


def repack_parts(folder: Path, changes: Changes) -> Path:
    """Change ``env.img`` in a folder of parts for eMMC, where there is no card image; its path.

    The SDK's update.img, which has the old one inside, is removed. Raises UserError for a change of
    the layout: the README.txt of the folder says to which sector each part is written.
    """
    if changes.sizes or changes.layout is not None:
        raise UserError(
            f"the partitions of {folder}, an image for eMMC, are changed where it is built",
            hint="set partitions in the variant and run build-image again: it makes env.img and "
            "README.txt anew and runs no stage of the SDK",
        )
    source = open_source(folder)
    table, variables, env = _changed(source, changes)
    path = folder / "env.img"
    (folder / "update.img").unlink(missing_ok=True)
    with atomic_write(path) as stream:
        stream.write(env)
    write_text(folder / ".env.txt", env_text(variables))
    names = [path.name, ".env.txt"]
    sums = {path.name: sha256_file(path)}
    info = _new_build_info(folder, sums, {"env": len(env)}, table, variables)
    if info is not None:
        write_text(folder / BUILD_INFO, info)
        names.append(BUILD_INFO)
    update_sums(folder, names, sums)
    return path


def repack(console: Console, path: Path, out: Path, changes: Changes) -> Composed:
    """Write the image ``out`` (with block map and SHA256SUMS) from an image or folder of parts.

    Where ``out`` is in the folder ``path``, env.img and .env.txt of the folder change as well.

    Raises UserError, and writes nothing, for a part that does not fit its new slot, an unknown
    partition, or no change at all.
    """
    source = open_source(path)
    table, variables, env = _changed(source, changes)
    if missing := [part.name for part in table if part.name not in source.parts]:
        console.warn(f"the source has no content for: {', '.join(missing)}")
    parts: dict[str, Path | Slice] = {
        part.name: content_of(source, part.name) for part in table if part.name in source.parts
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(".repack-", out.parent) as place:
        new_env = place / "env.img"
        new_env.write_bytes(env)
        parts["env"] = new_env
        composed = compose(console, parts, table, out, empty=missing)
    for form in COMPRESSED:
        out.with_name(out.name + form).unlink(missing_ok=True)  # of the image before
    names = [out.name, composed.bmap_path.name]
    if source.kind == "folder" and out.parent.resolve() == path.resolve():
        with atomic_write(path / "env.img") as stream:
            stream.write(env)
        write_text(path / ".env.txt", env_text(variables))
        names += ["env.img", ".env.txt", *(f"{name}.img" for name in source.parts if name != "env")]
    if info := _write_build_info(path, composed, table, variables):
        names.append(info.name)
    known = {name: composed.sums[name] for name in names if name in composed.sums}
    update_sums(out.parent, names, known)
    return composed


def _write_build_info(
    source: Path, composed: Composed, table: PartitionTable, variables: Mapping[str, str]
) -> Path | None:
    """The source's build-info.json with the new environment, beside the new image."""
    text = _new_build_info(source, composed.sums, composed.sizes, table, variables)
    if text is None:
        return None
    image = composed.image
    standard = image.name == "sdcard.img"
    path = image.with_name(BUILD_INFO if standard else f"{image.name}.{BUILD_INFO}")
    write_text(path, text)
    return path


def _new_build_info(
    source: Path,
    sums: Mapping[str, str],
    sizes: Mapping[str, int],
    table: PartitionTable,
    variables: Mapping[str, str],
) -> str | None:
    old = build_info_path(source)
    if old is None:
        return None
    info = json.loads(old.read_text(encoding="utf-8"))
    info["partitions"] = str(replace(table, device=None))
    info["repacked"] = {"from": source.name, "environment": dict(variables)}
    for name, entry in info.get("parts", {}).items():
        if f"{name}.img" in sums:
            entry["sha256"] = sums[f"{name}.img"]
            entry["bytes"] = sizes[name]
    return json.dumps(info, indent=1, sort_keys=True) + "\n"


def cma_size(text: str) -> str:
    """A size written as ``8M``. Raises UserError unless it is a whole number of MiB up to 512."""
    count = parse_size(text, "the size of the NPU's memory")
    if count % MIB or not 0 <= count <= 512 * MIB:
        raise UserError(
            f"the NPU's memory cannot be {text}",
            hint="whole MiB, 1M without the NPU; 24M is the vendor's choice for 64 MB boards",
        )
    return f"{count // MIB}M"


def extract(
    console: Console, path: Path, folder: Path, *, files: bool = False, layout: str | None = None
) -> list[Path]:
    """Write the parts of an image or card as files, with ``.env.txt``: a SocToolkit folder.

    A part is cut where its content ends (file system, FIT, last byte that is not zero).
    ``files`` adds a folder for each file system with its content. Raises UserError when
    ``folder`` is not empty.
    """
    source = open_source(path, layout)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} is not an empty folder", hint="name a folder that does not exist yet"
        )
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for name, part in source.parts.items():
        content = content_of(source, name)
        if name == "env" and source.variables:
            content = replace(content, size=max(content.length(), ENV_SIZE))
        image = folder / f"{name}.img"
        _copy(console, content, image)
        images.append(image)
        if files and filesystem.read_superblock(part):
            with console.step(f"copy the files of {name}"):
                filesystem.extract(part, folder / name)
    if source.variables:
        write_text(folder / ".env.txt", env_text(source.variables))
        if "env" not in source.parts:
            with atomic_write(folder / "env.img") as stream:
                stream.write(env_image(source.variables))
    return images


def _copy(console: Console, content: Slice, image: Path) -> None:
    """Copy a slice into a sparse file, whole or not at all."""
    size = content.length()
    with (
        content.path.open("rb") as source,
        atomic_write(image) as stream,
        console.progress(f"copy {image.name}", size, "B") as bar,
    ):
        stream.truncate(size)
        spans = SpanSet(data_spans(source.fileno(), content.offset, size))
        for at in range(0, size, CHUNK):
            length = min(CHUNK, size - at)
            bar.advance(length)
            if not any(spans.within(at, at + length)):
                continue
            source.seek(content.offset + at)
            data = source.read(length)
            for first, last, is_zero in zero_runs(data):
                if not is_zero:
                    stream.seek(at + first)
                    stream.write(data[first:last])
