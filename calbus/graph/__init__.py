"""Microsoft Graph: tokens, calls, batches, and what its errors mean."""
