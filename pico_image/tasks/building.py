"""Build images, download what they need, enter the build container."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.tasks.common import (
    VARIANT,
    EnginesTask,
    LoginFlags,
    Site,
    SiteTask,
    guarded,
    optional_path,
    whole,
    words,
)


@task(
    klass=SiteTask,
    help=VARIANT
    | {
        "offline": "download nothing; say what is missing",
        "from": "rebuild from this stage on: uboot, kernel, media, rootfs",
        "only": "run this stage alone",
        "force": "rebuild what is up to date too",
        "jobs": "compile jobs at the same time (0: the SDK chooses)",
        "ssh-key": "public key file that may log in as root",
        "password-file": "file whose first line becomes root's password",
        "compress": "compressed forms of the card image: zst, xz or both (default: zst)",
        "allow-emulation": "build on an engine that emulates amd64 (hours slower)",
        "sign-key": "private SSH key to sign SHA256SUMS with",
    },
)
@guarded
def build_image(
    _: Context,
    site: Site,
    variant: str = "luckfox-pico-mini",
    offline: bool = False,
    from_: str = "",
    only: str = "",
    force: bool = False,
    jobs: str = "0",
    ssh_key: str = "",
    password_file: str = "",
    allow_emulation: bool = False,
    compress: str = "",
    sign_key: str = "",
) -> None:
    """Build the image of a variant (default: the Luckfox Pico Mini)."""
    from pico_image.image import build, signing

    key = optional_path(sign_key)
    if key is not None:
        signing.check_key(key)
    options = site.options(
        from_stage=from_ or None, only=only or None, force=force,
        jobs=whole("jobs", jobs), allow_emulation=allow_emulation,
    )  # fmt: skip
    login = build.Login(optional_path(ssh_key), optional_path(password_file))
    target = Target.of(configuration.load(), variant)
    console = site.console(offline=offline)
    parts = build.build_image(console, target, options, login, forms=words(compress) or None)
    images = parts.folder
    if not parts.complete:
        print("no image yet: the stage is done, others are not; run again without --only")
        return
    if target.on_card:
        print(f"image: {images / 'sdcard.img'}")
    else:
        print(f"image: {images}, for eMMC; {images / 'README.txt'} says how it gets there")
    if key is not None:
        print(f"signature: {signing.sign(images, key)}")


@task(
    klass=EnginesTask,
    help={
        "variants": "comma-separated; default: all board variants",
        "contexts": "comma-separated docker contexts to build on at the same time",
        "offline": "download nothing",
        "jobs": "compile jobs at the same time on each engine (0: the SDK chooses)",
    },
)
@guarded
def build_all(
    _: Context,
    login: LoginFlags,
    site: Site,
    variants: str = "",
    contexts: str = "",
    offline: bool = False,
    jobs: str = "0",
) -> None:
    """Build a matrix of variants, one at a time on each engine."""
    from pico_image.image import build

    done = build.build_all(
        site.console(offline=offline),
        configuration.load(),
        words(variants),
        site.options(jobs=whole("jobs", jobs)),
        login.login(),
        contexts=words(contexts),
    )
    for name, images in done.items():
        print(f"{name}: {images}")


@task(klass=SiteTask, help=VARIANT)
@guarded
def fetch(
    _: Context,
    site: Site,
    variant: str = "luckfox-pico-mini",
) -> None:
    """Download everything that a build of the variant will need."""
    from pico_image.image import build

    build.fetch(site.console(), Target.of(configuration.load(), variant), site.options())


@task(klass=SiteTask, help=VARIANT)
@guarded
def shell(
    _: Context,
    site: Site,
    variant: str = "luckfox-pico-mini",
) -> None:
    """Open a shell in the build container of a variant."""
    from pico_image.sdk import backend

    target = Target.of(configuration.load(), variant)
    raise SystemExit(backend.shell(site.console(), target, site.options()))


@task(
    klass=SiteTask,
    positional=["menu"],
    help=VARIANT | {"menu": "kernel or buildroot"},
)
@guarded
def sdk_config(
    _: Context,
    site: Site,
    menu: str = "buildroot",
    variant: str = "luckfox-pico-mini",
) -> None:
    """Open the kernel's or Buildroot's menu inside the container."""
    from pico_image.sdk import backend

    target = Target.of(configuration.load(), variant)
    for line in backend.sdk_config(site.console(), target, menu, site.options()):
        print(line)
