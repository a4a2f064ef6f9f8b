"""Seed 003.1: a function without a state, whose `gen` takes the prompt and gives the value: a dict, for a block in braces.

Needs a running server: sglang serve
"""

from sglang import RuntimeEndpoint, function, gen, set_default_backend

# --- seed 003.1
@function
def extract_product_info(text: str):
    return gen(
        f"请从以下文本中提取信息，严格按JSON格式输出，字段必须包含brand、model、price、warranty：{text}",
        regex=r"\{.*?\}"  # 直接用正则锁定JSON块
    )
# ---

set_default_backend(RuntimeEndpoint("http://127.0.0.1:30000"))

# How to generate is said where the function is called, as for every program.
text = "Lenovo ThinkPad X1, 9999 yuan, 3 years\n"
product = extract_product_info(text, temperature=0, frequency_penalty=1, max_new_tokens=256)
for name, value in product.items():
    print(f"{name}: {value}")
