"""Entra ID: app registrations, credentials and the tokens they buy."""
