"""What the training scripts of the built-in scorers share. Nothing here runs in a server."""
