"""HTTP: words of requests into changes, outcomes into answers. The only place that knows either."""
