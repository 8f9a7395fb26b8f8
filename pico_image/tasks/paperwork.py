"""What an image is made of: licences, bill of materials, bytes."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.tasks.common import (
    JSON,
    VARIANT,
    VERBOSE,
    Site,
    SiteTask,
    guarded,
    optional_path,
    show,
)


@task(klass=SiteTask, help=VARIANT)
@guarded
def legal_info(
    _: Context,
    site: Site,
    variant: str = "luckfox-pico-mini",
) -> None:
    """Collect the licences of an image; name what restricts passing it on."""
    from pico_image.image import licences

    target = Target.of(configuration.load(), variant)
    folder, notes = licences.legal_info(site.console(), target, site.options())
    print(folder)
    for note in notes:
        print(f"  read before passing the image on: {note}")


@task(klass=SiteTask, help=VARIANT)
@guarded
def sbom(
    _: Context,
    site: Site,
    variant: str = "luckfox-pico-mini",
) -> None:
    """Write the bill of materials of an image (CycloneDX)."""
    from pico_image.image import licences

    print(licences.bill(site.console(), Target.of(configuration.load(), variant), site.options()))


@task(
    help=VARIANT
    | VERBOSE
    | JSON
    | {
        "rootfs": "rootfs.img, rootfs.tar or an unpacked rootfs, instead of a variant's",
        "packages": "Buildroot's build/packages-file-list.txt, to tell whose a file is",
        "diff": "another variant or rootfs to compare with",
    }
)
@guarded
def size_report(
    _: Context,
    variant: str = "luckfox-pico-mini",
    rootfs: str = "",
    packages: str = "",
    diff: str = "",
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Tell how many bytes packages and kinds of files take in an image."""
    from pico_image.image import sizes

    config = configuration.load()
    if rootfs:
        measured = sizes.measure(Path(rootfs), optional_path(packages))
    else:
        measured = sizes.of_target(Target.of(config, variant))
    if diff:
        if diff in config.variants:
            compared = sizes.of_target(Target.of(config, diff))
        else:
            compared = sizes.measure(Path(diff))
        if json:
            show({"before": measured.as_json(), "after": compared.as_json()})
        else:
            print(sizes.difference(measured, compared))
    elif json:
        show(measured.as_json())
    else:
        print(sizes.table(measured))
