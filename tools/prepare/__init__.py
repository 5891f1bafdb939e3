"""Downloads datasets into CoOp's folder layout and checks them. The command is `tools/prepare_data.py`."""
