"""How soon each tier began to answer in the last hour."""

from __future__ import annotations

from gateway_core.telemetry import Telemetry
from webui.speeds import Speeds


def test_the_last_hour_counts_back_from_now():
    now = [10_000.0]
    telemetry = Telemetry(lambda: now[0])
    telemetry.tell("answer", backend="copilot", first_token_ms=812.34)
    now[0] += 3000
    telemetry.tell("answer", backend="cloud", first_token_ms=56)
    telemetry.tell("answer", backend="cloud", first_token_ms=None)  # there was no text
    now[0] += 500

    speeds = Speeds(telemetry, lambda: now[0])

    assert speeds.last_hour() == {"copilot": [{"ago": 3500, "ms": 812.3}], "cloud": [{"ago": 500, "ms": 56}]}
    now[0] += 200
    assert list(speeds.last_hour()) == ["cloud"]
