"""Seed 000.12: RadixAttention shares prefixes automatically and without loss.

The document has no code for this. Two requests begin alike: the second computes only where it differs. Computed once
more where it can share nothing (another `cache_salt`), the answer is the same.
"""

import sglang as sgl

GUIDE = """The museum opens at nine and closes at six. On Thursdays it closes at nine in the evening.
Tickets cost twelve euros; students pay half, and children below the age of ten pay nothing.
The great hall shows paintings, the east wing sculptures, and the cellar has old maps and clocks.
"""
QUESTIONS = ("Question: What can be seen in the cellar?\nAnswer:", "Question: When does it open?\nAnswer:")

with sgl.Engine(model_path="smollm2") as engine:

    def ask(question, cache_salt):
        greedy = {"temperature": 0, "max_new_tokens": 16, "stop": "\n"}
        return engine.generate(GUIDE + question, greedy, cache_salt=cache_salt)

    shared = [ask(question, "together") for question in QUESTIONS]
    alone = [ask(question, f"alone {number}") for number, question in enumerate(QUESTIONS)]

for title, answers in (("sharing", shared), ("not sharing", alone)):
    for answer in answers:
        numbers = answer["meta_info"]
        print(f"{title}: {numbers['cached_tokens']} of {numbers['prompt_tokens']} prompt tokens from the cache:", end="")
        print(answer["text"])
