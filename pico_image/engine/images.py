"""Container images: pull a base with progress, build on it with the classic builder, once."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.engine.client import Engine, full


@dataclass(frozen=True)
class Built:
    """An image in the engine, and what it was made from."""

    id: str
    tag: str
    base: str
    #: NAME@sha256:... of the base in its registry; empty for one that was made locally.
    base_digest: str


def ensure_base(engine: Engine, console: Console, reference: str) -> Any:
    """The image ``reference``, pulled when the engine does not have it.

    Raises UserError when the pull fails; it is never only a warning.
    """
    with engine.guard(f"look for the image {reference}"):
        try:
            return engine.client.images.get(reference)
        except docker.errors.ImageNotFound:
            pass
        if console.offline:
            raise UserError(
                f"the container image {reference} is needed, is not in the engine at "
                f"{engine.address}, and downloads are off",
                hint=f"run `invoke fetch` with a network, or bring it with `{engine.program} load`",
            )
        with console.step(f"Pull {reference}"):
            _pull(engine, console, reference)
        return engine.client.images.get(reference)


def _pull(engine: Engine, console: Console, reference: str) -> None:
    name, _, tag = reference.partition("@") if "@" in reference else _split_tag(reference)
    layers: dict[str, tuple[int, int]] = {}
    finished: set[str] = set()
    try:
        with console.progress(f"pull {reference}", 0) as bar:
            for event in engine.client.api.pull(
                name, tag=tag or None, stream=True, decode=True, platform=engine.platform
            ):
                if error := event.get("error"):
                    raise _not_pulled(engine, reference, str(error))
                layer, status = str(event.get("id", "")), str(event.get("status", ""))
                detail = event.get("progressDetail") or {}
                if status == "Downloading" and "total" in detail:
                    layers[layer] = (int(detail["current"]), int(detail["total"]))
                elif status in ("Download complete", "Pull complete", "Already exists"):
                    finished.add(layer)
                else:
                    console.log(f"{layer} {status}")
                done = sum(size for size, _ in layers.values()) / 1e6
                total = sum(size for _, size in layers.values()) / 1e6
                bar.note(f"{len(finished)} layers, {done:.0f} of {total:.0f} MB")
    except docker.errors.APIError as error:
        raise _not_pulled(engine, reference, str(error.explanation or error)) from error


def _split_tag(reference: str) -> tuple[str, str, str]:
    head, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, ":", tag or "latest"


def _not_pulled(engine: Engine, reference: str, reason: str) -> UserError:
    if "no space left" in reason.lower():
        return full(f"pull {reference}")
    return UserError(
        f"the engine at {engine.address} could not pull the container image {reference}: {reason}",
        hint="check the engine's network and proxy; `invoke doctor` checks the registry; "
        "docs/building.md shows how to make the container from Ubuntu instead",
    )


def ensure_built(engine: Engine, console: Console, dockerfile: Path, base: str) -> Built:
    """The image that ``dockerfile`` makes on ``base`` (its ARG BASE), built when it is not there.

    Its tag is the hash of the Dockerfile and of the base's identity.
    """
    base_image = ensure_base(engine, console, base)
    content = dockerfile.read_bytes()
    key = hashlib.sha256(content + f"\0{base_image.id}".encode())
    tag = f"{engine.owner}/builder:{key.hexdigest()[:16]}"
    digests = base_image.attrs.get("RepoDigests") or [""]
    with engine.guard(f"look for the image {tag}"):
        try:
            image = engine.client.images.get(tag)
        except docker.errors.ImageNotFound:
            if console.offline:
                raise UserError(
                    f"the build container made by {dockerfile.name} is not in the engine at "
                    f"{engine.address}, and downloads are off",
                    hint="run `invoke fetch` with a network first",
                ) from None
            with console.step(f"Build the container of {dockerfile.name} on {base}"):
                _build(engine, console, dockerfile, tag, base)
            image = engine.client.images.get(tag)
    return Built(str(image.id), tag, base, str(digests[0]))


def _build(engine: Engine, console: Console, dockerfile: Path, tag: str, base: str) -> None:
    name, content = dockerfile.name, dockerfile.read_bytes()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as bundle:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(content)
        bundle.addfile(member, io.BytesIO(content))
    context.seek(0)
    last: list[str] = []
    with console.progress(f"build {name}", 0) as bar:
        for event in engine.client.api.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            buildargs={"BASE": base},
            rm=True,
            forcerm=True,
            decode=True,
            labels={engine.owner: "image"},
            platform=engine.platform,
            # ensure_base has pulled the base; a pull here would hide a failure.
            pull=False,
        ):
            if error := event.get("error"):
                if "no space left" in error.lower():
                    raise full(f"build the container of {name}")
                tail = "\n".join([*last[-15:], str(error)])
                raise CommandError(
                    f"build the container of {name}",
                    int((event.get("errorDetail") or {}).get("code") or 1),
                    tail,
                    console.log_path,
                    hint="the lines above say which step; most often a mirror of the "
                    "distribution was not reachable",
                )
            for line in str(event.get("stream", "")).splitlines():
                if line.strip():
                    last.append(line)
                    console.log(line)
                    bar.note(line.strip())
