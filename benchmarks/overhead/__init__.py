"""What a request costs beyond passing it on."""
