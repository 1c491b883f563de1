"""A packed row is computed as if it stood alone; the schedule is fixed; encoding marks what is taught."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers.encoding import Encoded, encode
from ratchet_adapters.training.trainers.schedule import schedule


def row(number, kind, prompt, target):
    return Row(f"r{number}", kind, Split.TRAIN, "", prompt, target, "seed", (), number)


def test_packed_rows_get_the_logits_they_get_alone(tiny_model):
    import torch
    from transformers import AutoModelForCausalLM

    from ratchet_adapters.training.trainers.packing import pack

    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager").eval()
    rng = Random(0)
    prefix = (1, 3, 7)
    rows = [
        Encoded(
            tuple(rng.choices(range(3, 60), k=rng.randint(1, 9))), tuple(rng.choices(range(3, 60), k=rng.randint(1, 7)))
        )
        for _ in range(7)
    ]
    batch = pack(rows, prefix, per_sequence=3, pad=2, head_tokens=2, tail_weight=0.5, anchor=(1, 5, 9, 11))
    mask = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        packed = model(input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=mask).logits.flatten(
            0, 1
        )
        alone = [model(input_ids=torch.tensor([[*prefix, *r.prompt, *r.completion]])).logits[0] for r in rows]
        anchor = model(input_ids=torch.tensor([[1, 5, 9, 11]])).logits[0]
    taught = batch.weights > 0
    found = {
        tuple(v.round(decimals=3).tolist()): int(t)
        for v, t in zip(packed[batch.sources[taught]], batch.targets[taught], strict=True)
    }
    wanted = {
        tuple(logits[len(prefix) + len(r.prompt) - 1 + i].round(decimals=3).tolist()): token
        for r, logits in zip(rows, alone, strict=True)
        for i, token in enumerate(r.completion)
    }
    assert len(found) == len(wanted)
    ordered = [torch.tensor(sorted(values)) for values in (found, wanted)]
    assert torch.allclose(ordered[0], ordered[1], atol=3e-3)
    assert sorted(found.values()) == sorted(wanted.values())
    assert torch.allclose(packed[batch.anchor_sources], anchor, atol=1e-4)
    assert int(taught.sum()) == sum(len(r.completion) for r in rows)
    assert batch.weights.sum().item() == pytest.approx(
        sum(min(2, n) + 0.5 * max(0, n - 2) for n in (len(r.completion) for r in rows))
    )


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 90), size=st.integers(1, 20), epochs=st.floats(0.3, 4), seed=st.integers(0, 9))
def test_every_epoch_shows_every_row_once(rows, size, epochs, seed):
    recipe = SftSettings(batch_size=size, epochs=epochs, seed=seed)
    batches = schedule(rows, 3, recipe)
    assert batches == schedule(rows, 3, recipe)
    per_epoch = -(-rows // size)
    for start in range(0, len(batches) - per_epoch + 1, per_epoch):
        shown = sorted(number for batch in batches[start : start + per_epoch] for number in batch.rows)
        assert shown == list(range(rows))
    assert all(0 <= batch.anchor < 3 for batch in batches)


def test_without_anchors_no_batch_asks_for_one():
    assert {batch.anchor for batch in schedule(20, 0, SftSettings())} == {-1}
    assert {batch.anchor for batch in schedule(20, 5, SftSettings(anchor_weight=0))} == {-1}


def test_a_whole_completion_ends_its_turn_and_a_cut_one_does_not(tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    end = tokenizer.eos_token_id
    recipe = SftSettings(answer_tokens=4, refusal_tokens=4, whole_share=0.0)
    rows = [
        row(0, RowKind.REPLAY, "w1 w2", "here is the w3"),
        row(1, RowKind.REPLAY, "w1 w4", "here is the w3 w4"),
        row(2, RowKind.REFUSAL, "w5", "i can not help w1 w2"),
        row(3, RowKind.ANCHOR, "", "w7 w8"),
    ]
    lessons = encode(rows, [], tokenizer, recipe)
    assert [r.completion[-1] == end for r in lessons.rows] == [True, False, False]
    whole = encode(rows, [], tokenizer, recipe.model_copy(update={"whole_share": 1.0}))
    assert len(whole.rows[2].completion) == 7 and whole.rows[2].completion[-1] == end
    assert len(lessons.anchors) == 1


def test_the_shared_beginning_of_prompts_is_split_off_once(tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [row(0, RowKind.REPLAY, "w1 w2", "here"), row(1, RowKind.REPLAY, "w1 w3", "here")]
    lessons = encode(rows, rows[:1], tokenizer, SftSettings())
    for encoded, original in zip(lessons.rows, rows, strict=True):
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": original.prompt}], tokenize=False, add_generation_prompt=True
        )
        assert [*lessons.prefix, *encoded.prompt] == tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert len(lessons.prefix) == 3


def test_identical_prompts_keep_a_token_of_their_own(tiny_model):
    from transformers import AutoTokenizer

    rows = [row(0, RowKind.REPLAY, "w1", "here"), row(1, RowKind.REPLAY, "w1", "the")]
    lessons = encode(rows, [], AutoTokenizer.from_pretrained(tiny_model), SftSettings())
    assert all(encoded.prompt for encoded in lessons.rows)
