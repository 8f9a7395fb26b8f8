"""An image: read, change, check, sign and flash it; its licences, components and sizes."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
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
    pairs,
    show,
)


@task(
    positional=["image"],
    help=JSON
    | {
        "image": "an image, a card or a folder of parts",
        "files": "list the content of the file systems too",
        "extract": "folder to write the parts to",
        "diff": "another image to compare with",
        "layout": "partition string to use instead of the image's own",
    },
)
@guarded
def inspect_image(
    _: Context,
    image: str,
    files: bool = False,
    extract: str = "",
    diff: str = "",
    layout: str = "",
    json: bool = False,
) -> None:
    """Read an image back: partitions, environment, file systems, versions."""
    from pico_image.card import allowed, contents
    from pico_image.card import repack as repacking

    if diff:
        difference = contents.diff_images(Console(), Path(image), Path(diff), files=files)
        show(difference) if json else print(contents.describe_diff(difference))
        if not difference["same"]:
            raise CheckFailed("the two differ")
        return
    if extract:
        images = repacking.extract(
            Console(), Path(image), Path(extract), files=files, layout=layout or None
        )
        print("\n".join(map(str, images)))
        return
    report = contents.inspect_image(Path(image), layout=layout or None, files=files)
    show(report) if json else print(contents.describe(report))
    if report["problems"]:
        raise UserError(
            f"{image} is damaged or incomplete: {'; '.join(report['problems'])}",
            hint="fetch or build it again; a card: write it again (invoke flash)",
        )
    allowed.refuse(report["not_allowed"] or (), f"the root file system in {image}")


@task(
    iterable=["size", "set", "drop"],
    help=VARIANT
    | {
        "source": "image or folder to change (default: the variant's images folder)",
        "output": "the new image (default: sdcard.img in the same folder)",
        "cma": "memory for the NPU, for example 8M",
        "size": "new size of a partition, NAME=SIZE, repeatable",
        "set": "kernel argument to set, repeatable",
        "drop": "kernel argument to leave out, repeatable",
        "layout": "a whole new partition string",
    },
)
@guarded
def repack(
    _: Context,
    size: list[str],
    set: list[str],
    drop: list[str],
    variant: str = "luckfox-pico-mini",
    source: str = "",
    output: str = "",
    cma: str = "",
    layout: str = "",
) -> None:
    """Change CMA size, partition sizes or boot arguments of an image without the SDK."""
    from pico_image.card import repack as repacking
    from pico_image.card.image_file import is_for_emmc
    from pico_image.image import build

    start = Path(source) if source else build.existing_images(variant)
    folder = start if start.is_dir() else start.parent
    changes = repacking.Changes(
        cma=cma or None,
        sizes=dict(pairs(size)),
        set_arguments=set,
        drop_arguments=drop,
        layout=layout or None,
    )
    if is_for_emmc(start):
        if output:
            raise UserError(
                f"{start} is an image for eMMC, which is changed in its folder",
                hint="leave --output out; copy the folder first to keep the old one",
            )
        print(f"changed: {repacking.repack_parts(start, changes)}")
        print("write it over USB: upgrade_tool db download.bin, wl 0x0 env.img, rd (README.txt)")
        return
    out = Path(output) if output else folder / "sdcard.img"
    print(f"image: {repacking.repack(Console(), start, out, changes).image}")


@task(
    positional=["image"],
    help={
        "image": "an image, or the folder that holds it",
        "signers": "file of allowed signers (ssh-keygen(1)): the image must be signed by one",
    },
)
@guarded
def verify(_: Context, image: str, signers: str = "") -> None:
    """Check an image against its checksums and build-info, and who signed it."""
    from pico_image.card import verify as checking
    from pico_image.image import signing

    if signers:
        print(f"ok  signed by {signing.verify(Path(image), Path(signers))}")
    for line in checking.verify(Console(), Path(image)):
        print(f"ok  {line}")


@task(
    positional=["image"],
    help={
        "image": "the folder of an image",
        "key": "private SSH key to sign with (or its .pub, with ssh-agent)",
    },
)
@guarded
def sign(_: Context, image: str, key: str = "") -> None:
    """Sign an image's SHA256SUMS with an SSH key."""
    from pico_image.image import signing

    if not key:
        raise UserError(
            "no key is given to sign with", hint="invoke sign IMAGE --key ~/.ssh/id_ed25519"
        )
    path = Path(image)
    print(f"signature: {signing.sign(path if path.is_dir() else path.parent, Path(key))}")


@task(
    iterable=["allow"],
    help=VARIANT
    | {
        "device": "the card, for example /dev/sdX; without it the candidates are listed",
        "image": "image or folder (default: the variant's)",
        "verify": "read back and compare (--no-verify leaves it out)",
        "verify-only": "only compare a card with the image",
        "yes": "do not ask",
        "full": "write every byte, not only what the block map names",
        "allow": "overrule an objection: mounted, not-removable, system, emulator, emmc",
    },
)
@guarded
def flash(
    _: Context,
    allow: list[str],
    device: str = "",
    image: str = "",
    variant: str = "luckfox-pico-mini",
    verify: bool = True,
    verify_only: bool = False,
    yes: bool = False,
    full: bool = False,
) -> None:
    """Write a card and read it back."""
    from pico_image.card import flash as flashing
    from pico_image.image import build

    # Without a device the cards are listed, whether an image was built or not.
    named = image or not device
    source = Path(image) if named else build.existing_images(variant)
    options = flashing.Options(
        verify=verify, verify_only=verify_only, yes=yes, full=full, allow=allow
    )
    done = flashing.flash(Console(), source, device or None, options)
    print(f"{done.device}: {done.written} bytes written, {done.verified} compared")


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
