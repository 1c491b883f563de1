"""Toxicity of language: hostile, obscene or hateful wording, by Detoxify. It does not see harmful compliance."""
