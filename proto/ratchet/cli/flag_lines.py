"""Flags from JSON lines: good lines become requests, broken ones are named by number. Sends nothing."""

from __future__ import annotations

import json
from typing import Any

import protovalidate
from google.protobuf.json_format import ParseDict, ParseError

from ratchet.v1 import feedback_pb2 as pb

_BROKEN = (ValueError, KeyError, TypeError, AttributeError, ParseError)


def read(data: bytes, principal: str) -> tuple[list[pb.SubmitFlagsRequest], list[tuple[int, str]]]:
    """Reads a whole file.

    Args:
        data: One JSON object a line: kind, prompt (or messages with role and content), completion, note, tenant,
            principal. Empty lines do not count.
        principal: Who flags, for lines that do not say.

    Returns:
        The flags of the good lines, and (line number from 1, what is wrong) of the others.
    """
    good, bad = [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            flag = _flag(json.loads(line.decode("utf-8")), principal)
            protovalidate.validate(flag)
            good.append(pb.SubmitFlagsRequest(flag=flag))
        except protovalidate.ValidationError as error:
            bad.append((number, "; ".join(violation.proto.message for violation in error.violations)))
        except _BROKEN as error:
            bad.append((number, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no text'}"))
        except RecursionError:
            bad.append((number, "nested too deeply"))
    return good, bad


def _flag(row: Any, principal: str) -> pb.SubmitFlagRequest:
    if not isinstance(row, dict):
        raise ValueError("a line must hold one JSON object")
    if "prompt" in row:
        row["messages"] = [{"role": "user", "content": row.pop("prompt")}]
    messages = row.pop("messages", [])
    row["messages"] = [{**m, "role": f"ROLE_{str(m['role']).removeprefix('ROLE_').upper()}"} for m in messages]
    row["kind"] = f"FLAG_KIND_{str(row.get('kind', '')).removeprefix('FLAG_KIND_').upper()}"
    row.setdefault("principal", principal)
    return ParseDict(row, pb.SubmitFlagRequest())
