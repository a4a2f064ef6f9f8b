"""Seed 001.5: a Runtime is a server of the program's own. The second one says what the first one takes for granted."""

# --- seed 001.5
from sglang import Runtime

# 基本创建
runtime = Runtime(
    model_path="smollm2",  # 模型路径
)
# ---

print(runtime.url)
runtime.shutdown()

# --- seed 001.5
# 完整参数创建
runtime = Runtime(
    model_path="smollm2",
    tp_size=1,                    # 张量并行大小
    mem_fraction_static=0.88,     # 静态分配的显存比例
    base_gpu_id=0,                # 起始GPU ID
    enable_radix_cache=True,      # 启用RadixAttention(默认True)
    enable_torch_compile=False,   # 启用TorchCompile优化
)
# ---

print(runtime.url)
runtime.shutdown()
