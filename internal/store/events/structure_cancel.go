package events

import "context"

// promptly runs a search and returns its answer, or the context's error as soon as the context ends. DuckDB looks for an
// interrupt only between vectors of rows, and a regular expression over 2,048 long lines may take seconds; such a search
// ends by itself behind the caller's back, holding its files until then.
func promptly[T any](ctx context.Context, search func() (T, error)) (T, error) {
	type answer struct {
		rows   T
		err    error
		failed any // what it panicked with
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			a.failed = recover()
			done <- a
		}()
		a.rows, a.err = search()
	}()
	select {
	case a := <-done:
		if a.failed != nil {
			panic(a.failed)
		}
		return a.rows, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
