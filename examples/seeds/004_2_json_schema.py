"""Seed 004.2: a JSON Schema given as `regex` is a JSON Schema.

Needs a running server: sglang serve
"""

# --- seed 004.2
import sglang as sgl
from pydantic import BaseModel

# 定义JSON Schema
class Person(BaseModel):
    name: str
    age: int
    job: str
    skills: list[str]

@sgl.function
def extract_person_info(s, text):
    s += sgl.user(f"从以下文本中提取人物信息：\n{text}")
    s += sgl.assistant(sgl.gen(
        "person",
        max_tokens=200,
        temperature=0,
        # 关键：约束为JSON格式
        regex=Person.model_json_schema()
    ))
# ---

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 004.2
text = "张三今年30岁，是一名AI工程师，擅长Python和LangChain。"
result = extract_person_info.run(text=text)

print(result["person"])
# 输出：
# {
#   "name": "张三",
#   "age": 30,
#   "job": "AI工程师",
#   "skills": ["Python", "LangChain"]
# }

# 保证格式正确，无需后处理！
# ---
