"""What was said about candidates is remembered in bounded room."""

from __future__ import annotations

from sglang.srt.tokenizer.score_memory import ScoreMemory


def test_what_was_used_last_is_forgotten_last() -> None:
    memory = ScoreMemory(capacity=5)
    memory.put(b"old", [1, 2], [-1.0, -2.0])
    memory.put(b"used", [1, 2], [-3.0, -4.0])
    assert memory.get(b"old", [2, 1]) == [-2.0, -1.0]
    memory.put(b"new", [7, 8], [-5.0, -6.0])
    assert memory.get(b"used", [1]) is None
    assert memory.get(b"old", [1]) == [-1.0] and memory.get(b"new", [8]) == [-6.0]


def test_what_is_learnt_of_a_known_place_is_added_and_counted_once() -> None:
    memory = ScoreMemory(capacity=4)
    memory.put(b"here", [1, 2], [-1.0, -2.0])
    memory.put(b"here", [2, 3], [-2.0, -3.0])
    memory.put(b"there", [1], [-9.0])
    assert memory.get(b"here", [1, 2, 3]) == [-1.0, -2.0, -3.0] and memory.get(b"there", [1]) == [-9.0]
    assert memory.get(b"here", [4]) is None


def test_nothing_is_known_after_clear() -> None:
    memory = ScoreMemory(capacity=2)
    memory.put(b"key", [1, 2], [-1.0, -2.0])
    memory.clear()
    assert memory.get(b"key", [1]) is None
    memory.put(b"other", [1, 2], [-1.0, -2.0])
    assert memory.get(b"other", [1, 2]) == [-1.0, -2.0]
