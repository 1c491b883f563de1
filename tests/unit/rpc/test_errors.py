"""Every error a request can meet has a status of its own, and an unknown one gives nothing away."""

import asyncio
import importlib
import inspect

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from ratchet_server.rpc.errors import STATUS, FieldsInvalid, status_name, wire_error

MODULES = (
    "ratchet_adapters.artifacts.errors",
    "ratchet_adapters.registry.errors",
    "ratchet_adapters.flags.errors",
    "ratchet_server.engine.errors",
    "ratchet_server.rails.errors",
    "ratchet_server.serving.errors",
)
# Raised at start-up or in a command only: no request can meet them.
NOT_ON_THE_WIRE = {
    "EngineSettingsInvalid",
    "EngineStartFailed",
    "RailContractError",
    "RailScaffoldError",
}
ROOTS = {"EngineError", "RailsError", "ArtifactError", "RegistryError", "FlagError"}


def _errors() -> list[type[Exception]]:
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        found += [
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if issubclass(kind, Exception) and kind.__module__ == name and kind.__name__ not in ROOTS
        ]
    return found


@pytest.mark.parametrize("kind", _errors(), ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_status(kind: type[Exception]) -> None:
    known = any(parent.__name__ in STATUS for parent in kind.__mro__)
    assert known != (kind.__name__ in NOT_ON_THE_WIRE)


def test_an_unknown_error_is_internal_and_keeps_its_text_to_itself() -> None:
    wire = wire_error(KeyError("the user's secret prompt"))
    assert wire.code is grpc.StatusCode.INTERNAL
    assert "secret" not in wire.detail
    assert "secret" not in str(wire.status)


def test_field_violations_travel_as_bad_request_details() -> None:
    wire = wire_error(FieldsInvalid([("sampling.temperature", "must be at most 2")]))
    status = status_pb2.Status.FromString(wire.trailing_metadata()[0][1])
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert bad.field_violations[0].field == "sampling.temperature"


def test_a_subclass_takes_the_row_of_its_nearest_ancestor() -> None:
    from ratchet_adapters.artifacts.errors import PickleRefused

    assert wire_error(PickleRefused("adapter_model.bin", "it is a pickle")).code is grpc.StatusCode.INVALID_ARGUMENT


def test_errors_are_counted_under_the_status_that_the_client_gets() -> None:
    from ratchet_adapters.registry import AdapterNotFound

    for error in (AdapterNotFound("x"), FieldsInvalid([("a", "b")]), TimeoutError(), KeyError("x")):
        assert status_name(error) == wire_error(error).code.name
    assert {status_name(asyncio.CancelledError()), status_name(GeneratorExit())} == {"CANCELLED"}


def test_retryable_errors_say_when_to_retry() -> None:
    from ratchet_server.engine.errors import EngineUnavailable

    wire = wire_error(EngineUnavailable("it is restarting"))
    retry = error_details_pb2.RetryInfo()
    assert wire.code is grpc.StatusCode.UNAVAILABLE
    assert any(detail.Unpack(retry) for detail in wire.status.details)
