"""Seed 002.1: load a model and run a program on it. The first Runtime is the default backend."""

# --- seed 002.1
# SGLang基础使用
import sglang as sgl

# 加载模型
runtime = sgl.Runtime(model_path="smollm2")

# 定义生成函数
@sgl.function
def generate(s, prompt):
    s += prompt
    s += sgl.gen("response", max_tokens=100)

# 生成
state = generate.run(prompt="你好")
print(state["response"])
# ---
