"""Refusal: does a completion decline the request? Judged from the completion alone: pattern first, then a head."""
