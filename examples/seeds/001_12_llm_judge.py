"""Seed 001.12: the model judges which of two answers is better."""

# --- seed 001.12
import sglang as sgl

@sgl.function
def llm_judge(s, question, answer_a, answer_b):
    """使用LLM作为裁判评估两个回答"""
    s += "请评估以下两个回答的质量:\n\n"
    s += "问题:" + question + "\n\n"
    s += "回答A:" + answer_a + "\n\n"
    s += "回答B:" + answer_b + "\n\n"
    s += "评估标准:准确性、完整性、清晰度\n\n"
    s += "更好的回答是:"
    s += sgl.select("winner", choices=["A", "B", "两者相当"])

runtime = sgl.Runtime(model_path="smollm2")

question = "什么是量子纠缠?"
answer_a = "量子纠缠是两个粒子之间的关联..."
answer_b = "量子纠缠指两个量子系统之间存在非经典的相关性..."

state = llm_judge.run(
    question=question,
    answer_a=answer_a,
    answer_b=answer_b,
    runtime=runtime,
)
print(f"裁判结果: {state['winner']}")
# ---
