"""The LoRA kernel at tensor level: the stock defect, and that ours does not have it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

OUTS = (24, 8, 8)
WIDTH = 16
RANK = 16
USED_RANK = 4
SLOTS = 3


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """The CPU kernels of vLLM, as its worker loads them."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("the kernel is for CPU")
    current_platform.import_kernels()


@pytest.fixture
def stacked():
    """Three adapters of rank 4 in slots of rank 16, for a module of three slices."""
    random = torch.Generator().manual_seed(0)
    a = tuple(torch.zeros(SLOTS, 1, RANK, WIDTH) for _ in OUTS)
    b = tuple(torch.zeros(SLOTS, 1, width, RANK) for width in OUTS)
    for slot in range(SLOTS):
        for index, width in enumerate(OUTS):
            a[index][slot, 0, :USED_RANK] = torch.randn(USED_RANK, WIDTH, generator=random)
            b[index][slot, 0, :, :USED_RANK] = torch.randn(width, USED_RANK, generator=random)
    return a, b


def stock():
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    return PunicaWrapperCPU(64, 16, "cpu")


def ours():
    from ratchet_plugins.vllm.punica import SegmentedPunicaWrapper

    return SegmentedPunicaWrapper(64, 16, "cpu")


def apply(kernel, stacked, adapters, x):
    """What the kernel adds to a zero output. `adapters`: adapter id per row, 0 for none."""
    from vllm.lora.layers import LoRAMapping

    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=True)
    kernel.update_metadata(mapping, [1, 2, 3], SLOTS + 1, 100)
    y = torch.zeros(len(adapters), sum(OUTS))
    kernel.add_lora_linear(y, x, *stacked, 1.0, OUTS)
    return y


def expected(stacked, adapters, x):
    """The same in plain arithmetic."""
    y = torch.zeros(len(adapters), sum(OUTS))
    for row, adapter in enumerate(adapters):
        if adapter:
            parts = [x[row] @ a[adapter - 1, 0].t() @ b[adapter - 1, 0].t() for a, b in zip(*stacked, strict=True)]
            y[row] = torch.cat(parts)
    return y


def inputs(rows):
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))


def test_stock_kernel_gives_rows_without_an_adapter_the_last_slots_adapter(stacked):
    """A pin: when this fails, vllm-project/vllm#48421 is fixed upstream and our wrapper only has to be fast."""
    adapters = [0, 1, 0]
    x = inputs(3)
    wrong = apply(stock(), stacked, adapters, x)
    stolen = expected(stacked, [3, 1, 3], x)
    torch.testing.assert_close(wrong, stolen)
    assert wrong[0].abs().max() > 0.1


@pytest.mark.parametrize(
    "adapters",
    [
        [0, 0, 0],
        [0],
        [1],
        [3],
        [1, 1, 1, 1],
        [0, 1, 0],
        [1, 0, 2, 0, 3],
        [2, 2, 0, 0, 1, 1, 2],
        [3, 1, 2, 3, 1, 2, 0, 0, 0],
    ],
)
def test_our_kernel_adds_each_rows_own_adapter_and_nothing_to_the_others(stacked, adapters):
    x = inputs(len(adapters))
    y = apply(ours(), stacked, adapters, x)
    torch.testing.assert_close(y, expected(stacked, adapters, x), atol=1e-4, rtol=1e-4)
    for row, adapter in enumerate(adapters):
        assert adapter or not y[row].any()


def test_new_weights_in_a_slot_take_effect_at_once(stacked):
    kernel = ours()
    x = inputs(2)
    apply(kernel, stacked, [1, 2], x)
    a, b = stacked
    for tensor in b:
        tensor[0] = 0
    b[1][0, 0, :, 0] = 1.0
    y = apply(kernel, stacked, [1, 2], x)
    torch.testing.assert_close(y, expected((a, b), [1, 2], x), atol=1e-4, rtol=1e-4)


def test_a_slot_emptied_in_place_adds_nothing(stacked):
    kernel = ours()
    x = inputs(1)
    assert apply(kernel, stacked, [2], x).any()
    for tensor in (*stacked[0], *stacked[1]):
        tensor[1] = 0
    assert not apply(kernel, stacked, [2], x).any()


def test_logits_of_rows_without_an_adapter_stay_the_base_models(stacked):
    kernel = ours()
    x = inputs(3)
    apply(kernel, stacked, [0, 2, 0], x)
    y = torch.zeros(3, OUTS[0])
    kernel.add_lora_logits(y, x, stacked[0][0], stacked[1][0], 1.0)
    assert not y[0].any()
    assert not y[2].any()
    reference = x[1] @ stacked[0][0][1, 0].t() @ stacked[1][0][1, 0].t()
    torch.testing.assert_close(y[1], reference, atol=1e-4, rtol=1e-4)


def test_shrink_and_expand_apart_agree_with_the_fused_path(stacked):
    kernel = ours()
    adapters = [0, 1, 3, 1]
    x = inputs(4)
    fused = apply(kernel, stacked, adapters, x)
    buffers = tuple(torch.zeros(4, RANK) for _ in OUTS)
    kernel.add_shrink(buffers, x, stacked[0], 1.0)
    y = torch.zeros(4, sum(OUTS))
    kernel.add_expand(y, buffers, stacked[1], OUTS)
    torch.testing.assert_close(y, fused, atol=1e-4, rtol=1e-4)


def test_embeddings_of_rows_without_an_adapter_stay_the_base_models(stacked):
    kernel = ours()
    apply(kernel, stacked, [0, 1], inputs(2))
    x = torch.ones(2, RANK)
    y = torch.zeros(2, OUTS[0])
    kernel.add_lora_embedding(y, x, stacked[1][0])
    assert not y[0].any()
    torch.testing.assert_close(y[1], x[1] @ stacked[1][0][0, 0].t())


def test_bfloat16_stays_within_its_rounding(stacked):
    adapters = [0, 1, 2, 1]
    half = tuple(tuple(tensor.bfloat16() for tensor in side) for side in stacked)
    x = inputs(4).bfloat16()
    from vllm.lora.layers import LoRAMapping

    kernel = ours()
    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=True)
    kernel.update_metadata(mapping, [1, 2, 3], SLOTS + 1, 100)
    y = torch.zeros(4, sum(OUTS), dtype=torch.bfloat16)
    kernel.add_lora_linear(y, x, *half, 1.0, OUTS)
    reference = expected(tuple(tuple(t.float() for t in side) for side in half), adapters, x.float())
    torch.testing.assert_close(y.float(), reference, atol=0.15, rtol=0.03)
