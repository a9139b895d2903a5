"""The profiles of certificates, shipped as data: profiles.toml."""
