"""Diagnosis of over-refusal: what is refused wrongly, which phrases set it off, who taught it, and what may repair it.

It must not know how adapters are trained, stored or routed. It proposes contrast prompts; it never trains on them.
"""
