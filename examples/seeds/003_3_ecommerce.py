"""Seed 003.3: what `gen` gives under a JSON Schema is a dict, on which the function branches.

Needs a running server: sglang serve
"""

from sglang import RuntimeEndpoint, call_api, register_api

# --- seed 003.3
from sglang import function, gen, select, system, user, assistant, set_default_backend, Runtime

@function
def ecommerce_assistant(user_query: str):
    # Step 1: 用LLM提取关键信息
    info = gen(
        f"请从以下用户提问中提取订单号和意图，只输出JSON，字段为order_id（字符串）和intent（字符串，值为logistics或support）：{user_query}",
        json_schema={
            "type": "object",
            "properties": {
                "order_id": {"type": "string"},
                "intent": {"type": "string", "enum": ["logistics", "support"]}
            }
        }
    )

    # Step 2: 根据意图调用不同API
    if info["intent"] == "logistics":
        logistics = call_api("logistics", {"order_id": info["order_id"]})
        reply = gen(
            f"订单{info['order_id']}当前物流状态：{logistics['status']}，预计{logistics['eta']}送达。"
        )
    else:
        reply = gen(
            f"已收到您的{info['intent']}请求，客服将在1小时内联系您。"
        )
    return reply
# ---

register_api("logistics", lambda order: {"status": "运输中", "eta": "明天"})

set_default_backend(RuntimeEndpoint("http://127.0.0.1:30000"))

print(ecommerce_assistant("我的订单12345还没发货，能查下吗？", temperature=0, frequency_penalty=1, max_new_tokens=64))
