"""Seed 001.8: what a regular expression promises, and what a JSON Schema promises.

The document's expression describes a text in braces. That is all it promises: what stands between the braces need not
be JSON. A schema promises JSON.
"""

import sglang as sgl

# --- seed 001.8
import json

@sgl.function
def json_output(s, query):
    s += "请以JSON格式回答:\n"
    s += query + "\n"
    s += "```json\n"
    # 使用regex约束JSON格式
    s += sgl.gen(
        "json_result",
        max_tokens=512,
        stop="```",
        regex=r'\{[^}]*\}',  # 约束为JSON对象
    )
# ---

try:
    # --- seed 001.8
    # 使用示例
    runtime = sgl.Runtime(model_path="smollm2")
    state = json_output.run(
        query="列出三种编程语言及其特点",
        runtime=runtime,
    )
    result = json.loads(state["json_result"])
    # ---
    print("regex, and it is JSON:", result)
except json.JSONDecodeError as error:
    print("regex, but it is not JSON:", error)

LANGUAGES = {
    "type": "object",
    "properties": {"languages": {"type": "array", "items": {"enum": ["Python", "C", "Rust", "Go"]}, "maxItems": 3}},
    "required": ["languages"],
    "additionalProperties": False,
}


@sgl.function
def schema_output(s, query):
    s += "请以JSON格式回答:\n" + query + "\n```json\n"
    s += sgl.gen("json_result", max_tokens=512, json_schema=json.dumps(LANGUAGES))


state = schema_output.run(query="列出三种编程语言", runtime=runtime)
print("json_schema:", json.loads(state["json_result"]))
