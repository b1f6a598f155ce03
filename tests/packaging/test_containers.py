"""The Dockerfile and the compose file, read; `test_image.py` builds and starts the image."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_core import Settings
from tests.environments import ROOT, environment

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
GATEWAY: dict[str, Any] = COMPOSE["services"]["gateway"]
OLLAMA: dict[str, Any] = COMPOSE["services"]["ollama"]
GUIDE = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
OF_THE_IMAGE = {"AI_GATEWAY_TOKEN_FILE"}  # read by scripts/container-start, not by the gateway


@pytest.mark.slow
def test_hadolint_has_nothing_to_say() -> None:
    hadolint = environment("hadolint") / "hadolint"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_ports_are_published_on_this_machine_only() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:${AI_GATEWAY_PORT:-8000}:8000"]
    assert "network_mode" not in GATEWAY


def test_every_variable_that_compose_gives_is_a_setting() -> None:
    given = set(GATEWAY["environment"])
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert len(given) > 10
    assert {name for name in given | asked if name.lower() not in Settings.model_fields} == set()


def test_the_gateway_starts_with_what_compose_gives() -> None:
    given = {name: str(value) for name, value in GATEWAY["environment"].items() if value is not None}
    fixed = {name.lower(): re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in given.items()}
    settings = Settings.load(**fixed)
    assert (settings.ollama_base_url, settings.local_network) == ("http://ollama:11434", True)
    assert settings.allowed_hosts == ("gateway",)
    assert (settings.ai_gateway_host, settings.ai_gateway_port) == ("0.0.0.0", 8000)
    assert settings.ai_gateway_token is None


def test_the_documented_names_reach_the_gateway_from_the_shell() -> None:
    """`GITHUB_COPILOT_TOKEN=... OPENAI_API_KEY=... docker compose up` is what people type."""
    passed_on = {name for name, value in GATEWAY["environment"].items() if value is None}
    assert passed_on >= {"GITHUB_COPILOT_TOKEN", "OPENAI_API_KEY", "CLOUD_PROVIDER", "LOCAL_MODEL", "AI_GATEWAY_TOKEN"}
    assert GATEWAY["env_file"] == [{"path": ".env", "required": False}]


def test_no_secret_is_written_in_either_file() -> None:
    secrets = [name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert [name for name in secrets if GATEWAY["environment"].get(name) is not None] == []
    assert [name for name in secrets if name in DOCKERFILE] == []


def test_containers_have_no_rights_to_spare() -> None:
    for service in (GATEWAY, OLLAMA):
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
    assert GATEWAY["read_only"] is True
    assert GATEWAY["init"] is True
    (volume,) = GATEWAY["volumes"]
    assert volume == "state:/state"
    assert "AI_GATEWAY_STATE_DIR=/state" in DOCKERFILE


def test_ollama_is_reached_by_the_gateway_only() -> None:
    assert "ports" not in OLLAMA
    assert OLLAMA["expose"] == ["11434"]
    assert OLLAMA["healthcheck"]["test"] == ["CMD", "ollama", "list"]
    assert OLLAMA["volumes"] == ["models:/root/.ollama"]
    assert set(COMPOSE["volumes"]) == {"state", "models"}


def test_every_file_that_the_image_is_made_of_is_let_through() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
              for word in line.split()]  # fmt: skip
    assert len(copied) >= 10
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(Path(name).match(pattern) for pattern in let_in), name
    for kept_out in (".env", ".git", ".venv", "tests", "notebooks", "docker-compose.yml"):
        assert not any(Path(kept_out).match(pattern) for pattern in let_in), kept_out


def test_every_package_that_is_shipped_is_copied() -> None:
    packages = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    for name in re.findall(r'"(\w+)"', packages[1]):
        assert f"COPY {name} {name}\n" in DOCKERFILE


def test_everything_that_is_installed_is_pinned_with_its_hash() -> None:
    for name in ("requirements.txt", "requirements-server.txt", "requirements-build.txt"):
        text = (ROOT / name).read_text()
        assert name in DOCKERFILE
        assert "://" not in text
        for requirement in re.split(r"\n(?=[a-z])", text):
            assert re.match(r"[\w.-]+==\S+", requirement), requirement
            assert "--hash=sha256:" in requirement, requirement
    installs = re.findall(r"pip (?:--python \S+ )?install (.*?)(?: &&|$)", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 3
    assert all("--require-hashes" in options or "--no-index" in options for options in installs)


def test_the_image_without_the_page_has_the_same_versions() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))

    server, page = versions("requirements-server.txt"), versions("requirements.txt")
    beside = {line.partition("==")[0] for line in server - page}
    assert beside == {"redis", "async-timeout"}  # for circuits that machines share
    assert any(line.startswith("gradio==") for line in page - server)


def test_what_starts_the_container_can_be_executed() -> None:
    for name in ("container-start", "container-health"):
        assert os.access(ROOT / "scripts" / name, os.X_OK)


def test_the_guide_names_what_exists() -> None:
    for name in set(re.findall(r"`([A-Z][A-Z_]{5,})[`=]", GUIDE)) - OF_THE_IMAGE - {"REQUIREMENTS"}:
        assert name.lower() in Settings.model_fields, name
    for service in re.findall(r"docker compose exec (?:-T )?(\w+)", GUIDE):
        assert service in COMPOSE["services"]
    assert "ARG REQUIREMENTS" in DOCKERFILE
    assert "requirements-server.txt" in GUIDE
