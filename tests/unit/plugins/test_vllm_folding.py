"""Folding at tensor level: each row by its own weights, the merge, what is refused, and the order of the calls."""

from __future__ import annotations

import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

from ratchet_plugins.vllm.folding import protocol  # noqa: E402
from ratchet_plugins.vllm.folding.checkpoint import dense_weights  # noqa: E402
from ratchet_plugins.vllm.folding.errors import FoldRefused, FoldUnsupported  # noqa: E402
from ratchet_plugins.vllm.folding.layer import FoldedLinear, Merged  # noqa: E402
from ratchet_plugins.vllm.folding.layout import Layout  # noqa: E402
from ratchet_plugins.vllm.folding.weights import Change, merge, pack  # noqa: E402

WIDTH, OUT, RANK, SLOTS = 16, 24, 4, 3


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """The CPU kernels of vLLM, as its worker loads them."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("folding is for CPU")
    current_platform.import_kernels()


def kernel_with(folds):
    from ratchet_plugins.vllm.punica import SegmentedPunicaWrapper

    kernel = SegmentedPunicaWrapper(64, 16, "cpu")
    kernel.folds.update(folds)
    return kernel


def tell(kernel, adapters):
    from vllm.lora.layers import LoRAMapping

    kernel.update_metadata(LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=True), [1, 2, 3], SLOTS + 1, 100)


def linear(seed):
    weight = torch.randn(OUT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return weight, pack(weight.clone())


@given(st.lists(st.integers(0, SLOTS), min_size=1, max_size=12), st.sets(st.integers(1, SLOTS)), st.booleans())
@settings(max_examples=25, deadline=None)
def test_each_row_goes_through_the_weights_of_its_own_adapter(adapters, folded, touches_all):
    base, plain = linear(0)
    merged = {adapter: linear(adapter) for adapter in folded}
    # One folded adapter may leave this module alone.
    spared = set() if touches_all or not folded else {min(folded)}
    kernel = kernel_with({a: {} if a in spared else {"m": merged[a][1]} for a in folded})
    layer = FoldedLinear("m", plain.linear, kernel)
    tell(kernel, adapters)
    x = torch.randn(len(adapters), WIDTH, generator=torch.Generator().manual_seed(9))
    bias = torch.arange(OUT, dtype=torch.float32)
    got = layer(x, plain.weight, bias)
    for row, adapter in enumerate(adapters):
        weight = merged[adapter][0] if adapter in folded - spared else base
        torch.testing.assert_close(got[row], x[row] @ weight.t() + bias, atol=1e-4, rtol=1e-4)
    # The LoRA kernel visits the rows of adapters that are not folded, and no others.
    visited = {found.slot + 1 for found in kernel._tokens}
    assert visited == set(adapters) - {0} - folded


def test_without_its_fold_a_layer_computes_the_same_bits_as_before():
    _, plain = linear(0)
    kernel = kernel_with({2: {"m": linear(2)[1]}})
    layer = FoldedLinear("m", plain.linear, kernel)
    x = torch.randn(3, WIDTH)
    before = plain(x, None)
    tell(kernel, [2, 2, 2])
    assert not torch.equal(layer(x, plain.weight), before)
    kernel.folds.clear()
    tell(kernel, [2, 2, 2])
    assert torch.equal(layer(x, plain.weight), before)


def test_a_step_with_other_rows_than_announced_is_an_error_not_a_guess():
    _, plain = linear(0)
    kernel = kernel_with({1: {"m": linear(1)[1]}})
    tell(kernel, [1, 0])
    with pytest.raises(RuntimeError, match="2 rows"):
        FoldedLinear("m", plain.linear, kernel)(torch.zeros(3, WIDTH), plain.weight)


def changes():
    random = torch.Generator().manual_seed(3)
    return [
        Change(torch.randn(RANK, WIDTH, generator=random), torch.randn(8, RANK, generator=random), offset)
        for offset in (0, 16)
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_merge_is_base_plus_adapter_in_every_slice_and_its_probe_knows_it(dtype):
    base, _ = linear(0)
    weight = base.to(torch.bfloat16)
    expected = weight.to(dtype).float()
    for change in changes():
        expected[change.offset : change.offset + 8] += change.up @ change.down
    merged, probe = merge(weight, changes(), dtype)
    torch.testing.assert_close(merged.float(), expected.to(dtype).float(), atol=1e-6, rtol=1e-6)
    live = pack(weight.to(dtype))
    assert probe.problem(lambda x: live(x, None), pack(merged.clone())) == ""
    assert "live weights" in probe.problem(lambda x: 1.2 * live(x, None), pack(merged.clone()))
    assert "base plus adapter" in probe.problem(lambda x: live(x, None), live)
    assert probe.problem(lambda x: live(x, None) * float("nan"), pack(merged)) != ""


class Loader:
    """Yields a checkpoint as vLLM's loader does."""

    def __init__(self, tensors):
        self.tensors = tensors

    def get_all_weights(self, config, model):
        yield from self.tensors


@pytest.fixture
def read(monkeypatch):
    """Read dense weights from tensors in memory."""

    def call(tensors, shapes, packed=None):
        monkeypatch.setattr("vllm.model_executor.model_loader.get_model_loader", lambda config: Loader(tensors))
        model = types.SimpleNamespace(packed_modules_mapping=packed or {})
        config = types.SimpleNamespace(load_config=None, model_config=None)
        return dict(dense_weights(model, config, shapes))

    return call


def test_packed_weights_are_put_together_in_the_models_order(read):
    q, k, o = torch.full((2, 3), 1.0), torch.full((1, 3), 2.0), torch.full((3, 3), 3.0)
    tensors = [("l.k.weight", k), ("l.o.weight", o), ("l.q.bias", q), ("l.q.weight", q), ("head.weight", o)]
    found = read(tensors, {"l.qk": (3, 3), "l.o": (3, 3)}, {"qk": ["q", "k"]})
    assert torch.equal(found["l.qk"], torch.cat([q, k]))
    assert torch.equal(found["l.o"], o)


def test_a_checkpoint_that_lacks_a_module_or_has_another_shape_is_refused(read):
    with pytest.raises(FoldRefused, match="no weight for 1 modules"):
        read([("l.o.weight", torch.zeros(2, 2))], {"l.q": (2, 2)})
    with pytest.raises(FoldRefused, match="in the checkpoint"):
        read([("l.q.weight", torch.zeros(2, 3))], {"l.q": (2, 2)})


def runner(**changes):
    manager = types.SimpleNamespace(
        punica_wrapper_mapping={"language_model": kernel_with({})},
        modules={},
        lora_index_to_id=[None],
        _last_mapping=None,
        model=None,
    )
    for name, value in changes.items():
        setattr(manager, name, value) if value is not None else delattr(manager, name)
    return types.SimpleNamespace(lora_manager=types.SimpleNamespace(_adapter_manager=manager), dtype=torch.float32)


def config(world_size=1):
    return types.SimpleNamespace(parallel_config=types.SimpleNamespace(world_size=world_size))


@pytest.mark.parametrize(
    ("changed", "world_size", "why"),
    [
        ({"modules": None}, 1, "another layout"),
        ({"punica_wrapper_mapping": {"language_model": object()}}, 1, "not Ratchet's"),
        ({}, 2, "spread over several workers"),
    ],
)
def test_an_engine_that_is_built_otherwise_is_refused_with_the_reason(changed, world_size, why):
    with pytest.raises(FoldUnsupported, match=why):
        Layout.of(runner(**changed), config(world_size))


def layer_of(method):
    _, plain = linear(0)
    layer = types.SimpleNamespace(
        quant_method=method, output_size_per_partition=OUT, input_size_per_partition=WIDTH, weight=plain.weight
    )
    layer.cpu_linear = plain.linear
    return layer


def test_a_layer_that_computes_past_cpu_linear_is_found_out(monkeypatch):
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod

    layout = Layout.of(runner(), config())
    layer = layer_of(UnquantizedLinearMethod())
    monkeypatch.setattr(Layout, "linears", lambda self: {"m": layer})
    kept = layer.cpu_linear
    layout.check("m", layer)
    assert layer.cpu_linear is kept

    monkeypatch.setattr(UnquantizedLinearMethod, "apply", lambda self, layer, x, bias=None: torch.zeros(1))
    with pytest.raises(FoldUnsupported, match="does not compute through cpu_linear"):
        layout.check("m", layer)
    assert layer.cpu_linear is kept
    with pytest.raises(FoldUnsupported, match="quantised"):
        layout.check("m", layer_of(object()))
    del layer.cpu_linear
    with pytest.raises(FoldUnsupported, match="no cpu_linear"):
        layout.check("m", layer)


class Workers:
    """Answers the calls of the protocol and notes their names."""

    def __init__(self, **answers):
        self.asked = []
        self.answers = {
            "ratchet_fold_begin": "",
            "ratchet_fold_progress": {"done": True, "problem": "", "modules": 7, "seconds": 0.5},
            "ratchet_fold_check": {"left": 0, "problem": ""},
            "ratchet_fold_cancel": None,
        } | answers

    async def __call__(self, name, *arguments):
        self.asked.append(name.removeprefix("ratchet_fold_"))
        return [self.answers[name]]


async def test_a_fold_is_begun_built_and_checked_before_it_may_be_put_in():
    workers = Workers()
    assert (await protocol.build(workers, 3)).modules == 7
    assert workers.asked == ["begin", "progress", "check"]


@pytest.mark.parametrize(
    "answers",
    [
        {"ratchet_fold_progress": {"done": True, "problem": "disk", "modules": 0, "seconds": 0}},
        {"ratchet_fold_check": {"left": 0, "problem": "off by 3"}},
    ],
)
async def test_what_fails_on_the_way_is_refused_and_given_up(answers):
    workers = Workers(**answers)
    with pytest.raises(FoldRefused, match=r"disk|off by 3"):
        await protocol.build(workers, 3)
    assert workers.asked[-1] == "cancel"


def test_merged_weights_are_called_with_their_own_second_argument():
    seen = []
    Merged(lambda x, weight, bias: seen.append(weight) or x, "own")(torch.zeros(1), None)
    assert seen == ["own"]


def wrapped(weight, changes):
    """A linear layer of vLLM's, packed, under a LoRA wrapper whose slots hold `changes`: (A, B) per slice and slot."""
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod

    class Wrapper(BaseLinearLayerWithLoRA):
        def __init__(self):
            torch.nn.Module.__init__(self)

    layer = layer_of(UnquantizedLinearMethod())
    packed = pack(weight.clone())
    layer.weight, layer.cpu_linear = packed.weight, packed.linear
    layer.output_size_per_partition, layer.input_size_per_partition = weight.shape
    wrapper = Wrapper()
    wrapper.base_layer = layer
    wrapper.lora_a_stacked = tuple(torch.stack([a for a, _ in slots])[:, None] for slots in changes)
    wrapper.lora_b_stacked = tuple(torch.stack([b for _, b in slots])[:, None] for slots in changes)
    wrapper.output_slices = tuple(stacked.shape[2] for stacked in wrapper.lora_b_stacked)
    return wrapper


class Worker:
    """A worker of two modules, one of them packed of two, with adapters 1, 2 and again 1 under the id 3."""

    def __init__(self, monkeypatch):
        from ratchet_plugins.vllm.worker import WorkerExtension

        random = torch.Generator().manual_seed(5)

        def made(*shape):
            return torch.randn(*shape, generator=random)

        def slots(width):
            first, second = [(made(RANK, WIDTH), made(width, RANK)) for _ in range(2)]
            return [first, second, first]

        self.weights = {"l.qk": made(OUT, WIDTH), "l.o": made(WIDTH, WIDTH)}
        self.changes = {"l.qk": [slots(16), slots(8)], "l.o": [slots(WIDTH)]}
        q, k = self.weights["l.qk"].split([16, 8])
        tensors = [("l.q.weight", q), ("l.k.weight", k), ("l.o.weight", self.weights["l.o"])]
        monkeypatch.setattr("vllm.model_executor.model_loader.get_model_loader", lambda config: Loader(tensors))
        self.modules = {name: wrapped(self.weights[name], self.changes[name]) for name in self.weights}
        extension = WorkerExtension()
        extension.model_runner = runner(
            modules=self.modules,
            lora_index_to_id=[1, 2, 3],
            model=types.SimpleNamespace(packed_modules_mapping={"qk": ["q", "k"]}),
            get_adapter=lambda number: number,
            activate_adapter=lambda number: False,
        )
        extension.vllm_config = config()
        extension.vllm_config.load_config = extension.vllm_config.model_config = None
        self.kernel = extension.model_runner.lora_manager._adapter_manager.punica_wrapper_mapping["language_model"]
        self.extension = extension

    async def ask(self, name, *arguments):
        return [getattr(self.extension, name)(*arguments)]

    def compute(self, name, adapters, x):
        """The module as vLLM computes it: the layer, then what the LoRA kernel adds."""
        tell(self.kernel, adapters)
        wrapper = self.modules[name]
        y = wrapper.base_layer.quant_method.apply(wrapper.base_layer, x, None)
        self.kernel.add_lora_linear(y, x, wrapper.lora_a_stacked, wrapper.lora_b_stacked, 1.0, wrapper.output_slices)
        return y

    def expected(self, name, adapters, x):
        """The same in plain arithmetic."""
        rows = []
        for row, adapter in enumerate(adapters):
            weight = self.weights[name].clone()
            if adapter:
                weight += torch.cat([b @ a for a, b in (slots[adapter - 1] for slots in self.changes[name])])
            rows.append(x[row] @ weight.t())
        return torch.stack(rows)


async def test_the_whole_way_into_a_fold_and_back_over_layers_of_vllms(monkeypatch):
    worker = Worker(monkeypatch)
    batches = [[0, 1, 2, 3, 3, 0], [3, 3], [0], [1, 3], [2]]
    inputs = [torch.randn(len(batch), WIDTH, generator=torch.Generator().manual_seed(len(batch))) for batch in batches]

    def outputs():
        return [
            worker.compute(name, batch, x) for name in worker.modules for batch, x in zip(batches, inputs, strict=True)
        ]

    def check():
        for name in worker.modules:
            for batch, x in zip(batches, inputs, strict=True):
                got = worker.compute(name, batch, x)
                torch.testing.assert_close(got, worker.expected(name, batch, x), atol=1e-4, rtol=1e-4)

    before = outputs()
    check()
    await protocol.self_test(worker.ask)
    assert (await protocol.build(worker.ask, 1)).modules == 2
    await protocol.install(worker.ask, 3)
    assert await worker.ask("ratchet_folds") == [[3]]
    check()
    tell(worker.kernel, [3, 3])
    assert worker.kernel.no_lora, "a batch of the folded adapter alone costs nothing more than the base model"
    with pytest.raises(FoldRefused, match="no checked fold"):
        await protocol.install(worker.ask, 2)
    await protocol.drop(worker.ask, 3)
    assert all(torch.equal(a, b) for a, b in zip(outputs(), before, strict=True))
    assert not any(isinstance(wrapper.base_layer.cpu_linear, FoldedLinear) for wrapper in worker.modules.values())


async def test_weights_that_are_not_the_engines_are_found_before_anybody_is_served_from_them(monkeypatch):
    worker = Worker(monkeypatch)
    foreign = [
        ("l.q.weight", torch.randn(16, WIDTH)),
        ("l.k.weight", torch.randn(8, WIDTH)),
        ("l.o.weight", torch.eye(WIDTH)),
    ]
    monkeypatch.setattr("vllm.model_executor.model_loader.get_model_loader", lambda config: Loader(foreign))
    with pytest.raises(FoldRefused, match="the live weights are not the checkpoint's"):
        await protocol.build(worker.ask, 1)
    with pytest.raises(FoldRefused, match="no checked fold"):
        await protocol.install(worker.ask, 3)
    assert await worker.ask("ratchet_folds") == [[]]
