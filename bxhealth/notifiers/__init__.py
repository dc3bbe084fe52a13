"""Who is told of a finished check, over the network: one file a kind. `errors.NotifyError` where that fails."""
