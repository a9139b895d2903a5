"""Model weights on disk: safetensors only, one tensor or one decoder layer in memory at a time."""
