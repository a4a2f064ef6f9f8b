"""Seed 004.5: three questions answered side by side in forks of one state.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

questions = ["什么是SGLang？", "什么是vLLM？", "什么是DeepSpeed？"]  # the document's last loop expects this name

# --- seed 004.5
@sgl.function
def parallel_qa(s, questions):
    # 并行生成多个答案
    s += sgl.user("请回答以下问题：")

    # fork：创建并行分支
    forks = s.fork(len(questions))

    for i, question in enumerate(questions):
        forks[i] += sgl.user(question)
        forks[i] += sgl.assistant(sgl.gen(f"answer_{i}", max_tokens=100))

    # join：合并结果
    s += forks.join()

result = parallel_qa.run(questions=[
    "什么是SGLang？",
    "什么是vLLM？",
    "什么是DeepSpeed？"
])

for i, q in enumerate(questions):
    print(f"Q: {q}")
    print(f"A: {result[f'answer_{i}']}")
    print()
# ---
