"""Seed 001.2: `select` decides between choices by scoring them, so that the answer is always one of them.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 001.2
@sgl.function
def sentiment_analysis(s, text):
    s += "分析以下文本的情感倾向:\n"
    s += text + "\n"
    s += "情感倾向:"
    s += sgl.select("sentiment", choices=["正面", "负面", "中性"])
# ---

# --- seed 001.2
@sgl.function
def classify(s, text):
    s += "分类以下文本:\n" + text + "\n类别:"
    s += sgl.select("category", choices=["科技", "体育", "娱乐", "政治"])

@sgl.function
def yes_no_qa(s, question):
    s += question + "\n答案:"
    s += sgl.select("answer", choices=["是", "否"])
# ---

print(sentiment_analysis.run(text="这部电影太好看了!")["sentiment"])
print(classify.run(text="球队昨晚赢得了冠军。")["category"])
print(yes_no_qa.run(question="地球是圆的吗?")["answer"])
