"""The CLIP models: loading, encoders, blocks, packed prompts, CUDA graphs and parameter sets."""
