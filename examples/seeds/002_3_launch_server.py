"""Seed 002.3: start the server from Python. It serves until it is interrupted."""

# --- seed 002.3
# SGLang服务器部署
from sglang.srt.server import launch_server

# 启动服务器
launch_server(
    model_path="smollm2",
    host="0.0.0.0",
    port=30000,
    tp_size=1
)
# ---
