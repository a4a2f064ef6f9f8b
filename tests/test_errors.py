"""What errors say of what a client sent, however much that is."""

from __future__ import annotations

from sglang.srt.errors import did_you_mean


def test_a_name_that_is_not_known() -> None:
    assert did_you_mean("txet", ["text", "rid"], "fields") == "did you mean 'text'?"
    assert did_you_mean("a", ["text", "rid"], "fields") == "known fields: text, rid"


def test_a_name_may_be_of_any_length_and_any_number_may_be_known() -> None:
    """A field's name of 20 million characters was compared for more than a second, and all names were listed."""
    assert did_you_mean("xy" * 10_000_000, ["text", "rid"], "fields") == "known fields: text, rid"
    said = did_you_mean("none", (f"f{number}" for number in range(100_000)), "tools")
    assert said.startswith("known tools: f0, f1, ") and said.endswith(", f199, ...")
