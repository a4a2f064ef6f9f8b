# Seed 000.5: start the server. It says "The server is fired up and ready to roll!" when it answers.

# --- seed 000.5
python -m sglang.launch_server --model-path smollm2 --host 0.0.0.0 --port 30000
# ---
