"""Measurements, run by hand: what a change costs and brings."""
