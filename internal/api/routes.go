package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// routes lists every operation of the API.
func (s *server) routes(a huma.API) {
	get(a, "/api/v1/incidents", "Incidents, newest first", s.incidents)
	get(a, "/api/v1/incidents/{id}", "One incident with its newest verdict", s.incident)
	get(a, "/api/v1/incidents/{id}/verdict", "One revision of an incident's verdict", s.verdict)
	get(a, "/api/v1/incidents/{id}/verdicts", "All revisions of an incident's verdict", s.verdicts)
	get(a, "/api/v1/incidents/{id}/story", "The sentences of an incident's verdict in one language", s.story)
	get(a, "/api/v1/incidents/{id}/timeline", "An incident in order of time: alarms, verdicts, changes, messages, and what people did", s.timeline)
	get(a, "/api/v1/incidents/{id}/postmortem", "An incident as Markdown to be completed", s.postmortem)
	post(a, "/api/v1/incidents/{id}/ack", "Say that somebody looks after an incident, or take it back", http.StatusOK, s.acknowledge)
	post(a, "/api/v1/incidents/{id}/assign", "Say who is to work on an incident", http.StatusOK, s.assign)
	post(a, "/api/v1/incidents/{id}/notes", "Note something about an incident", http.StatusCreated, s.note)
	post(a, "/api/v1/incidents/{id}/merge", "Merge another incident into one", http.StatusOK, s.merge)
	post(a, "/api/v1/incidents/{id}/split", "Open a new incident with some of an incident's alarms", http.StatusCreated, s.split)
	post(a, "/api/v1/incidents/{id}/silence", "Silence an incident, or some of its alarms", http.StatusCreated, s.silenceIncident)
	get(a, "/api/v1/journal", "What people, and triage by itself, did, oldest first", s.journal)
	post(a, "/api/v1/diagnose", "Make a verdict now", http.StatusOK, s.diagnose)
	get(a, "/api/v1/changes", "Changes, oldest first", s.changes)
	post(a, "/api/v1/changes", "Record a change", http.StatusCreated, s.recordChange)
	get(a, "/api/v1/alarms", "Alarms and the rules behind them", s.alarms)
	huma.Post(a, "/api/v1/alarms", wrap(s.putRule), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Add or replace an alarm rule", http.StatusCreated
		o.SkipValidateBody = true // alarm.ParseRule says more of what is wrong
	})
	huma.Delete(a, "/api/v1/alarms/{name}", wrap(s.deleteRule), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Remove an alarm rule", http.StatusNoContent
	})
	get(a, "/api/v1/alarms/history", "Transitions of alarms, oldest first", s.history)
	get(a, "/api/v1/alarms/band", "An alarm's datapoints and the bounds of what was usual", s.band)
	post(a, "/api/v1/alarms/backtest", "What a rule would have done over stored data", http.StatusOK, s.backtest)
	get(a, "/api/v1/slos", "Service level objectives: how good, what is left of the budget, and how fast it is used up", s.slos)
	huma.Post(a, "/api/v1/slos", wrap(s.putSLO), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Add or replace a service level objective in OpenSLO's format, as JSON", http.StatusCreated
		o.SkipValidateBody = true // slo.Parse says more of what is wrong
	})
	get(a, "/api/v1/slos/{name}", "One service level objective and how it stands", s.slo)
	huma.Delete(a, "/api/v1/slos/{name}", wrap(s.deleteSLO), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Remove a service level objective", http.StatusNoContent
	})
	get(a, "/api/v1/slos/{name}/history", "The burn rate of an objective in steps", s.sloHistory)
	get(a, "/api/v1/dashboards", "Dashboards, in order of title", s.dashboards)
	huma.Post(a, "/api/v1/dashboards", wrap(s.putDashboard), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Save a dashboard as a new version", http.StatusCreated
		o.SkipValidateBody = true // dashboard.Parse says more of what is wrong
		o.MaxBodyBytes = 2 << 20
	})
	huma.Post(a, "/api/v1/dashboards/import", wrap(s.importDashboard), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Make a dashboard of Grafana's or CloudWatch's, without saving it, and say what is lost", http.StatusOK
		o.MaxBodyBytes = 16 << 20 // as JSON within JSON
	})
	get(a, "/api/v1/dashboards/{name}", "One dashboard, as it is or as it was", s.dashboard)
	get(a, "/api/v1/dashboards/{name}/versions", "Versions of a dashboard, newest first, also of one that was deleted", s.dashboardVersions)
	huma.Delete(a, "/api/v1/dashboards/{name}", wrap(s.deleteDashboard), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Remove a dashboard; its versions remain", http.StatusNoContent
	})
	get(a, "/api/v1/schema/dashboard", "The JSON Schema of dashboards", s.dashboardSchema)
	huma.Post(a, "/api/v1/apply", wrap(s.apply), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "Make alarms, objectives, silences, routes, dashboards and runbooks be what files declare", http.StatusOK
		o.MaxBodyBytes = 16 << 20 // manifest has a bound of its own, and says so
	})
	get(a, "/api/v1/export", "What is declared, as files that can be applied", s.export)
	get(a, "/api/v1/revisions", "What was applied, newest first", s.revisions)
	get(a, "/api/v1/runbooks", "Runbooks: what is done by itself, or once somebody approves", s.runbooks)
	get(a, "/api/v1/runs", "Runs of runbooks, newest first", s.runs)
	post(a, "/api/v1/runs/{id}/approve", "Begin a run that waits for approval, or was skipped", http.StatusOK, s.onRun(Runbooks.Approve))
	post(a, "/api/v1/runs/{id}/refuse", "End a run that waits for approval", http.StatusOK, s.onRun(Runbooks.Refuse))
	post(a, "/api/v1/runs/{id}/undo", "Take a run back", http.StatusOK, s.onRun(Runbooks.Undo))
	get(a, "/api/v1/receivers", "Who can be told of incidents", s.receivers)
	post(a, "/api/v1/receivers/{name}/test", "Tell a receiver that it can be told", http.StatusOK, s.testReceiver)
	get(a, "/api/v1/notifications", "Messages that wait and that were sent last, newest first", s.notifications)
	get(a, "/api/v1/silences", "Silences, those that end last first", s.silences)
	post(a, "/api/v1/silences", "Add or replace a silence", http.StatusCreated, s.putSilence)
	huma.Delete(a, "/api/v1/silences/{id}", wrap(s.endSilence), func(o *huma.Operation) {
		o.Summary, o.DefaultStatus = "End a silence now", http.StatusNoContent
	})
	get(a, "/api/v1/services", "Services, their operations, and who calls whom", s.services)
	get(a, "/api/v1/traces/{id}", "One trace with its log lines and critical path", s.trace)
	get(a, "/api/v1/traces/{id}/outline", "One trace as a waterfall shows it, without details", s.outline)
	get(a, "/api/v1/difference", "Attributes that set some of an operation's spans apart from the rest", s.difference)
	get(a, "/api/v1/templates", "Log lines by template, in a range and before it", s.templates)
	get(a, "/api/v1/logs", "Search log records, newest first", s.logs)
	get(a, "/api/v1/logs/counts", "How many log records match, in steps of time and by fields", s.logCounts)
	get(a, "/api/v1/spans/counts", "How many spans match, in steps of time and by fields, and how long they took", s.spanCounts)
	get(a, "/api/v1/spans", "Search spans, newest first", s.spans)
	get(a, "/api/v1/errors", "Exceptions grouped by type and stack across services, those seen last first", s.exceptions)
	get(a, "/api/v1/errors/{id}", "One group of exceptions with a stack", s.exception)
	post(a, "/api/v1/sql", "Read-only SQL over the views logs and spans", http.StatusOK, s.sql)
	get(a, "/api/v1/status", "What is running and what was received", s.status)
}

type handler[I, O any] func(ctx context.Context, in *I) (*O, error)

func get[I, O any](a huma.API, path, summary string, h handler[I, O]) {
	huma.Get(a, path, wrap(h), func(o *huma.Operation) { o.Summary = summary })
}

func post[I, O any](a huma.API, path, summary string, status int, h handler[I, O]) {
	huma.Post(a, path, wrap(h), func(o *huma.Operation) { o.Summary, o.DefaultStatus = summary, status })
}

func wrap[I, O any](h handler[I, O]) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problem(err)
		}
		return out, nil
	}
}

// body is an answer as JSON. It is encoded by encoding/json alone, because the model's types define their own JSON.
type body struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func answer(v any) (*body, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &body{"application/json", append(b, '\n')}, nil
}

func quote(s string) string {
	b, _ := json.Marshal(s) // text always encodes
	return string(b)
}
