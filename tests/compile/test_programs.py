"""Cross compilation: what is refused, what is kept, and what makes it new."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pico_image.base.cache import code_of
from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.compile import libraries, programs
from pico_image.compile import toolchain as cross
from pico_image.compile.toolchain import CMakeProject, Toolchain, cmake_build, unpack_patched
from pico_image.config.configuration import Config, load
from pico_image.config.schema import Place, Source, SourceFile


def fake_tools(folder: Path, version: str) -> Toolchain:
    """A compiler that answers questions about its version and nothing else."""
    folder.mkdir()
    for name in ("gcc", "g++", "ar", "strip"):
        script = folder / f"fake-{name}"
        script.write_text(
            f'#!/bin/sh\n[ "$1" = -dumpversion ] && echo {version} || echo "fake {version}"\n'
        )
        script.chmod(0o755)
    return Toolchain(cross=f"{folder}/fake-", install_hint="install the fake")


def packed(folder: Path, name: str, files: dict[str, str], root: Path) -> Config:
    """A configuration with one source, packed from ``files`` into an archive on this disk."""
    tree = folder / "pack" / f"{name}-1.0"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    archive = Path(shutil.make_archive(str(folder / name), "gztar", tree.parent, tree.name))
    file = SourceFile(
        file=archive.name, sha256=sha256_file(archive), places=[Place(url=archive.as_uri())]
    )
    source = Source(name=name, version="1.0", licence="MIT", purpose="a test", files=[file])
    return Config(root, {}, {}, {}, {name: source}, {})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_missing_compiler_names_the_package(tmp_path: Path) -> None:
    toolchain = Toolchain(cross=f"{tmp_path}/absent-", install_hint="apt-get install absent")
    with pytest.raises(UserError) as caught:
        toolchain.check(Console(), "compile the universe")
    assert "absent-gcc" in caught.value.message
    assert "compile the universe" in caught.value.message
    assert caught.value.hint == "apt-get install absent"


def test_old_compiler_is_refused_and_a_newer_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is version 8.3.0; version 10 or later"):
        fake_tools(tmp_path / "old", "8.3.0").check(Console(), "compile")
    assert fake_tools(tmp_path / "new", "14").check(Console(), "compile") == "fake 14"


def test_missing_ninja_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain = fake_tools(tmp_path / "tools", "12")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError) as caught:
        toolchain.check(Console(), "compile")
    assert "cmake" in caught.value.message
    assert caught.value.hint == "apt-get install cmake"


def test_a_patch_must_apply_exactly(tmp_path: Path, cache: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(20))
    config = packed(tmp_path, "thing", {"file.txt": text}, tmp_path)
    patches = tmp_path / "patches"
    (patches / "thing").mkdir(parents=True)
    patch = patches / "thing" / "0001-change.patch"
    lines = (
        "--- a/file.txt\n+++ b/file.txt\n@@ -4,3 +4,3 @@\n line 3\n-line 4\n+line four\n line 5\n"
    )
    patch.write_text(lines)
    tree = unpack_patched(Console(), config, "thing", tmp_path / "good", patches)
    assert "line four" in (tree / "file.txt").read_text()
    # The surroundings differ: patch(1) would take it with fuzz, perhaps in the wrong place.
    patch.write_text(lines.replace(" line 5", " line fifty"))
    with pytest.raises(CommandError, match="apply 0001-change.patch to thing"):
        unpack_patched(Console(), config, "thing", tmp_path / "bad", patches)


def test_every_patch_says_why_and_names_a_source() -> None:
    patches = sorted(libraries.PATCHES.rglob("*.patch"))
    assert len(patches) >= 6
    for patch in patches:
        assert patch.parent.name in libraries.TFLITE_SOURCES
        text = patch.read_text(encoding="utf-8")
        head, _, change = text.partition("\n---\n")
        assert head.startswith("Subject: [PATCH] ")
        assert len(head.splitlines()) >= 4, f"{patch} gives no reason"
        assert change.startswith("diff --git a/")


def test_sources_are_all_configured_with_hashes() -> None:
    config = load()
    for name in (*libraries.TFLITE_SOURCES, *libraries.IMAGE_SOURCES):
        source = config.source(name)
        assert source.files, name
        assert any(place.pool for file in source.files for place in file.places), name
        assert any(file.sha1 for file in source.files), f"{name}: no second place"


def key_inputs(
    monkeypatch: pytest.MonkeyPatch, config: Config, **patched: object
) -> dict[str, object]:
    """The inputs of the key of the TensorFlow Lite build."""
    seen: dict[str, object] = {}

    def note(name: str, inputs: dict[str, object], build: object, **rest: object) -> Path:
        seen.update(inputs)
        return Path("unused")

    with monkeypatch.context() as patch:
        patch.setattr(libraries, "build_once", note)
        for name, value in patched.items():
            patch.setattr(libraries, name, value)
        libraries.tflite(Console(), config)
    return seen


def test_key_changes_with_patches_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load()
    before = key_inputs(monkeypatch, config)
    assert before == key_inputs(monkeypatch, config), "the key is not repeatable"
    copy = tmp_path / "patches"
    shutil.copytree(libraries.PATCHES, copy)
    assert before == key_inputs(monkeypatch, config, PATCHES=copy), "the place is no input"
    victim = next(copy.rglob("*.patch"))
    victim.write_text(victim.read_text() + "\n")
    assert before != key_inputs(monkeypatch, config, PATCHES=copy)
    assert "arm-linux-gnueabihf" in str(before["toolchain"])
    # The code counts by its package; code_of() itself is tested with the cache.
    assert before["recipe"] == code_of("pico_image.compile")


def test_toolchain_file_asks_for_neon_and_fused_multiply() -> None:
    text = Toolchain().file.read_text(encoding="utf-8")
    assert "-mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard" in text
    assert "-static" in text


@pytest.fixture(scope="module")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.5)\nproject(small C)\nadd_executable(small small.c)\n"
        "execute_process(COMMAND ${CMAKE_COMMAND} -E touch left.o)\n"  # as libjpeg-turbo does
    )
    (folder / "small.c").write_text(
        '#include <stdio.h>\n#ifndef __ARM_NEON\n#error "no NEON"\n#endif\n'
        "int main(void) { puts(__FILE__); return 0; }\n"
    )
    return folder


def test_build_is_static_neon_and_keeps_this_machine_out(
    tmp_path: Path, cache: Path, small_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFLAGS", "-DBROKEN -mfpu=vfpv4-d16")  # the caller's flags are not ours
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "work"
    shutil.copytree(small_project, work / "small")
    console = Console()
    cmake_build(
        console,
        Toolchain(),
        CMakeProject(work / "small", title="the small project", work=work),
        work / "build",
    )
    assert not (tmp_path / "left.o").exists(), "it writes where its caller stands"
    program = work / "build/small"
    attributes = console.run(
        ["arm-linux-gnueabihf-readelf", "-A", "-l", program], what="read attributes"
    )
    assert "NEONv1 with Fused-MAC" in attributes
    assert "VFP registers" in attributes
    assert "INTERP" not in attributes, "it needs a loader, so it is not static"
    assert str(tmp_path).encode() not in program.read_bytes()


def test_compile_error_is_told_with_what_it_was_for(
    tmp_path: Path, cache: Path, small_project: Path
) -> None:
    work = tmp_path / "work"
    shutil.copytree(small_project, work / "small")
    (work / "small/small.c").write_text("int main(void) { return undeclared; }\n")
    with pytest.raises(CommandError, match="compile the small project") as caught:
        cmake_build(
            Console(),
            Toolchain(),
            CMakeProject(work / "small", title="the small project", work=work),
            work / "build",
        )
    assert "undeclared" in str(caught.value)


def test_app_without_its_project_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"has no CMakeLists\.txt"):
        programs.app(Console(), load(ROOT))


def test_nothing_names_a_host_or_a_folder_of_this_machine() -> None:
    pattern = re.compile(re.escape(f"{ROOT.parent}/") + "|/tmp/")
    for module in (cross, programs):
        assert module.__file__ is not None
        assert not pattern.search(Path(module.__file__).read_text(encoding="utf-8"))
    for folder in ("package/tensorflow-lite-static", "app/cmake", "benchmarks"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                assert not pattern.search(file.read_text(encoding="utf-8")), file


def test_an_interrupted_compile_goes_on_in_another_folder(
    tmp_path: Path, cache: Path, small_project: Path
) -> None:
    """With ccache, which is optional, the second folder's objects come from the first's."""
    console = Console()
    for attempt in ("first", "second"):
        work = tmp_path / attempt
        shutil.copytree(small_project, work / "small")
        cmake_build(
            console,
            Toolchain(),
            CMakeProject(work / "small", title="small", work=work),
            work / "build",
        )
        settings = (work / "build/CMakeCache.txt").read_text()
        shutil.rmtree(work)
    if shutil.which("ccache") is None:
        assert "COMPILER_LAUNCHER" not in settings
        return
    statistics = console.run(
        ["ccache", "--print-stats"], what="ask ccache", env={"CCACHE_DIR": str(cache / "ccache")}
    )
    found = dict(line.split("\t") for line in statistics.splitlines())
    assert int(found["direct_cache_hit"]) + int(found["preprocessed_cache_hit"]) >= 1
