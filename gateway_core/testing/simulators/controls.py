"""The controls over HTTP, for who runs the simulators in another process: `/_sim/...` on each one's own port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from .script import LINES
from .wire import Reply, Request, json_reply

if TYPE_CHECKING:
    from .simulator import Simulator

PREFIX = "/_sim/"


def reply_to(request: Request, simulator: Simulator) -> Reply:
    """Do what a control request asks; a wrong one is told what is allowed."""
    control = CONTROLS.get((request.method, request.path.removeprefix(PREFIX)))
    if control is None:
        known = ", ".join(f"{method} {PREFIX}{path}" for method, path in CONTROLS)
        return json_reply({"error": f"no such control; there are {known}"}, 404)
    wanted = request.json if request.body else {}
    if not isinstance(wanted, dict):
        return json_reply({"error": "the body has to be a JSON object"}, 400)
    try:
        return json_reply(control(simulator, {**request.query, **wanted}))
    except (ValueError, TypeError, KeyError) as wrong:
        return json_reply({"error": str(wrong)}, 400)


def _script(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    unknown = wanted.keys() - {"faults", "then", "free"}
    entries = wanted.get("faults", [])
    if unknown or not isinstance(entries, list):
        raise ValueError('a script is {"faults": ["status_500", ...], "then": "ok", "free": "ok"}')
    simulator.script(*entries, **{key: wanted[key] for key in ("then", "free") if key in wanted})
    return {"status": "ok"}


def _calls(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    calls = simulator.calls_to(wanted["path"]) if "path" in wanted else simulator.calls
    return [asdict(call) for call in calls if call.paid or "paid" not in wanted]


def _counts(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    return simulator.counts


def _reset(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    simulator.reset()
    return {"status": "ok"}


def _config(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    for name, value in wanted.items():
        simulator.configure(name, value)
    return {name: _plain(value) for name, value in simulator.settings.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, list, tuple, type(None))) else str(value)


def _faults(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    return {**LINES, **{name: f"HTTP {reply.status}" for name, reply in simulator.named_errors.items()}}


def _down(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    simulator.rest(float(wanted.get("seconds", 1)))
    return {"status": "ok"}


def _do(simulator: Simulator, wanted: dict[str, Any]) -> Any:
    name = wanted.pop("action", "")
    if name not in simulator.actions:
        raise ValueError(f"unknown action {name!r}; there are {', '.join(simulator.actions)}")
    getattr(simulator, name)(**wanted)
    return {"status": "ok"}


CONTROLS: Mapping[tuple[str, str], Callable[[Simulator, dict[str, Any]], Any]] = {
    ("POST", "script"): _script,
    ("GET", "calls"): _calls,
    ("GET", "counts"): _counts,
    ("POST", "reset"): _reset,
    ("GET", "config"): _config,
    ("POST", "config"): _config,
    ("GET", "faults"): _faults,
    ("POST", "down"): _down,
    ("POST", "do"): _do,
}
