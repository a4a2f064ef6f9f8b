"""Seed 000.10: a model that may call a tool.

Needs a running server: sglang serve
"""

import openai

client = openai.Client(base_url="http://127.0.0.1:30000/v1", api_key="EMPTY")

# --- seed 000.10
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city name"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "unit"],
            },
        },
    }
]
# ---

# --- seed 000.10
import json

messages = [
    {"role": "system", "content": "You are a helpful assistant that can access external tools."},
    {"role": "user", "content": "What's the weather like in Boston in fahrenheit?"}
]

response = client.chat.completions.create(
    model="smollm2",
    messages=messages,
    tools=tools,
    tool_choice="auto",
)

# 检查模型是否决定调用工具
response_message = response.choices[0].message
tool_calls = response_message.tool_calls

if tool_calls:
    # 模型决定调用工具
    for tool_call in tool_calls:
        function_name = tool_call.function.name
        function_args = json.loads(tool_call.function.arguments)

        print(f"Function Call: {function_name}")
        print(f"Arguments: {function_args}")

        # 在这里，你可以实际执行函数调用
        # e.g., result = get_current_weather(**function_args)
# ---

# A model as small as the default one seldom decides to call. One that must has no other choice, and cannot call wrongly.
demanded = client.chat.completions.create(
    model="smollm2",
    messages=messages,
    tools=tools,
    tool_choice={"type": "function", "function": {"name": "get_current_weather"}},
    temperature=0,
)
(call,) = demanded.choices[0].message.tool_calls
print(f"Demanded: {call.function.name} {call.function.arguments}")

# The result goes back to the model, which answers with it.
result = {"role": "tool", "tool_call_id": call.id, "content": "68°F"}
answer = client.chat.completions.create(
    model="smollm2",
    messages=[*messages, demanded.choices[0].message, result],
    tools=tools,
    temperature=0,
    max_tokens=32,
)
print(answer.choices[0].message.content)
