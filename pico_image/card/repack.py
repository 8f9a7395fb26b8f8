"""Change an image without the SDK: the NPU's memory, boot arguments, sizes of partitions.

All of it is in the environment; moving partitions only moves their bytes. The result goes
through the same composer as a build.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, scratch_folder, write_text
from pico_image.card.compose import Composed, compose
from pico_image.card.env import ENV_SIZE, env_image, env_text
from pico_image.card.image_file import COMPRESSED
from pico_image.card.image_source import Media, open_media
from pico_image.card.inspection import BUILD_INFO, build_info_path, content_size
from pico_image.card.region import Region
from pico_image.card.sums import update_sums
from pico_image.config.partitions import PartitionTable, parse_size

CMA = "rk_dma_heap_cma"
MIB = 1 << 20


def repack(
    console: Console,
    source: Path,
    out: Path,
    *,
    cma: str | None = None,
    sizes: Mapping[str, str] | None = None,
    set_arguments: Sequence[str] = (),
    drop_arguments: Sequence[str] = (),
    layout: str | None = None,
) -> Composed:
    """Write the image ``out`` (with block map and SHA256SUMS) from an image or folder of parts.

    ``cma`` is the NPU's memory ("8M"), ``sizes`` new sizes of slots ({"oem": "64M"}),
    ``set_arguments`` kernel arguments to set ("quiet", "loglevel=4"), ``drop_arguments`` names
    of arguments to leave out, ``layout`` a whole new partition string for the same parts.
    Where ``source`` is a folder and ``out`` a name in it, its env.img and .env.txt are
    written anew as well.

    Raises UserError for a part that does not fit its new slot, an unknown partition, or when
    nothing was asked to change; nothing is written then.
    """
    media = open_media(source)
    if not (cma or sizes or set_arguments or drop_arguments or layout):
        raise UserError(
            "nothing was asked to change",
            hint="for example: invoke repack --cma 8M, or --size oem=64M",
        )
    table = _new_table(media, layout, sizes or {})
    variables = {
        **media.variables,
        "blkdevparts": str(table),
        "sys_bootargs": new_arguments(
            media.variables.get("sys_bootargs", ""), cma, set_arguments, drop_arguments
        ),
    }
    env = env_image(variables, _env_size(media))
    if missing := [part.name for part in table if part.name not in media.parts]:
        console.warn(f"the source has no content for: {', '.join(missing)}")
    parts: dict[str, Path | Region] = {
        part.name: _content(media, part.name) for part in table if part.name in media.parts
    }
    with scratch_folder(".repack-", _folder(out)) as place:
        fresh = place / "env.img"
        fresh.write_bytes(env)
        parts["env"] = fresh
        made = compose(console, parts, table, out, empty=missing)
    for form in COMPRESSED:
        out.with_name(out.name + form).unlink(missing_ok=True)  # it held the image before
    names = [out.name, made.bmap_path.name]
    if media.kind == "folder" and out.parent.resolve() == source.resolve():
        with atomic_write(source / "env.img") as stream:
            stream.write(env)
        write_text(source / ".env.txt", env_text(variables))
        names += ["env.img", ".env.txt", *(f"{name}.img" for name in media.parts if name != "env")]
    if info := _write_build_info(media, out, made, variables):
        names.append(info.name)
    update_sums(out.parent, names, {name: made.sums[name] for name in names if name in made.sums})
    return made


def _write_build_info(
    media: Media, out: Path, made: Composed, variables: Mapping[str, str]
) -> Path | None:
    """The source's build-info.json with the new environment, beside the new image."""
    known = build_info_path(media.path)
    if known is None:
        return None
    info = json.loads(known.read_text(encoding="utf-8"))
    table = PartitionTable.parse(variables["blkdevparts"])
    info["partitions"] = str(replace(table, device=None))
    info["repacked"] = {"from": media.path.name, "environment": dict(variables)}
    for name, entry in info.get("parts", {}).items():
        if f"{name}.img" in made.sums:
            entry["sha256"] = made.sums[f"{name}.img"]
            entry["bytes"] = made.sizes[name]
    path = out.with_name(BUILD_INFO if out.name == "sdcard.img" else f"{out.name}.{BUILD_INFO}")
    write_text(path, json.dumps(info, indent=1, sort_keys=True) + "\n")
    return path


def new_arguments(
    text: str, cma: str | None, set_arguments: Sequence[str], drop_arguments: Sequence[str]
) -> str:
    """Kernel arguments with some set, replaced in place or added at the end, and some dropped."""
    wanted = list(set_arguments)
    if cma is not None:
        wanted.append(f"{CMA}={cma_size(cma)}")
    for word in wanted:
        if not word or any(char.isspace() for char in word) or word.startswith("="):
            raise UserError(
                f"{word!r} is no kernel argument", hint="write them as NAME or NAME=VALUE"
            )
    words = text.split()
    for name in drop_arguments:
        kept = [word for word in words if word.partition("=")[0] != name]
        if len(kept) == len(words):
            raise UserError(
                f"there is no kernel argument {name!r} to drop", hint=f"there are: {text.strip()}"
            )
        words = kept
    for word in wanted:
        name = word.partition("=")[0]
        places = [at for at, old in enumerate(words) if old.partition("=")[0] == name]
        if places:
            words[places[0]] = word
            words = [old for at, old in enumerate(words) if at not in places[1:]]
        else:
            words.append(word)
    # The vendor's string begins with a space, which U-Boot counts on when it joins arguments.
    return " " + " ".join(words)


def cma_size(text: str) -> str:
    """``8M`` for any way to write it. Raises UserError unless whole MiB from 0 to 512."""
    count = parse_size(text, "the size of the NPU's memory")
    if count % MIB or not 0 <= count <= 512 * MIB:
        raise UserError(
            f"the NPU's memory cannot be {text}",
            hint="whole MiB, 1M without the NPU; 24M is the vendor's choice for 64 MB boards",
        )
    return f"{count // MIB}M"


def _new_table(media: Media, layout: str | None, sizes: Mapping[str, str]) -> PartitionTable:
    table = media.table
    if layout is not None:
        table = PartitionTable.parse(layout)
        if table.device is None and media.table.device:
            table = table.with_device(media.table.device)
        before = [part.name for part in media.table]
        after = [part.name for part in table]
        if before != after:
            raise UserError(
                f"the new layout has the partitions {', '.join(after)} and the image"
                f" {', '.join(before)}: boot arguments and scripts go by their numbers",
                hint="keep names and order; sizes and offsets may change",
            )
    if sizes:
        table = table.resized(sizes)
    for name in ("env", "idblock", "uboot"):
        if name in table and table[name].offset != media.table[name].offset:
            raise UserError(
                f"{name} would move from byte {media.table[name].offset} to"
                f" {table[name].offset}, and the boot ROM and its loaders look for it there",
                hint="env, idblock and uboot keep their places; change what follows them",
            )
    return table


def _content(media: Media, name: str) -> Region:
    region = media.parts[name]
    return Region(region.path, region.offset, content_size(media, name))


def _env_size(media: Media) -> int:
    region = media.parts.get("env")
    return region.length() if region else ENV_SIZE


def _folder(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.parent
