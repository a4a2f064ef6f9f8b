"""Seed 000.9: the native API, first as the document has it, then with each of the other parameters it lists.

Needs a running server: sglang serve
"""

# --- seed 000.9
import requests
import json

url = "http://127.0.0.1:30000/generate"
data = {
    "text": "The capital of France is",
    "sampling_params": {
        "temperature": 0,
        "max_new_tokens": 16,
    }
}

response = requests.post(url, json=data)
print(response.json())
# {'text': ' Paris.\n\nThe capital of France is Paris. It is the most populous city in', 'meta': ...}
# ---


def generate(text, **sampling_params):
    answer = requests.post(url, json={"text": text, "sampling_params": {"temperature": 0, **sampling_params}})
    answer.raise_for_status()
    return answer.json()["text"]


schema = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"]}

print("stop:       ", generate("One, two, three,", max_new_tokens=16, stop=[" five", "\n"]))
print("regex:      ", generate("The Eiffel Tower was built in", max_new_tokens=8, regex=r" 1[89]\d\d"))
print("ebnf:       ", generate("Is water wet?", max_new_tokens=8, ebnf='root ::= " yes" | " no"'))
print("json_schema:", generate("The capital of Italy as JSON:", max_new_tokens=16, json_schema=json.dumps(schema)))

text = ""
with requests.post(url, json={**data, "stream": True}, stream=True) as chunks:
    for line in chunks.iter_lines(decode_unicode=True):
        if line and line != "data: [DONE]":
            text = json.loads(line.removeprefix("data: "))["text"]  # all of it so far
print("stream:     ", text)
