"""Known ways in which a build of the Luckfox SDK fails, each with what to do about it.

Issue numbers are those of the SDK's own tracker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pico_image.sdk.buildroot_log import plain


@dataclass(frozen=True)
class Failure:
    """A failure that has been met before."""

    name: str
    pattern: re.Pattern[str]
    remedy: str
    #: Files may have been left cut short, so the stage must not be continued as it is.
    leaves_cut_files: bool = False


def _known(name: str, pattern: str, remedy: str, *, cut: bool = False) -> Failure:
    return Failure(name, re.compile(pattern, re.IGNORECASE), remedy, cut)


KNOWN = (
    _known(
        "disk-full",
        r"No space left on device|Disk quota exceeded",
        "the engine's disk is full: free some (`docker system df` tells where it went, `invoke "
        "clean --level volumes` removes our volumes), then run the same command again",
        cut=True,
    ),
    _known(
        "out-of-memory",
        r"fatal error: Killed signal|\bKilled\b.*(cc1|cc1plus|ld|collect2)|"
        r"internal compiler error: Killed|virtual memory exhausted|Cannot allocate memory",
        "a compiler ran out of memory: use fewer jobs (`--jobs 2`), or give the engine more memory",
        cut=True,
    ),
    _known(
        "dropped-symbol",
        r"BR2_\w+ was asked to be .*, is ",
        "Buildroot does not take what the variant asks for, as told above with file and line: "
        "mend that line (`invoke menuconfig` shows what there is and prints lines for the file)",
    ),
    _known(
        "npu-models",
        r"npu-models: .* is missing",
        "a model has not been converted: run `invoke convert-models`, then this again",
    ),
    _known(
        "wrong-hash",
        r"has wrong sha(256|512|1) hash|wrong sha256",
        "a download does not have the content that its package states: remove that file from the "
        "downloads (`invoke shell`, then look in /cache/dl), and see whether a proxy changes files",
    ),
    _known(
        "download",
        r"Could not resolve host|Temporary failure in name resolution|Connection timed out|"
        r"unable to resolve host|Network is unreachable|Connection refused|"
        r"\.stamp_downloaded\].*Error",
        "a source could not be downloaded: check the engine's network and proxy (http_proxy is "
        "handed on); what was downloaded is kept, so run the same command again; `invoke fetch` "
        "downloads everything without building",
    ),
    _known(
        "case-insensitive",
        r"No rule to make target '?net/netfilter/xt_",
        "the SDK lies on a file system that takes xt_DSCP.c and xt_dscp.c for one file (a Mac's or "
        "Windows folder): keep the engine's volumes on a Linux file system",
    ),
    _known(
        "path-with-spaces",
        r"Your PATH contains spaces",
        "PATH has spaces or tabs, which Buildroot refuses (issue 312); on WSL set "
        "appendWindowsPath=false in /etc/wsl.conf; in our container PATH is clean, so see what "
        "`invoke shell` shows",
    ),
    _known(
        "no-rootfs",
        r"Not found rootfs tarball|Build rootfs is not yet complete|no rootfs archive",
        "the firmware stage needs the rootfs stage's result (issue 71): run with --from rootfs",
    ),
    _known(
        "sshd-config",
        r"etc/ssh/sshd_config.*No such file",
        "this SDK copies OpenSSH's configuration without asking (issue 190): use the SDK at the "
        "pin in configs/sources.yml, or select BR2_PACKAGE_OPENSSH",
    ),
    _known(
        "libiconv",
        r"undefined reference to [`']?libiconv",
        "a host library found another libiconv (issue 186, met with mc): leave out the package "
        "that brought host-libglib2 in, or build with --force in a fresh volume",
    ),
    _known(
        "fakeroot",
        r"fakeroot.*Function not implemented|semop.*Function not implemented",
        "fakeroot needs System V semaphores, which WSL 1 lacks (issue 47): convert the "
        "distribution to WSL 2",
    ),
    _known(
        "wrong-architecture",
        r"Exec format error|qemu-x86_64.*(fault|Could not open)|rosetta error",
        "the toolchain has x86-64 programs only: build on an x86-64 engine (`docker context`)",
    ),
    _known(
        "menu",
        r"Which would you like\?|You're building on Linux.*Lunch menu|Please Select an option|"
        r"BoardConfig.*not found",
        "build.sh did not find its .BoardConfig.mk link and went to its menu: run with --from "
        "uboot; if it comes again, this SDK is not the one at the pin",
    ),
    _known(
        "configure-as-root",
        r"you should not run configure as root",
        "FORCE_UNSAFE_CONFIGURE=1 did not reach a configure script: please report the log",
    ),
)


def recognise(lines: Sequence[str]) -> Failure | None:
    """The known failure that the last lines show, or None."""
    text = "\n".join(plain(line) for line in lines[-300:])
    return next((failure for failure in KNOWN if failure.pattern.search(text)), None)
