"""Who calls, and whether they may, before a call is looked at any further; and what the audit log hears of refusals."""
