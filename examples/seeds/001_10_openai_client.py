"""Seed 001.10: chat completions and completions with the official client.

Needs a running server: sglang serve
"""

# --- seed 001.10
import openai

client = openai.OpenAI(
    base_url="http://127.0.0.1:30000/v1",
    api_key="not-needed",
)

# Chat Completions
response = client.chat.completions.create(
    model="smollm2",
    messages=[
        {"role": "system", "content": "你是一个有帮助的AI助手。"},
        {"role": "user", "content": "解释什么是深度学习"},
    ],
    max_tokens=256,
    temperature=0.7,
)
print(response.choices[0].message.content)

# Completions
response = client.completions.create(
    model="smollm2",
    prompt="深度学习是",
    max_tokens=128,
)
print(response.choices[0].text)
# ---
