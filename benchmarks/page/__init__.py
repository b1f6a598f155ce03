"""What the page costs: `python -m benchmarks.page`."""
