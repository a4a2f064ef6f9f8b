"""Seed 001.1: `gen`, as the document has it, and with every parameter of its table.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 001.1
@sgl.function
def simple_qa(s, question):
    s += question
    s += sgl.gen("answer", max_tokens=256, temperature=0.7)
# ---


@sgl.function
def every_parameter(s):
    s += "The capital of France is"
    s += sgl.gen(
        "capital",
        max_tokens=16,
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        frequency_penalty=0.2,
        presence_penalty=0.1,
        stop=[".", "\n"],
        ignore_eos=True,
    )
    s += ". The Eiffel Tower was finished in"
    s += sgl.gen("year", regex=r" 1[89]\d\d")
    s += ". Its height in metres:"
    s += sgl.gen("height", dtype=int, max_tokens=8)
    s += "\nIt is made of"
    s += sgl.gen("material", choices=[" iron", " wood"])


state = simple_qa.run(question="Q: What is the capital of France?\nA:")
print(state["answer"])

state = every_parameter.run()
for name in ("capital", "year", "height", "material"):
    print(f"{name}:", state[name])
