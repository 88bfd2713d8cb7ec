package api

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"triage/internal/diagnose"
	"triage/internal/model"
	"triage/internal/store"
)

//go:embed page.html
var pageText string

// pages are rendered on the server, without any script: what they show is complete and a reload brings what is new.
var pages = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(pageText))

type pageData struct {
	Title     string
	Lang      string
	Version   string
	Incidents []model.Incident
	Alarms    []model.Alarm // in ALARM
	OK        int           // alarms in OK
	Spans     int64
	Logs      int64
	Incident  *model.Incident
	Text      string
}

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	ctx, t := r.Context(), tenant(r.Header.Get("X-Scope-OrgID"))
	d := pageData{Title: "triage", Lang: language(r), Version: s.Version}
	var err error
	if d.Incidents, err = s.State.Incidents(ctx, t, "", 50); err == nil {
		for _, a := range s.Alarms.Alarms(t) {
			switch a.State {
			case model.StateAlarm:
				d.Alarms = append(d.Alarms, a)
			case model.StateOK:
				d.OK++
			}
		}
		var stats store.EventStats
		stats, err = s.Events.Stats(ctx)
		d.Spans, d.Logs = stats.Spans, stats.Logs
	}
	s.render(w, d, err)
}

func (s *server) incidentPage(w http.ResponseWriter, r *http.Request) {
	inc, err := s.State.Incident(r.Context(), tenant(r.Header.Get("X-Scope-OrgID")), r.PathValue("id"))
	d := pageData{Title: inc.ID + " " + inc.Title, Lang: language(r), Version: s.Version, Incident: &inc}
	if inc.Verdict != nil {
		d.Text = diagnose.Text(*inc.Verdict, d.Lang)
	}
	s.render(w, d, err)
}

func (s *server) render(w http.ResponseWriter, d pageData, err error) {
	var out bytes.Buffer
	if err == nil {
		err = pages.Execute(&out, d)
	}
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, store.ErrNotFound) {
			status = http.StatusNotFound
		} else {
			s.Logger.Error("render page", "error", err)
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(out.Bytes())
}

// language is the ?lang of the request, else the first of ours that its Accept-Language names.
func language(r *http.Request) string {
	if l := r.URL.Query().Get("lang"); l == "ko" || l == "en" {
		return l
	}
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Accept-Language")), "ko") {
		return "ko"
	}
	return "en"
}
