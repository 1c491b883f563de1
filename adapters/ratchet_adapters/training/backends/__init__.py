"""Where a training is carried out: in a process on this machine, or by workers on many.

It must not know any method. Importing it loads nothing heavy.
"""
