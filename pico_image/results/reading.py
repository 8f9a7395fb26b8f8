"""Find benchmark results and read them: what the page, the comparison and the history see.

The file is npu-bench's (docs/results.md). Unknown fields are ignored; what is optional there is
optional here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic

from pico_image.base.errors import UserError
from pico_image.base.files import output_dir
from pico_image.results.result import (
    STAGES,
    TOTAL,
    Agreement,
    Configuration,
    Model,
    Picture,
    Result,
)
from pico_image.results.statistics import usable

RESULT_FILE = "result.json"


def results_folder() -> Path:
    return output_dir() / "results"


def locate(name: str | Path) -> Path:
    """The result file that a user means: a file, a folder, a name under out/results, "latest".

    Raises UserError when there is none.
    """
    path = Path(name)
    for candidate in (path, results_folder() / path):
        if candidate.is_dir() and (candidate / RESULT_FILE).is_file():
            return candidate / RESULT_FILE
        if candidate.is_file():
            return candidate
    if str(name) == "latest":
        newest = max(kept(), key=lambda file: file.parent.name, default=None)
        if newest is not None:
            return newest
        raise UserError(
            f"there is no benchmark result under {results_folder()} yet",
            hint="invoke bench makes one",
        )
    raise UserError(
        f"could not find the benchmark result {name}",
        hint="give a result file, its folder, or a name from `invoke history`",
    )


def kept() -> list[Path]:
    """All kept result files, oldest first (folders are named by their time)."""
    return sorted(results_folder().glob(f"*/{RESULT_FILE}"))


def _whole(text: str) -> int:
    """An integer as the board's programs write them; a longer one no float can take."""
    if len(text) > 19:
        raise ValueError(f"the number {text:.19}... has more than 19 digits")
    return int(text)


def load(path: Path) -> Result:
    """Read and check one result. Raises UserError naming the file, the field or the version."""
    from pico_image.results.benchmark import (
        check_result,  # it boots machines; most reports need none
    )

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"could not read the benchmark result {path}: {error}") from error
    try:
        # NaN is no JSON, but some writers write it: no figure, as null.
        data = json.loads(text, parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is no whole benchmark result: {error}",
            hint="it was cut off or edited; fetch it again with `invoke bench`",
        ) from error
    if "\\ud" in text.lower():
        # Half a character ("\ud800") is text for JSON and for no file that is written of it.
        whole = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
        data = json.loads(whole, parse_constant=lambda _: None)
    checked = check_result(data, str(path))
    try:
        return from_json(checked, path)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = "/".join(map(str, (error.title, *first["loc"])))
        raise UserError(
            f"{path} is not a valid result: {where}: {first['msg']}",
            hint="it was edited or damaged; fetch it again with `invoke bench`",
        ) from error


class _Comparison(pydantic.BaseModel):
    """An entry of ``comparisons``; the schema leaves names and figures open."""

    model_config = pydantic.ConfigDict(strict=True, extra="ignore")

    of: str
    against: str
    top1_equal: bool = False
    top5_shared: Annotated[float, pydantic.Field(allow_inf_nan=False)] = -1
    cosine: Annotated[float, pydantic.Field(allow_inf_nan=False)] | None = None


def from_json(data: Mapping[str, Any], path: Path) -> Result:
    """A checked result as typed data. Raises UserError for one runner's own output."""
    if data.get("kind") != "bench":
        raise UserError(
            f"{path} is the output of {data.get('kind')!r}, not of npu-bench",
            hint="reports and comparisons need what npu-bench keeps in /userdata/bench",
        )
    return Result(
        path=path,
        name=path.parent.name if path.name == RESULT_FILE else path.stem,
        emulated=bool(data["emulated"]),
        simulated_npu=bool(data["simulated_npu"]),
        ended=str(data.get("ended", "")),
        clock_set=bool(data.get("clock_set", True)),
        outcome=str(data.get("outcome", "ok")),
        models=[_model(m) for m in data["models"]],
        warnings=[str(w) for w in data.get("warnings", [])],
        failures=[str(f) for f in data.get("failures", [])],
        raw=data,
    )


def _model(data: Mapping[str, Any]) -> Model:
    size = data.get("input") or {}
    return Model(
        name=data["name"],
        title=data.get("title") or data["name"],
        width=int(size.get("width", 0)),
        height=int(size.get("height", 0)),
        macs=data.get("macs"),
        macs_source=data.get("macs_source") or "",
        configurations=[_configuration(c) for c in data["configurations"]],
        agreements=list(_agreements(data.get("comparisons", []))),
    )


def _configuration(data: Mapping[str, Any]) -> Configuration:
    facts = data.get("facts") or {}
    file = data.get("file") or {}
    peak = (data.get("memory") or {}).get("peak_kib")
    return Configuration(
        title=data["title"],
        engine=data["engine"],
        precision=data["precision"],
        simulated=bool(data["simulated"]),
        sha256=file.get("sha256") or "",
        verified=str(file.get("verified", "unknown")),
        model_bytes=file.get("bytes"),
        failure=data.get("failure"),
        runtime=str(facts.get("runtime") or ""),
        line=str(facts.get("line") or ""),
        load=usable((data.get("load") or {}).get("samples", [])),
        peak_kib=peak if isinstance(peak, int) and peak > 0 else None,
        pictures=[_picture(p) for p in data.get("pictures", [])],
    )


def _picture(data: Mapping[str, Any]) -> Picture:
    stages = data.get("stages") or {}
    return Picture(
        path=data["path"],
        title=data.get("title") or Path(data["path"]).stem,
        stages={name: (stages.get(name) or {}).get("samples", []) for name in (*STAGES, TOTAL)},
        failed=int(data.get("failed", 0)),
        correct=data.get("correct"),
        top=[t for t in data.get("top") or [] if isinstance(t, dict)],
    )


def _agreements(data: Sequence[Any]) -> Iterator[Agreement]:
    pairs: dict[tuple[str, str], list[_Comparison]] = {}
    for item in map(_Comparison.model_validate, data):
        pairs.setdefault((item.of, item.against), []).append(item)
    for (of, against), items in pairs.items():
        cosines = [item.cosine for item in items if item.cosine is not None]
        shared = [item.top5_shared for item in items if item.top5_shared >= 0]
        yield Agreement(
            of=of,
            against=against,
            pictures=len(items),
            top1_equal=sum(item.top1_equal for item in items),
            top5_shared=sum(shared) / len(shared) if shared else float("nan"),
            cosine=min(cosines) if cosines else None,
        )
