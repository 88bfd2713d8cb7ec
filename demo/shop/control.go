package shop

import "net/http"

// controlHandler answers on the port that no instrumentation sees: whether the process is ready, and its faults'
// switches. It exists so that a fault leaves no request, line or metric behind.
func controlHandler(faults map[string]func(on bool)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	set := func(on bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			fault := faults[r.PathValue("fault")]
			if fault == nil {
				http.NotFound(w, r)
				return
			}
			fault(on)
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux.HandleFunc("PUT /faults/{fault}", set(true))
	mux.HandleFunc("DELETE /faults/{fault}", set(false))
	return mux
}
