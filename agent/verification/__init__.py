"""The wanted placement against observed threads, masks and pages: findings.  Pure."""
