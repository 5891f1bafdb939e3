"""The models: loading, encoders, blocks, packed prompts, and the parameter sets that can be tuned in them."""
