"""Seed 001.5: the same question twice, with the prefix cache and without."""

import sglang as sgl


@sgl.function
def qa(s, question):
    s += "Question: " + question + "\nAnswer:"
    s += sgl.gen("answer", max_tokens=8, temperature=0)


def cached_tokens():
    """Of a question that has been asked before."""
    qa.run(question="What is the capital of France?", runtime=runtime)
    state = qa.run(question="What is the capital of France?", runtime=runtime)
    return state.get_meta_info("answer")["cached_tokens"]


# --- seed 001.5
# 推荐场景:多个请求共享前缀
# - 多轮对话:历史消息作为共享前缀
# - RAG:系统提示和检索上下文作为共享前缀
# - Agent工作流:工具描述和指令作为共享前缀
runtime = sgl.Runtime(
    model_path="smollm2",
    enable_radix_cache=True,  # 默认True,建议保持
)
# ---

print("cached tokens with the cache:", cached_tokens())
runtime.shutdown()

# --- seed 001.5
# 不推荐场景:每个请求完全独立,无共享前缀
# 此时RadixAttention会增加少量查找开销
# 可以禁用以获得更好的单请求性能
runtime = sgl.Runtime(
    model_path="smollm2",
    enable_radix_cache=False,  # 完全独立请求时
)
# ---

print("cached tokens without the cache:", cached_tokens())
runtime.shutdown()
