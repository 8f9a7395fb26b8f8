"""What a file that is posted must not hold: addresses, serial numbers, names, keys, passwords.

``app/doctor/mask.c`` does the same on the board, before anything leaves it; this is the second
look, at what was fetched and at what this machine adds. One value has one placeholder, ``<mac-1>``,
in the whole file; those of the board are kept.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

_PLACEHOLDER = re.compile(r"<(mac|ip|uuid|serial|host|user|ssid|secret|key)-(\d+)>")
#: The last word of a name in ``name=value``.
_KINDS = {
    "secret": "password passwd pass pwd passphrase wpa_passphrase psk wpa_psk key wep_key wep_key0 "
    "api_key apikey token secret",
    "serial": "serial serialno serialnumber serial_number serial-number machine_id",
    "ssid": "ssid essid",
    "host": "hostname nfsroot nfsaddrs ip",
    "user": "user username login",
    "mac": "mac macaddr mac_addr hwaddr ethaddr eth1addr wifiaddr bdaddr wifimacaddr btmacaddr",
}
KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_NAMES = "|".join(sorted(map(re.escape, KIND_OF), key=len, reverse=True))
#: Names of many boards, and words of our own results (common_words of mask.c).
_WORDS = """
root pico luckfox localhost buildroot linux rockchip npu cpu bench runner doctor note error problem
none int8 float32 performance schedutil yes exact wrong failed board image oem userdata rootfs boot
ondemand unknown
"""
COMMON = set(_WORDS.split())

_HEX = "[0-9A-Fa-f]"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_FORMS: list[tuple[str, str]] = [
    ("key", r"-----BEGIN [^\n]*(?:(?!-----END )[\s\S])*(?:-----END [^\n]*)?"),
    ("secret", r"\$[0-9A-Za-z_]+\$[^\s:\"',;]{8,}"),
    ("uuid", rf"(?<![\w.-]){_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}(?!\w)"),
    ("mac", rf"(?<![\w.-])(?:{_HEX}{{2}}-){{5}}{_HEX}{{2}}(?![\w]|-\w)"),
    ("mac", rf"(?<![\w.-])(?:{_HEX}{{4}}\.){{2}}{_HEX}{{4}}(?![\w]|\.\w)"),
    ("mac", rf"(?<!\w)(?=[0-9]*[A-Fa-f]){_HEX}{{12}}(?!\w)"),
    ("serial", rf"(?<!\w)(?=[0-9]*[A-Fa-f])(?:{_HEX}{{16}}|{_HEX}{{32}})(?!\w)"),
    ("ip", rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|\.\d)"),
    ("mac", rf"(?<![0-9A-Za-z:])(?:{_HEX}{{2}}:){{5}}{_HEX}{{2}}(?![\w:])"),
    ("ip", rf"(?<!\w)(?:{_HEX}{{1,4}}::?){{4,7}}{_HEX}{{1,4}}(?!{_HEX})"),
    ("ip", rf"(?<!\w)(?:(?:{_HEX}{{1,4}}:)+:|::)(?:{_HEX}{{1,4}}(?::{_HEX}{{1,4}})*)(?!\w)"),
    ("ip", rf"(?<!\w)(?:{_HEX}{{1,4}}:)+:(?![\w:])"),
    ("mac", rf"(?:{_HEX}{{2}}:){{5}}{_HEX}{{2}}"),  # glued to a word
]  # fmt: skip
_BASE64 = re.compile(r"(?<!\w)(?=[^\s]*[A-Z])(?=[^\s]*[a-z])(?=[^\s]*\d)[A-Za-z0-9+/=]{40,}")
_NAMED = re.compile(
    rf"(?<!\w)(?P<name>(?:[\w.-]*[._-])?(?:{_NAMES}))"
    r"(?P<sign>[ \t]*[=:][ \t]*[\"']?|[ \t]+[\"']|[ \t]+(?=\S))",
    re.IGNORECASE,
)
_PERSON = re.compile(r"(?<![\w.+-])(?P<user>[\w.+-]+)@(?P<host>[\w.+-]+)", re.ASCII)
_URL = re.compile(r"://([^/\s\"'<>)]+)")
_HOME = re.compile(r"(/home/|/Users/)([^/\s\"':,;)<>]+)")


class Masker:
    """Masks texts of one file; ``names`` (a host, a user) are masked wherever they are a word."""

    def __init__(self, names: Iterable[tuple[str, str]] = ()) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._names = [
            (kind, re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])(?!\.[^\s=]*=)", re.I))
            for kind, name in names
            if len(name) > 2 and name.lower() not in COMMON
        ]

    def document(self, data: Any) -> Any:
        """A whole JSON document, masked; the placeholders that it has are kept apart from ours."""
        self._reserve(data)
        return self._walk(data)

    def text(self, text: str) -> str:
        """One text, masked. Masking twice changes nothing."""
        self._reserve(text)
        text = self._named(text)
        for kind, pattern in self._names:
            text = self._apart(text, pattern, self._whole(kind))
        text = self._apart(text, _URL, lambda match: "://" + self._mask("host", match[1]))
        text = self._apart(text, _PERSON, self._person)
        text = self._apart(text, _HOME, self._home)
        text = self._apart(text, _BASE64, self._base64)
        for kind, form in _FORMS:
            text = self._apart(text, re.compile(form), self._whole(kind))
        return text

    def _walk(self, node: Any) -> Any:
        if isinstance(node, str):
            return self.text(node)
        if isinstance(node, list):
            return [self._walk(item) for item in node]
        if isinstance(node, dict):
            return {self.text(key): self._member(key, value) for key, value in node.items()}
        return node

    def _member(self, key: str, value: Any) -> Any:
        kind = KIND_OF.get(key.lower())
        if kind and isinstance(value, str) and value:
            return self._mask(kind, value)
        return self._walk(value)

    def _reserve(self, node: Any) -> None:
        for kind, number in _PLACEHOLDER.findall(str(node)):
            self._counts[kind] = max(self._counts[kind], int(number))

    def _mask(self, kind: str, value: str) -> str:
        if _PLACEHOLDER.fullmatch(value):
            return value
        plain = re.sub("[^0-9a-f]", "", value.lower()) if kind == "mac" else value.lower()
        if (kind, plain) not in self._numbers:
            self._counts[kind] += 1
            self._numbers[kind, plain] = self._counts[kind]
        return f"<{kind}-{self._numbers[kind, plain]}>"

    def _whole(self, kind: str) -> Callable[[re.Match[str]], str]:
        return lambda match: self._mask(kind, match[0])

    @staticmethod
    def _apart(text: str, pattern: re.Pattern[str], mask: Callable[[re.Match[str]], str]) -> str:
        """Replace the pattern in what stands between placeholders."""
        parts = re.split(rf"({_PLACEHOLDER.pattern.replace('(', '(?:')})", text)
        return "".join(
            part if index % 2 else pattern.sub(mask, part) for index, part in enumerate(parts)
        )

    def _named(self, text: str) -> str:
        done, position = "", 0
        while match := _NAMED.search(text, position):
            name, sign = match["name"].lower(), match["sign"]
            last = re.split(r"[._-](?=[^._-]+$)", name)[-1]
            kind = KIND_OF.get(name) or KIND_OF.get(last)
            whole, start = name in KIND_OF, match.end()
            value = self._value(text, start, sign, kind or "")
            # "ff4c0000.serial: ttyS2" and the register "ip : c0a80001" of an oops are no secrets.
            part = (
                name == "ip" or not whole or text[match.start() - 1 : match.start()] in (".", "-")
            )
            known = kind is not None and (sign[0] == "=" or not part)
            if known and self._plausible(kind or "", value):
                done += text[position:start] + self._mask(kind or "", value)
                position = start + len(value)
            else:
                done += text[position : match.start() + 1]
                position = match.start() + 1
        return done + text[position:]

    @staticmethod
    def _value(text: str, start: int, sign: str, kind: str) -> str:
        if sign[-1] in "\"'":
            stop = rf"[^{sign[-1]}\n]*"
        elif kind == "ssid":
            stop = r"[^,;)\n]*"
        else:
            stop = r"[^\s,;)\]}\"']*" if sign.strip() else ""
        match = re.compile(stop).match(text, start)
        return match[0] if match else ""

    @staticmethod
    def _plausible(kind: str, value: str) -> bool:
        if kind == "serial":
            return len(value) >= 4 and "/" not in value
        if kind == "mac":
            return len(re.findall(_HEX, value)) >= 6
        return bool(value)

    def _person(self, match: re.Match[str]) -> str:
        user, host = match["user"], match["host"]
        before, after = match.string[: match.start()], match.string[match.end() :]
        banner = before.endswith("(") and after.startswith(")")
        unit = re.fullmatch(rf"{_HEX}+|\d+[KMGkmg]", host)  # mmc@ffa90000, 32K@32K
        date = re.match(r"\d{4}-\d\d-\d\d", host)  # the runtime's 429f97ae6b@2025-04-09T09:09:27
        if date or (unit and not banner):
            return match[0]
        return f"{self._mask('user', user)}@{self._mask('host', host)}"

    def _home(self, match: re.Match[str]) -> str:
        return match[0] if match[2] == "pico" else match[1] + self._mask("user", match[2])

    def _base64(self, match: re.Match[str]) -> str:
        word = match[0]
        if word.count("/") * 12 > len(word):  # a path
            return word
        return self._mask("key", word)
