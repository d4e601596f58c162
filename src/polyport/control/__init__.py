"""The control plane's decisions: what should run (`plan`), what is healthy (`health`), what gateways are told
(`routes`, `publish`), and the loop that makes it so (`reconcile`). It knows no HTTP and no SQL."""
