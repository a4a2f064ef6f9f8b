"""Seeds 001.6 and 001.7: many programs at once, then one after the other, and the cache emptied in between."""

# --- seed 001.6
import sglang as sgl

# 初始化运行时
runtime = sgl.Runtime(model_path="smollm2")

# 定义生成函数
@sgl.function
def qa(s, question):
    s += "问题:" + question + "\n答案:"
    s += sgl.gen("answer", max_tokens=128, temperature=0.7)

# 批量运行
questions = ["什么是AI?", "什么是深度学习?", "什么是NLP?"]
states = qa.run_batch(
    [{"question": q} for q in questions],
    runtime=runtime,
    num_threads="auto",  # 自动选择并发线程数
)

# 获取结果
for state in states:
    print(state["answer"])

# 清理缓存
runtime.flush_cache()
# ---

questions = ["问题1", "问题2", "问题3"]  # the document has an ellipsis for more

# --- seed 001.6
# 好的做法:批量推理
states = qa.run_batch(
    [{"question": q} for q in questions],
    runtime=runtime,
    num_threads="auto",  # 自动选择最优并发数
)

# 不好的做法:逐个推理
states = []
for q in questions:
    state = qa.run(question=q, runtime=runtime)
    states.append(state)
# ---

for state in states:
    print(state["answer"])
