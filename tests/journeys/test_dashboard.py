"""The board in examples/: every expression names metrics that are served, and the real Prometheus can answer it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason, Usage

from ..missing import needs
from ..server.calling import calling
from .conftest import Providers, serving

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BOARD = json.loads((EXAMPLES / "grafana-dashboard.json").read_text(encoding="utf-8"))
METRIC = re.compile(r"\bai_gateway_[a-z_]+")
SHOWN = ("answers", "failovers", "circuit_state", "first_token_seconds", "tokens", "requests", "attempts")


def targets() -> list[dict[str, Any]]:
    return [target for panel in BOARD["panels"] for target in panel["targets"]]


def expressions() -> list[str]:
    return [target["expr"] for target in targets()]


def names_in(page: str) -> set[str]:
    return {re.match("[a-z_]+", line)[0] for line in page.splitlines() if line and line[0] != "#"}  # type: ignore[index]


async def test_every_metric_of_the_board_is_served():
    cut = TierBroken("copilot", reason=Reason.RESET)
    cloud = ScriptedTier("cloud", ["more", Chunk(finish_reason="stop", usage=Usage(1, 1))])
    async with calling(ScriptedTier("copilot", ["Half ", cut], [cut]), cloud, failure_threshold=1) as client:
        await client.post("/ai/query", json={"prompt": "x", "stream": True})
        await client.post("/ai/query/rag", json={"prompt": "x", "documents": ["y"]})
        served = names_in((await client.get("/metrics")).text)

    used = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert used - served == set()
    assert all(any(f"ai_gateway_{shown}" in name for name in used) for shown in SHOWN)
    # What is counted and not on the board: told here, so that a new metric is a decision.
    assert {name.rsplit("_", 1)[0] if name.endswith(("_bucket", "_sum", "_count")) else name for name in served} - {
        name.removesuffix("_bucket") for name in used
    } == {"ai_gateway_info"}


async def test_every_label_of_the_board_is_served():
    async with calling(ScriptedTier("copilot", [TierBroken("copilot", reason=Reason.RESET)])) as client:
        await client.post("/ai/query", json={"prompt": "x"})
        page = (await client.get("/metrics")).text
    labels = set(re.findall(r'([a-z_]+)="', page)) | {"from", "to", "action", "direction", "state", "le"}

    for target in targets():
        grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
        kept = {name.strip() for names in grouped for name in names.split(",")}
        chosen = set(re.findall(r"[{,]([a-z_]+)(?:=|!)", target["expr"]))
        shown = set(re.findall(r"\{\{([a-z_]+)\}\}", target["legendFormat"]))
        assert (kept | chosen) - labels == set()
        assert shown <= kept, target["expr"]


def test_the_board_can_be_imported_anywhere():
    assert (BOARD["id"], BOARD["uid"]) == (None, None)
    (variable,) = BOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    own = {"type": "prometheus", "uid": "${datasource}"}
    assert all(holder["datasource"] == own for holder in (*BOARD["panels"], *targets()))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    for number, one in enumerate(places):
        assert one["x"] + one["w"] <= 24
        for other in places[number + 1 :]:
            apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert apart_x or apart_y


# ---- the real Prometheus


@contextmanager
def prometheus(scraped: str, folder: Path) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes `scraped` four times a second."""
    text = (EXAMPLES / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace("127.0.0.1:8000", scraped).replace("15s", "250ms")
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    command = [
        needs("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            until(lambda: is_ready(client, process), 60)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def is_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Prometheus has ended"
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def until(claim: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


def query(client: httpx.Client, expression: str) -> list[Any]:
    """As Grafana asks: its variables filled in, an instant instead of a range."""
    for name, value in (("$__rate_interval", "20s"), ("$__range", "1m")):
        expression = expression.replace(name, value)
    reply = client.get("/api/v1/query", params={"query": expression}).json()
    assert reply["status"] == "success", (expression, reply)
    return list(reply["data"]["result"])


def scrapes(client: httpx.Client) -> float:
    result = query(client, 'count_over_time(up{job="ai-gateway"}[1m])')
    return float(result[0]["value"][1]) if result else 0.0


@pytest.mark.slow
def test_prometheus_answers_every_expression_with_data(providers: Providers, empty_home: Path, tmp_path: Path):
    needs("prometheus")
    limits = {"FAILURE_THRESHOLD": "2", "CONNECT_TIMEOUT": "3", "FIRST_TOKEN_TIMEOUT": "8", "STALL_TIMEOUT": "5"}
    with (
        serving(providers, empty_home, **limits) as (url, _),
        prometheus(url.removeprefix("http://"), tmp_path) as client,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as asking,
    ):

        def ask_everything() -> None:
            """Plain answers, documents, a takeover, failures until the circuit opens, requests that skip it."""
            assert asking.post("/ai/query", json={"prompt": "x"}).status_code == 200
            assert asking.post("/ai/query/rag", json={"prompt": "x", "documents": ["y"]}).status_code == 200
            providers.copilot.script("cut_after:5", "status_500", then="ok")
            for _ in range(3):
                assert "event: done" in asking.post("/ai/query", json={"prompt": "x", "stream": True}).text
            assert asking.post("/admin/reset").status_code == 200

        ask_everything()  # a counter's first value is no rise yet
        before = scrapes(client)
        until(lambda: scrapes(client) >= before + 3, 60)
        ask_everything()
        before = scrapes(client)
        until(lambda: scrapes(client) >= before + 3, 60)
        found = {expression: query(client, expression) for expression in expressions()}

        assert [expression for expression, data in found.items() if not data] == []
        (share,) = found[next(e for e in expressions() if 'outcome=~"answered' in e)]
        assert float(share["value"][1]) == 1.0
        for name in ("failovers", "takeovers"):
            (rise,) = found[f"sum(increase(ai_gateway_{name}_total[$__range])) or vector(0)"]
            assert float(rise["value"][1]) > 0
        quantiles = [d for e, data in found.items() if "histogram_quantile" in e for d in data]
        assert any(0 < float(d["value"][1]) <= 300 for d in quantiles)

        page = asking.get("/metrics").text
    promtool = needs("promtool")
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")
    checked = subprocess.run(
        [promtool, "check", "config", str(EXAMPLES / "prometheus.yml")], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout
