"""Hands Buildroot its sources where its own places cannot be reached, by its own mechanisms.

Same bytes as Buildroot's (compared by its hash files): a download folder (BR2_DL_DIR). Another
release of the same program: ``NAME_OVERRIDE_SRCDIR`` in a makefile (BR2_PACKAGE_OVERRIDE_FILE).
All come from the distribution's pool, by hash; what the pool has without a configure script gets a
small one, below.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pico_image import sources
from pico_image.base.console import Console
from pico_image.config.configuration import Config
from pico_image.config.schema import Source
from tests.buildroot.pool import pool

TFLITE = "tensorflow-lite-static"
#: Names in configs/sources.yml of what tensorflow-lite-static downloads.
TFLITE_SOURCES = ("tensorflow", "xnnpack", "cpuinfo", "pthreadpool", "fxdiv", "fp16", "abseil",
                  "eigen", "flatbuffers", "farmhash", "gemmlowp", "oourafft")  # fmt: skip
#: What the folder of RKNN_RUNTIME_DIR holds, and what its subfolder does if it is there.
RUNTIME_FILES = ("librknnmrt.a", "librknnmrt.so", "rknn_api.h", "LICENSE")
LEGACY, LEGACY_FILES = "1.6.0", ("librknnmrt.a", "LICENSE", "flatcc-0.6.1.tar.gz")


#: Package, the name that Buildroot gives the file, and the file: same SHA-256 as in its .hash.
SAME = (
    (
        "acl", "acl-2.3.1.tar.xz",
        pool("acl", "2.3.1", "a/acl/acl_2.3.1.orig.tar.xz",
              "c0234042e17f11306c23c038b08e5e070edb7be44bef6697fb8734dcff1c66b1"),
    ),
    (
        "attr", "attr-2.5.1.tar.xz",
        pool("attr", "2.5.1", "a/attr/attr_2.5.1.orig.tar.xz",
              "db448a626f9313a1a970d636767316a8da32aede70518b8050fa0de7947adc32"),
    ),
    (
        "avahi", "avahi-0.8.tar.gz",
        pool("avahi", "0.8", "a/avahi/avahi_0.8.orig.tar.gz",
             "060309d7a333d38d951bc27598c677af1796934dbd98e1024e7ad8de798fedda"),
    ),
    (
        "libdaemon", "libdaemon-0.14.tar.gz",
        pool("libdaemon", "0.14", "libd/libdaemon/libdaemon_0.14.orig.tar.gz",
             "fd23eb5f6f986dcc7e708307355ba3289abe03cc381fc47a80bca4a50aa6b834"),
    ),
)  # fmt: skip

#: Other releases (zlib: the same without contributed parts), unpacked and handed over as folders.
OTHER = {
    "LIBZLIB": pool("zlib", "1.2.13", "z/zlib/zlib_1.2.13.dfsg.orig.tar.bz2",
                     "71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1"),
    "PKGCONF": pool("pkgconf", "1.8.1", "p/pkgconf/pkgconf_1.8.1.orig.tar.xz",
                     "644361ada2942be05655d4452eb018791647c31bba429b287f1f68deb2dc6840"),
    "PATCHELF": pool("patchelf", "0.14.3", "p/patchelf/patchelf_0.14.3.orig.tar.gz",
                      "827a8ca914c69413f1ca0d967a637980a24edf000a938531a77e663317c853bb"),
    "LIBOPENSSL": pool("openssl", "1.1.1w", "o/openssl/openssl_1.1.1w.orig.tar.gz",
                       "cf3098950cb4d853ad95c0841f1f9c6d3dc102dccfcacd521d93925208b76ac8"),
    "OPENSSH": pool("openssh", "9.2p1", "o/openssh/openssh_9.2p1.orig.tar.gz",
                    "3f66dbf1655fb45f50e1c56da62ab01218c228807b21338d634ebcdf9d71cf46"),
    "UTIL_LINUX": pool("util-linux", "2.38.1", "u/util-linux/util-linux_2.38.1.orig.tar.xz",
                       "60492a19b44e6cf9a3ddff68325b333b8b52b6c59ce3ebd6a0ecaa4c5117e84f"),
}  # fmt: skip
#: Upstream's repository instead of its release: without a configure script.
EXPAT = pool("expat", "2.5.0", "e/expat/expat_2.5.0.orig.tar.gz",
             "ab00ee05c7067fd10a35c5d2a4922ebba746ddd50ff83b79c828da17bbdf1757")  # fmt: skip
#: The same, from configs/sources.yml.
OTHER_CONFIGURED = {"BUSYBOX": "busybox", "E2FSPROGS": "e2fsprogs", "JPEG_TURBO": "libjpeg-turbo",
                    "LIBPNG": "libpng"}  # fmt: skip

# The pool's archive of patchelf has no configure script: one file of C++ is compiled here.
PATCHELF_CONFIGURE = """\
#!/bin/sh
for word; do case $word in --prefix=*) prefix=${word#--prefix=} ;; esac; done
cat >Makefile <<END
all: patchelf
patchelf: src/patchelf.cc
	$CXX -std=c++17 -O1 -DPACKAGE_STRING='"patchelf 0.14.3"' -o \\$@ src/patchelf.cc
install: all
	install -D patchelf $prefix/bin/patchelf
END
"""
# Three files of C, as avahi needs them: a static and a shared library and two headers.
EXPAT_CONFIGURE = """\
#!/bin/sh
cat >expat_config.h <<END
#define BYTEORDER 1234
#define HAVE_GETRANDOM 1
#define HAVE_FCNTL_H 1
#define XML_CONTEXT_BYTES 1024
#define XML_DTD 1
#define XML_NS 1
END
cat >Makefile <<END
all:
	\\$(CC) \\$(CFLAGS) -fPIC -I. -Ilib -c lib/xmlparse.c lib/xmlrole.c lib/xmltok.c
	\\$(AR) rcs libexpat.a xmlparse.o xmlrole.o xmltok.o
	\\$(CC) -shared -Wl,-soname,libexpat.so.1 -o libexpat.so.1 xmlparse.o xmlrole.o xmltok.o
install:
	mkdir -p \\$(DESTDIR)/usr/include \\$(DESTDIR)/usr/lib
	cp lib/expat.h lib/expat_external.h \\$(DESTDIR)/usr/include/
	cp libexpat.a libexpat.so.1 \\$(DESTDIR)/usr/lib/
	ln -sf libexpat.so.1 \\$(DESTDIR)/usr/lib/libexpat.so
END
{ echo "CC = $CC"; echo "AR = $AR"; echo "CFLAGS = $CFLAGS"; } >>Makefile
"""
# The pool no longer has fakeroot's source of this age: the distribution's binary is used.
FAKEROOT_CONFIGURE = """\
#!/bin/sh
for word; do case $word in --prefix=*) prefix=${word#--prefix=} ;; esac; done
printf '#!/bin/sh\\nexec /usr/bin/fakeroot "$@"\\n' >fakeroot
cat >Makefile <<END
all:
install:
	install -D -m 0755 fakeroot $prefix/bin/fakeroot
END
"""


def downloads(console: Console, config: Config, folder: Path, runtime: Path | None) -> Path:
    """Fill a download folder for BR2_DL_DIR with what has the very bytes that Buildroot wants.

    ``runtime`` is a folder with the vendor's four files, if they are at hand, and those of the
    older runtime in a subfolder, if those are.
    """
    cjson = ("cjson", "cjson-1.7.15.tar.gz", config.source("cjson"))
    for package, name, source in (*SAME, cjson):
        copy(console, source, folder / package / name)
    for name in TFLITE_SOURCES:
        path = sources.fetch(console, config.source(name))
        _copy(path, folder / TFLITE / path.name)
    if runtime is not None:
        for name in RUNTIME_FILES:
            _copy(runtime / name, folder / "rknn-runtime" / name)
        for name in LEGACY_FILES if has_legacy(runtime) else ():
            _copy(runtime / LEGACY / name, folder / "rknn-runtime-legacy" / name)
    return folder


def has_legacy(runtime: Path | None) -> bool:
    """Whether the folder has the older runtime, too, with all that its package compiles."""
    return runtime is not None and all((runtime / LEGACY / name).is_file() for name in LEGACY_FILES)


def overrides(console: Console, config: Config, folder: Path) -> list[str]:
    """Unpack other releases below ``folder``; returns the lines of a makefile that name them."""
    configured = {variable: config.source(name) for variable, name in OTHER_CONFIGURED.items()}
    lines = []
    for variable, source in (OTHER | configured).items():
        tree = folder / variable.lower()
        sources.unpack(console, source, tree)
        lines.append(f"{variable}_OVERRIDE_SRCDIR = {tree}\n")
    # Of the source's own Makefile: 600 manual pages took longer than the compiler, twice.
    template = folder / "libopenssl/Configurations/unix-Makefile.tmpl"
    template.write_text(template.read_text().replace(" install_docs\n", "\n", 1))
    _script(folder / "patchelf/configure", PATCHELF_CONFIGURE)
    _script(folder / "fakeroot/configure", FAKEROOT_CONFIGURE)
    shutil.copy("/usr/share/common-licenses/GPL-3", folder / "fakeroot/COPYING")
    lines.append(f"FAKEROOT_OVERRIDE_SRCDIR = {folder / 'fakeroot'}\n")
    sources.unpack(console, EXPAT, folder / "expat")
    _script(folder / "expat/expat/configure", EXPAT_CONFIGURE)
    lines.append(f"EXPAT_OVERRIDE_SRCDIR = {folder / 'expat/expat'}\n")
    return lines


def copy(console: Console, source: Source, target: Path) -> None:
    """Fetch ``source`` to ``target``, the name that Buildroot gives it."""
    _copy(sources.fetch(console, source), target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
