"""The models of the embedded default: where their files are, how they are prepared once and verified later.

It must not know who serves, trains or scores with them. Importing it loads no model and no heavy library; import
the submodule you need (`models.chat`, `models.encoder`, `models.cache`, `models.preparation`).
"""
