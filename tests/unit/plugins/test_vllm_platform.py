"""The platform plugin changes CPU hosts only, and says so to vLLM through entry points."""

from __future__ import annotations

import multiprocessing
import os
import time
from importlib.metadata import entry_points

import pytest

pytest.importorskip("vllm")


def test_stock_cpu_hosts_get_our_platform_and_its_kernel():
    from vllm.platforms import cpu_platform_plugin
    from vllm.utils.import_utils import resolve_obj_by_qualname

    from ratchet_plugins.vllm.platform import PUNICA_WRAPPER, register

    if cpu_platform_plugin() is None:
        pytest.skip("not a CPU build of vLLM")
    name = register()
    assert name is not None
    assert resolve_obj_by_qualname(name).get_punica_wrapper() == PUNICA_WRAPPER


@pytest.mark.parametrize("detected", [None, "vllm.platforms.zen_cpu.ZenCpuPlatform"])
def test_hosts_vllm_would_not_run_on_its_stock_cpu_platform_are_left_alone(monkeypatch, detected):
    import vllm.platforms

    from ratchet_plugins.vllm.platform import register

    monkeypatch.setattr(vllm.platforms, "cpu_platform_plugin", lambda: detected)
    assert register() is None


def test_the_reason_for_our_worker_still_stands():
    """A pin: when it fails, CPU generators can be wound back and `cpu_worker.py` may go."""
    import torch

    with pytest.raises(RuntimeError, match="does not use offset"):
        torch.Generator("cpu").get_offset()


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("vllm.platform_plugins", {"ratchet_cpu"}),
        ("vllm.general_plugins", {"ratchet_die_with_parent", "ratchet_resolver"}),
    ],
)
def test_installed_package_offers_its_plugins_to_vllm(group, names):
    ours = [point for point in entry_points(group=group) if point.value.startswith("ratchet_plugins.vllm.")]
    assert {point.name for point in ours} == names
    assert all(callable(point.load()) for point in ours)


def test_the_parent_process_itself_is_not_bound_to_anything():
    from ratchet_plugins.vllm.lifetime import die_with_parent

    die_with_parent()


def _grandchild(connection):
    from ratchet_plugins.vllm.lifetime import die_with_parent

    die_with_parent()
    connection.send(os.getpid())
    time.sleep(60)


def _child(connection):
    process = multiprocessing.get_context("fork").Process(target=_grandchild, args=(connection,))
    process.start()
    process.join()


def test_a_core_dies_when_its_server_is_killed():
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    server = context.Process(target=_child, args=(there,))
    server.start()
    try:
        assert here.poll(10)
        core = here.recv()
        server.kill()
        server.join(5)
        deadline = time.monotonic() + 5
        while _alive(core) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _alive(core)
    finally:
        server.kill()


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
