"""Seed 002.1: a program that branches and returns a value. `run` gives the state, which has it as `ret_value`.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 002.1
# 条件生成示例
@sgl.function
def conditional_generate(s, topic, style):
    s += f"主题: {topic}\n"
    s += f"风格: {style}\n"
    s += "内容: "

    if style == "正式":
        s += sgl.gen("content", max_tokens=200, stop="\n\n")
    else:
        s += sgl.gen("content", max_tokens=200, stop="\n\n")

    return s["content"]

# 使用
result = conditional_generate.run(
    topic="人工智能",
    style="正式"
)
# ---

print(result.ret_value)
