"""Seed 002.4: the chat API without a client library.

Needs a running server: sglang serve
"""

# --- seed 002.4
# API服务使用
import requests

# 调用API
response = requests.post(
    "http://127.0.0.1:30000/v1/chat/completions",
    json={
        "model": "smollm2",
        "messages": [
            {"role": "user", "content": "你好"}
        ]
    }
)

print(response.json())
# ---
