"""From a variant's name to its images: picks the backend that the board names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import locked, output_dir
from pico_image.config import capacity
from pico_image.config.configuration import Config
from pico_image.config.partitions import PartitionTable
from pico_image.config.schema import Variant
from pico_image.config.target import Target
from pico_image.emulator import backend
from pico_image.image import access, finish
from pico_image.models.card import read_card
from pico_image.sdk import backend as sdk
from pico_image.sdk import tools


@dataclass(frozen=True)
class Login:
    """How the user will get into a board: a public key, a password, or one made for them."""

    ssh_key: Path | None = None
    password_file: Path | None = None


def build_image(
    console: Console,
    config: Config,
    variant_name: str,
    options: sdk.Options | None = None,
    login: Login | None = None,
    *,
    forms: Sequence[str] | None = None,
) -> Path:
    """Build one variant and return its images folder.

    ``forms`` are the compressed forms of the card image (zst, xz); zst where none are named.

    Raises UserError for an unknown variant, one that does not fit its board, options that the
    backend does not have, and all that the user can mend on the way.
    """
    variant = config.variant(variant_name)
    board = config.board(variant.board)
    options = options or sdk.Options()
    login = login or Login()
    capacity.check_packages(Target.of(config, variant))
    forms = finish.check_forms(forms)
    with console.logging_to(output_dir() / variant.name / "logs", "build-image"):
        if board.backend == "emulator":
            _refuse_sdk_options(options, login)
            keys = access.read_keys(login.ssh_key) if login.ssh_key else ""
            return backend.build(console, config, variant, authorized_keys=keys, forms=forms)
        return _with_sdk(console, config, variant, options, login, forms)


def build_all(
    console: Console,
    config: Config,
    names: Sequence[str] = (),
    options: sdk.Options | None = None,
    login: Login | None = None,
    *,
    contexts: Sequence[str] = (),
) -> dict[str, Path]:
    """Build several variants (default: all for boards), one at a time on each engine.

    Their images folders by name. Raises UserError as ``sdk_tools.build_all`` does: when all that
    can be built is built.
    """
    variants = [config.variant(name) for name in names] or [
        variant
        for variant in config.variants.values()
        if config.board(variant.board).backend != "emulator"
    ]
    return tools.build_all(
        console,
        config,
        variants,
        options,
        contexts=contexts,
        build_one=lambda own, variant, chosen: build_image(
            own, config, variant.name, chosen, login
        ),
    )


def _refuse_sdk_options(options: sdk.Options, login: Login) -> None:
    if options != sdk.Options():
        raise UserError(
            "the emulator backend has no stages, engine or SDK to choose",
            hint="leave those flags out, or name a board with --variant",
        )
    if login.password_file is not None:
        raise UserError(
            "the emulator's console needs no login, so a password has no use there",
            hint="leave --password-file out (--ssh-key works), or name a board with --variant",
        )


def _with_sdk(
    console: Console,
    config: Config,
    variant: Variant,
    options: sdk.Options,
    login: Login,
    forms: Sequence[str],
) -> Path:
    folder = output_dir() / variant.name
    images = folder / "images"
    sdk.check(config, options)
    with locked(folder / ".lock", f"the image folder of {variant.name}", notify=console.info):
        granted = access.prepare(
            folder / "private",
            images / "root-password.txt",
            ssh_key=login.ssh_key,
            password_file=login.password_file,
            release=Target.of(config, variant).release(),
        )
        models = sdk.models_of(console, config, variant, options)
        _check_capacity(console, config, variant, models)
        options = replace(options, inputs=granted.inputs, models=models)
        sdk.build(console, config, variant, options)
        if not (images / "rootfs.img").is_file():
            return images  # --only STAGE stops before there are images
        _compose(console, config, variant, images, models, forms)
    if granted.new_password is not None:
        # Not through the console: the log file would keep it.
        print(
            f"the password of root on this image is {granted.new_password}   "
            f"(kept in {images / 'root-password.txt'}; --ssh-key or --password-file avoid it)"
        )
    elif (images / "root-password.txt").is_file():
        # Also when it was made by a run that failed later, and so never shown.
        console.info(f"root's password is in {images / 'root-password.txt'}")
    return images


def _check_capacity(
    console: Console, config: Config, variant: Variant, models: Mapping[str, Path]
) -> None:
    """Tell before an hour of building when memory or partitions cannot hold the models."""
    sizes = {name: read_card(folder).sizes for name, folder in models.items()}
    console.log(f"memory: {capacity.check_memory(Target.of(config, variant), sizes)}")
    capacity.check_partitions(Target.of(config, variant), sizes)


def _compose(
    console: Console,
    config: Config,
    variant: Variant,
    images: Path,
    models: Mapping[str, Path],
    forms: Sequence[str],
) -> None:
    board = config.board(variant.board)
    table = PartitionTable.parse(variant.partitions or board.partitions)
    if table.device is None:
        table = table.with_device(board.block_device)
    inputs = {
        "models": {name: folder.name for name, folder in models.items()},
        **sdk.provenance(variant.name),
    }
    contents = finish.Contents(inputs, models, sdk.packages(variant.name))
    finish.finish(console, config, variant, images, table, contents, forms=forms)


def fetch(console: Console, config: Config, variant_name: str, options: sdk.Options) -> None:
    """Download everything that a build of the variant needs; ``--offline`` works afterwards."""
    variant = config.variant(variant_name)
    with console.logging_to(output_dir() / variant.name / "logs", "fetch"):
        if config.board(variant.board).backend == "emulator":
            backend.fetch(console, config, variant)
        else:
            sdk.check(config, options)
            sdk.fetch(console, config, variant, options)


def existing_images(variant_name: str) -> Path:
    """The images folder of a variant that was built before; UserError when there is none."""
    images = output_dir() / variant_name / "images"
    if not (images / "sdcard.img").is_file():
        raise UserError(
            f"there is no image of variant {variant_name} at {images}",
            hint=f"invoke build-image --variant {variant_name}",
        )
    return images
