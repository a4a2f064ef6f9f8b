"""Seed 000.2: a chat answer that has to match a regular expression.

Needs a running server: sglang serve
"""

import openai

client = openai.Client(base_url="http://127.0.0.1:30000/v1", api_key="EMPTY")

# --- seed 000.2
response = client.chat.completions.create(
    model="smollm2",
    messages=[{"role": "assistant", "content": "What is the capital of France?"}],
    extra_body={"regex": "(Paris|London)"},
)
# response.choices[0].message.content 将必然是 "Paris" 或 "London"
# ---

print(response.choices[0].message.content)
