"""Seed 001.4: generate, decide, and generate again in one state.

Needs a running server: sglang serve
"""

# --- seed 001.4
import sglang as sgl

@sgl.function
def complex_workflow(s, topic):
    # 步骤1:生成主题大纲
    s += "请为以下主题生成大纲:" + topic + "\n"
    s += "大纲:"
    s += sgl.gen("outline", max_tokens=256, temperature=0.7)

    # 步骤2:判断大纲质量
    s += "\n这份大纲是否足够详细?"
    s += sgl.select("quality", choices=["详细", "简略", "需要改进"])

    # 步骤3:根据判断结果生成详细内容
    s += "\n请根据大纲展开详细内容:\n"
    s += sgl.gen("detail", max_tokens=512, temperature=0.8)
# ---

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

state = complex_workflow.run(topic="人工智能的历史")
for name in ("outline", "quality", "detail"):
    print(f"[{name}]", state[name])
