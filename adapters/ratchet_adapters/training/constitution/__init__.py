"""Constitutional revision: drafts of an answer are criticised by written principles and written anew.

It must not know how rows are trained on, nor where they are stored. Importing it loads nothing heavy.
"""
