"""What serving costs beside the engine: flags per second, registry look-ups."""
