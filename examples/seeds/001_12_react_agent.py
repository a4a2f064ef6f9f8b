"""Seed 001.12: an agent that thinks, decides what to do, and answers, for a batch of questions."""

# --- seed 001.12
import sglang as sgl
import json

@sgl.function
def agent_workflow(s, query):
    """ReAct风格的Agent工作流"""
    # 第1步:思考
    s += "查询:" + query + "\n"
    s += "思考:我需要先分析这个问题。\n"
    s += "思考:"
    s += sgl.gen("thought_1", max_tokens=128, temperature=0.7)

    # 第2步:决定行动
    s += "\n行动类型:"
    s += sgl.select("action_type", choices=["搜索", "计算", "回答"])

    # 第3步:根据行动类型分支
    if s["action_type"] == "回答":
        s += "\n最终答案:"
        s += sgl.gen("answer", max_tokens=256, temperature=0.5)
    else:
        s += "\n行动内容:"
        s += sgl.gen("action_content", max_tokens=128)
        s += "\n观察结果:[模拟观察]\n最终答案:"
        s += sgl.gen("answer", max_tokens=256, temperature=0.5)

runtime = sgl.Runtime(model_path="smollm2")

# 运行Agent(多个Agent调用共享相同的前缀结构)
queries = [
    "法国的首都人口是多少?",
    "Python的GIL是什么?",
    "量子纠缠的原理是什么?",
]
states = agent_workflow.run_batch(
    [{"query": q} for q in queries],
    runtime=runtime,
)
for state in states:
    print(f"答案: {state['answer']}")
# ---
