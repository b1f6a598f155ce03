"""The image, really built from the Dockerfile, and really started the way the documents say."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER

from .containers import UID, Container, running
from .images import Image, Images
from .trees import clone_into

pytestmark = pytest.mark.slow

SECRET = "canary-5f1c0e"  # lies about in the folder that is built from
QUESTION = {
    "prompt": "What does the document say about refunds?",
    "documents": ["Refund policy: customers may return items within 30 days."],
}


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    made = Images(tmp_path / "images")
    yield made
    made.close()


def test_the_image_keeps_what_the_documents_promise(images: Images, tmp_path: Path, subtests: pytest.Subtests) -> None:
    # One test, so that the image is built once, wherever the tests are spread over processes.
    context = _untidy(clone_into(tmp_path / "context"))
    image = images.build(context, "localhost/gateway")
    state = _volume(tmp_path / "state")

    with subtests.test("the user is not root, and what Docker is told is there"):
        assert image.config["User"] == f"{UID}:{UID}"
        assert list(image.config["Volumes"]) == ["/state"]
        assert list(image.config["ExposedPorts"]) == ["8000/tcp"]
    with running(images, image, state) as first:
        first.wait_for("serves on")
        token = _promises_of_a_start(first, image, state, subtests)
        with subtests.test("nothing that made it is in it, and no secret"):
            _holds_nothing_else(first, image)
        with subtests.test("the page is in it, and works on a read-only file system"):
            _wait_for_page(first, token)
        with subtests.test("SIGTERM stops process 1 cleanly, well before Docker would kill it"):
            begun = time.monotonic()
            assert first.stop() == 0, first.output
            assert time.monotonic() - begun < 9

    with (
        subtests.test("the second start keeps the token and says nothing of it"),
        running(images, image, state) as again,
    ):
        again.wait_for("serves on")
        assert "access token" not in again.output
        assert token not in again.output
        assert again.call("/status", authorization=f"Bearer {token}").status == 200
    with subtests.test("a token of one's own wins, from the environment or from a file"):
        _own_tokens(images, image, state)
    with subtests.test("a volume that cannot be written is told with its cure"):
        foreign = tmp_path / "foreign"
        foreign.mkdir(mode=0o700)
        with running(images, image, foreign) as refused:
            assert refused.wait() == 2
            assert f"cannot be written by user {UID}" in refused.output
            assert "chown" in refused.output
    with subtests.test("an Ollama that only the compose network knows answers, also under LOCAL_ONLY"):
        _ollama_beside_it(images, image, _volume(tmp_path / "beside"))

    slim = images.build(context, "localhost/gateway-api", REQUIREMENTS="requirements-server.txt")
    with subtests.test("without the page it is a fraction, and serves the API"):
        with running(images, slim, _volume(tmp_path / "slim"), AI_GATEWAY_TOKEN="mine") as api:
            api.wait_for("serves on")
            assert api.call("/ai/query/rag", QUESTION, authorization="Bearer mine").json()["backend"] == "local"
            assert api.exec("python3", "-c", "import gradio").returncode == 1
        print(f"sizes: {image.bytes / 1e6:.0f} MB, without the page {slim.bytes / 1e6:.0f} MB")
        assert slim.bytes < image.bytes - 200e6


def _promises_of_a_start(container: Container, image: Image, state: Path, subtests: pytest.Subtests) -> str:
    kept = state / "access_token"
    token = kept.read_text().strip()
    bearer = f"Bearer {token}"
    with subtests.test("the first start makes a token, tells where it is, and does not tell it"):
        assert len(token) >= 43  # 32 random bytes in base64
        assert (kept.stat().st_mode & 0o777, kept.stat().st_uid) == (0o600, UID)
        assert "docker exec 0123456789ab cat /state/access_token" in container.output
        assert token not in container.output
        assert container.exec("cat", "/state/access_token").stdout.strip() == token
    with subtests.test("process 1 is the gateway itself, with no right beyond its user's"):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{container.pid}/status").read_text().splitlines())
        assert status["NSpid"].split()[-1] == "1"
        assert b"serve" in Path(f"/proc/{container.pid}/cmdline").read_bytes()
        assert {status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
        assert set(status["Uid"].split()) == {str(UID)}
    with subtests.test("health needs no token, everything else does"):
        assert container.call("/health").json()["status"] == "degraded"
        assert container.call("/ai/query/rag", QUESTION).status == 401
        assert container.call("/status", authorization="Bearer wrong").status == 401
        answer = container.call("/ai/query/rag", QUESTION, authorization=bearer)
        assert answer.status == 200, answer.text
        assert answer.json()["backend"] == "local"
        assert "return items within 30 days" in answer.json()["response"]
    with subtests.test("a foreign Host is refused"):
        assert container.call("/health", host="evil.example").status == 403
        assert container.call("/health", host="localhost:8123").status == 200
    with subtests.test("the health check says yes, and no where nobody answers"):
        check = image.config["Healthcheck"]["Test"][1:]
        healthy = container.exec(*check)
        assert healthy.returncode == 0, healthy.stderr
        sick = container.exec(*check, AI_GATEWAY_PORT="9")
        assert (sick.returncode, sick.stderr) == (1, "container-health: no answer (ConnectionRefusedError)\n")
        behind_proxy = container.exec(*check, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
        assert behind_proxy.returncode == 0
    with subtests.test("nothing but the volume and /tmp can be written"):
        for path, code in (("/state/probe", 0), ("/tmp/probe", 0), ("/opt/ai-gateway/probe", 1), ("/probe", 1)):
            assert container.exec("touch", path).returncode == code, path
    return token


def _untidy(context: Path) -> Path:
    """As people's folders are: with keys, history and half of yesterday's work in them."""
    for name in (".env", "server/.env", "webui/.env.local", ".git/config", ".venv/pyvenv.cfg", "gateway_core/x.pyc",
                 "server/__pycache__/old.cpython-311.pyc"):  # fmt: skip
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    return context


def _volume(folder: Path) -> Path:
    """As a named volume is at first: empty, with the owner that the image's folder has."""
    folder.mkdir(mode=0o700)
    os.chown(folder, UID, UID)
    return folder


def _holds_nothing_else(container: Container, image: Image) -> None:
    root = Path(f"/proc/{container.pid}/root")
    assert "secret" not in image.history.replace("type=secret", "")
    assert not (root / "etc/pip.conf").exists()
    assert not (root / "etc/ssl/build-ca.pem").exists()
    for tool in ("gcc", "pip", "git", "make", "hatchling"):
        assert container.exec("sh", "-c", f"command -v {tool}").returncode, tool
    installed = root / "opt/ai-gateway"
    site = next(installed.glob("lib/python3*/site-packages"))
    assert not list(site.glob("*.pth"))
    assert not {"pip", "hatchling", "pytest", "tests"} & {path.name for path in site.iterdir()}
    assert (site / "gateway_core/tiers/providers.toml").is_file()
    assert (site / "webui/static/app.js").is_file()
    assert list((site / "gateway_core/__pycache__").glob("settings.*.pyc"))  # nothing can be compiled later
    for folder in ("opt", "state", "usr/local", "tmp", "home", "root"):
        for path in (root / folder).rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 10_000:
                assert SECRET.encode() not in path.read_bytes(), path


def _wait_for_page(container: Container, token: str) -> None:
    for _ in range(300):
        page = container.call("/ui/", authorization=f"Bearer {token}", accept="text/html")
        if "The page is loading" not in page.text:
            break
        time.sleep(0.2)
    assert page.status == 200, page.text
    assert "gradio" in page.text


def _own_tokens(images: Images, image: Image, state: Path) -> None:
    secret = state / "mounted-secret"
    secret.write_text("from-a-file\n")
    secret.chmod(0o444)
    for given, right in (
        ({"AI_GATEWAY_TOKEN": "from-the-environment", "AI_GATEWAY_TOKEN_FILE": "/nowhere"}, "from-the-environment"),
        ({"AI_GATEWAY_TOKEN_FILE": "/state/mounted-secret"}, "from-a-file"),
    ):
        with running(images, image, state, "ai-gateway", "serve", "--no-ui", **given) as container:
            container.wait_for("serves on")
            assert container.call("/status", authorization=f"Bearer {right}").status == 200
            assert container.call("/status", authorization="Bearer wrong").status == 401
    with running(images, image, state, AI_GATEWAY_TOKEN_FILE="/run/secrets/token") as refused:
        assert refused.wait() == 2
        assert "AI_GATEWAY_TOKEN_FILE: /run/secrets/token cannot be read" in refused.output


# As in its own image, Ollama listens on every address and lets every name in.
_OLLAMA = """
import sys
from gateway_core.testing import OllamaSimulator
with OllamaSimulator(port=11434) as ollama:
    ollama.check_host = False
    print("ready", flush=True)
    sys.stdin.read()
"""


def _ollama_beside_it(images: Images, image: Image, state: Path) -> None:
    """The network has no way out, as an internal one of compose's; `ollama` is a name that only it knows."""
    assert _asked_for_hello(images, image, state) == "ollama"
    assert _asked_for_hello(images, image, state, LOCAL_ONLY="1") == "local_only"
    assert _asked_for_hello(images, image, state, LOCAL_ONLY="1", LOCAL_NETWORK="1") == "ollama"


def _asked_for_hello(images: Images, image: Image, state: Path, **rules: str) -> str:
    """Who answered, or why Ollama was not asked."""
    compose = {"OLLAMA_BASE_URL": "http://ollama:11434", "AI_GATEWAY_TOKEN": "mine", **rules}
    with running(images, image, state, "ai-gateway", "serve", "--no-ui", names=["ollama"], **compose) as container:
        container.wait_for("serves on")
        with container.beside(sys.executable, "-c", _OLLAMA):
            reply = container.call(
                "/ai/query", {"prompt": "Hello", "details": True}, authorization="Bearer mine"
            ).json()
    if "attempts" in reply:
        return next(str(attempt["reason"]) for attempt in reply["attempts"] if attempt["mode"] == "ollama")
    assert reply["response"] == DEFAULT_ANSWER
    return str(reply["details"]["mode"])
