"""The settings section is checked."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ratchet_server.observability.settings import ObservabilitySettings


def test_the_exporter_is_on_loopback_unless_told_otherwise() -> None:
    assert ObservabilitySettings().metrics_host == "127.0.0.1"
    assert ObservabilitySettings(metrics_host="0.0.0.0").metrics_host == "0.0.0.0"


@pytest.mark.parametrize("wrong", [{"metrics_port": 70000}, {"max_adapters": 1}, {"log_format": "xml"}, {"typo": 1}])
def test_a_wrong_or_unknown_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ObservabilitySettings(**wrong)  # type: ignore[arg-type]
