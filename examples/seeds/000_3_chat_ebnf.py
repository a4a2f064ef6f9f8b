"""Seed 000.3: a chat answer that has to follow a grammar.

Needs a running server: sglang serve
"""

import openai

client = openai.Client(base_url="http://127.0.0.1:30000/v1", api_key="EMPTY")

# --- seed 000.3
ebnf_grammar = """
root ::= city " is the capital of " country
city ::= "London" | "Paris" | "Berlin" | "Rome"
country ::= "England" | "France" | "Germany" | "Italy"
"""

response = client.chat.completions.create(
    model="smollm2",
    messages=[{"role": "user", "content": "Give me the information of the capital of France."}],
    extra_body={"ebnf": ebnf_grammar},
)
# response.choices[0].message.content 将会是 "Paris is the capital of France"
# ---

print(response.choices[0].message.content)
