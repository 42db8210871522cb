"""Resumed, verified downloads, and files out of archives; knows nothing of GPT-2."""
