"""Seed 002.1: programs that return a variable or a dict. The keys of a returned dict can be read from the state.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 002.1
# 自定义函数
@sgl.function
def custom_function(s, input_text):
    # 自定义逻辑
    s += input_text
    s += sgl.gen("output", max_tokens=100)
    return s["output"]
# ---

# --- seed 002.1
# 工作流编排
@sgl.function
def workflow(s, task):
    # 步骤1
    s += "分析任务: "
    s += sgl.gen("analysis", max_tokens=100)

    # 步骤2
    s += "\n生成方案: "
    s += sgl.gen("solution", max_tokens=200)

    # 步骤3
    s += "\n总结: "
    s += sgl.gen("summary", max_tokens=50)

    return {
        "analysis": s["analysis"],
        "solution": s["solution"],
        "summary": s["summary"]
    }
# ---

print(custom_function.run(input_text="Once upon a time").ret_value)

state = workflow.run(task="组织一次会议")
for name, text in state.ret_value.items():
    print(f"[{name}]", text)
