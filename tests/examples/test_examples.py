"""Every example of examples/seeds runs, unchanged, on the default model, and does what its document promises."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import jsonschema

from tests.examples.conftest import Runs

DATE = r"\d{4}-\d{2}-\d{2}"


def assert_json(text: str, schema: Any, finish_reason: str) -> None:
    """What ended by itself is valid; what was cut off began as JSON does."""
    if finish_reason == "stop":
        jsonschema.validate(json.loads(text), schema)
    else:
        assert finish_reason == "length"
        assert text.startswith("{")


def finish_reason(state: Any, name: str) -> str:
    return str(state.get_meta_info(name)["finish_reason"]["type"])


# --- document 000 ---------------------------------------------------------------------------------------------------


def test_tool_use(runs: Runs) -> None:
    state = runs("000_1_tool_use.py")["state"]
    assert state["tool"] in ("calculator", "search engine")
    assert f"I need to use a {state['tool']}. " in state.text()


def test_chat_regex(runs: Runs) -> None:
    assert runs("000_2_chat_regex.py").printed in ("Paris\n", "London\n")


def test_chat_ebnf(runs: Runs) -> None:
    cities, countries = "London|Paris|Berlin|Rome", "England|France|Germany|Italy"
    printed = runs("000_3_chat_ebnf.py").printed
    assert re.fullmatch(rf"({cities}) is the capital of ({countries})\n", printed), printed


def test_chat_json_schema(runs: Runs) -> None:
    run = runs("000_4_chat_json_schema.py")
    choice = run["response"].choices[0]
    assert_json(choice.message.content, run["CapitalInfo"].model_json_schema(), choice.finish_reason)


def test_chat(runs: Runs) -> None:
    run = runs("000_6_chat.py")
    second = run["response"].choices[0].message.content
    assert re.match(r"1\. .+\n2\. .+", second)
    assert run["response"].usage.completion_tokens <= 64
    assert run.printed.endswith(f"{second}\n")
    assert len(run.printed) > len(second) + 1, "the first answer is missing"


def test_tools(runs: Runs) -> None:
    run = runs("000_10_tools.py")
    schema = run["tools"][0]["function"]["parameters"]
    for call in run["tool_calls"] or []:
        assert call.function.name == "get_current_weather"
    jsonschema.validate(json.loads(run["call"].function.arguments), schema)
    assert run["demanded"].choices[0].finish_reason == "tool_calls"
    assert "Demanded: get_current_weather {" in run.printed
    assert "68" in run.lines[-1]


def test_multi_turn(runs: Runs) -> None:
    printed = runs("000_7_multi_turn.py").printed
    assert re.fullmatch(r"Answer 1: .*London.*\nAnswer 2: .+\n", printed, re.DOTALL), printed


def test_stream_is_the_whole(runs: Runs) -> None:
    streamed, whole = runs("000_8_stream.py").printed.split("\nThe whole:\n")
    assert streamed
    assert f"{streamed}\n" == whole


def test_generate(runs: Runs) -> None:
    lines = runs("000_9_generate.py").lines
    greedy = runs("000_9_generate.py")["response"].json()
    assert greedy["text"].startswith(" Paris")
    assert greedy["meta_info"]["completion_tokens"] == 16
    answers = dict(re.findall(r"^(\w+): +(.*)$", "\n".join(lines[1:]), re.MULTILINE))
    assert answers["stop"] == "four,"
    assert re.fullmatch(r"1[89]\d\d", answers["regex"])
    assert answers["ebnf"] in ("yes", "no")
    assert json.loads(answers["json_schema"])["capital"] in ("Paris", "Rome")
    assert runs("000_9_generate.py")["text"].startswith(" Paris")


# --- document 001 ---------------------------------------------------------------------------------------------------


def test_gen(runs: Runs) -> None:
    run = runs("001_1_gen.py")
    state = run["state"]
    assert run.printed
    assert "\n" not in state["capital"] and "." not in state["capital"]
    assert re.fullmatch(r" 1[89]\d\d", state["year"])
    assert re.fullmatch(r"[-+]?[0-9]+", state["height"].strip())
    assert state["material"] in (" iron", " wood")


def test_select(runs: Runs) -> None:
    sentiment, category, answer = runs("001_2_select.py").lines
    assert sentiment in ("正面", "负面", "中性")
    assert category in ("科技", "体育", "娱乐", "政治")
    assert answer in ("是", "否")


def test_workflow(runs: Runs) -> None:
    state = runs("001_4_workflow.py")["state"]
    assert state["quality"] in ("详细", "简略", "需要改进")
    before, after = "\n这份大纲是否足够详细?", "\n请根据大纲展开详细内容:\n"
    assert state.text().endswith(state["outline"] + before + state["quality"] + after + state["detail"])


def test_runtime(runs: Runs) -> None:
    run = runs("001_5_runtime.py")
    assert run.lines == [run["runtime"].url] * 2


def test_run_batch(runs: Runs) -> None:
    run = runs("001_6_run_batch.py")
    assert [state.text() for state in run["states"]] == [
        f"问题:{question}\n答案:{state['answer']}"
        for question, state in zip(["问题1", "问题2", "问题3"], run["states"], strict=True)
    ]


def test_flush_cache(runs: Runs) -> None:
    first, again, after = (int(line.rpartition(" ")[2]) for line in runs("001_7_flush_cache.py").lines)
    assert first == after == 0
    assert again > 0


def test_regex(runs: Runs) -> None:
    date, price, line = runs("001_8_regex.py").lines
    assert re.fullmatch(DATE, date)
    assert re.fullmatch(r"\d+\.?\d*", whole_characters(price))
    sentiment, second_date, amount = line.split(" ")
    assert sentiment in ("正面", "负面", "中性")
    assert re.fullmatch(DATE, second_date)
    assert re.fullmatch(r"\d+\.?\d{0,2}", whole_characters(amount))


def whole_characters(text: str) -> str:
    """A digit may be of any script; an answer that ends for its length may end within one."""
    return text.removesuffix("\N{REPLACEMENT CHARACTER}")


def test_regex_promises_itself_and_a_schema_promises_json(runs: Runs) -> None:
    run = runs("001_8_json.py")
    by_schema, text = run["state"], run["state"]["json_result"]
    assert run.lines[0].startswith("regex, ")
    assert_json(text, run["LANGUAGES"], finish_reason(by_schema, "json_result"))


def test_openai_client(runs: Runs) -> None:
    run = runs("001_10_openai_client.py")
    completion = run["response"]
    assert completion.object == "text_completion"
    assert run.printed.endswith(completion.choices[0].text + "\n")
    assert len(run.printed) > len(completion.choices[0].text) + 1, "the chat answer is missing"


def test_second_turn_reuses_the_first(runs: Runs) -> None:
    run = runs("001_11_multi_turn_chat.py")
    first, second = (run[name].get_meta_info("response") for name in ("state_1", "state_2"))
    assert second["prompt_tokens"] > second["cached_tokens"] >= first["prompt_tokens"] - 1 > 0


def test_agent(runs: Runs) -> None:
    states = runs("001_12_react_agent.py")["states"]
    assert len(states) == 3
    for state in states:
        assert state["action_type"] in ("搜索", "计算", "回答")
        assert ("action_content" in state) == (state["action_type"] != "回答")


def test_lazy_execution(runs: Runs) -> None:
    run = runs("001_16_lazy_execution.py")
    assert [title for title, _ in run["graph"]] == ["text", "text", "gen thought", "text", "gen answer"]
    assert dict(run["graph"])["gen answer"] == "waiting"
    assert run["state"].text().endswith(f"{run['state']['thought']}\n答案:{run['state']['answer']}")
    assert 0 < run["steps"] < run["tokens"] / 2, "programs are computed together"
    assert run["cached"] > 0


def test_data_extraction(runs: Runs) -> None:
    run = runs("001_12_data_extraction.py")
    records = [json.loads(text) for text in re.findall(r"^\{.*?^\}", run.printed, re.DOTALL | re.MULTILINE)]
    assert len(records) == 2
    for record in records:
        assert re.fullmatch(r"\d{1,3}", record["age"])
        assert record["sentiment"] in ("积极", "消极", "中性")
        assert not any("\n" in record[name] for name in ("name", "occupation", "city"))


def test_self_consistency(runs: Runs) -> None:
    run = runs("001_12_self_consistency.py")
    winner, votes = run["most_common"]
    assert len(run["states"]) == 8
    assert run["answers"].count(winner) == votes
    assert run.printed == f"多数投票答案: {winner} (出现{votes}次)\n"


def test_judge(runs: Runs) -> None:
    winner = runs("001_12_llm_judge.py").printed
    assert winner in ("裁判结果: A\n", "裁判结果: B\n", "裁判结果: 两者相当\n")


# --- document 002 ---------------------------------------------------------------------------------------------------


def test_branch_returns_a_variable(runs: Runs) -> None:
    result = runs("002_1_branch.py")["result"]
    assert result.ret_value == result["content"]
    assert result.text() == f"主题: 人工智能\n风格: 正式\n内容: {result['content']}"


def test_return_values(runs: Runs) -> None:
    run = runs("002_1_return_values.py")
    state = run["state"]
    assert state.ret_value == {name: state[name] for name in ("analysis", "solution", "summary")}
    assert run.printed.endswith(f"[summary] {state['summary']}\n")


def test_computed_names(runs: Runs) -> None:
    run = runs("002_2_computed_names.py")
    result, state = run["result"], run["state"]
    items = [result[f"item_{i}"] for i in range(3)]
    assert not any("\n" in item for item in items)
    assert result.text() == "列表:\n" + "".join(f"{i + 1}. {item}" for i, item in enumerate(items))
    assert state.ret_value == [state["result_Red is"], state["result_Blue is"]]


def test_requests(runs: Runs) -> None:
    response = runs("002_4_requests.py")["response"]
    assert response.status_code == 200
    (choice,) = response.json()["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]


# --- document 003 ---------------------------------------------------------------------------------------------------


def test_a_block_in_braces_is_a_dict(runs: Runs) -> None:
    run = runs("003_1_extract_product.py")
    assert isinstance(run["product"], dict)
    assert run.lines == [f"{name}: {value}" for name, value in run["product"].items()]


def test_trip(runs: Runs) -> None:
    run = runs("003_2_plan_trip.py")
    assert list(run["itinerary"]) == ["itinerary_items"]
    assert all(isinstance(item, str) for item in run["itinerary"]["itinerary_items"])


def test_ecommerce(runs: Runs) -> None:
    assert runs("003_3_ecommerce.py").printed.strip()


# --- document 004 ---------------------------------------------------------------------------------------------------


def test_schema_given_as_regex(runs: Runs) -> None:
    run = runs("004_2_json_schema.py")
    result = run["result"]
    assert_json(result["person"], run["Person"].model_json_schema(), finish_reason(result, "person"))


def test_email_and_phone(runs: Runs) -> None:
    email, phone, short_email = runs("004_3_regex.py").lines
    assert re.fullmatch(r"[a-zA-Z0-9._%+@-]+", email), "not even the beginning of an address"
    assert re.fullmatch(r"1[3-9]\d{9}", phone)
    assert re.fullmatch(r"[a-z]{1,12}@[a-z]{1,12}\.(com|org)", short_email)


def test_customer_service(runs: Runs) -> None:
    run = runs("004_4_customer_service.py")
    result = run["result"]
    assert run.printed == f"分类：{result['category']}\n回答：{result['answer']}\n"
    assert [message["role"] for message in result.messages()] == ["user", "assistant", "user", "assistant"]


def test_fork(runs: Runs) -> None:
    run = runs("004_5_fork.py")
    answers = [run["result"][f"answer_{i}"] for i in range(3)]
    assert all(isinstance(answer, str) for answer in answers)
    expected = "".join(f"Q: {q}\nA: {a}\n\n" for q, a in zip(run["questions"], answers, strict=True))
    assert run.printed == expected


def test_resume(runs: Runs) -> None:
    run = runs("004_6_resume.py")
    assert run.lines[0] == "解析结果：" or run.lines[0].startswith("cut off: {'type': 'length'")
    result = run["result"]
    assert_json(result["resume_json"], run["Resume"].model_json_schema(), finish_reason(result, "resume_json"))


def test_xml(runs: Runs) -> None:
    run = runs("004_9_xml.py")
    dishes = list(ElementTree.fromstring(run["xml"]).iter("dish"))
    assert dishes and all(re.fullmatch("[1-9][0-9]?", str(dish.findtext("price"))) for dish in dishes)
    assert [len(row.split(",")) for row in run["table"].splitlines()] == [3, 3, 3]
    assert re.fullmatch(r"In <year>[12]\d{3}</year>", run["dated"])
