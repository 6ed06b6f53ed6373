"""What the scheduler keeps: SQLAlchemy Core over SQLite (one process) or PostgreSQL (several)."""
