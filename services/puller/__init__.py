"""The puller: what people change in Outlook, told on the bus."""
