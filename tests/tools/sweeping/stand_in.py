"""Stands in for train.py where a test is about the sweep around it: starts in milliseconds, does as it is told.

STAND_IN names a folder: `records.json` has the record of every output folder, `orders.json` what to do in those whose
path holds a key: {"seconds": 2, "error": "error: ..."}. The file `calls` gets a line at each start.
"""

import json
import os
import sys
import time
from pathlib import Path

told = Path(os.environ["STAND_IN"])
argv = sys.argv[1:]
output = Path(argv[argv.index("--output-dir") + 1])
with open(told / "calls", "a") as calls:
    calls.write(f"{output} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')} {time.time()}\n")
record = {**json.loads((told / "records.json").read_text())[str(output)], "started": time.time()}
orders = {}
for key, order in json.loads((told / "orders.json").read_text()).items():
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
record |= {"finished": True, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "metrics": {"test": {"accuracy": 50.0}}}
(output / "result.json").write_text(json.dumps(record))
