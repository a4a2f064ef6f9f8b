"""Seed 004.6: a résumé parsed into nested models, with lists and optional fields.

Needs a running server: sglang serve
"""

# --- seed 004.6
import sglang as sgl
from pydantic import BaseModel
from typing import List, Optional

# 1. 定义数据结构
class Education(BaseModel):
    school: str
    degree: str
    major: str
    start_year: int
    end_year: int

class WorkExperience(BaseModel):
    company: str
    position: str
    start_date: str
    end_date: Optional[str]
    description: str

class Resume(BaseModel):
    name: str
    phone: str
    email: str
    education: List[Education]
    work_experience: List[WorkExperience]
    skills: List[str]

# 2. 定义解析函数
@sgl.function
def parse_resume(s, resume_text: str):
    """解析简历，提取结构化信息"""

    s += sgl.system("你是一个专业的简历解析助手，擅长从文本中提取结构化信息。")

    s += sgl.user(f"""
请从以下简历中提取信息，以JSON格式返回：

{resume_text}

要求：
1. 提取所有关键信息
2. 日期格式统一为YYYY-MM-DD
3. 如果信息缺失，可以留空
""")

    s += sgl.assistant(sgl.gen(
        "resume_json",
        max_tokens=1000,
        temperature=0,
        # 关键：约束为Resume的JSON Schema
        regex=Resume.model_json_schema()
    ))
# ---

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 004.6
# 3. 使用
resume_text = """
张三
电话：13812345678
邮箱：zhangsan@example.com

教育背景：
- 清华大学，计算机科学与技术，本科，2015-2019
- 斯坦福大学，人工智能，硕士，2019-2021

工作经历：
- 字节跳动，AI工程师，2021-06至今
  负责推荐系统和大模型应用开发
- 腾讯，算法工程师（实习），2020-06至2020-12
  参与NLP项目开发

技能：
Python, PyTorch, LangChain, RAG, Agent开发
"""

result = parse_resume.run(resume_text=resume_text)
# ---

try:
    # --- seed 004.6
    import json
    resume = json.loads(result["resume_json"])

    print("解析结果：")
    print(json.dumps(resume, ensure_ascii=False, indent=2))

    # 输出：
    # {
    #   "name": "张三",
    #   "phone": "13812345678",
    #   "email": "zhangsan@example.com",
    #   "education": [
    #     {
    #       "school": "清华大学",
    #       "degree": "本科",
    #       "major": "计算机科学与技术",
    #       "start_year": 2015,
    #       "end_year": 2019
    #     },
    #     ...
    #   ],
    #   ...
    # }
    # ---
except json.JSONDecodeError:  # a very small model repeats itself until max_tokens cuts it off
    print("cut off:", result.get_meta_info("resume_json")["finish_reason"])

# What such a model can copy, it gets to the end of.
NOTES = {
    "name": "Jane Doe",
    "phone": "555-0100",
    "email": "jane@example.com",
    "education": [
        {"school": "Oxford", "degree": "BSc", "major": "physics", "start_year": 2010, "end_year": 2013}
    ],
    "work_experience": [
        {
            "company": "Hill School",
            "position": "teacher",
            "start_date": "2014-01-01",
            "end_date": "2020-01-01",
            "description": "taught physics",
        }
    ],
    "skills": ["teaching", "physics"],
}
result = parse_resume.run(resume_text=json.dumps(NOTES, separators=(",", ":")))
print(result["resume_json"])
