"""garak talks to Ratchet: a generator over the light client, and the command that makes garak know it."""
