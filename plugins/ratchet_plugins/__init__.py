"""What Ratchet plugs into other people's engines: models, scorers, rails, vLLM and NeMo extensions.

Usable without the rest of Ratchet. It must not know the server, the learner or their databases; nothing heavy is
imported before it is used.
"""
