"""The inference engine: base model plus LoRA adapters known only by content digest.

`engine.py` is the port everything else depends on; `vllm.py` is the implementation over vLLM, the only place of the
server where vLLM is imported. Nothing here knows tenants, rails, aliases or the registry.
"""
