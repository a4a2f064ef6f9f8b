"""Every way through the examples' branches. The model takes one of them in test_examples; here a script decides."""

from __future__ import annotations

import json
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.backends.base import Prompt
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import VariableNotSetError
from tests.examples.running import Run, run_here

LIKELY, UNLIKELY = [-0.1], [-9.0]


def run_on(mock: sgl.Mock, name: str) -> Run:
    """An example with a mock in place of its server or Runtime."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sgl, "Runtime", lambda model_path: mock)
        patch.setattr(sgl, "RuntimeEndpoint", lambda url: mock)
        patch.setattr(sgl.global_config, "default_backend", None)
        return run_here(name)


def choosing(wanted: str, *others: str) -> sgl.Mock:
    return sgl.Mock(scores={wanted: LIKELY, **dict.fromkeys(others, UNLIKELY)})


@pytest.mark.parametrize(
    ("tool", "other", "name"), [("calculator", "search engine", "expression"), ("search engine", "calculator", "word")]
)
def test_tool_use(tool: str, other: str, name: str) -> None:
    tool_use = run_on(choosing("search engine", "calculator"), "000_1_tool_use.py")["tool_use"]
    state = tool_use.run("What is the population of London?", backend=choosing(tool, other))
    assert state["tool"] == tool
    assert name in state
    with pytest.raises(VariableNotSetError, match=name):
        _ = state[({"expression", "word"} - {name}).pop()]


@pytest.mark.parametrize(
    ("category", "asks"), [("技术问题", "查询技术文档后"), ("账务问题", "查询订单系统后"), ("其他", None)]
)
def test_customer_service(category: str, asks: str | None) -> None:
    categories = {"技术问题", "账务问题", "其他"}
    service = run_on(choosing("技术问题", "账务问题", "其他"), "004_4_customer_service.py")["customer_service"]
    state = service.run(query="我的产品无法登录", backend=choosing(category, *(categories - {category})))
    assert state["category"] == category
    assert ("answer" in state) == (asks is not None)
    assert (asks or "您的问题已转接人工客服") in state.text()


@pytest.mark.parametrize("action", ["搜索", "计算", "回答"])
def test_agent(action: str) -> None:
    actions = {"搜索", "计算", "回答"}
    run = run_on(choosing(action, *(actions - {action})), "001_12_react_agent.py")
    for state in run["states"]:
        assert state["action_type"] == action
        assert ("action_content" in state) == (action != "回答")
        assert state["answer"]
    assert len(run.lines) == 3


@pytest.mark.parametrize("style", ["正式", "口语"])
def test_style(style: str) -> None:
    generate = run_on(sgl.Mock(), "002_1_branch.py")["conditional_generate"]
    state = generate.run(topic="人工智能", style=style, backend=sgl.Mock())
    assert state.ret_value == state["content"]
    assert f"风格: {style}\n" in state.text()


@pytest.mark.parametrize(
    ("text", "said"), [('{"a": 1}', "regex, and it is JSON: {'a': 1}"), ("{a, b}", "regex, but it is not JSON: ")]
)
def test_what_stands_in_braces(text: str, said: str) -> None:
    def answer(prompt: Prompt, sampling: SamplingArguments) -> str:
        return text if sampling.regex else '{"languages":["C"]}'

    first, second = run_on(sgl.Mock(answer), "001_8_json.py").lines
    assert first.startswith(said)
    assert second == "json_schema: {'languages': ['C']}"


@pytest.mark.parametrize(
    ("intent", "asked"),
    [
        ("logistics", "订单12345当前物流状态：运输中，预计明天送达。"),
        ("support", "已收到您的support请求，客服将在1小时内联系您。"),
    ],
)
def test_ecommerce(intent: str, asked: str) -> None:
    def answer(prompt: Prompt, sampling: SamplingArguments) -> str:
        return json.dumps({"order_id": "12345", "intent": intent}) if sampling.json_schema else "Reply."

    mock = sgl.Mock(answer)
    assert run_on(mock, "003_3_ecommerce.py").printed == "Reply.\n"
    assert mock.requests[-1].prompt.text == asked


def test_trip_has_the_answers_of_both_apis() -> None:
    mock = sgl.Mock(lambda *_: '{"itinerary_items":["G1","Bund Hotel"]}')
    assert run_on(mock, "003_2_plan_trip.py").printed == "['G1', 'Bund Hotel']\n"
    assert mock.requests[0].prompt.text == (
        "根据以下信息生成简洁行程单：\n车次：G1 北京-上海 07:00\n酒店：[{'name': 'Bund Hotel', 'stars': 4}]"
    )


RESUME: dict[str, Any] = {
    "name": "张三",
    "phone": "1",
    "email": "",
    "education": [],
    "work_experience": [],
    "skills": [],
}


def test_resume_that_ends() -> None:
    run = run_on(sgl.Mock(lambda prompt, sampling: json.dumps(RESUME)), "004_6_resume.py")
    assert run.printed.startswith("解析结果：\n" + json.dumps(RESUME, ensure_ascii=False, indent=2) + "\n")
    assert run["resume"] == RESUME


def test_resume_that_is_cut_off() -> None:
    endless = {**RESUME, "name": "and " * 1001}  # a word is a token of the mock's, and the example allows 1000
    run = run_on(sgl.Mock(lambda prompt, sampling: json.dumps(endless)), "004_6_resume.py")
    assert run.lines[0] == "cut off: {'type': 'length', 'length': 1000}"
