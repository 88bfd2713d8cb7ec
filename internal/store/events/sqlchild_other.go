//go:build !unix

package events

// limitProcess does nothing where the system has no such limits: time and DuckDB's own limits remain.
func limitProcess(SQLLimits) error { return nil }
