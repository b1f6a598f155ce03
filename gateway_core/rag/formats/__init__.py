"""Readers, one per format. Each takes the bytes and gives text with its places; they run in a child process."""
