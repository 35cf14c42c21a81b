"""Signing in with an identity provider: the relying party of OpenID Connect Core 1.0, authorization code flow."""
