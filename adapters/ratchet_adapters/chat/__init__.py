"""Chat models behind HTTP endpoints, for critics and judges alike."""
