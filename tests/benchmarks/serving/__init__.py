"""What serving costs: front ends side by side on one engine, flags per second, registry look-ups."""
