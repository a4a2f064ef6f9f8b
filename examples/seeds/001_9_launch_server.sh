# Seed 001.9: the server's options. Run it in this folder, where chat_template.jinja is.

# --- seed 001.9
# 基本启动
python -m sglang.launch_server \
    --model-path smollm2 \
    --port 8000
# ---

# Tensor parallelism over two devices does not exist here yet. The server does not run on one device and keep silent
# about it: it refuses `--tp 2` by name. Use `--tp 1`, or leave it out.

# --- seed 001.9
# 完整参数启动
python -m sglang.launch_server \
    --model-path smollm2 \
    --port 8000 \
    --tp 2 \
    --mem-fraction-static 0.88 \
    --enable-radix-cache \
    --chat-template chat_template.jinja
# ---

# The document's table also has these two.
python -m sglang.launch_server --model-path smollm2 --port 8000 --disable-radix-cache --chunked-prefill-size -1
