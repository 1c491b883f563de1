"""Personal data and secrets in a text: where they are, and the text with typed placeholders instead.

It must not judge the text, nor know what becomes of it. Patterns are matched in linear time (RE2) and only propose;
checksums, number plans and the address rules decide, so that a year or an order number stays what it is.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

__all__ = ["REGIONS", "PiiKind", "Scrubbed", "find_pii", "locate_pii", "scrub_pii"]

REGIONS = ("US", "GB", "DE", "FR")
"""Countries whose phone numbers are known in their national form; international numbers always are."""

_Span = tuple[int, int]


class PiiKind(StrEnum):
    """What is replaced; the value is the placeholder's word."""

    KEY = "KEY"
    CREDENTIALS = "URL_WITH_CREDENTIALS"
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    CARD = "CARD"
    SSN = "SSN"
    IP = "IP"
    PHONE = "PHONE"

    @property
    def placeholder(self) -> str:
        """What stands in the text instead, such as `<EMAIL>`."""
        return f"<{self.value}>"


@dataclass(frozen=True)
class Scrubbed:
    """A text after scrubbing, and how many of each kind were replaced in it."""

    text: str
    found: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def scrub_pii(text: str, regions: Sequence[str] = REGIONS) -> Scrubbed:
    """Return the text with every entity that `find_pii` sees replaced by its placeholder.

    Args:
        text: Any text; it is not normalised, so a text without entities comes back as it is.
        regions: Two-letter codes of the countries whose national phone numbers are looked for.

    Returns:
        A text in which `find_pii` finds nothing.
    """
    found: Counter[str] = Counter()
    # A replacement can uncover its neighbour (two numbers glued together); each round leaves fewer entities.
    while True:
        before = sum(found.values())
        for kind, finder in _FINDERS.items():
            pieces, end = [], 0
            for start, stop in finder(text, regions):
                pieces += [text[end:start], kind.placeholder]
                end = stop
                found[kind.value] += 1
            text = "".join([*pieces, text[end:]])
        if sum(found.values()) == before:
            return Scrubbed(text, MappingProxyType(dict(sorted(found.items()))))


def find_pii(text: str, regions: Sequence[str] = REGIONS) -> list[tuple[PiiKind, str]]:
    """Return the entities of a text with their kind, by kind and then by place; kinds may overlap."""
    return [(kind, text[start:end]) for kind, finder in _FINDERS.items() for start, end in finder(text, regions)]


def locate_pii(
    text: str, kinds: Collection[PiiKind] = tuple(PiiKind), regions: Sequence[str] = REGIONS
) -> list[tuple[int, int, PiiKind]]:
    """Return where the entities of a text are, seeing through characters that only look different.

    Args:
        text: Any text. Full-width digits count as digits, and characters without width as nothing.
        kinds: What is looked for.
        regions: As for `scrub_pii`.

    Returns:
        (offset of the first character, offset after the last, kind), by place, none overlapping another: where two
        kinds claim the same text, the one with more context has it.
    """
    plain, origin = _plain(text)
    taken: list[tuple[int, int, PiiKind]] = []
    for kind, finder in _FINDERS.items():
        if kind in kinds:
            found = [(origin[start], origin[end - 1] + 1, kind) for start, end in finder(plain, regions)]
            taken += [new for new in found if all(new[1] <= old[0] or old[1] <= new[0] for old in taken)]
    return sorted(taken, key=lambda span: span[0])


def _plain(text: str) -> tuple[str, Sequence[int]]:
    """The text as it is read, and for each of its characters the offset in the text."""
    if text.isascii():
        return text, range(len(text))
    characters: list[str] = []
    origin: list[int] = []
    for offset, character in enumerate(text):
        if unicodedata.category(character) != "Cf":
            written = unicodedata.normalize("NFKC", character)
            characters.append(written)
            origin += [offset] * len(written)
    return "".join(characters), origin


def _compiled(pattern: str) -> Any:
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


# Formats their issuers document. A value named as a secret counts when it mixes letters and digits.
_KEYS = _compiled(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\z)"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}|\bhf_[A-Za-z]{30,}|\bnpm_[A-Za-z0-9]{36}"
    r"|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
)
_NAMED_SECRET = _compiled(
    r"(?i)(?:api[_ -]?key|access[_ -]?key|secret(?:[_ -]?key)?|token|passw(?:or)?d|passphrase|pwd)"
    r"[\"']?(?:\s*[:=]\s*|\s+is:?\s+)[\"']?([^\s\"',;<>]{6,})|\bbearer\s+([A-Za-z0-9._~+/-]{12,})"
)
_CREDENTIALS = _compiled(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/@:<>]*:[^\s/@<>]+@[^\s<>\"']+")
_EMAIL = _compiled(r"[\pL\pN._%+-]*[\pL\pN_%+-]@[\pL\pN](?:[\pL\pN-]*[\pL\pN])?(?:\.[\pL\pN](?:[\pL\pN-]*[\pL\pN])?)+")
_IBAN = _compiled(r"(?i)[a-z]{2}[0-9]{2}(?:[ -]?[a-z0-9]){11,40}")
_CARD = _compiled(
    r"[0-9]{13,19}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?:[ -][0-9]{3})?|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}"
)
_SSN = _compiled(r"[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3} [0-9]{2} [0-9]{4}")
_NAMED_SSN = _compiled(r"(?i)(?:\bssn|social security(?: number| no\.?)?)(?: is)?[\s:#=]+([0-9]{9})\b")
_IP4 = _compiled(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IP6 = _compiled(r"(?i)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?")
_PHONE_DIGITS = 7
_WORD = re.compile(r"\w")
_CARD_BRANDS = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6[0245]")


def _free(text: str, span: _Span, joints: str = "") -> bool:
    """Whether a span is not a piece of a longer word or number. RE2 has no look-around."""
    start, end = span
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if (before and _WORD.match(before[-1])) or (after and _WORD.match(after[0])):
        return False
    return not (
        (len(before) == 2 and before[1] in joints and before[0].isdigit())
        or (len(after) == 2 and after[0] in joints and after[1].isdigit())
    )


def _keys(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    spans = [match.span() for match in _KEYS.finditer(text)]
    for match in _NAMED_SECRET.finditer(text):
        group = 1 if match.group(1) else 2
        value = match.group(group).rstrip(".!?)")
        if len(value) >= 6 and any(c.isdigit() for c in value) and any(c.isalpha() for c in value):
            spans.append((match.start(group), match.start(group) + len(value)))
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            yield start, stop
            end = stop


def _credentials(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    yield from (match.span() for match in _CREDENTIALS.finditer(text))


def _emails(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    yield from (match.span() for match in _EMAIL.finditer(text))


def _ibans(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    iban = importlib.import_module("stdnum.iban")
    position = 0
    while match := _IBAN.search(text, position):
        start = match.start()
        position = start + 1
        if start and _WORD.match(text[start - 1]):
            continue
        # The words after a number look like its last groups: each possible end is tried, the longest first.
        for end in range(match.end(), start + 14, -1):
            if _free(text, (start, end)) and iban.is_valid(text[start:end].replace("-", " "), check_country=False):
                yield start, end
                position = end
                break


def _cards(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    luhn = importlib.import_module("stdnum.luhn")
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if _CARD_BRANDS.match(digits) and luhn.is_valid(digits) and _free(text, match.span(), joints="."):
            yield match.span()


def _ssns(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    ssn = importlib.import_module("stdnum.us.ssn")
    spans = [match.span() for match in _SSN.finditer(text) if _free(text, match.span(), joints="-.")]
    spans += [match.span(1) for match in _NAMED_SSN.finditer(text)]
    yield from sorted(span for span in spans if ssn.is_valid(text[slice(*span)].replace(" ", "-")))


def _ips(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    spans = [match.span() for match in _IP4.finditer(text) if _free(text, match.span(), joints=".")]
    for match in _IP6.finditer(text):
        # `a::b` is a valid address and a common piece of program text: an address has a digit and three groups.
        groups = [group for group in match.group().split(":") if group]
        if len(groups) >= 3 and any(c.isdigit() for c in match.group()) and _free(text, match.span(), joints=":"):
            spans.append(match.span())
    end = 0
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end and _names_a_machine(text[start:stop]):
            yield start, stop
            end = stop


def _names_a_machine(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    # Everybody's own machine, and network masks, are nobody's.
    return not (address.is_loopback or address.is_unspecified or text.startswith("255."))


def _phones(text: str, regions: Sequence[str]) -> Iterator[_Span]:
    if sum(map(str.isdigit, text)) < _PHONE_DIGITS:
        return
    phonenumbers: Any = importlib.import_module("phonenumbers")
    # Without a country code the digits must be grouped as that country groups them, or not at all: "2024 2024 7/8" is
    # a number somewhere.
    ways: list[tuple[str | None, Any]] = [(None, phonenumbers.Leniency.VALID)]
    ways += [(region, phonenumbers.Leniency.STRICT_GROUPING) for region in regions]
    spans = {
        (match.start, match.end)
        for region, leniency in ways
        for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=leniency)
    }
    end = 0
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:
            yield start, stop
            end = stop


# Those with the most context first: a key holds digits, an address of a mailbox may hold a number.
_FINDERS: Mapping[PiiKind, Callable[[str, Sequence[str]], Iterator[_Span]]] = MappingProxyType(
    {
        PiiKind.KEY: _keys,
        PiiKind.CREDENTIALS: _credentials,
        PiiKind.EMAIL: _emails,
        PiiKind.IBAN: _ibans,
        PiiKind.CARD: _cards,
        PiiKind.SSN: _ssns,
        PiiKind.IP: _ips,
        PiiKind.PHONE: _phones,
    }
)
