"""Seed 001.17: the scheduler knows the cache. Only new tokens need computing and memory; finished requests stay cached.

The document has no code that runs for this. The numbers are the engine's own counters.
"""

import sglang as sgl

RULES = """Rules of the lending library. Books may be kept for four weeks, films for one. Everything can be renewed twice.
Whoever brings a book back late pays twenty cents a day. Lost books have to be replaced. Dogs wait outside.
"""


def counters():
    (state,) = engine.get_server_info()["internal_states"]
    return state


rows = []
with sgl.Engine(model_path="smollm2") as engine:
    for question in ("How long may I keep a film?", "What if I lose a book?", "What if I lose a book?"):
        before = counters()
        greedy = {"temperature": 0, "max_new_tokens": 8}
        numbers = engine.generate(f"{RULES}Q: {question}\nA:", greedy)["meta_info"]
        after = counters()
        rows.append({
            "prompt": numbers["prompt_tokens"],
            "from cache": numbers["cached_tokens"],
            "generated": numbers["completion_tokens"],
            "computed": after["computed_tokens"] - before["computed_tokens"],
            "new in cache": after["evictable_tokens"] - before["evictable_tokens"],
        })

print("tokens:", *rows[0])
for row in rows:
    print("       ", *(f"{count:{len(name)}}" for name, count in row.items()))
