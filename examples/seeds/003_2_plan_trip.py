"""Seed 003.2: calls of APIs run side by side, and are awaited where their answers are used.

Needs a running server: sglang serve
"""

from sglang import RuntimeEndpoint, call_api, function, gen, register_api, set_default_backend

# --- seed 003.2
@function
def plan_trip():
    # 第一步：调用铁路API获取车次（模拟）
    train_info = call_api("railway", {"from": "北京", "to": "上海", "date": "明天"})

    # 第二步：调用酒店API（模拟）
    hotels = call_api("hotel", {"location": "上海外滩", "stars": 4})

    # 第三步：用LLM整合生成行程单
    itinerary = gen(
        f"根据以下信息生成简洁行程单：\n车次：{train_info}\n酒店：{hotels}",
        json_schema={"itinerary_items": [{"type": "string"}]}
    )
    return itinerary
# ---

# An API is a function of the arguments, or the URL of a server that takes them as JSON.
register_api("railway", lambda trip: f"G1 {trip['from']}-{trip['to']} 07:00")
register_api("hotel", lambda wanted: [{"name": "Bund Hotel", "stars": wanted["stars"]}])

set_default_backend(RuntimeEndpoint("http://127.0.0.1:30000"))

itinerary = plan_trip(temperature=0, frequency_penalty=1, max_new_tokens=256)
print(itinerary["itinerary_items"])
