"""What Ratchet plugs into vLLM: a CPU platform with a corrected LoRA kernel, and a core that dies with its server.

Usable beside a stock vLLM without the rest of Ratchet: vLLM finds the pieces through its entry-point groups. It must
not know the server, its adapters' names or where they are stored.
"""
