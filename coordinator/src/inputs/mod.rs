//! Sweep → resolved inputs: sources pinned, datasets read, prompts rendered, texts tokenised, micro-batches composed.
