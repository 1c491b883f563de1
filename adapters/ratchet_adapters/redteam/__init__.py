"""Red team: attacks that wrap the prompts of a harm suite, campaigns against a live server, a scan for triggers."""
