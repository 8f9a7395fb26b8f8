"""What an image is made of: licences, bill of materials, bytes."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image import config as configuration
from pico_image.console import Console
from pico_image.tasks.common import JSON, SITE, VARIANT, VERBOSE, guarded, optional_path, show, site


@task(help=VARIANT | VERBOSE | SITE)
@guarded
def legal_info(
    _: Context,
    variant: str = "luckfox-pico-mini",
    context: str = "",
    base_image: str = "",
    ubuntu: bool = False,
    sdk_path: str = "",
    sdk_url: str = "",
    verbose: bool = False,
) -> None:
    """Collect the licences of an image; name what restricts passing it on."""
    from pico_image import paperwork

    options = site(context, base_image, ubuntu, sdk_path, sdk_url)
    folder, notes = paperwork.legal_info(
        Console(verbose=verbose), configuration.load(), variant, options
    )
    print(folder)
    for note in notes:
        print(f"  read before passing the image on: {note}")


@task(help=VARIANT | VERBOSE | SITE)
@guarded
def sbom(
    _: Context,
    variant: str = "luckfox-pico-mini",
    context: str = "",
    base_image: str = "",
    ubuntu: bool = False,
    sdk_path: str = "",
    sdk_url: str = "",
    verbose: bool = False,
) -> None:
    """Write the bill of materials of an image (CycloneDX)."""
    from pico_image import paperwork

    options = site(context, base_image, ubuntu, sdk_path, sdk_url)
    print(paperwork.bill(Console(verbose=verbose), configuration.load(), variant, options))


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
    from pico_image import size_report as sizes

    console, config = Console(verbose=verbose), configuration.load()
    if rootfs:
        found = sizes.measure(console, Path(rootfs), optional_path(packages))
    else:
        found = sizes.of_variant(console, config, variant)
    if diff:
        if diff in config.variants:
            compared = sizes.of_variant(console, config, diff)
        else:
            compared = sizes.measure(console, Path(diff))
        if json:
            show({"before": found.as_json(), "after": compared.as_json()})
        else:
            print(sizes.difference(found, compared))
    elif json:
        show(found.as_json())
    else:
        print(sizes.table(found))
