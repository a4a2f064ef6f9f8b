"""Whole programs, written in the language and with the ``openai`` client, side by side."""
