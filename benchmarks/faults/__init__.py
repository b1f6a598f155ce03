"""Eighteen faults of the tier asked first, and what the caller of a gateway sees of them."""
