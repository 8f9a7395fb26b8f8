"""What a changed title, picture or label costs: no conversion, and a verdict on what changed."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.config.configuration import Config, load
from pico_image.models import convert, environment, pipeline

MODEL = "efficientnet-lite0"


class Tree:
    """A copy of ``configs/`` as a user changes it, and a cache that holds the conversion."""

    def __init__(self, console: Console, root: Path, calls: list[str]) -> None:
        self.console, self.root, self.calls = console, root, calls
        self.models = root / "configs" / "models"
        self.spec = yaml.safe_load((self.models / f"{MODEL}.yml").read_text(encoding="utf-8"))

    def config(self) -> Config:
        text = yaml.safe_dump(self.spec, sort_keys=False)
        (self.models / f"{MODEL}.yml").write_text(text, encoding="utf-8")
        return load(self.root)

    def convert(self) -> Path:
        """The model's folder; ``calls`` then holds the workers that ran for it."""
        self.calls.clear()
        return convert.convert(self.console, self.config(), MODEL, npu=True)


@pytest.fixture
def tree(
    console: Console,
    model: Path,
    stages: pipeline.Stages,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Tree:
    for folder in (
        stages.prepared,
        stages.shown,
        stages.tflite,
        stages.photographs,
        stages.rknn,
        model,
    ):
        assert folder is not None
        (own_cache / "built" / folder.parent.name).symlink_to(folder.parent)
    calls: list[str] = []
    real = environment.run_worker

    def counted(console: Console, name: str, call: str, *rest: Any, **options: Any) -> Any:
        calls.append(call)
        assert call in ("prepare:exhibit", "make_tflite:judge", "make_rknn:make_golden"), "converts"
        return real(console, name, call, *rest, **options)

    monkeypatch.setattr(pipeline, "run_worker", counted)
    # What these tests make is theirs alone; what the conversion made is borrowed.
    for name in ("model", "shown", "photographs"):
        (own_cache / "built" / f"{name}-{MODEL}").unlink()
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return Tree(console, tmp_path, calls)


def picture(tree: Tree, stages: pipeline.Stages, name: str) -> Path:
    """A photograph of the user's beside the model files: one that the model knows already."""
    target = tree.models / name
    shutil.copyfile(stages.shown / "images" / "coffee.png", target)
    return target


def files(folder: Path) -> dict[str, str]:
    names = ("fp32.tflite", "int8.tflite", "model.rknn")
    return {name: sha256_file(folder / name) for name in names}


def test_titles_labels_and_pictures_convert_nothing(
    tree: Tree, model: Path, stages: pipeline.Stages
) -> None:
    first = tree.convert()
    assert files(first) == files(model)
    judging = ["prepare:exhibit", "make_tflite:judge", "make_rknn:make_golden"]
    assert tree.calls == judging

    tree.spec["images"][0]["title"] = "A cat of another name"
    tree.spec["title"] = "Another title"
    folder = tree.convert()
    assert tree.calls == []
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert card["title"] == "Another title"
    assert card["images"][0]["title"] == "A cat of another name"

    lines = (model / "labels.txt").read_text(encoding="utf-8").splitlines()
    lines[967] = "a small strong coffee"
    (tree.models / "mine.txt").write_text("".join(f"{line}\n" for line in lines))
    tree.spec["labels"] = {"file": "mine.txt"}
    folder = tree.convert()
    assert tree.calls == ["prepare:exhibit"]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for scores in report["scores"].values():
        assert scores["photographs"][1]["label"] == "a small strong coffee"
    sidecar = json.loads((folder / "model.rknn.json").read_text(encoding="utf-8"))
    assert sidecar["labels_sha256"] == sha256_file(tree.models / "mine.txt")

    picture(tree, stages, "espresso.png")
    tree.spec["images"].append(
        {
            "name": "mine",
            "file": "espresso.png",
            "title": "Mine",
            "top1": [967],
            "licence": "CC0-1.0",
        }
    )
    folder = tree.convert()
    assert tree.calls == judging
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert set(report["scores"]) == {"fp32", "int8", "npu"}
    for scores in report["scores"].values():
        assert [row["image"] for row in scores["photographs"]][-1] == "mine"
        assert scores["photographs"][-1]["right"]
    assert (folder / "images" / "espresso.png").is_file()
    listed = json.loads((folder / "golden/golden.json").read_text(encoding="utf-8"))
    vectors = {entry["name"]: entry for entry in listed["vectors"]}
    assert len(vectors) == 9 and vectors["005-mine"]["top1"] == 967
    for entry in vectors.values():
        for key in ("input", "output"):
            assert (folder / "golden" / entry[key]).is_file()
    assert files(folder) == files(model)


def test_a_picture_that_the_model_takes_for_another_fails_the_build(
    tree: Tree, stages: pipeline.Stages
) -> None:
    own = picture(tree, stages, "cat.png")
    tree.spec["images"][0] = {
        "name": "cat",
        "file": own.name,
        "title": "A cat, it says",
        "top1": [281],
        "licence": "CC0-1.0",
    }
    with pytest.raises(CheckFailed, match=r"int8 TensorFlow Lite: cat is taken for 967") as caught:
        tree.convert()
    assert "NPU, simulated by rknn-toolkit2: cat is taken for 967" in str(caught.value)
    tree.spec["images"][0]["top1"] = [967]
    tree.convert()
    assert tree.calls == []


def test_pictures_and_labels_that_are_no_good(tree: Tree, stages: pipeline.Stages) -> None:
    good = dict(tree.spec["images"][0])
    own = {key: value for key, value in good.items() if key not in ("source", "path")}
    tree.spec["images"][0] = {**own, "file": "absent.png"}
    with pytest.raises(UserError, match=r"could not find .*absent\.png, which .*lite0\.yml names"):
        tree.convert()
    (tree.models / "absent.png").write_text("no picture")
    with pytest.raises(UserError, match=r"absent\.png is not a readable picture"):
        tree.convert()
    tree.spec["images"][0] = {**good, "file": "absent.png"}
    with pytest.raises(UserError, match="give either source and path, or file"):
        tree.convert()
    tree.spec["images"][0] = {**own, "file": "elsewhere/coffee.png"}
    with pytest.raises(UserError, match=r"two images are files called coffee\.png"):
        tree.convert()
    tree.spec["images"][0] = good
    (tree.models / "short.txt").write_text("one\ntwo\n")
    tree.spec["labels"] = {"file": "short.txt"}
    with pytest.raises(UserError, match=r"short\.txt has 2 labels .* has 1000 classes"):
        tree.convert()
    (tree.models / "short.txt").write_bytes(b"\xff\xfe\n" * 1000)
    with pytest.raises(UserError, match=r"could not read the labels .*short\.txt"):
        tree.convert()
    left = [path for path in (cache_dir() / "built").glob("shown-*/*") if path.is_dir()]
    assert left == []


@pytest.mark.parametrize("algorithm", ["normal", "kl_divergence", "mmse"])
def test_mmse_says_what_it_takes_and_simulates_the_photographs_at_once(
    job: pipeline.Plan,
    stages: pipeline.Stages,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    """Its simulator could be made again only by the whole conversion."""
    given: dict[str, Any] = {}
    stream = io.StringIO()

    def stop(_: Console, name: str, call: str, arguments: dict[str, Any], **__: Any) -> None:
        given.update(arguments, said=stream.getvalue())
        raise UserError("far enough")

    monkeypatch.setattr(pipeline, "run_worker", stop)
    plan = pipeline.Plan(job.spec.model_copy(update={"algorithm": algorithm}), job.archives)
    with pytest.raises(UserError, match="far enough"):
        pipeline.make_rknn(
            Console(stream=stream), plan, stages.prepared, stages.shown, stages.tflite
        )
    assert given["options"].algorithm == algorithm
    mmse = algorithm == "mmse"
    assert ("on all 100 calibration pictures" in given["said"]) == mmse
    assert given["labelled"] == (stages.shown / "labelled" if mmse else None)


def test_another_number_of_macs_is_noticed_on_what_the_cache_holds(
    console: Console, job: pipeline.Plan, stages: pipeline.Stages
) -> None:
    with pytest.raises(UserError, match=r"385187552 .*the model file says 386000000"):
        spec = job.spec.model_copy(update={"macs": 386_000_000})
        pipeline.prepare(console, pipeline.Plan(spec, job.archives))


def test_no_file_of_a_former_conversion_stays(
    console: Console, config: Config, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    job = convert.plan(console, config, MODEL)
    folder = Path(convert.publish(console, config, job, npu=True).folder)
    assert (folder / "model.rknn").is_file() and (folder / "golden").is_dir()
    (folder / "calibration" / "100-old.png").touch()
    (folder / "images" / "old.png").touch()
    (folder / "notes.txt").write_text("the user's own")
    convert.publish(console, config, job, npu=False)
    left = {path.name for path in folder.iterdir()}
    assert {"fp32.tflite", "int8.tflite", "labels.txt", "notes.txt", "accuracy.html"} <= left
    assert not {"model.rknn", "model.rknn.json", "golden"} & left
    assert not (folder / "images" / "old.png").exists()
    assert not (folder / "calibration" / "100-old.png").exists()
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert set(card["files"]) == {"fp32", "int8"}
