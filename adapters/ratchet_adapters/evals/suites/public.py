"""Public sets by name, from a local file or folder or from the Hugging Face hub, and generic files of one's own.

Formats: `.jsonl`/`.ndjson` (one object a line), `.json` (a list of objects, or an object holding one such list),
`.csv`/`.tsv` with a header, `.txt` (one prompt a line), each also gzipped; a folder is all such files in it. Which
columns a set needs stands in `public_sets.PUBLIC_SETS`; a generic file needs the column `prompt` (for the axis `nll`
also `text`, for `cloze` `question`, `choices` and `answer`) and may have `id`, `category`, `cluster`.

It must not judge anything. Nothing is downloaded unless a hub id is used.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ratchet_adapters.evals.errors import SuiteUnknown, SuiteUnreadable
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.suites.noise import NOISE
from ratchet_adapters.evals.suites.public_sets import PUBLIC_SETS, PublicSet
from ratchet_adapters.evals.suites.rows import Row, read_rows
from ratchet_adapters.evals.suites.suite import ItemSuite

__all__ = ["file_suite", "public_suite"]

_JUDGES = {Axis.HARMFUL_REFUSAL: "refusal", Axis.OVER_REFUSAL: "refusal", Axis.TOXICITY: "toxicity", Axis.TASK: "task"}
_HUMAN = re.compile(r"\A\s*Human:(.*?)(?:\n\nAssistant:|\Z)", re.DOTALL)


class _Malformed(Exception):
    """A row that lacks what its set needs; becomes `SuiteUnreadable` where the row's place is known."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(why)
        self.column = column
        self.why = why


def public_suite(name: str, path: Path | str | None = None, *, hub: str = "", limit: int | None = None) -> ItemSuite:
    """Return a public set as a suite. Reading happens when its items are first asked for.

    Args:
        name: A key of `PUBLIC_SETS`.
        path: Local file or folder. Without it the set is loaded from the hub with `datasets`.
        hub: Another hub id than the known one.
        limit: Keep at most this many items, spread evenly over the set.

    Raises:
        SuiteUnknown: No such set, or it has no home on the hub and no path is given.
    """
    known = PUBLIC_SETS.get(name)
    if known is None:
        raise SuiteUnknown(name, f"there is no public set of that name; there are {', '.join(sorted(PUBLIC_SETS))}.")
    chosen = replace(known, hub=hub or known.hub)
    if path is not None:
        return _suite(chosen, str(path), lambda: read_rows(Path(path), otherwise=chosen.encoding), limit)
    if not chosen.hub:
        raise SuiteUnknown(name, "it is not on the Hugging Face hub; give the path of its file.")
    return _suite(chosen, f"hf://{chosen.hub}", lambda: _hub_rows(chosen), limit)


def file_suite(
    path: Path | str, axis: Axis | str, *, name: str = "", licence: str = "unknown", limit: int | None = None
) -> ItemSuite:
    """Return a file or folder of one's own as a suite; the format is in this module's docstring.

    Args:
        path: The file or folder.
        axis: What its items measure.
        name: Its name; the file's stem by default.
        licence: SPDX id of the data.
        limit: Keep at most this many items, spread evenly.
    """
    measured = Axis(axis)
    kind = {Axis.NLL: "text", Axis.CLOZE: "cloze"}.get(measured, "prompt")
    prompt = {Axis.NLL: ("text", "prompt"), Axis.CLOZE: ("question", "prompt")}.get(measured, ("prompt", "text"))
    generic = PublicSet(
        name or Path(path).name.split(".")[0],
        measured,
        kind,
        licence,
        prompt=prompt,
        keep=("cluster",),
        shape="choices" if measured is Axis.CLOZE else "plain",
    )
    return _suite(generic, str(path), lambda: read_rows(Path(path)), limit)


def _suite(known: PublicSet, source: str, rows: Callable[[], Iterator[Row]], limit: int | None) -> ItemSuite:
    def read() -> Sequence[Item]:
        items = _items(known, source, rows())
        if limit is None or len(items) <= limit:
            return items
        return [items[index * len(items) // limit] for index in range(limit)]

    judge = known.judge or _JUDGES.get(known.axis, "log-probability")
    return ItemSuite(
        known.name, known.axis, known.licence, source, read, judge, NOISE.get(known.name), known.max_tokens
    )


def _items(known: PublicSet, source: str, rows: Iterable[Row]) -> list[Item]:
    shape = _SHAPES[known.shape]
    items: list[Item] = []
    seen: Counter[str] = Counter()
    for row in rows:
        if _left_out(known, row.values):
            continue
        try:
            item = shape(known, row)
        except _Malformed as error:
            raise SuiteUnreadable(row.path, error.why, line=row.line, column=error.column) from error
        if item is None:
            continue
        seen[item.id] += 1
        # Public sets repeat prompts; the copies stay, because published rates count them.
        items.append(item if seen[item.id] == 1 else replace(item, id=f"{item.id}-{seen[item.id]}"))
    if not items:
        raise SuiteUnreadable(source, f"it holds no item for the suite {known.name!r}")
    return items


def _left_out(known: PublicSet, values: Mapping[str, Any]) -> bool:
    if any(column in values and str(values[column]) not in allowed for column, allowed in known.only.items()):
        return True
    return any(str(values.get(column)) in refused for column, refused in known.drop.items())


def _plain(known: PublicSet, row: Row) -> Item:
    prompt = _text(row.values, known.prompt)
    category = _optional(row.values, known.category) or known.name
    given = _optional(row.values, known.id)
    extra = {column: row.values[column] for column in known.keep if column in row.values and column != "cluster"}
    return Item(
        id=given or f"{known.name}-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}",
        kind=known.kind,
        category=category,
        cluster=_optional(row.values, ("cluster",)) or f"{known.name}.{category}",
        split="eval",
        prompt=prompt,
        extra=extra,
    )


def _harmbench(known: PublicSet, row: Row) -> Item:
    item = _plain(known, row)
    context = _optional(row.values, ("ContextString", "context"))
    return replace(item, prompt=f"{context}\n\n{item.prompt}") if context else item


def _xstest_safe(known: PublicSet, row: Row) -> Item | None:
    return None if _text(row.values, ("type",)).startswith("contrast_") else _plain(known, row)


def _xstest_unsafe(known: PublicSet, row: Row) -> Item | None:
    return _plain(known, row) if _text(row.values, ("type",)).startswith("contrast_") else None


def _rtp(known: PublicSet, row: Row) -> Item:
    # The hub's rows hold {"text", "toxicity", ...} under `prompt`; the per-attribute files hold bare lines.
    prompt = row.values.get("prompt")
    if isinstance(prompt, Mapping):
        return _plain(known, replace(row, values={**prompt, "prompt": prompt.get("text")}))
    stem = Path(row.path).name.split(".")[0]
    return _plain(known, replace(row, values={"attribute": stem, **row.values}))


def _hh(known: PublicSet, row: Row) -> Item:
    chosen = _text(row.values, ("chosen",))
    _text(row.values, ("rejected",))
    opening = _HUMAN.match(chosen)
    if opening is None or not opening.group(1).strip():
        raise _Malformed("chosen", "the dialogue does not open with a `Human:` turn")
    item = _plain(known, row)
    prompt = opening.group(1).strip()
    return replace(item, prompt=prompt, id=f"{known.name}-{hashlib.sha256(chosen.encode()).hexdigest()[:12]}")


def _hhh(known: PublicSet, row: Row) -> Item:
    targets = row.values.get("targets")
    if not isinstance(targets, Mapping):
        raise _Malformed("targets", "an object with `choices` and `labels` was expected")
    labels = targets.get("labels")
    if not isinstance(labels, list) or labels.count(1) != 1:
        raise _Malformed("targets.labels", "exactly one label must be 1")
    # Whole sentences of different lengths: compared per token, or the shortest would win.
    extra = _choices(targets.get("choices"), labels.index(1), "targets.choices") | {"normalise": "tokens"}
    return replace(_plain(known, row), extra=extra)


def _with_choices(known: PublicSet, row: Row) -> Item:
    extra = _choices(row.values.get("choices"), row.values.get("answer"), "choices")
    if row.values.get("normalise"):
        extra["normalise"] = row.values["normalise"]
    return replace(_plain(known, row), extra=extra)


def _hhh_judged(known: PublicSet, row: Row) -> Item:
    item = _hhh(known, row)
    return replace(item, extra={"chosen": item.extra["choices"][item.extra["answer"]]})


def _mmlu(known: PublicSet, row: Row) -> Item:
    try:
        # The published CSV holds Python lists; the hub's rows hold real ones.
        raw = row.values.get("choices")
        choices = ast.literal_eval(raw) if isinstance(raw, str) else raw
        answer = int(row.values["answer"])
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise _Malformed("choices", f"a list of texts and the index of the answer were expected ({error})") from error
    if isinstance(choices, list):
        choices = [str(choice) for choice in choices]
    subject = Path(row.path).name.split(".")[0].removeprefix("mmlu_")
    item = _plain(known, replace(row, values={"subject": subject, **row.values}))
    # Questions repeat between subjects' files with other choices, so the choices are part of the id.
    key = hashlib.sha256(f"{item.prompt}{choices}".encode()).hexdigest()[:12]
    extra = _choices(choices, answer, "choices") | {"normalise": "tokens"}
    return replace(
        item, id=f"mmlu-{key}", cluster=f"mmlu-{key}", prompt=f"Question: {item.prompt}\nAnswer:", extra=extra
    )


def _commonsenseqa(known: PublicSet, row: Row) -> Item:
    question, choices = row.values.get("question"), row.values.get("choices")
    values = dict(row.values)
    if isinstance(question, Mapping):
        # The authors' file nests what the hub's rows hold side by side.
        values |= {"question": question.get("stem"), "question_concept": question.get("question_concept", "")}
        pairs = [(entry.get("label"), entry.get("text")) for entry in question.get("choices", [])]
    elif isinstance(choices, Mapping):
        pairs = list(zip(choices.get("label", []), choices.get("text", []), strict=False))
    else:
        raise _Malformed("question", "neither the authors' format nor the hub's")
    labels = [label for label, _ in pairs]
    if values.get("answerKey") not in labels:
        raise _Malformed("answerKey", f"one of {labels} was expected; the test part is published without answers")
    extra = _choices([text for _, text in pairs], labels.index(values["answerKey"]), "choices")
    item = _plain(known, replace(row, values=values))
    prompt = f"Question: {item.prompt}\nAnswer:"
    return replace(item, cluster=item.id, prompt=prompt, extra=extra | {"normalise": "tokens"})


def _gsm8k(known: PublicSet, row: Row) -> Item:
    _, mark, number = _text(row.values, ("answer",)).rpartition("####")
    if not mark or not number.strip():
        raise _Malformed("answer", "a worked answer that ends in #### and a number was expected")
    item = _plain(known, row)
    return replace(item, cluster=item.id, extra={"number": number.strip()})


def _choices(choices: Any, answer: Any, column: str) -> dict[str, Any]:
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise _Malformed(column, "a list of at least two texts was expected")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise _Malformed("answer", f"an index from 0 to {len(choices) - 1} was expected, not {answer!r}")
    return {"choices": list(choices), "answer": answer}


def _text(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    for column in columns:
        if column in values:
            value = values[column]
            if not isinstance(value, str) or not value.strip():
                raise _Malformed(column, "it is empty or no text")
            return value.strip()
    raise _Malformed(columns[0], f"there is no column {' or '.join(columns)}; there are {', '.join(values) or 'none'}")


def _optional(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    for column in columns:
        if values.get(column) not in (None, ""):
            return str(values[column]).strip()
    return ""


def _hub_rows(known: PublicSet) -> Iterator[Row]:
    # Heavy, and only needed for sets that are not on disk.
    datasets: Any = importlib.import_module("datasets")
    try:
        table = datasets.load_dataset(known.hub, known.hub_config or None, split=known.hub_split)
    except Exception as error:
        why = f"the hub did not give it ({type(error).__name__}: {error}); download it and give its path"
        raise SuiteUnreadable(f"hf://{known.hub}", why) from error
    for number, values in enumerate(table, start=1):
        yield Row(dict(values), f"hf://{known.hub}", number)


_SHAPES: Mapping[str, Callable[[PublicSet, Row], Item | None]] = {
    "plain": _plain,
    "harmbench": _harmbench,
    "xstest_safe": _xstest_safe,
    "xstest_unsafe": _xstest_unsafe,
    "rtp": _rtp,
    "hh": _hh,
    "hhh": _hhh,
    "choices": _with_choices,
    "hhh_judged": _hhh_judged,
    "mmlu": _mmlu,
    "commonsenseqa": _commonsenseqa,
    "gsm8k": _gsm8k,
}
