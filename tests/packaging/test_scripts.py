"""The shell scripts, read by shellcheck."""

import subprocess

import pytest

from tests.environments import ROOT, environment


@pytest.mark.slow
def test_the_shell_scripts_are_clean() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    scripts = [name for name in tracked if (ROOT / name).is_file() and _is_shell(name)]
    assert len(scripts) >= 5
    shellcheck = environment("shellcheck") / "shellcheck"
    done = subprocess.run([shellcheck, "-x", "-P", "SCRIPTDIR", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _is_shell(name: str) -> bool:
    if name.endswith(".sh"):
        return True
    with (ROOT / name).open("rb") as file:  # the last: scripts that others source
        return file.readline().startswith(
            (b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash", b"# shellcheck shell=")
        )
