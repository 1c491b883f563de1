"""The trainers: the only place that knows TRL, and the process that training runs in.

It must not know where datasets come from. Importing it loads nothing heavy.
"""
