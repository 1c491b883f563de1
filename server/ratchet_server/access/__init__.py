"""Who calls, and what they may: identities, the table of roles per call, and the ways to prove an identity.

Must not know what the calls do.
"""
