"""Gradio's queue is private; should its names change, the page would burn a battery in silence."""

from __future__ import annotations

import pytest

gradio = pytest.importorskip("gradio", reason="gradio is not installed")


@pytest.mark.slow
async def test_the_queue_still_has_the_pauses_that_the_page_lengthens():
    queue = gradio.Blocks()._queue

    assert hasattr(queue, "sleep_when_free")
    assert hasattr(queue, "progress_update_sleep_when_free")
