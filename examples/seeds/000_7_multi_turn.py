"""Seed 000.7: two turns through any OpenAI-compatible server, here our own.

Needs a running server: sglang serve
"""

import os

os.environ.setdefault("OPENAI_BASE_URL", "http://127.0.0.1:30000/v1")
os.environ.setdefault("OPENAI_API_KEY", "EMPTY")

# --- seed 000.7
from sglang import function, system, user, assistant, gen, set_default_backend, OpenAI

# 设置后端为 SGLang 提供的 OpenAI 兼容服务
set_default_backend(OpenAI("smollm2"))

@function
def multi_turn_qa(s, question1, question2):
    s += system("You are a helpful assistant.")
    s += user(question1)
    s += assistant(gen("answer1", max_tokens=128))
    s += user(question2)
    s += assistant(gen("answer2", max_tokens=128))

# 执行 SGLang 程序
state = multi_turn_qa.run(
    question1="What is the capital of the UK?",
    question2="What is its population?",
    temperature=0.1
)

print("Answer 1:", state["answer1"])
print("Answer 2:", state["answer2"])
# ---
