"""Seed 000.6: chat with the official client. Any API key will do unless the server was started with one.

Needs a running server: sglang serve
"""

# --- seed 000.6
import openai

# 初始化客户端，指向我们本地启动的 SGLang 服务
client = openai.Client(
    base_url="http://127.0.0.1:30000/v1",
    api_key="EMPTY" # SGLang 服务不需要 API Key
)

# 创建一个聊天补全请求
response = client.chat.completions.create(
    model="smollm2", # 必须与服务加载的模型一致
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France and why is it famous?"},
    ],
    temperature=0.7,
    max_tokens=150,
)

# 打印模型的回复
print(response.choices[0].message.content)
# ---

# --- seed 000.6
import openai

client = openai.Client(base_url="http://127.0.0.1:30000/v1", api_key="EMPTY")
response = client.chat.completions.create(
    model="smollm2",
    messages=[{"role": "user", "content": "List 3 countries and their capitals."}],
    temperature=0,
    max_tokens=64,
)
print(response.choices[0].message.content)
# ---
