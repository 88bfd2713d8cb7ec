package shop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// controlHandler answers on the port that no instrumentation sees: whether the process is ready, its faults' switches
// and its settings. It exists so that a fault leaves no request, line or metric behind.
//
//	GET /ready             204
//	PUT /faults            a Fault as JSON; 204, 400 for a bad one, 404 for one that the process doesn't have
//	PUT /settings/{key}    the value as body, none for the default; likewise
func controlHandler(u *unit) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if err := json.NewDecoder(io.LimitReader(r.Body, maxControl)).Decode(&f); err != nil {
			http.Error(w, "decode fault: "+err.Error(), http.StatusBadRequest)
			return
		}
		if u.faults[f.Name] == nil {
			http.Error(w, fmt.Sprintf("no fault %q here", f.Name), http.StatusNotFound)
			return
		}
		if err := u.fault(f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /settings/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(io.LimitReader(r.Body, maxControl))
		if err != nil {
			http.Error(w, "read value: "+err.Error(), http.StatusBadRequest)
			return
		}
		key := r.PathValue("key")
		if u.settings[key] == nil {
			http.Error(w, fmt.Sprintf("no setting %q here", key), http.StatusNotFound)
			return
		}
		if err := u.set(key, string(value)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// maxControl bounds a control request's body.
const maxControl = 4 << 10

// configure applies what a process starts with.
func (u *unit) configure(cfg Config) error {
	for key, value := range cfg.Settings {
		if err := u.set(key, value); err != nil {
			return err
		}
	}
	for _, f := range cfg.Faults {
		if err := u.fault(f); err != nil {
			return err
		}
	}
	return nil
}

// fault switches a fault that the process has.
func (u *unit) fault(f Fault) error {
	set := u.faults[f.Name]
	switch {
	case set == nil:
		return fmt.Errorf("no fault %q here", f.Name)
	case !(f.Strength >= 0): // neither is what is no number
		return fmt.Errorf("fault %s: strength %g is below 0", f.Name, f.Strength)
	case !(f.Share >= 0 && f.Share <= 1):
		return fmt.Errorf("fault %s: share %g is outside of [0, 1]", f.Name, f.Share)
	}
	set(f)
	return nil
}

// set changes a setting that the process has.
func (u *unit) set(key, value string) error {
	set := u.settings[key]
	if set == nil {
		return fmt.Errorf("no setting %q here", key)
	}
	if err := set(value); err != nil {
		return fmt.Errorf("setting %s: %w", key, err)
	}
	return nil
}
