"""What a tenant's applications may choose, what is chosen for them, and how much they may use."""
