"""Seed 004.1: where programs run by default: on a server, or on an engine in this process. The last one set counts.

Needs a running server: sglang serve
"""

# --- seed 004.1
import sglang as sgl

# 方法1：连接服务器
sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# 方法2：本地模型（会自动启动）
sgl.set_default_backend(sgl.Engine(model_path="smollm2"))

# 简单测试
@sgl.function
def simple_chat(s, question):
    s += sgl.user(question)
    s += sgl.assistant(sgl.gen("answer", max_tokens=100))

result = simple_chat.run(question="什么是SGLang？")
print(result["answer"])
# ---
