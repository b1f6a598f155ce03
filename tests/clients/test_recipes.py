"""Every recipe of docs/clients.md is run as it is written; an editor's configuration is read, and its address asked."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from .recipes import Recipe, recipes, run, values
from .table import EXPLANATION, PAGE, WHOLE
from .world import TOKEN, World

RUN = recipes("python", "js", "bash")
NAMED = [
    pytest.param(recipe, id=f"{number} {recipe.where or 'curl'}", marks=pytest.mark.slow if recipe.where else ())
    for number, recipe in enumerate(RUN)
]


@pytest.mark.parametrize("recipe", NAMED)
def test_a_recipe_shows_the_answer(recipe: Recipe, world: World, tmp_path: Path):
    if recipe.where == "client-aider" and sys.version_info >= (3, 13):
        pytest.skip("Aider does not run on this Python")
    done = run(recipe, world, tmp_path)

    assert done.returncode == 0, done.stderr[-2000:]
    assert WHOLE in " ".join(done.stdout.split())  # some wrap it


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [r for r in RUN if "max_retries=0" in r.text or "maxRetries: 0" in r.text])
def test_a_recipe_without_retries_asks_once(recipe: Recipe, world: World, tmp_path: Path):
    world.meet("status_500", "status_500", "status_500")
    done = run(recipe, world, tmp_path)

    assert done.returncode != 0
    assert EXPLANATION in done.stderr
    assert world.requests == 1


def test_the_page_has_a_recipe_for_every_environment():
    pins = Path(__file__).parents[1] / "pins"
    assert {recipe.where for recipe in RUN if recipe.where} == {path.stem for path in pins.glob("client-*.in")}


def asks(world: World, address: str, model: str) -> str:
    """What a program gets that asks `address` for `model`, as OpenAI's clients do."""
    url = address if address.endswith("/chat/completions") else f"{address}/chat/completions"
    body = {"model": model, "messages": [{"role": "user", "content": "Tell me."}]}
    headers = {"authorization": f"Bearer {TOKEN}"}
    reply = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=60)
    assert reply.status_code == 200, reply.text
    assert not reply.json()["ai_gateway"]["notes"], "the model's name is not one of ours"
    return reply.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("recipe", [pytest.param(r, id=r.where) for r in recipes("json", "yaml")])
def test_an_editors_file_is_well_formed_and_its_address_answers(recipe: Recipe, world: World):
    read = json.loads if recipe.language == "json" else yaml.safe_load
    found = list(values(read(recipe.at(world))))
    address = next(value for key, value in found if key in ("url", "apiBase", "api_url"))
    model = next(value for key, value in found if value == "auto" and key in ("id", "model", "name"))

    assert asks(world, address, model) == WHOLE


@pytest.mark.parametrize("recipe", [pytest.param(r, id=r.text.splitlines()[-1]) for r in recipes("sh")])
def test_the_variables_of_a_program_lead_to_an_answer(recipe: Recipe, world: World):
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", recipe.at(world), re.MULTILINE))
    address = next(value for name, value in variables.items() if "BASE" in name)
    key = next(value for name, value in variables.items() if "KEY" in name)

    assert key == TOKEN
    assert asks(world, address, "auto") == WHOLE


def test_the_fields_of_forms_lead_to_an_answer(world: World):
    page = PAGE.read_text(encoding="utf-8")
    forms = re.findall(r"^\| [\w ]+ \| `(http\S+)` \| `(\w+)` \| `(\w+)` \|$", page, re.MULTILINE)

    assert len(forms) == 3
    assert set(forms) == {("http://127.0.0.1:8000/v1", TOKEN, "auto")}
    assert asks(world, f"{world.url}/v1", "auto") == WHOLE


def test_a_page_for_ollama_finds_what_it_asks(world: World):
    """As Open WebUI does: the version, the names, which are loaded, then a chat by a listed name."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=world.url, headers=headers, trust_env=False, timeout=60) as page:
        version = page.get("/api/version").json()["version"]
        names = [model["model"] for model in page.get("/api/tags").json()["models"]]
        loaded = page.get("/api/ps").json()["models"]
        turns = [{"role": "user", "content": "Tell me."}]
        lines = page.post("/api/chat", json={"model": "auto:latest", "messages": turns}).text.splitlines()

    assert [part.isdigit() for part in version.split(".")] == [True] * 3
    assert "auto:latest" in names
    assert all(":" in name for name in names)
    assert loaded == []
    assert "".join(json.loads(line)["message"]["content"] for line in lines) == WHOLE
