"""Microsoft Graph: how a request becomes an operation on a mailbox, and how the answer looks on the wire."""
