"""Seed 001.16: a program is built first; then what it asks for is put into batches; then it is executed.

Appending queues what is to be done. Reading a value waits for it, and the end of a run for all of it.
"""

import time

import sglang as sgl

runtime = sgl.Runtime(model_path="smollm2")

# --- seed 001.16
# 构建阶段:创建SGLang程序
@sgl.function
def my_program(s, x):
    s += "问题:" + x + "\n"
    s += "思考:"
    s += sgl.gen("thought", max_tokens=128)
    s += "\n答案:"
    s += sgl.gen("answer", max_tokens=64)

# 执行阶段:运行程序
state = my_program.run(x="什么是AI?", runtime=runtime)
# ---

print(f"{len(state['thought'])} + {len(state['answer'])} characters")


def counters():
    (internal,) = runtime.endpoint.get_server_info()["internal_states"]
    return internal


# Built: a backend that answers nothing yet lets the function come to its end, and the graph is there.
silent = sgl.Mock()
silent.hold()
waiting = my_program.run(x="什么是AI?", backend=silent, stream=True)
while len(waiting.trace().nodes) < 5:
    time.sleep(0.001)
graph = [(node.title, node.status) for node in waiting.trace().nodes]
silent.release()
waiting.sync()
print("Built, before the model has said anything:")
for title, status in graph:
    print(f"  {title}: {status}")

# Optimised and executed: what eight programs ask for at the same time is computed in the same steps.
topics = ["AI", "GPU", "CPU", "KV cache", "Python", "Linux", "HTTP", "JSON"]
before = counters()
states = my_program.run_batch([{"x": f"什么是{topic}?"} for topic in topics], runtime=runtime)
steps = counters()["num_steps"] - before["num_steps"]
answers = [state.get_meta_info(name) for state in states for name in ("thought", "answer")]
tokens = sum(answer["completion_tokens"] for answer in answers)
cached = sum(answer["cached_tokens"] for answer in answers)
print(f"{len(states)} programs: {tokens} tokens in {steps} steps of the engine, {cached} prompt tokens from the cache")
