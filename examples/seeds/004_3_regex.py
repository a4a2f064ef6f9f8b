"""Seed 004.3: an e-mail address and a phone number by regular expression.

Needs a running server: sglang serve
"""

import sglang as sgl

sgl.set_default_backend(sgl.RuntimeEndpoint("http://127.0.0.1:30000"))

# --- seed 004.3
@sgl.function
def extract_email(s, text):
    s += sgl.user(f"提取邮箱：{text}")
    s += sgl.assistant(sgl.gen(
        "email",
        max_tokens=50,
        # 用正则约束格式
        regex=r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}"
    ))

result = extract_email.run(text="联系我：zhangsan@example.com")
print(result["email"])
# 输出：zhangsan@example.com
# 保证是合法邮箱！

@sgl.function
def extract_phone(s, text):
    s += sgl.user(f"提取手机号：{text}")
    s += sgl.assistant(sgl.gen(
        "phone",
        regex=r"1[3-9]\d{9}"  # 中国手机号格式
    ))

result = extract_phone.run(text="我的手机是13812345678")
print(result["phone"])
# 输出：13812345678
# ---


# Nothing in the first expression says that an address ends: its 50 tokens may be over before it does, and then the
# finish reason is "length". An expression that is bounded gets to its end.
@sgl.function
def extract_short_email(s, text):
    s += sgl.user(f"提取邮箱：{text}")
    s += sgl.assistant(sgl.gen("email", max_tokens=50, regex=r"[a-z]{1,12}@[a-z]{1,12}\.(com|org)"))


print(extract_short_email.run(text="联系我：zhangsan@example.com")["email"])
