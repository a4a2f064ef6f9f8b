# Seed 004.1: start the server, then (in another terminal) see that it answers.

# --- seed 004.1
# 启动推理服务器
python -m sglang.launch_server \
  --model-path smollm2 \
  --port 30000 \
  --host 0.0.0.0

# 验证
curl http://127.0.0.1:30000/v1/models
# ---
