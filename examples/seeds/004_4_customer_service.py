"""Seed 004.4: classify a question, then route it.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 004.4
@sgl.function
def customer_service(s, query):
    s += sgl.user(f"问题：{query}")

    # 第一步：分类
    s += sgl.assistant(sgl.gen(
        "category",
        max_tokens=20,
        choices=["技术问题", "账务问题", "其他"]  # 限制选项
    ))

    # 第二步：根据分类路由
    if s["category"] == "技术问题":
        s += sgl.user("查询技术文档后，请回答：")
        s += sgl.assistant(sgl.gen("answer", max_tokens=200))

    elif s["category"] == "账务问题":
        s += sgl.user("查询订单系统后，请回答：")
        s += sgl.assistant(sgl.gen("answer", max_tokens=200))

    else:
        s += sgl.assistant("您的问题已转接人工客服")

result = customer_service.run(query="我的产品无法登录")
print(f"分类：{result['category']}")
print(f"回答：{result['answer']}")
# ---
