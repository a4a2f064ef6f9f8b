"""Seed 001.15: a constraint renormalises over the tokens it allows, and changes nothing else.

The document has a formula for this and no code: the probability of an allowed token is the model's own, divided by the
sum over all allowed ones. Here ten digits are allowed, one token each.
"""

import math
from collections import Counter

import sglang as sgl

PROMPT = "I will name a number below ten. My number is "
DRAWS = 400

with sgl.Engine(model_path="smollm2") as engine:
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "max_new_tokens": 1}
    free = engine.generate(PROMPT, plain, return_logprob=True, top_logprobs_num=1000)
    drawn = engine.generate(PROMPT, {**plain, "regex": "[0-9]", "n": DRAWS, "sampling_seed": 1})
    digit_of = {engine.tokenizer.encode(str(digit))[0]: str(digit) for digit in range(10)}

top_logprobs = free["meta_info"]["output_top_logprobs"][0]
model = {digit_of[token]: math.exp(logprob) for logprob, token, _ in top_logprobs if token in digit_of}
expected = {digit: probability / sum(model.values()) for digit, probability in sorted(model.items())}
counts = Counter(result["text"] for result in drawn)

print("digit  by the model  renormalised  drawn")
for digit, probability in expected.items():
    print(f"{digit:>5}  {model[digit]:12.4f}  {probability:12.4f}  {counts[digit] / DRAWS:.4f}")
