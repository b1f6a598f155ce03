"""What is published: what is in it, and that it installs and runs the ways people install programs."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from gateway_core import __version__
from tests.environments import ROOT, environment

from .trees import clone_into, tracked

pytestmark = pytest.mark.slow

PACKAGES = {"gateway_core", "notebook_ext", "server", "webui"}
POLICY = "Refund policy: customers may return items within 30 days.\nShipping takes five working days.\n"
_OUTSIDE = dict(os.environ)  # as the run was started: the tests themselves live in an empty home
_UV = str(Path(sys.executable).with_name("uv"))


@dataclass(frozen=True)
class Published:
    wheel: Path
    sdist: Path

    def spec(self, *extras: str) -> str:
        return f"ai-failover-gateway[{','.join(extras)}] @ {self.wheel.as_uri()}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Wheel and source archive of the tracked files, the wheel made from the archive, by pinned tools."""
    source = clone_into(tmp_path_factory.mktemp("source"))
    for name in (".env", "webui/.env", "notes.pth", "gateway_core/__pycache__/old.pyc"):  # people's folders hold more
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("canary")
    out = tmp_path_factory.mktemp("published")
    pins = ["--build-constraints", str(ROOT / "requirements-build.txt"), "--require-hashes"]
    _run([_UV, "build", "--quiet", "--python", sys.executable, *pins, "--out-dir", str(out), str(source)], _OUTSIDE)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Published(wheel, sdist)


def test_the_wheel_holds_our_packages_and_nothing_else(published: Published) -> None:
    assert published.wheel.name == f"ai_failover_gateway-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(published.wheel) as wheel:
        names = wheel.namelist()
    about = f"ai_failover_gateway-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == PACKAGES | {about}
    wanted = {name for name in tracked() if name.partition("/")[0] in PACKAGES}
    assert {name for name in names if not name.startswith(about)} == wanted
    assert not [name for name in names if name.endswith((".pth", ".pyc")) or "/tests/" in name or ".env" in name]
    assert wanted > {
        "gateway_core/py.typed",
        "gateway_core/tiers/providers.toml",
        "gateway_core/tiers/local_catalogue.json",
        "webui/static/app.js",
        "webui/static/icon.svg",
    }
    assert f"{about}/licenses/LICENSE" in names


def test_the_source_archive_can_be_built_and_holds_no_stray_file(published: Published) -> None:
    with tarfile.open(published.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"LICENSE", "README.md", "pyproject.toml", "gateway_core/__init__.py", "tests/conftest.py"}
    assert names - set(tracked()) - {"PKG-INFO"} == set()


def test_the_metadata_claims_only_what_is_true(published: Published) -> None:
    about = _metadata(published.wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert about["Name"] == "ai-failover-gateway"
    assert about["Version"] == __version__
    assert 20 < len(about["Summary"]) < 200
    assert about["License-Expression"] == "MIT"
    assert about["Requires-Python"] == ">=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    assert (about.get_all("Project-URL"), about["Home-page"]) == (None, None)  # it has no public home yet
    classifiers = about.get_all("Classifier") or []
    versions = [
        line.rpartition(" ")[2] for line in classifiers if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert versions[0] == "3.11"
    assert not [line for line in classifiers if line.startswith("License ::")]  # the expression says it
    assert set(about.get_all("Provides-Extra") or []) == set(project["optional-dependencies"])
    needed = [line for line in about.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert {re.split(r"[<>=~ ;\[]", line)[0] for line in needed} == {"httpx", "pydantic", "pydantic-settings"}


def test_pipx_installs_a_gateway_that_answers_and_serves(published: Published, tmp_path: Path) -> None:
    pipx = environment("pipx") / "pipx"
    home = _home(tmp_path)
    where = {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin"), "PIPX_MAN_DIR": str(home / "man")}
    options = ["--backend", "pip", "--python", sys.executable, f"--pip-args=--constraint={_constraints(tmp_path)}"]
    done = _run([str(pipx), "install", *options, published.spec("server")], _for_installing(home) | where)
    assert "ai-gateway" in done
    _answers_and_serves(home / "bin" / "ai-gateway", home)


def test_uv_installs_a_gateway_that_answers_and_serves(published: Published, tmp_path: Path) -> None:
    home = _home(tmp_path)
    where = {"UV_TOOL_DIR": str(home / "tools"), "UV_TOOL_BIN_DIR": str(home / "bin")}
    options = ["--python", sys.executable, "--constraints", str(_constraints(tmp_path))]
    _run([_UV, "tool", "install", *options, published.spec("server")], _for_installing(home) | where)
    _answers_and_serves(home / "bin" / "ai-gateway", home)


def test_without_extras_it_answers_and_says_what_serving_needs(published: Published, tmp_path: Path) -> None:
    home = _home(tmp_path)
    place = tmp_path / "plain"
    _run([_UV, "venv", "--quiet", "--python", sys.executable, str(place)], _for_installing(home))
    options = ["--quiet", "--python", str(place / "bin" / "python"), "--constraints", str(_constraints(tmp_path))]
    _run([_UV, "pip", "install", *options, str(published.wheel)], _for_installing(home))
    program = place / "bin" / "ai-gateway"
    _quotes_and_cites(program, home)
    refused = subprocess.run([program, "serve"], env=_for_running(home), cwd=home, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert line.endswith("install it: pip install 'ai-failover-gateway[server]'")


# ---- installed programs


def _answers_and_serves(program: Path, home: Path) -> None:
    def told(*arguments: str) -> str:
        return _run([str(program), *arguments], _for_running(home), home)

    assert told("--version") == f"ai-gateway {__version__}\n"
    assert re.search(r"^copilot +not asked: no GitHub token$", told("status"), re.MULTILINE)
    _quotes_and_cites(program, home)
    serving = [program, "serve", "--no-ui", "--port", "0"]
    with subprocess.Popen(serving, env=_for_running(home), cwd=home, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert url is not None
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"{url[0]}/health", timeout=30
            ) as reply:
                health = json.load(reply)
        finally:
            process.terminate()
            process.communicate(timeout=60)  # reads what it still says
    assert health["status"] == "degraded"
    assert process.returncode == 0


def _quotes_and_cites(program: Path, home: Path) -> None:
    (home / "policy.txt").write_text(POLICY)
    answer = _run([str(program), "ask", "When may items be returned?", "-d", "policy.txt"], _for_running(home), home)
    assert "> Refund policy: customers may return items within 30 days." in answer
    assert "[1] (policy.txt)" in answer


def _home(tmp_path: Path) -> Path:
    home = tmp_path / "new-home"
    home.mkdir()
    return home


def _for_installing(home: Path) -> dict[str, str]:
    """The machine's way to its packages, and an empty home."""
    own = Path(_OUTSIDE.get("HOME", "/")) / ".config" / "pip" / "pip.conf"
    conf = {"PIP_CONFIG_FILE": str(own)} if own.is_file() and "PIP_CONFIG_FILE" not in _OUTSIDE else {}
    kept = {name: value for name, value in _OUTSIDE.items() if not name.startswith(("PIPX_", "XDG_", "VIRTUAL_ENV"))}
    return {**kept, **conf, "HOME": str(home), "UV_LINK_MODE": "copy"}


def _for_running(home: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "OLLAMA_BASE_URL": "http://127.0.0.1:9"}


def _constraints(tmp_path: Path) -> Path:
    """The pinned versions; their hashes would forbid a wheel of our own beside them."""
    pinned = re.findall(r"^([\w.-]+==[^\\\n]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    path = tmp_path / "constraints.txt"
    path.write_text("\n".join(pinned))
    return path


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(opened.read(name))


def _run(command: list[str], variables: dict[str, str], folder: Path | None = None) -> str:
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command[:3]}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout
