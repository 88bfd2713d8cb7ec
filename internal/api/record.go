package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"triage/internal/record"
)

// recordWriteTime is how long a recorder may take nothing at all before it counts as gone.
const recordWriteTime = 30 * time.Second

// record streams a recording of what is received from now on, until the client goes. X-Scope-OrgID restricts it to a
// tenant; without it all tenants are recorded, each batch with its own.
func (s *server) record(w http.ResponseWriter, r *http.Request) {
	sub, err := s.Tap.Subscribe(r.Header.Get("X-Scope-OrgID"))
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, record.ErrBusy) {
			status = http.StatusTooManyRequests
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"title":` + quote(http.StatusText(status)) + `,"status":` + strconv.Itoa(status) + `,"detail":` + quote(err.Error()) + "}\n"))
		return
	}
	w.Header().Set("Content-Type", record.MediaType)
	w.Header().Set("Cache-Control", "no-store")
	out := &patient{ResponseWriter: w, control: http.NewResponseController(w)}
	if err := sub.Run(r.Context(), out, out.control.Flush); err != nil && r.Context().Err() == nil {
		s.Logger.Warn("recording broke off", "error", err)
	}
}

// patient moves the deadline on with each write: a recording has no end, but a client that hangs has.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(recordWriteTime)) // where deadlines can't be set none is
	return p.ResponseWriter.Write(b)
}
