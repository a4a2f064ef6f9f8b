"""Whatever the two processes say to each other arrives as it was sent."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang.srt import messages
from sglang.srt.args import EngineArgs
from sglang.srt.messages import (
    Abort,
    EngineStart,
    FinishReason,
    FromEngine,
    GenerateRequest,
    RequestOutput,
    SetVocab,
    StepOutput,
    Submit,
    ToEngine,
    TokenLogprob,
)
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.vocab import Vocab

SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=8),
    bytes: st.binary(max_size=8),
    types.NoneType: st.none(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotation that occurs in a message."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    if kind is EngineArgs:  # checks its values
        return st.builds(EngineArgs, model_path=st.just("m"), random_seed=st.none() | st.integers(0, 2**63 - 1))
    if get_origin(kind) is not None:
        return GENERIC[get_origin(kind)](get_args(kind))
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values_of(hints[name]) for name in kind.__struct_fields__})


def _any_of(kinds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.one_of([values_of(kind) for kind in kinds])


def _tuples(kinds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if kinds[-1] is Ellipsis:
        return st.lists(values_of(kinds[0]), max_size=3).map(tuple)
    return st.tuples(*map(values_of, kinds))


GENERIC: dict[Any, Callable[[tuple[Any, ...]], st.SearchStrategy[Any]]] = {
    Literal: st.sampled_from,
    Union: _any_of,
    types.UnionType: _any_of,
    tuple: _tuples,
    list: lambda kinds: st.lists(values_of(kinds[0]), max_size=3),
    dict: lambda kinds: st.dictionaries(*map(values_of, kinds), max_size=3),
}


def sent(message: Any, kind: Any) -> Any:
    """`message` as the other process reads it."""
    return msgspec.msgpack.Decoder(kind).decode(msgspec.msgpack.Encoder().encode(message))


DIRECTIONS = [
    *(pytest.param(kind, ToEngine, id=kind.__name__) for kind in get_args(ToEngine)),
    *(pytest.param(kind, FromEngine, id=kind.__name__) for kind in get_args(FromEngine)),
    pytest.param(EngineStart, EngineStart, id="EngineStart"),
]


@pytest.mark.parametrize(("kind", "direction"), DIRECTIONS)
@settings(max_examples=40)
@given(data=st.data())
def test_round_trip(kind: type[msgspec.Struct], direction: Any, data: st.DataObject) -> None:
    message = data.draw(values_of(kind))
    received = sent(message, direction)
    assert type(received) is kind and received == message


def test_every_struct_is_part_of_a_message() -> None:
    """So the round trips above cover the whole module."""
    found: set[type] = set()

    def collect(kind: Any) -> None:
        for argument in get_args(kind):
            collect(argument)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found.add(kind)
            for hint in typing.get_type_hints(kind).values():
                collect(hint)

    for kind in (ToEngine, FromEngine, EngineStart):
        collect(kind)
    defined = {value for value in vars(messages).values() if isinstance(value, type) and value is not msgspec.Struct}
    assert {kind for kind in defined if issubclass(kind, msgspec.Struct)} <= found


@pytest.mark.parametrize(
    "message",
    [
        SetVocab(Vocab(token_bytes=[b"", b"\xff\x00", "ü".encode(), b"<|im_end|>"], special_ids=[3], eos_ids=[3])),
        Submit([]),
        Abort([]),
        Submit(
            [
                GenerateRequest(
                    rid="α",
                    input_ids=b"\0\1\2\3",
                    max_new_tokens=1,
                    params=SamplingParams(logit_bias={5: -100.0}, stop=("\n",), max_new_tokens=None),
                    seed=2**63 - 1,
                    logprob_start_len=0,
                )
            ]
        ),
    ],
)
def test_examples_to_the_engine(message: Any) -> None:
    assert sent(message, ToEngine) == message


def test_an_output_with_everything_set() -> None:
    entry = TokenLogprob(-1e-300, 7, [(-0.0, 1), (float("-inf"), 2)])
    finish = FinishReason(type="stop", matched=7)
    output = RequestOutput("r", [1], b"\xe2\x82", finish, 3, 1, [TokenLogprob(None, 9), entry], [entry])
    assert sent(StepOutput([output, RequestOutput("s", [], b"")]), FromEngine).outputs[0] == output


@pytest.mark.parametrize("matched", [7, "7", None])
def test_a_matched_stop_keeps_its_type(matched: int | str | None) -> None:
    reason = sent(FinishReason(type="stop", matched=matched), FinishReason)
    assert reason.matched == matched and type(reason.matched) is type(matched)


def test_a_received_vocabulary_works() -> None:
    vocab = sent(SetVocab(Vocab(token_bytes=[b"a", b"<e>"], special_ids=[1], eos_ids=[1])), ToEngine).vocab
    assert vocab.size == 2 and vocab.eos == {1}
    assert [vocab.visible_bytes(i, skip_special_tokens=True) for i in range(3)] == [b"a", b"", b""]
    assert vocab.visible_bytes(1, skip_special_tokens=False) == b"<e>"


def test_the_directions_share_no_tag() -> None:
    tags = [kind.__struct_config__.tag for kind in (*get_args(ToEngine), *get_args(FromEngine))]
    assert len(set(tags)) == len(tags)
    with pytest.raises(msgspec.ValidationError):
        sent(Abort(["r"]), FromEngine)


@pytest.mark.parametrize("message", [{"type": "abort"}, {"type": "abort", "rids": "r"}, {"type": "what"}, {}, [], None])
def test_nonsense_is_refused(message: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        sent(message, ToEngine)
