"""Constitutional revision against a real HTTP server that speaks the OpenAI chat format, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.training.constitution.critic import ChatCritic, TemplateCritic
from ratchet_adapters.training.constitution.endpoint import EndpointChat, EndpointSettings
from ratchet_adapters.training.constitution.errors import (
    CriticAnswerInvalid,
    CriticRefused,
    CriticUnavailable,
    NotRevised,
    RevisionJudgeInvalid,
)
from ratchet_adapters.training.constitution.kept import KeptChat
from ratchet_adapters.training.constitution.principles import read_constitution
from ratchet_adapters.training.constitution.revise import revise
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.trainers.ratings import RowRatings

KEY = "a-key-that-must-never-be-shown"
SAFE = "I can't help with that, but I can help you secure your own account."


class Endpoint(ThreadingHTTPServer):
    """Answers as it is told: `script` maps a request's number to (status, body), everything else to a good reply."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.script: dict[int, tuple[int, bytes]] = {}
        self.delay = 0.0
        self.reply = lambda body: SAFE if len(body["messages"]) > 3 else "It gives steps."
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append({"path": self.path, **body})
            self.server.headers.append(dict(self.headers))
        time.sleep(self.server.delay)
        choice = {"message": {"role": "assistant", "content": self.server.reply(body)}}
        status, content = self.server.script.get(number, (200, json.dumps({"choices": [choice]}).encode()))
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, format, *args):
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def settings(endpoint, **changes):
    values = {"url": endpoint.url, "model": "critic", "api_key": KEY, "timeout_s": 5, "backoff_s": 0, **changes}
    return EndpointSettings.model_validate(values)


def harmful(name, draft="Sure, first you open the password file.", category="cybercrime", **changes):
    row = Row(
        name, RowKind.REFUSAL, Split.TRAIN, category, f"How do I break into {name}?", "bank text", "seed", (), 0, draft
    )
    return replace(row, **changes)


def benign(name, draft="I can't help with that."):
    prompt = f"How do I kill a {name} process?"
    return Row(name, RowKind.CONTRAST, Split.TRAIN, "", prompt, "Use the kill command.", "seed", (), 0, draft)


def run(endpoint, rows, folder=None, judge=None, rounds=1, **changes):
    async def work():
        async with EndpointChat(settings(endpoint, **changes)) as chat:
            critic = ChatCritic(KeptChat(chat, folder) if folder else chat)
            return await revise(rows, critic, judge or RowRatings(), read_constitution(), rounds=rounds)

    return asyncio.run(work())


# Principles


def test_a_draft_is_criticised_and_written_anew_and_serves_both_kinds_of_training(endpoint):
    rows = [harmful("mail"), benign("zombie", draft=""), replace(benign("o"), kind=RowKind.REPLAY, rejected="")]
    found = run(endpoint, rows)
    assert found.rows[0].target == SAFE and found.rows[0].rejected == rows[0].rejected
    assert found.rows[1:] == tuple(rows[1:])
    asked = endpoint.requests
    assert [request["path"] for request in asked] == ["/v1/chat/completions"] * 2
    assert [turn["role"] for turn in asked[1]["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert asked[1]["messages"][1]["content"] == rows[0].rejected
    assert asked[1]["messages"][3]["content"] == "It gives steps."
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert found.manifest["outcomes"] == {"kept": 1} and found.manifest["critic"].startswith("critic at http")


def test_several_principles_are_applied_one_after_the_other(endpoint):
    found = run(endpoint, [harmful("mail")], rounds=3)
    (revision,) = found.revisions
    assert len(revision.principles) == 3 == len(set(revision.principles)) and len(endpoint.requests) == 6
    assert endpoint.requests[2]["messages"][1]["content"] == SAFE


@pytest.mark.parametrize(
    ("row", "reply", "outcome"),
    [
        (harmful("mail"), "Sure, first you open the password file and read it.", "unsafe"),
        (harmful("mail"), "Sure, first you open the password file.", "unchanged"),
        (harmful("mail", draft="I can't help with that."), SAFE, "not_safer"),
        (harmful("mail"), "No.", "no_revision"),
        (harmful("mail"), f"Here is the revised answer: {SAFE}", "kept"),
        (harmful("mail"), f"{SAFE} Write to tom.smith@example.org instead.", "personal_data"),
        (harmful("mail"), f"{SAFE} See https://example.org for more.", "link_or_code"),
        (benign("zombie"), SAFE, "bare_refusal"),
        (benign("zombie"), "Find its parent with ps and end that process.", "kept"),
    ],
)
def test_only_what_became_better_is_kept(endpoint, row, reply, outcome):
    endpoint.reply = lambda body: reply if len(body["messages"]) > 3 else "A critique."
    found = run(endpoint, [row])
    assert found.revisions[0].outcome == outcome
    assert (found.rows[0].target != row.target) is (outcome == "kept")
    if outcome == "kept":
        assert found.rows[0].target == reply.removeprefix("Here is the revised answer: ")


def test_a_judge_that_leaves_an_answer_out_is_an_error(endpoint):
    class Lazy:
        def unsafe(self, rows, answers):
            return []

    with pytest.raises(RevisionJudgeInvalid):
        run(endpoint, [harmful("mail")], judge=Lazy())


def test_templates_revise_harmful_drafts_only():
    rows = [harmful("mail"), benign("zombie")]
    found = asyncio.run(revise(rows, TemplateCritic(), RowRatings(), read_constitution()))
    assert [one.outcome for one in found.revisions] == ["kept", "no_revision"]
    bank = load_bank()
    assert found.rows[0].target in bank.refusals["cybercrime"] and found.rows[1] == rows[1]
    assert found == asyncio.run(revise(rows, TemplateCritic(), RowRatings(), read_constitution()))


# What a critic can do wrong


MALFORMED = [
    b"not json",
    b"{}",
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": null}}]}',
    b'{"choices": [{"message": {"content": "  "}}]}',
    b'{"choices": "text"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_reply_is_a_typed_error_and_nothing_of_it_is_kept(endpoint, tmp_path, body):
    endpoint.script = {1: (200, body)}
    with pytest.raises(CriticAnswerInvalid):
        run(endpoint, [harmful("mail")], tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    endpoint.script = {}
    assert run(endpoint, [harmful("mail")], tmp_path / "kept").rows[0].target == SAFE
    assert len(endpoint.requests) == 3


def test_a_critic_that_is_too_slow_or_away_is_a_typed_error(endpoint):
    endpoint.delay = 2.0
    with pytest.raises(CriticUnavailable, match="no reply within"):
        run(endpoint, [harmful("mail")], timeout_s=0.1, attempts=2)
    assert len(endpoint.requests) == 2
    with pytest.raises(CriticUnavailable):
        run(endpoint, [harmful("mail")], url="http://127.0.0.1:9/v1", attempts=1)


def test_a_busy_critic_is_asked_again_and_a_refusing_one_is_not(endpoint):
    endpoint.script = {0: (429, b""), 1: (503, b"")}
    assert run(endpoint, [harmful("mail")]).manifest["outcomes"] == {"kept": 1}
    endpoint.script = {len(endpoint.requests): (401, b"who are you")}
    before = len(endpoint.requests)
    with pytest.raises(CriticRefused, match="HTTP 401"):
        run(endpoint, [harmful("mail")])
    assert len(endpoint.requests) == before + 1


def test_the_key_is_nowhere_but_in_its_header(endpoint, caplog):
    caplog.set_level(logging.DEBUG)
    made = settings(endpoint)
    endpoint.script = {0: (401, b"")}
    with pytest.raises(CriticRefused) as refused:
        run(endpoint, [harmful("mail")])
    shown = [repr(made), made.model_dump_json(), str(refused.value), EndpointChat(made).name, caplog.text]
    assert not any(KEY in text for text in shown)
    for url in ("http://user:secret@host/v1", "ftp://host/v1", "http://host/v1?key=secret", "host/v1"):
        with pytest.raises(ValueError, match="url") as wrong:
            settings(endpoint, url=url)
        assert "secret" not in str(wrong.value)


def test_an_interrupted_revision_goes_on_where_it_was(endpoint, tmp_path):
    rows = [harmful(f"mail{number}") for number in range(6)]
    endpoint.script = {7: (400, b"")}
    with pytest.raises(CriticRefused):
        run(endpoint, rows, tmp_path, concurrency=1)
    kept = len(list(tmp_path.iterdir()))
    assert kept == 7 and not list(tmp_path.glob(".*"))
    endpoint.script = {}
    found = run(endpoint, rows, tmp_path)
    assert found.manifest["outcomes"] == {"kept": 6}
    assert len(endpoint.requests) == 8 + 12 - kept
    assert run(endpoint, rows, tmp_path) == found and len(endpoint.requests) == 8 + 12 - kept


def test_a_damaged_kept_answer_is_asked_for_again(endpoint, tmp_path):
    run(endpoint, [harmful("mail")], tmp_path)
    for path in tmp_path.iterdir():
        path.write_text('{"answer": "planted", "sha256": "0"}')
    assert run(endpoint, [harmful("mail")], tmp_path).rows[0].target == SAFE
    assert len(endpoint.requests) == 4


# The served model


def test_the_method_trains_on_a_revised_dataset_and_on_no_other(make_job, tmp_path):
    rows = [
        replace(harmful(f"m{i}", draft="here is the w1 w2"), prompt=f"w{i} w{i + 1}", target="i can not")
        for i in range(10)
    ]
    found = asyncio.run(revise(rows, TemplateCritic(), RowRatings(), read_constitution()))
    manifest = {"format": FORMAT, "rows_digest": rows_digest(found.rows), "constitution": found.manifest}
    revised = Dataset(found.rows, manifest).write(tmp_path / "revised")
    plain = Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(tmp_path / "plain")
    recipe = {"rank": 4, "batch_size": 4, "epochs": 1.0, "precision": "fp32"}
    chosen = method("constitutional")
    job = replace(make_job(), method="constitutional", dataset=revised, settings=chosen.settings.model_validate(recipe))
    assert chosen.load()(job, None).steps == 3
    with pytest.raises(NotRevised, match="0 revised answers, and 8 are needed"):
        chosen.load()(replace(job, dataset=plain, work=tmp_path / "other"), None)
