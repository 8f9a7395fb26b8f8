"""List, show, compare, render and change variants."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image.config import configuration
from pico_image.config.schema import EVIDENCE
from pico_image.config.target import Target
from pico_image.tasks.common import JSON, VARIANT, Site, SiteTask, guarded, show


@task(help=JSON)
@guarded
def variants(_: Context, json: bool = False) -> None:
    """List the images that can be built."""
    config = configuration.load()
    boards = {name: config.board(variant.board) for name, variant in config.variants.items()}
    if json:
        show(
            {
                name: {
                    **variant.model_dump(),
                    "medium": boards[name].medium,
                    "evidence": boards[name].evidence,
                }
                for name, variant in config.variants.items()
            }
        )
        return
    width = max(map(len, config.variants))
    for name, variant in config.variants.items():
        board = boards[name]
        print(f"{name:{width}}  {board.medium:7}  {board.evidence:9}  {variant.title}")
    print("\nwhat is known of a board:")
    for evidence, meaning in EVIDENCE.items():
        print(f"  {evidence:9}  {meaning}")


@task(help=VARIANT | JSON)
@guarded
def show_config(_: Context, variant: str = "luckfox-pico-mini", json: bool = False) -> None:
    """Show one variant flattened, each value with where it was written."""
    flat = configuration.load().flatten(variant)
    if json:
        show(
            {key: {"value": value, "origin": str(origin)} for key, (value, origin) in flat.items()}
        )
        return
    for key, (value, origin) in flat.items():
        print(f"{key} = {value}   [{origin}]")


@task(positional=["a", "b"], help={"a": "a variant", "b": "another variant"} | JSON)
@guarded
def diff_config(_: Context, a: str, b: str, json: bool = False) -> None:
    """Compare two variants, value by value, with where each was written."""
    config = configuration.load()
    left, right = config.flatten(a), config.flatten(b)
    found = {
        key: [left.get(key), right.get(key)]
        for key in sorted(left.keys() | right.keys())
        if left.get(key, (None,))[0] != right.get(key, (None,))[0]
    }
    if json:
        show(found)
        return
    for key, sides in found.items():
        print(key)
        for mark, side in zip("-+", sides, strict=True):
            if side is not None:
                print(f"  {mark} {side[0]}   [{side[1]}]")


@task(
    iterable=["variant"],
    help=VARIANT | {"check": "fail when a written file differs from what would be rendered"},
)
@guarded
def render(_: Context, variant: list[str], check: bool = False) -> None:
    """Write (or check) the defconfig and board files of variants."""
    from pico_image.config import render as rendering

    config = configuration.load()
    names = variant or rendering.renderable(config)
    if check:
        rendering.check(config, names)
        print(f"up to date: {', '.join(names)}")
        return
    for path in rendering.write(config, names):
        print(path)


@task(klass=SiteTask, help=VARIANT)
@guarded
def menuconfig(
    _: Context,
    site: Site,
    variant: str = "luckfox-pico-mini",
) -> None:
    """Change a variant in Buildroot's menu; print lines for its file.

    With BUILDROOT_DIR in that Buildroot, else in the SDK's own, inside the container.
    """
    from pico_image.config import menuconfig as menu
    from pico_image.sdk import backend

    console, config = site.console(), configuration.load()
    if folder := os.environ.get("BUILDROOT_DIR"):
        lines = menu.open_menu(console, config, variant, Path(folder))
    else:
        target = Target.of(config, variant)
        lines = backend.sdk_config(console, target, "buildroot", site.options())
    if not lines:
        print("nothing was changed")
        return
    print(f"# for configs/variants/{variant}.yml:")
    print("\n".join(lines))
