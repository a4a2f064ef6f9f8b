"""Seed 002.2: variables whose names are computed, in a loop.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 002.2
# 循环生成示例
@sgl.function
def loop_generate(s, items):
    s += "列表:\n"
    for i, item in enumerate(items):
        s += f"{i+1}. "
        s += sgl.gen(f"item_{i}", max_tokens=50, stop="\n")
    return s

# 使用
result = loop_generate.run(items=["AI", "机器学习", "深度学习"])
# ---

# --- seed 002.2
# 并行生成示例
@sgl.function
def parallel_generate(s, prompts):
    results = []
    for prompt in prompts:
        s += prompt
        s += sgl.gen(f"result_{prompt}", max_tokens=100)
        results.append(s[f"result_{prompt}"])
    return results
# ---

for i in range(3):
    print(f"{i + 1}.", result[f"item_{i}"])

state = parallel_generate.run(prompts=["Red is", "Blue is"])
print("Red is", state["result_Red is"])
print("Blue is", state["result_Blue is"])
