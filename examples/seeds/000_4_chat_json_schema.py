"""Seed 000.4: a chat answer that is JSON of a pydantic model.

Needs a running server: sglang serve
"""

import openai

client = openai.Client(base_url="http://127.0.0.1:30000/v1", api_key="EMPTY")

# --- seed 000.4
from pydantic import BaseModel

class CapitalInfo(BaseModel):
    name: str
    population: int

response = client.chat.completions.create(
    model="smollm2",
    messages=[{"role": "assistant", "content": "Give me the information and population of the capital of France in the JSON format."}],
    response_format={
        "type": "json_schema",
        "json_schema": {
            "name": "capital_info",
            "schema": CapitalInfo.model_json_schema(),
        },
    },
)
# response.choices[0].message.content 将会是一个符合 CapitalInfo 结构的 JSON 字符串
# ---

print(response.choices[0].message.content)
