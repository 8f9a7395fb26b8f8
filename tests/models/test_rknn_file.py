"""Reading .rknn files by their public header and trailer, and the version gate."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.config.configuration import Config
from pico_image.models import convert, rknn_file, user_files


def trailer(**changes: Any) -> dict[str, Any]:
    """What rknn-toolkit2 2.3.2 writes for a classifier (see facts on the container)."""

    def tensor(number: int, name: str, size: list[int]) -> dict[str, Any]:
        return {
            "tensor_id": number,
            "url": name,
            "size": size,
            "dim_num": len(size),
            "dtype": {"qnt_method": "layer", "qnt_type": "int8", "vx_type": "int8"},
        }

    data: dict[str, Any] = {
        "target_platform": ["rv1103"],
        "version": "2.3.2",
        "graph": [
            {"left": "input", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 0},
            {"left": "output", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 1},
        ],
        "norm_tensor": [tensor(0, "input", [1, 3, 224, 224]), tensor(1, "output", [1, 1000])],
    }
    data.update(changes)
    return data


def write(
    path: Path,
    data: Any,
    *,
    container: int = 0x1004,
    payload: bytes = b"commands and weights",
    metadata: bytes = b"junk",
    custom: bytes = b"",
) -> Path:
    body = struct.pack("<I", len(metadata) + len(custom)) + payload + metadata + custom
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    header = rknn_file.MAGIC + struct.pack("<QQ", container, len(body)) + bytes(40)
    path.write_bytes(header + body + struct.pack("<Q", len(text)) + text)
    return path


def test_facts_of_a_file(tmp_path: Path) -> None:
    custom = b'{"pico_image":1,"model":"mine"}\0'
    path = write(tmp_path / "m.rknn", trailer(), custom=custom)
    facts = rknn_file.describe(rknn_file.read(path))
    assert facts.platforms == ["rv1103"]
    assert facts.toolkit == "2.3.2"
    assert facts.inputs == [rknn_file.Tensor("input", [1, 3, 224, 224], "int8", "int8")]
    assert facts.outputs[0].shape == [1, 1000]
    assert facts.payload_sha256 == hashlib.sha256(b"commands and weights").hexdigest()
    assert facts.custom == {"pico_image": 1, "model": "mine"}


def test_the_payload_hash_sees_the_payload_and_nothing_else(tmp_path: Path) -> None:
    one = rknn_file.read(write(tmp_path / "1.rknn", trailer(), metadata=b"heap pointers"))
    two = rknn_file.read(write(tmp_path / "2.rknn", trailer(), metadata=b"others"))
    three = rknn_file.read(write(tmp_path / "3.rknn", trailer(), payload=b"commands and weightz"))
    assert one.payload_sha256 == two.payload_sha256 != three.payload_sha256


def test_every_truncation_is_an_error_and_no_crash(tmp_path: Path) -> None:
    whole = write(tmp_path / "m.rknn", trailer()).read_bytes()
    cut = tmp_path / "cut.rknn"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut short|not an \.rknn"):
            rknn_file.read(cut)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"[1, 2]", "no JSON object"), (b"{", "damaged"), (b"\xff" * 9, "damaged")],
)
def test_a_broken_trailer_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rknn_file.read(write(tmp_path / "m.rknn", data))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not read"):
        rknn_file.read(tmp_path / "absent.rknn")


def shaped(size: list[int], kind: str = "int8") -> dict[str, Any]:
    data = trailer()
    data["norm_tensor"][0]["size"] = size
    data["norm_tensor"][0]["dtype"]["vx_type"] = kind
    return data


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "rk3588": (trailer(target_platform=["rk3588"]), 6, "made for rk3588"),
    "rv1103b": (trailer(target_platform=["rv1103b"]), 0x1004, "another interface"),
    "rv1106b": (trailer(target_platform=["rv1106b"]), 0x1004, "another interface"),
    "no platform": (trailer(target_platform=[]), 0x1004, "no platform at all"),
    "container": (trailer(), 6, "container version 0x6"),
    "dynamic size": (shaped([1, 3, 0, 224]), 0x1004, "dynamic shape"),
    "dynamic input": (trailer(dynamic_input=[[[1, 3, 8, 8]]]), 0x1004, "dynamic shapes"),
    "float": (shaped([1, 3, 8, 8], "float16"), 0x1004, "integers only"),
    "two inputs": (trailer(graph=trailer()["graph"][:1] * 2), 0x1004, "2 inputs"),
    "no output": (trailer(graph=trailer()["graph"][:1]), 0x1004, "0 outputs"),
    "newer": (trailer(version="2.5.0"), 0x1004, "newer than the runtime 2.3.2"),
    "newer by ten": (trailer(version="2.10.0"), 0x1004, "newer than the runtime 2.3.2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_board_cannot_run_is_refused(
    tmp_path: Path, config: Config, console: Console, name: str
) -> None:
    data, container, reason = REFUSED[name]
    path = write(tmp_path / "m.rknn", data, container=container)
    with pytest.raises(UserError) as caught:
        user_files.inspect_model(console, config, path)
    assert reason in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("platform", ["rv1103", "rv1106"])
@pytest.mark.parametrize("toolkit", ["2.3.2", "2.3.0", "1.6.0"])
def test_what_the_board_runs_is_taken(
    tmp_path: Path, config: Config, console: Console, platform: str, toolkit: str
) -> None:
    path = write(tmp_path / "m.rknn", trailer(target_platform=[platform], version=toolkit))
    assert rknn_file.read(path).toolkit == toolkit
    user_files.inspect_model(console, config, path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.bin", b"\0" * 100, r"neither an \.rknn nor a \.tflite"),
        ("m.onnx", b"\x08\x07", "convert-models --onnx"),
        ("m.rknn", b"", r"neither an \.rknn nor a \.tflite"),
    ],
)
def test_other_files_are_named_for_what_they_are(
    tmp_path: Path, config: Config, console: Console, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        user_files.inspect_model(console, config, path)
    assert caught.match(message)


def with_versions(config: Config, **versions: str) -> Config:
    changed = {
        name: config.source(name).model_copy(update={"version": version})
        for name, version in versions.items()
    }
    return dataclasses.replace(config, sources={**config.sources, **changed})


def test_the_shipped_versions_match(config: Config) -> None:
    found = convert.check_versions(config)
    assert found["rknn-toolkit2"] == found["rknn-runtime"] == "2.3.2"


def test_a_toolkit_newer_than_the_runtime_is_refused(config: Config) -> None:
    with pytest.raises(UserError) as caught:
        convert.check_versions(with_versions(config, **{"rknn-runtime": "1.6.0"}))
    assert "2.3.2" in caught.value.message and "1.6.0" in caught.value.message
    assert caught.value.hint is not None and "rknn-toolkit2 to 1.6.0" in caught.value.hint


def test_a_lock_that_installs_another_toolkit_is_refused(config: Config) -> None:
    with pytest.raises(UserError, match=r"requirements/rknn\.txt installs"):
        convert.check_versions(with_versions(config, **{"rknn-toolkit2": "2.3.0"}))


def test_a_driver_that_is_too_old_is_refused(config: Config) -> None:
    with pytest.raises(UserError, match="driver 0.1.9"):
        convert.check_versions(with_versions(config, **{"rknpu-driver": "0.1.9"}))


def test_versions_compare_as_numbers() -> None:
    assert rknn_file.version("2.10.0") > rknn_file.version("2.9.9")
