"""What people write instead. Each counts at POST /increment and tells {"value": total} at GET /total."""
