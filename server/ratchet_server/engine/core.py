"""One vLLM core: its start, its death, and every call into it, with vLLM's exceptions translated.

It must not know digests' life cycle (slots) nor who is asking (the engine).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratchet_plugins.vllm.folding import protocol as folding
from ratchet_plugins.vllm.folding.errors import FoldUnsupported
from ratchet_server.engine.errors import (
    AdapterLoadFailed,
    EngineError,
    EngineRequestFailed,
    EngineStartFailed,
    EngineUnavailable,
    RequestInvalid,
)
from ratchet_server.engine.launch import launch
from ratchet_server.engine.settings import EngineSettings

__all__ = ["Core", "translated"]

_DEAD = "the core process died; restart the engine"
_POLL_SECONDS = 0.5


class Core:
    """A running vLLM core. Made by `Core.start`; never comes back once it died."""

    def __init__(self, llm: Any, starter: ThreadPoolExecutor, *, cpu: bool) -> None:
        """Made by `Core.start` only."""
        self._llm = llm
        self._starter = starter
        self._cpu = cpu
        self._stopped = False

    @classmethod
    async def start(cls, settings: EngineSettings, *, verify: bool = True) -> Core:
        """Start a core without blocking the event loop.

        Args:
            settings: The engine's settings.
            verify: On CPU, refuse a core that does not run Ratchet's LoRA kernel. Only a benchmark of the stock
                kernel may turn this off: with the stock one, base requests can be answered by an adapter.

        Raises:
            EngineStartFailed: vLLM did not come up, runs the stock LoRA kernel, or is to fold and cannot.
        """
        # The core dies with the thread that started it, so that thread has to live as long as the core.
        starter = ThreadPoolExecutor(1, thread_name_prefix="ratchet-engine-core")
        # Handed over in a list: a result kept by the thread's future would outlive `stop`.
        made: list[Any] = []
        starting = starter.submit(lambda: made.append(launch(settings)))
        try:
            await asyncio.shield(asyncio.wrap_future(starting))
        except asyncio.CancelledError:
            starting.add_done_callback(lambda _: _abandon(made, starter))
            raise
        except Exception as error:
            starter.shutdown(wait=False)
            raise EngineStartFailed(f"{type(error).__name__}: {error}") from error
        from vllm.platforms import current_platform

        core = cls(made.pop(), starter, cpu=bool(current_platform.is_cpu()))
        try:
            if verify and core._cpu:
                await core._check_kernel()
            if settings.fold:
                await core._check_folding()
        except BaseException:
            await core.stop()
            raise
        return core

    @property
    def alive(self) -> bool:
        """Whether calls can succeed."""
        return not self._stopped and not self._llm.errored

    @property
    def pids(self) -> list[int]:
        """Process ids of the core."""
        manager = self._llm.engine_core.resources.engine_manager if not self._stopped else None
        return [process.pid for process in manager.processes] if manager is not None else []

    @property
    def exact(self) -> bool:
        """Whether it computes in float32, where equal arithmetic in another order gives equal texts."""
        return str(self._llm.model_config.dtype) == "torch.float32"

    @property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self._llm.get_tokenizer()

    async def stop(self) -> None:
        """End the core; requests in flight fail with EngineUnavailable. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        from vllm.v1.engine.exceptions import EngineDeadError

        # Without this, streams in flight would wait for ever: shutdown only cancels the task that feeds them.
        self._llm.output_processor.propagate_error(EngineDeadError())
        # On CPU there is nothing to hand back, and a graceful exit of the interpreter takes seconds.
        await asyncio.to_thread(self._llm.shutdown, 0.0 if self._cpu else None)
        # Left to the interpreter's exit, its destructor fails noisily.
        self._llm = None
        self._starter.shutdown(wait=False)

    async def check_health(self) -> None:
        """Raise EngineUnavailable unless the core is up."""
        if not self.alive:
            raise EngineUnavailable(_DEAD)
        with translated("health check"):
            await self._llm.check_health()
        # vLLM notices a death through a monitor thread; the processes themselves know at once.
        for pid in self.pids:
            if not _running(pid):
                raise EngineUnavailable(_DEAD)

    async def add(self, digest: str, adapter_id: int, folder: Path) -> None:
        """Load an adapter.

        Raises:
            AdapterLoadFailed: The folder is not an adapter vLLM takes; the core is unharmed.
            EngineUnavailable: The core died.
        """
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            if not (folder / name).is_file():
                raise AdapterLoadFailed(digest, f"{folder} has no {name}")
        try:
            added = await self._call("add_lora", self._lora(digest, adapter_id, folder))
        except EngineError:
            raise
        # vLLM hands the worker's failure over as a bare Exception.
        except Exception as error:
            raise AdapterLoadFailed(digest, f"vLLM refused it: {error}") from error
        if not added:
            raise AdapterLoadFailed(digest, "vLLM did not add it")

    async def remove(self, adapter_id: int) -> None:
        """Free an adapter nobody uses."""
        await self._call("remove_lora", adapter_id)

    async def adapter_ids(self) -> set[int]:
        """Ids of the adapters the core holds."""
        return set(await self._call("list_loras"))

    async def ask(self, name: str, *arguments: Any) -> list[Any]:
        """Call a method of `ratchet_plugins.vllm.worker.WorkerExtension` on each worker."""
        return list(await self._call("collective_rpc", name, None, arguments))

    async def stream(
        self,
        request_id: str,
        token_ids: list[int],
        params: Any,
        lora: tuple[str, int, Path] | None,
        priority: int,
    ) -> AsyncGenerator[Any, None]:
        """Yield vLLM's outputs of one request; closing aborts it.

        Raises:
            EngineUnavailable: The core died or was stopped.
            RequestInvalid: vLLM refuses the parameters.
            EngineRequestFailed: vLLM failed on this request only.
        """
        if not self.alive:
            raise EngineUnavailable(_DEAD)
        from vllm.inputs import TokensPrompt

        prompt = TokensPrompt(prompt_token_ids=token_ids, type="token")
        outputs = self._llm.generate(
            prompt,
            params,
            request_id,
            lora_request=self._lora(*lora) if lora is not None else None,
            priority=priority,
        )
        try:
            with translated(request_id):
                async for output in outputs:
                    if output.outputs[0].finish_reason == "abort":
                        raise EngineUnavailable("the request was aborted by the core")
                    yield output
        finally:
            await outputs.aclose()

    def _lora(self, digest: str, adapter_id: int, folder: Path) -> Any:
        from vllm.lora.request import LoRARequest

        return LoRARequest(lora_name=digest, lora_int_id=adapter_id, lora_path=str(folder))

    async def _call(self, method: str, *arguments: Any) -> Any:
        if not self.alive:
            raise EngineUnavailable(_DEAD)
        # vLLM leaves a call that was under way when the core died waiting for ever.
        task = asyncio.ensure_future(getattr(self._llm, method)(*arguments))
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=_POLL_SECONDS)
                if done:
                    with translated("engine call"):
                        return task.result()
                if not self.alive:
                    raise EngineUnavailable(_DEAD)
        finally:
            task.cancel()

    async def _check_kernel(self) -> None:
        from ratchet_plugins.vllm.platform import PUNICA_WRAPPER

        kernels = await self.ask("ratchet_lora_kernel")
        if kernels != [PUNICA_WRAPPER]:
            raise EngineStartFailed(
                f"the core runs the LoRA kernel {kernels} instead of {PUNICA_WRAPPER}, which mixes adapters into base "
                "requests on CPU (vllm-project/vllm#48421). Install Ratchet in the same environment, so that vLLM "
                "finds its entry point vllm.platform_plugins, and unset VLLM_PLUGINS and VLLM_TARGET_DEVICE"
            )

    async def _check_folding(self) -> None:
        if not self._cpu:
            raise EngineStartFailed("adapters are folded on CPU only; set engine.fold to false on a GPU")
        try:
            await folding.self_test(self.ask)
        except FoldUnsupported as error:
            raise EngineStartFailed(f"{error.problem}; set engine.fold to false to serve adapters as LoRA") from error


def _abandon(made: list[Any], starter: ThreadPoolExecutor) -> None:
    for llm in made:
        llm.shutdown(0.0)
    made.clear()
    starter.shutdown(wait=False)


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return not Path("/proc").is_dir()
    except (ProcessLookupError, OSError):
        return False
    return state not in "ZX"


@contextmanager
def translated(request_id: str) -> Iterator[None]:
    """Turn what vLLM raises within the block into this package's errors."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        yield
    except EngineDeadError as error:
        raise EngineUnavailable(_DEAD) from error
    except EngineGenerateError as error:
        raise EngineRequestFailed(request_id, str(error.__cause__ or error)) from error
    except (VLLMClientError, ValueError) as error:
        raise RequestInvalid(str(error)) from error
