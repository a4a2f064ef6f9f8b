"""Seed 001.8: dates, prices and labels that have the right form because nothing else can be generated.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 001.8
@sgl.function
def extract_info(s, text):
    s += "从以下文本中提取日期:\n"
    s += text + "\n"
    s += "日期:"
    # 约束输出为日期格式
    s += sgl.gen("date", regex=r"\d{4}-\d{2}-\d{2}")

@sgl.function
def extract_number(s, text):
    s += "提取价格:\n"
    s += text + "\n价格:"
    # 约束输出为数字格式
    s += sgl.gen("price", regex=r"\d+\.?\d*")
# ---

# --- seed 001.8
@sgl.function
def constrained_output(s, query):
    # 1. 使用select代替gen+stop进行分类
    s += "情感:"
    s += sgl.select("sentiment", choices=["正面", "负面", "中性"])
    # 比以下方式更高效、更准确:
    # s += sgl.gen("sentiment", max_tokens=5, stop=["正面", "负面", "中性"])

    # 2. 使用regex确保格式正确
    s += "\n日期:"
    s += sgl.gen("date", regex=r"\d{4}-\d{2}-\d{2}")
    # 比依赖模型自行格式化更可靠

    # 3. 约束范围不要过于严格
    # 好的做法:合理的正则范围
    s += "\n金额:"
    s += sgl.gen("amount", regex=r"\d+\.?\d{0,2}")

    # 不好的做法:过于严格的约束可能导致模型困惑
    # s += sgl.gen("amount", regex=r"12345\.67")  # 太严格
# ---

print(extract_info.run(text="会议将于2024年5月17日举行。")["date"])
print(extract_number.run(text="这本书卖59.90元。")["price"])
state = constrained_output.run(query="我在2024年5月17日花了59.90元,很满意。")
print(state["sentiment"], state["date"], state["amount"])
