"""Packages, memory and partitions are checked before a build, with figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pico_image.base.errors import ConfigError
from pico_image.base.files import ROOT
from pico_image.config import capacity, configuration
from pico_image.config.configuration import Config
from pico_image.config.target import Target

MIB = 1024 * 1024
#: Sizes of EfficientNet-Lite0 as it was converted: 18.54 MB, 5.25 MB and about 5.5 MB.
SIZES = {"efficientnet-lite0": {"fp32": 18_540_000, "int8": 5_250_000, "npu": 5_500_000}}
#: The others of the project, as they were converted; mobilenet-v2's are those of its random twin.
OTHERS = {
    "mobilenet-v2": {"fp32": 13_960_000, "int8": 3_999_872, "npu": 3_915_875},
    "dense-control": {"fp32": 4_801_824, "int8": 1_258_800, "npu": 1_262_191},
}


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Config]:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "package", tmp_path / "package")

    def change(name: str, **values: object) -> Config:
        path = tmp_path / f"configs/variants/{name}.yml"
        data = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**data, **values}, sort_keys=False))
        return configuration.load(tmp_path)

    return change


def test_every_variant_of_the_project_fits_its_board() -> None:
    loaded = configuration.load()
    for variant in loaded.variants.values():
        capacity.check_packages(Target.of(loaded, variant))
        sizes = {name: (SIZES | OTHERS)[name] for name in variant.models}
        capacity.check_memory(Target.of(loaded, variant), sizes)
        capacity.check_partitions(Target.of(loaded, variant), sizes)


def test_the_bench_images_carry_the_models_that_people_come_for() -> None:
    loaded = configuration.load()
    for variant in loaded.variants.values():
        if "npu-bench" in variant.packages and loaded.board(variant.board).soc is not None:
            assert set(variant.models) == {"mobilenet-v2", "efficientnet-lite0", "dense-control"}
    # CI and `invoke try` build this one from registries alone.
    assert not any(
        place.url and "github" in place.url
        for name in loaded.variant("emulator").models
        for file in loaded.source(str(loaded.model(name).source)).files
        for place in file.places
    )


def test_estimates_are_near_what_was_measured() -> None:
    """Heap after one inference: fp32 21.5 and 25.7 MiB, int8 6.4 and 6.6 (mallinfo, XNNPACK)."""
    variant = (
        configuration.load()
        .variant("luckfox-pico-mini")
        .model_copy(update={"models": ["mobilenet-v2", "efficientnet-lite0"]})
    )
    sizes = {"mobilenet-v2": {"fp32": 13_920_000, "int8": 3_940_000}, **SIZES}
    found = {(d.model, d.engine): d.mib for d in capacity.demands(variant, sizes)}
    for name, engine, measured in (
        ("mobilenet-v2", "fp32", 21.5),
        ("mobilenet-v2", "int8", 6.4),
        ("efficientnet-lite0", "fp32", 25.7),
        ("efficientnet-lite0", "int8", 6.6),
    ):
        assert measured - 0.2 <= found[name, engine] <= measured * 1.25


def test_the_sum_is_told(changed: Callable[..., Config]) -> None:
    loaded = changed("luckfox-pico-mini", cma_mib=10)
    text = capacity.check_memory(Target.of(loaded, "luckfox-pico-mini"), SIZES)
    assert text.startswith("57 MiB = 10 CMA (largest model 7.2) + 10 system + 37.0 for programs")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cma_mib": 4}, r"cma_mib: efficientnet-lite0 needs about 7\.2 MiB of CMA.*reserves 4"),
        ({"cma_mib": 57}, r"cma_mib: 57 MiB for the NPU leave -10 of 57 MiB"),
        ({"cma_mib": 24}, r"efficientnet-lite0 \(fp32\) needs about 26.* leaves 23\.0 MiB"),
    ],
)
def test_what_does_not_fit_in_memory(
    changed: Callable[..., Config], values: dict[str, object], message: str
) -> None:
    loaded = changed("luckfox-pico-mini", **values)
    with pytest.raises(ConfigError, match=rf"(luckfox-pico-mini|_bench)\.yml:\d+: .*{message}"):
        capacity.check_memory(Target.of(loaded, "luckfox-pico-mini"), SIZES)


def test_an_engine_that_is_not_installed_needs_nothing(changed: Callable[..., Config]) -> None:
    loaded = changed(
        "luckfox-pico-mini",
        cma_mib=24,
        packages=["rknn-runtime", "npu-runner", "npu-models"],
    )
    variant = loaded.variant("luckfox-pico-mini")
    assert {d.engine for d in capacity.demands(variant, SIZES)} == {"npu"}
    capacity.check_memory(Target.of(loaded, variant), SIZES)


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        (
            "32K(env),512K@32K(idblock),256K(uboot),32M(boot),64M(oem),64M(userdata),64M(rootfs)",
            r"rootfs has 64\.0 MiB, its content takes about [\d.]+ MiB \(28 MiB of it models\)",
        ),
        (  # once read as 10 MiB
            "32K(env),512K@32K(idblock),256K(uboot),32M(boot),64M(oem),64M(userdata),"
            "0x1000000(rootfs)",
            r"rootfs has 16\.0 MiB",
        ),
        (
            "32K(env),512K@32K(idblock),256K(uboot),2M(boot),64M(oem),64M(userdata),1G(rootfs)",
            r"boot has 2\.0 MiB, its content takes about 3\.5 MiB",
        ),
    ],
)
def test_a_partition_too_small(
    changed: Callable[..., Config], partitions: str, message: str
) -> None:
    loaded = changed("luckfox-pico-mini", partitions=partitions)
    with pytest.raises(ConfigError, match=rf"luckfox-pico-mini\.yml:\d+: partitions: {message}"):
        capacity.check_partitions(Target.of(loaded, "luckfox-pico-mini"), SIZES)


def test_sizes_are_read_as_the_kernel_reads_them(changed: Callable[..., Config]) -> None:
    """0x10000000 is 256 MiB; it was read as 10 MiB."""
    loaded = changed(
        "luckfox-pico-mini",
        partitions="32K(env),512K@32K(idblock),256K(uboot),32M(boot),64M(oem),64M(userdata),"
        "0x10000000(rootfs)",
    )
    sizes = capacity.check_partitions(Target.of(loaded, "luckfox-pico-mini"), SIZES)
    assert sizes["rootfs"][1] == 256


def test_partitions_that_fit_are_told_with_sizes() -> None:
    loaded = configuration.load()
    found = capacity.check_partitions(Target.of(loaded, "luckfox-pico-mini"), SIZES)
    assert found["rootfs"][1] == 6 * 1024 and found["env"] == (0.0, 32 / 1024)
    assert 90 < found["rootfs"][0] < 130


def test_an_npu_package_on_a_board_without_npu(changed: Callable[..., Config]) -> None:
    loaded = changed("emulator", packages=["rknn-runtime", "neon-runner", "npu-models"])
    with pytest.raises(
        ConfigError, match=r"emulator\.yml:\d+: packages: rknn-runtime needs an NPU"
    ):
        capacity.check_packages(Target.of(loaded, "emulator"))


def test_a_simulated_npu_needs_neither_runtime_nor_cma(changed: Callable[..., Config]) -> None:
    loaded = changed(
        "emulator", packages=["npu-runner", "neon-runner", "npu-models"], bench_at_boot=False
    )
    variant = loaded.variant("emulator")
    capacity.check_packages(Target.of(loaded, variant))
    capacity.check_memory(Target.of(loaded, variant), SIZES)
    loaded = changed("luckfox-pico-mini", packages=["npu-runner", "neon-runner", "npu-models"])
    with pytest.raises(ConfigError, match="npu-runner needs rknn-runtime"):
        capacity.check_packages(Target.of(loaded, "luckfox-pico-mini"))
