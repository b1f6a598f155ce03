"""A missing extra comes with the command that adds it here."""

import os

import pytest

from gateway_core.extras import how_to_add


@pytest.mark.skipif(os.name == "nt", reason="Windows has its programs in another folder")
def test_who_runs_from_the_repository_is_sent_to_no_index_for_it(tmp_path):
    (tmp_path / "pyproject.toml").touch()

    told = how_to_add("local", home=tmp_path, prefix=str(tmp_path / ".venv"))

    assert told == '.venv/bin/pip install -e ".[local]" in the folder of AI Gateway'


def test_another_environment_is_left_to_its_own_pip(tmp_path):
    (tmp_path / "pyproject.toml").touch()

    told = how_to_add("otel", home=tmp_path, prefix=str(tmp_path / "elsewhere"))

    assert told == 'pip install -e ".[otel]" in the folder of AI Gateway'


def test_an_installed_package_is_told_by_its_name(tmp_path):
    assert how_to_add("local", home=tmp_path) == 'pip install "ai-failover-gateway[local]"'
