"""What ``inspect-image`` and ``--diff`` print: the data of inspecting.py for people."""

from __future__ import annotations

from typing import Any


def describe(report: dict[str, Any]) -> str:
    """The report of inspect_image() as text."""
    lines = [f"{report['path']}: {report['kind']}, {size(report['size'])}"]
    lines += [f"layout  {report['layout']}"]
    lines += [
        f"  {name} = {value.strip()}"
        for name, value in report["environment"].items()
        if name != "blkdevparts"
    ]
    lines.append("")
    lines.append(f"{'#':>2} {'partition':<10} {'offset':>12} {'slot':>10}  content")
    for part in report["partitions"]:
        slot = "rest" if part["slot"] is None else size(part["slot"])
        lines.append(
            f"{part['number']:>2} {part['name']:<10} {part['offset']:>12} {slot:>10}  "
            f"{_content(part['content'])}"
        )
        for image in part["content"].get("images", ()):
            hashes = ", ".join(f"{name} {state}" for name, state in image["hashes"].items())
            bulk = "?" if image["size"] is None else size(image["size"])
            lines.append(
                f"{'':39}{image['name']}: {image['description']}, {bulk}"
                + (f", {hashes}" if hashes else ", no hash")
            )
        lines += [f"{'':39}{entry}" for entry in part["content"].get("files", ())]
    if report["versions"]:
        lines.append("")
        lines += [f"{name}: {value}" for name, value in report["versions"].items()]
    if info := report["build_info"]:
        project = info.get("project", {})
        lines.append(
            f"build-info.json: variant {info.get('variant')}, backend {info.get('backend')},"
            f" commit {str(project.get('commit', 'unknown'))[:12]}"
            + (" with local changes" if project.get("dirty") else "")
        )
    lines += [f"problem: {text}" for text in report["problems"]]
    return "\n".join(lines)


def describe_diff(report: dict[str, Any]) -> str:
    """The report of diff_images() as text."""
    if report["same"]:
        return f"{report['a']} and {report['b']} have the same content"
    lines = [f"a: {report['a']}", f"b: {report['b']}"]
    for name, (left, right) in report["environment"].items():
        lines += [f"environment {name}", f"  a {left}", f"  b {right}"]
    for name, part in report["partitions"].items():
        lines.append(f"partition {name}")
        for key in ("offset", "slot", "content"):
            if key in part:
                left, right = part[key]
                lines.append(f"  {key}: a {left}, b {right}")
        for kind in ("added", "removed", "changed"):
            lines += [f"  {kind} {path}" for path in part.get("files", {}).get(kind, ())]
    return "\n".join(lines)


def size(count: int) -> str:
    """``12.3 MiB``; exact bytes below 10 KiB."""
    if count < 10 << 10:
        return f"{count} B"
    for unit, factor in (("KiB", 10), ("MiB", 20)):
        if count < 1000 << factor:
            return f"{count / (1 << factor):.4g} {unit}"
    return f"{count / (1 << 30):.4g} GiB"


def _content(content: dict[str, Any]) -> str:
    kind = content["kind"]
    if kind.startswith("ext"):
        label = f" {content['label']!r}" if content["label"] else ""
        extra = ", needs recovery" if content["needs_recovery"] else ""
        return (
            f"{kind}{label}, {size(content['used'])} used of {size(content['size'])},"
            f" {content['state']}{extra}"
        )
    if kind == "fit":
        return f"FIT {content.get('description', '')!r}, {size(content['size'])}"
    if "size" in content:
        return f"{kind}, {size(content['size'])}"
    return str(kind)
