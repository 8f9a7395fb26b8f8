"""The configuration: the real files load, and every fault names its file and line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.config import configuration
from pico_image.config.configuration import read_yaml


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the real configs/ that a test may break."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def load_error(tree: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        configuration.load(tree)
    return caught.value


def edit(path: Path, old: str, new: str) -> int:
    """Replace text and return the line on which the replacement begins."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def test_real_configuration_has_the_promised_boards_and_variants() -> None:
    config = configuration.load()
    assert set(config.boards) >= {
        "luckfox-pico",
        "luckfox-pico-mini",
        "luckfox-pico-plus",
        "luckfox-pico-pro-max",
        "emulator",
    }
    assert config.boards["luckfox-pico-mini"].soc == "rv1103"
    assert config.boards["luckfox-pico-pro-max"].soc == "rv1106"
    for name in config.variants:
        assert config.variant(name).board in config.boards


def test_every_source_says_how_it_was_checked() -> None:
    for source in configuration.load().sources.values():
        assert source.checked, f"{source.name} does not say how its hash was checked"


def test_flatten_names_the_origin_of_each_value() -> None:
    flat = configuration.load().flatten("luckfox-pico-mini")
    value, origin = flat["board.soc"]
    assert value == "rv1103"
    assert origin.file == "configs/boards/_rv1103.yml"
    assert origin.line is not None
    line = (ROOT / origin.file).read_text(encoding="utf-8").splitlines()[origin.line - 1]
    assert "soc: rv1103" in line
    assert flat["board.kernel_dts"][1].file == "configs/boards/luckfox-pico-mini.yml"
    inherited = flat["packages"][1]
    assert inherited.file == "configs/variants/_bench.yml"
    assert str(flat["camera"][1]) == "default"


def test_unknown_variant_suggests_the_near_one() -> None:
    with pytest.raises(UserError, match="did you mean 'luckfox-pico-mini'") as caught:
        configuration.load().variant("luckfox-pico-mni")
    assert "emulator" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("file", "old", "new", "message", "allowed"),
    [
        ("variants/emulator.yml", "board: emulator", "board: emulatr", "unknown value", "emulator"),
        (
            "variants/emulator.yml",
            "- efficientnet-lite0",
            "- lite0",
            "unknown value 'lite0'",
            "eff",
        ),
        ("variants/emulator.yml", "bench_at_boot: true", "bench_at_boot: 7", "bench_at_boot", None),
        ("variants/emulator.yml", "hostname:", "host_name:", "unknown key", "hostname"),
        ("variants/luckfox-pico.yml", "extends: _bench", "extends: _bensh", "extends", "_bench"),
        ("boards/_rv1103.yml", "soc: rv1103", "soc: rv1126", "rv1126", None),
        ("boards/emulator.yml", "usable_mib: 44", "usable_mib: -1", "greater than 0", None),
        ("boards/emulator.yml", "cma_mib: 0", "cma: 0", "unknown key 'cma'", "cma_mib"),
        ("boards/luckfox-pico.yml", "title: L", "title: X\ntitle: L", "duplicate key", None),
        ("boards/luckfox-pico.yml", "_rv1103", "_rv1104", "unknown '_rv1104'", "_rv1103"),
        ("sources.yml", "licence: GPL", "license: GPL", "unknown key 'license'", "licence"),
    ],
)
def test_a_fault_names_file_line_value_and_what_is_allowed(
    tree: Path, file: str, old: str, new: str, message: str, allowed: str | None
) -> None:
    path = tree / "configs" / file
    line = edit(path, old, new)
    error = load_error(tree)
    assert error.path == path
    assert error.line is not None
    assert abs(error.line - line) <= 1
    assert f"{path}:{error.line}: " in error.message
    assert message in error.message
    if allowed:
        assert allowed in (error.hint or "")


def test_a_board_of_the_sdk_must_name_its_device_tree(tree: Path) -> None:
    path = tree / "configs/boards/luckfox-pico.yml"
    edit(path, "kernel_dts: rv1103g-luckfox-pico.dts\n", "")
    error = load_error(tree)
    assert error.path == path
    assert "kernel_dts" in error.message


def test_a_board_of_the_users_own_is_one_file(tree: Path) -> None:
    board = tree / "configs/boards/mine.yml"
    board.write_text("---\nextends: luckfox-pico-mini\ntitle: Mine\nusable_mib: 58\n")
    variant = tree / "configs/variants/mine.yml"
    variant.write_text("---\nextends: _minimal\ntitle: Mine\nboard: mine\n")
    flat = configuration.load(tree).flatten("mine")
    assert str(flat["board.usable_mib"][1]) == "configs/boards/mine.yml:4"
    assert flat["board.name"][0] == "mine"
    assert flat["board.partitions"][1].file == "configs/boards/_sdk.yml"


@pytest.mark.parametrize(
    ("file", "old", "new", "key"),
    [
        ("_imagenet.yml", "count: 100", "count: 5", "calibration.count"),
        ("_imagenet.yml", "calibration:\n", "calibration:\n  folder: mine\n", "folder"),
        ("_imagenet.yml", "width: 224", "width: -1", "input.width"),
        ("_random.yml", "top1: []", "top1: cat", "images.0.top1"),
        ("dense-control.yml", "extends: _random", "extends: _randon", "_randon"),
        ("mobilenet-v2.yml", "  mean: [123.675, 116.28, 103.53]", "  mean: [1, 2]", "input.mean"),
    ],
)
def test_a_fault_of_a_model_names_the_file_that_has_it(
    tree: Path, file: str, old: str, new: str, key: str
) -> None:
    path = tree / "configs" / "models" / file
    line = edit(path, old, new)
    error = load_error(tree)
    assert error.path == path
    assert error.line is not None and abs(error.line - line) <= 1
    assert key in error.message


def test_models_share_what_they_extend() -> None:
    models = configuration.load().models
    assert not [name for name in models if name.startswith("_")]
    photographs = {tuple(model.calibration.photographs) for model in models.values()}
    assert len(photographs) == 1 and len(photographs.pop()) == 10
    assert models["mobilenet-v2"].input.mean == [123.675, 116.28, 103.53]
    assert models["mobilenet-v2"].input.width == 224


def test_extending_in_a_circle_is_refused(tree: Path) -> None:
    path = tree / "configs/variants/_bench.yml"
    path.write_text("---\nextends: _bench\n", encoding="utf-8")
    assert "extends itself" in load_error(tree).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("- a\n", "expected a mapping"),
        ("a: [1\n", "not valid YAML"),
        ("a: !!python/object:os.system x\n", "not valid YAML"),
        ("a: &x [*x]\n", "nested more than"),
        ("? [1, 2]\n: 3\n", "plain word"),
    ],
)
def test_yaml_that_is_not_what_we_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "invalid.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_yaml(path)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(), st.binary()))
def test_no_bytes_make_the_reader_crash(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "fuzz.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    try:
        read_yaml(path)
    except ConfigError:
        return
