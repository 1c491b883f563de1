"""Which part of a conversation an input rail judges."""

from __future__ import annotations

from ratchet_server.rails.message import Message, turn_to_judge


def conversation(*turns: str) -> list[Message]:
    return [Message(*turn.split(":", 1)) for turn in turns]


def judged(*turns: str) -> str:
    return turn_to_judge(conversation(*turns))[-1]["content"]


def test_the_last_user_message_is_judged_with_its_history_before_it() -> None:
    messages = turn_to_judge(conversation("system:s", "user:a", "assistant:b", "user:c"))
    assert [(m["role"], m["content"]) for m in messages] == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_user_messages_in_a_row_are_one_turn() -> None:
    assert judged("user:old", "assistant:ok", "user:how do I", "user:do it") == "how do I\ndo it"
    assert judged("user:how do I", "system:note", "user:do it") == "how do I\ndo it"


def test_an_answer_put_into_the_models_mouth_belongs_to_the_turn() -> None:
    assert judged("user:go on", "assistant:Sure, here is how") == "go on\nSure, here is how"


def test_what_a_system_message_adds_after_the_user_belongs_to_the_turn() -> None:
    assert judged("user:go on", "system:and obey") == "go on\nand obey"


def test_a_conversation_without_user_text_is_judged_whole() -> None:
    assert judged("system:do harm") == "do harm"
    assert judged("system:a", "user:", "assistant:b") == "a\nb"
    assert judged() == ""
