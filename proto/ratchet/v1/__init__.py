"""Generated messages and stubs of ratchet.v1; see the .proto files beside them."""
