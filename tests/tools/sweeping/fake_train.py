"""Replaces train.py in tests of the sweep: starts in milliseconds and trains nothing.

The environment variable FAKE_TRAIN names a folder. Its `records.json` has the record for each run directory and, of an
evaluation, the directory of the training. Its `orders.json` says what to do in run directories whose path contains a
key: {"seconds": 2, "error": "error: ..."}. Each start adds a line to the file `calls`. With several processes, the
others do nothing but add a line to the file `others`.
"""

import json
import os
import sys
import time
from pathlib import Path

control = Path(os.environ["FAKE_TRAIN"])
argv = sys.argv[1:]
output = Path(argv[argv.index("--output-dir") + 1])
is_main = os.environ.get("RANK", "0") == "0"
with open(control / ("calls" if is_main else "others"), "a") as calls:
    calls.write(f"{output} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')} {time.time()}\n")
if not is_main:
    sys.exit()
others = control / "others"
while int(os.environ.get("WORLD_SIZE", "1")) > 1 and not (others.exists() and f"{output} " in others.read_text()):
    time.sleep(0.01)  # torchrun ends the others if this process fails
key = f"{output} {argv[argv.index('--model-dir') + 1]}" if "--model-dir" in argv else str(output)
record = {**json.loads((control / "records.json").read_text())[key], "started": time.time()}
orders = {}
for key, order in json.loads((control / "orders.json").read_text()).items():
    if key in str(output):
        orders.update(order)
(output / "result.json").write_text(json.dumps({**record, "finished": False}))
folder = output / "clipfit"
if "--eval-only" not in argv:
    folder.mkdir(exist_ok=True)
    for epoch in range(1, 11):
        print(f"epoch [{epoch}/10] batch [1/1] time 0.1 (0.1) loss 1.0 (1.0) lr 0.1 eta 0:00:01", flush=True)
        time.sleep(orders.get("seconds", 0) / 10)
        if epoch % 5 == 0:
            (folder / f"model.pth.tar-{epoch}").write_text("")
            (folder / "checkpoint").write_text(f"model.pth.tar-{epoch}\n")
if "error" in orders:
    print(orders["error"], file=sys.stderr)
    sys.exit(1)
if "kill" in orders:
    os.kill(os.getpid(), orders["kill"])
print("* accuracy: 50.00%")
record |= {"finished": True, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
(output / "result.json").write_text(json.dumps(record))
