"""Seed 001.7: `flush_cache` forgets every cached prefix."""

import sglang as sgl


@sgl.function
def greet(s):
    s += "A good way to begin a letter to an old friend is"
    s += sgl.gen("greeting", max_tokens=8, temperature=0)


def cached_tokens():
    return greet.run(runtime=runtime).get_meta_info("greeting")["cached_tokens"]


# --- seed 001.7
# 调整静态显存比例
runtime = sgl.Runtime(
    model_path="smollm2",
    mem_fraction_static=0.88,  # 默认0.88
    # 如果OOM,可以降低此值(但会降低KV cache容量)
    # 如果显存充足,可以适当提高
)

# 定期清理缓存(通常不需要)
# RadixAttention会自动管理缓存淘汰
runtime.flush_cache()  # 仅在切换完全不同的任务时使用
# ---

print("cached tokens at first:", cached_tokens())
print("cached tokens when asked again:", cached_tokens())

# --- seed 001.7
runtime.flush_cache()  # 清空RadixAttention缓存的所有KV cache
# ---

print("cached tokens after the flush:", cached_tokens())
