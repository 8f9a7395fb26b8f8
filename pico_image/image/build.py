"""From a variant to its image: the one place that picks the backend."""

from __future__ import annotations

import contextlib
import errno
import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol, cast

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import locked, output_dir
from pico_image.card import allowed
from pico_image.card.image_file import BUILD_INFO
from pico_image.card.parts import Contents, Licences, Parts
from pico_image.config import capacity
from pico_image.config.configuration import Config
from pico_image.config.target import Target
from pico_image.emulator import backend as emulator
from pico_image.image import access, finish
from pico_image.models import convert
from pico_image.models.papers import read_card
from pico_image.sdk import backend as sdk
from pico_image.sdk.workspace import Options


class Backend(Protocol):
    """Makes the parts of an image."""

    def check(self, target: Target) -> None:
        """Raise UserError for what is known to be wrong before models are converted."""

    def fetch(self, target: Target, contents: Contents) -> None:
        """Download everything that ``build`` needs; ``--offline`` works afterwards."""

    def build(self, target: Target, contents: Contents) -> Parts:
        """Make the parts, those that are not there already."""

    def licences(
        self, target: Target, contents: Contents, provenance: Mapping[str, Any], folder: Path
    ) -> Licences:
        """What is in an image that was built, from its ``provenance``; ``folder`` takes files."""

    def close(self) -> None:
        """Close connections."""


@dataclass(frozen=True)
class Login:
    """How the user logs in to the board: a public key, a password, or neither: one is made."""

    ssh_key: Path | None = None
    password_file: Path | None = None


@contextlib.contextmanager
def backend_of(
    console: Console, target: Target, options: Options | None = None
) -> Iterator[Backend]:
    """The backend that the target's board names. Raises UserError for options it does not have."""
    backend: Backend
    options = options or Options()
    if target.board.backend == "luckfox-sdk":
        backend = sdk.Backend(console, options)
    elif options == Options():
        backend = emulator.Backend(console)
    else:
        raise UserError(
            "the emulator backend has no stages, engine or SDK to choose",
            hint="leave those flags out, or name a board with --variant",
        )
    with contextlib.closing(backend):
        yield backend


def build_image(
    console: Console,
    target: Target,
    options: Options | None = None,
    login: Login | None = None,
    *,
    forms: Sequence[str] | None = None,
) -> Parts:
    """Build the image of a target; its parts, which are not complete after some stages only.

    ``forms`` are the compressed forms of the card image (zst, xz); zst where none are named.

    Raises UserError for a variant that does not fit its board, options that the backend does not
    have, and everything that the user can mend on the way.
    """
    login = login or Login()
    capacity.check_packages(target)
    allowed.check(target)
    project.source_date_epoch(target.config.root)  # raises for a value that is no number
    _forms(target, forms)
    if target.emulated and login.password_file is not None:
        raise UserError(
            "the emulator's console needs no login, so a password has no use there",
            hint="leave --password-file out (--ssh-key works), or name a board with --variant",
        )
    with (
        backend_of(console, target, options) as backend,
        console.logging_to(output_dir() / target.name / "logs", "build-image"),
    ):
        backend.check(target)
        models = {}
        if options is None or options.takes_models:
            models = convert.convert_all(console, target.config, target.models)
        return make_image(console, backend, target, models, login=login, forms=forms)


def make_image(
    console: Console,
    backend: Backend,
    target: Target,
    models: Mapping[str, Path],
    *,
    login: Login | None = None,
    forms: Sequence[str] | None = None,
) -> Parts:
    """Make the parts of an image out of converted models, compose it and write its papers.

    A second build of the same variant waits for the first.
    """
    folder = output_dir() / target.name
    images = folder / "images"
    forms = _forms(target, forms)
    waiting = f"the image folder of {target.name}"
    with locked(folder / ".lock", waiting, notify=console.info), _space_needed(images):
        granted = _grant(target, login or Login())
        cards = [read_card(path) for path in models.values()]
        if not target.emulated:  # the estimates are those of a rootfs by Buildroot
            _check_capacity(console, target, {card.name: card.sizes for card in cards})
        parts = backend.build(target, Contents(models, granted.inputs if granted else None))
        if parts.complete:
            finish.finish(console, target, parts, cards, forms)
    password = images / "root-password.txt"
    if granted is not None and granted.new_password is not None:
        # Not through the console: the log file would keep it.
        print(
            f"the password of root on this image is {granted.new_password}   "
            f"(kept in {password}; --ssh-key or --password-file avoid it)"
        )
    elif password.is_file():
        # A run that failed later may have made it without showing it.
        console.info(f"root's password is in {password}")
    return parts


def _forms(target: Target, forms: Sequence[str] | None) -> tuple[str, ...]:
    """The compressed forms of the card image to make, checked; none where there is no card."""
    if target.on_card:
        return finish.check_forms(forms)
    if forms:
        raise UserError(
            f"variant {target.name} has no card image to compress: its board boots from eMMC",
            hint="leave --compress out",
        )
    return ()


def _grant(target: Target, login: Login) -> access.Access | None:
    """The private inputs of the image; None where its console is the only way in."""
    if target.emulated and login.ssh_key is None:
        return None
    folder = output_dir() / target.name
    return access.prepare(
        folder / "private",
        folder / "images" / "root-password.txt",
        ssh_key=login.ssh_key,
        password_file=login.password_file,
        release=target.release(),
    )


def _check_capacity(
    console: Console, target: Target, sizes: Mapping[str, Mapping[str, int]]
) -> None:
    """Raise ConfigError, before an hour of building, for models that do not fit."""
    console.log(f"memory: {capacity.check_memory(target, sizes)}")
    capacity.check_partitions(target, sizes)


@contextlib.contextmanager
def _space_needed(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space left while making the image in {folder}",
            hint="free some space (an image takes about 150 MB), or name another folder with "
            "PICO_OUTPUT_DIR; what was finished is kept",
        ) from error


def fetch(console: Console, target: Target, options: Options | None = None) -> None:
    """Download everything that a build needs; ``--offline`` works afterwards.

    Models are converted on the way: what converts them is downloaded too.
    """
    with (
        console.logging_to(output_dir() / target.name / "logs", "fetch"),
        backend_of(console, target, options) as backend,
    ):
        allowed.check(target)
        backend.check(target)
        backend.fetch(target, Contents(convert.convert_all(console, target.config, target.models)))


def existing_images(variant_name: str) -> Path:
    """The images folder of a variant that was built before; UserError when there is none."""
    images = output_dir() / variant_name / "images"
    if not (images / BUILD_INFO).is_file():
        raise UserError(
            f"there is no image of variant {variant_name} at {images}",
            hint=f"invoke build-image --variant {variant_name}",
        )
    return images


def build_all(
    console: Console,
    config: Config,
    names: Sequence[str] = (),
    options: Options | None = None,
    login: Login | None = None,
    *,
    contexts: Sequence[str] = (),
) -> dict[str, Path]:
    """Build several variants (default: all for boards), one at a time on each engine.

    Their images folders by name. ``contexts`` names docker contexts; without any, all are built on
    one engine, one after the other (they would only take each other's processors). One that
    fails does not stop the others; UserError lists all failures at the end. Ctrl-C stops all.
    """
    options = options or Options()
    names = names or [
        name
        for name, variant in config.variants.items()
        if config.board(variant.board).soc is not None
    ]
    waiting: queue.SimpleQueue[Target] = queue.SimpleQueue()
    for name in names:
        waiting.put(Target.of(config, name))
    done: dict[str, Path] = {}
    failed: dict[str, BaseException] = {}

    def work(chosen: Options) -> None:
        while not console.cancelled.is_set():
            try:
                target = waiting.get_nowait()
            except queue.Empty:
                return
            own = console.fork(cast(IO[str], _Prefixed(console, target.name)))
            try:
                with own.logging_to(output_dir() / target.name / "logs", "build-all"):
                    done[target.name] = build_image(own, target, chosen, login).folder
                console.info(f"{target.name}: done")
            except BaseException as error:
                failed[target.name] = error
                console.error(f"{target.name}: {error}")

    places: Sequence[str | None] = contexts or [options.context]
    # Not Thread.join() with a timeout: interrupted, it takes a running thread for ended
    # (Python 3.10 and 3.11), and the containers went on after Ctrl-C.
    try:
        with futures.ThreadPoolExecutor(len(places)) as pool:
            running = [pool.submit(work, replace(options, context=place)) for place in places]
            try:
                futures.wait(running)
            except KeyboardInterrupt:
                console.cancelled.set()
                raise
    finally:
        console.cancelled.clear()
    unexpected = [error for error in failed.values() if not isinstance(error, UserError)]
    if unexpected:
        raise unexpected[0]
    if failed:
        lines = "\n".join(f"    {name}: {error}" for name, error in failed.items())
        raise UserError(f"{len(failed)} of {len(names)} variants failed:\n{lines}")
    return done


class _Prefixed:
    """A text stream that passes whole lines on, with the variant's name before each."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._console.info(f"{self._name}: {line}")
        return len(text)

    def flush(self) -> None:
        """Lines are passed on when they are whole."""

    def isatty(self) -> bool:
        return False
