"""The root file system of a built image, file by file."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from pico_image.base import project
from pico_image.base.files import sha256_file
from pico_image.card import archive, filesystem
from pico_image.card.archive import Archive
from pico_image.card.blocks import Slice
from pico_image.card.contents import inspect_image
from pico_image.config.target import Target
from pico_image.emulator.system import userland
from pico_image.image.build import Login
from pico_image.image.sbom import INSTALLED, LINKED
from tests.support.emulated import Kit
from tests.support.model_cards import model_folder
from tests.support.secrets_check import known_ways_in

from .unpacked import files, unpack


@pytest.fixture(scope="module")
def tree(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(images / "rootfs.img", tmp_path_factory.mktemp("rootfs") / "root")


def test_no_password_that_everybody_knows_opens_it(tree: Path) -> None:
    assert {"/etc/passwd", "/etc/shadow", "/bin/busybox", "/usr/bin/npu-bench"} <= set(files(tree))
    assert known_ways_in(tree) == []


def test_an_image_without_a_key_has_no_way_in_over_the_network(tree: Path) -> None:
    names = {path.rsplit("/", 1)[1] for path in files(tree)}
    assert not names & {"dropbear", "sshd", "telnetd", "ftpd", "httpd", "adbd", "authorized_keys"}


def test_nothing_is_in_it_that_an_image_may_not_have(images: Path, complete: Path) -> None:
    """The list that board images are built by, held against the real file systems."""
    for folder in (images, complete):
        assert inspect_image(folder)["not_allowed"] == []


def test_it_comes_out_of_an_archive_with_the_same_bytes(
    kit: Kit, images: Path, tree: Path, tmp_path: Path
) -> None:
    """As a board's does: what boots here by way of a folder boots by way of a tar, too."""
    image = images / "rootfs.img"
    with tarfile.open(tmp_path / "rootfs.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in filesystem.list_files(Slice(image)):
            if entry.path != "/lost+found":
                member = tar.gettarinfo(str(tree / entry.path[1:]), f".{entry.path}")
                member.mode, member.uid, member.gid = entry.mode & 0o7777, entry.uid, entry.gid
                content = (tree / entry.path[1:]).open("rb") if member.isreg() else None
                with content or contextlib.nullcontext():
                    tar.addfile(member, content)
    folder = tmp_path / "root"
    folder.mkdir()
    entries = archive.unpack([Archive(tmp_path / "rootfs.tar", devices=True)], folder)
    slot = Target.of(kit.config, kit.variant).layout["rootfs"].size
    assert slot is not None
    volume = filesystem.Volume("rootfs", slot)
    epoch = project.source_date_epoch(kit.config.root)
    filesystem.make(kit.console, folder, tmp_path / "rootfs.img", volume, epoch, entries)
    assert sha256_file(tmp_path / "rootfs.img") == sha256_file(image)


def test_an_image_without_the_benchmark_has_no_word_of_it(
    kit: Kit, tree: Path, tmp_path: Path
) -> None:
    """The message of the day named a program that a minimal image does not have."""
    assert b"npu-bench" in (tree / "etc/motd").read_bytes()
    assert (tree / "etc/init.d/S95npu-bench").stat().st_mode & 0o111
    images = kit.build(packages=["npu-runner"], name="emulator-minimal")
    root = unpack(images / "rootfs.img", tmp_path / "root")
    for path in files(root):
        assert "bench" not in path
        if path.startswith("/etc/") and not (root / path[1:]).is_symlink():
            assert b"bench" not in (root / path[1:]).read_bytes(), path
    assert not (unpack(images / "userdata.img", tmp_path / "data") / "bench").exists()
    for name in ("README.txt", "sbom.cdx.json"):
        assert "bench" not in (images / name).read_text(), name


@pytest.fixture(scope="module")
def complete(kit: Kit, output: Path) -> Path:
    """The images folder of a variant with everything: a model and an SSH server.

    Which bytes the server has does not matter here, so it is not compiled for this.
    """
    server = output / "server"
    server.mkdir()
    for name in userland.SERVER_PROGRAMS:
        (server / name).write_text("#!/bin/sh\n")
    key = output / "key.pub"
    key.write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    )
    model = model_folder(output / "models/colours")
    card = json.loads((model / "model.json").read_text())
    for image in card["images"]:
        image["licence"] = "CC0-1.0"
    (model / "model.json").write_text(json.dumps(card))
    kit = replace(kit, materials={**kit.materials, "dropbear": server})
    return kit.build({"colours": model}, login=Login(key), name="emulator-complete")


def test_the_bill_of_materials_lists_what_is_in_the_image(complete: Path, tmp_path: Path) -> None:
    """Each file has its component, each component its files, a licence, a hash or a version."""
    root = unpack(complete / "rootfs.img", tmp_path / "root")
    bill = json.loads((complete / "sbom.cdx.json").read_text())
    there = set(files(root))
    real = {
        path: f"/{(root / path[1:]).readlink()}".replace("//", "/")
        for path in there
        if (root / path[1:]).is_symlink()
    }
    owners: dict[str, list[str]] = {path: [] for path in there}
    for component in bill["components"]:
        ref = component["bom-ref"]
        if component.get("scope") == "excluded":
            continue
        assert component.get("licenses"), ref
        assert component.get("version", "unknown") != "unknown" or component.get("hashes"), ref
        patterns = [p["value"] for p in component["properties"] if p["name"] == INSTALLED]
        mine = {path for path in there for p in patterns if fnmatch.fnmatch(path, p)}
        linked = {p["value"] for p in component["properties"] if p["name"] == LINKED}
        assert linked <= there, ref
        elsewhere = {name for name in patterns if (complete / name).is_file()}
        assert mine or linked or elsewhere, f"{ref} has nothing in the image"
        for path in mine:
            owners[path].append(ref)
        if ref.startswith("model:colours"):
            stated = {entry["content"] for entry in component["hashes"]}
            assert stated <= {sha256_file(root / path[1:]) for path in mine}, ref
    for path, target in real.items():
        owners[path] = owners[path] or owners.get(target, [])
    # A picture belongs to its model too.
    assert [path for path, refs in owners.items() if not refs] == []
    twice = {path: refs for path, refs in owners.items() if len(refs) > 1}
    assert {path.rsplit("/", 2)[1] for path in twice if "/npu-models/" in path} == {"images"}
    assert {path for path in twice if "/npu-models/" not in path} == set()
    assert known_ways_in(root) == []
