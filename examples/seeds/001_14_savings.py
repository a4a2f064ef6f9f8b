"""Seed 001.14: what sharing a prefix saves, by the document's formulas and by the engine's own counters.

The document has no code that runs for this. M requests share a prefix of P tokens, and each has U_i of its own.

    memory, of (P + U_i) per request without a cache:    (M - 1) P / (M (P + mean U))
    prefill work of attention, per layer and head:       (M - 1) 2 P d (P + d)     with d the size of a head

The second counts the prefix as computed once instead of M times. Without a cache the same requests do the sum of
2 L d (L + d) over their lengths L. What is measured is a little more than the formula says, since the tree also shares
what some of the questions begin with.
"""

import sglang as sgl

HEAD_SIZE = 64  # of SmolLM2

GUIDE = """You are the assistant of a lending library. Books may be kept for four weeks, films for one week. Everything can
be renewed twice, unless somebody waits for it. Whoever brings a book back late pays twenty cents a day. Lost books have to
be replaced. Children need the consent of their parents. The reading room is open every day from nine to eight. Dogs wait
outside, and food stays in the bag.
"""
QUESTIONS = (
    "How long may I keep a film?",
    "What does it cost if I am three days late?",
    "Can I renew a book that somebody else waits for?",
    "May I bring my dog?",
    "When does the reading room close?",
    "My daughter is nine. Can she have a card of her own?",
    "I have lost a book. What now?",
    "Can I eat my lunch in the reading room?",
)


def attention_work(length):
    return 2 * length * HEAD_SIZE * (length + HEAD_SIZE)


def counters():
    (state,) = engine.get_server_info()["internal_states"]
    return state


def measured(run):
    """What a part of the work added to the engine's counters: tokens computed, and tokens in the cache."""
    before = counters()
    run()
    after = counters()
    return {name: after[name] - before[name] for name in ("computed_tokens", "evictable_tokens")}


with sgl.Engine(model_path="smollm2") as engine:
    one_token = {"temperature": 0, "max_new_tokens": 1}
    guide = engine.tokenizer.encode(GUIDE)
    prompts = [guide + engine.tokenizer.encode(f"Q: {question}\nA:") for question in QUESTIONS]

    # Without a cache: every request keeps to itself, as if it were the only one.
    salts = [f"alone {number}" for number in range(len(prompts))]
    alone = measured(lambda: engine.generate(input_ids=prompts, sampling_params=one_token, cache_salt=salts))
    shared = measured(lambda: engine.generate(input_ids=prompts, sampling_params=one_token))

M, P = len(prompts), len(guide)
own = [len(prompt) - P for prompt in prompts]
mean_own = sum(own) / M
formula = (M - 1) * P / (M * (P + mean_own))
memory = 1 - shared["evictable_tokens"] / alone["evictable_tokens"]
computed = 1 - shared["computed_tokens"] / alone["computed_tokens"]
work = (M - 1) * attention_work(P) / sum(attention_work(len(prompt)) for prompt in prompts)

print(f"M = {M} requests, P = {P} shared tokens, U = {own} of their own")
print(f"memory saved by the formula:   {formula:.1%}")
print(f"memory saved as measured:      {memory:.1%} ({shared['evictable_tokens']} of {alone['evictable_tokens']} tokens)")
print(f"computed tokens saved:         {computed:.1%} ({shared['computed_tokens']} of {alone['computed_tokens']} tokens)")
print(f"attention work by the formula: {work:.1%}")
