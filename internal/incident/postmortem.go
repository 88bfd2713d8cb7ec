package incident

import (
	"fmt"
	"strings"
	"time"

	"triage/internal/model"
)

// Postmortem writes an incident down as Markdown for those who will learn from it: what is known filled in, what people
// have to say left open. Verdict is the newest verdict as Markdown, empty if there is none. Lang is "en" or "ko".
func Postmortem(f Facts, moments []Moment, verdict, lang string, now time.Time) string {
	inc := f.Incident
	i := 0
	if lang == "ko" {
		i = 1
	}
	w := func(key string) string { return postmortemWords[key][i] }
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n", inc.ID, line(titleIn(inc, lang)))
	row := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", w(key), line(value))
		}
	}
	b.WriteString("| | |\n|---|---|\n")
	status := string(inc.Status)
	if inc.MergedInto != "" {
		status += " (" + w("merged into") + " " + inc.MergedInto + ")"
	}
	row("status", status)
	row("began", stamp(inc.Onset))
	row("opened", stamp(inc.OpenedAt)+after(inc.Onset, inc.OpenedAt))
	if e := firstOf(f.Entries, model.EntryAcknowledged); e != nil {
		row("acknowledged", stamp(e.At)+after(inc.OpenedAt, e.At)+", "+e.By)
	}
	row("opened again", stamp(inc.ReopenedAt))
	end := now
	if !inc.ResolvedAt.IsZero() {
		end = inc.ResolvedAt
		row("resolved", stamp(end))
	}
	if !inc.Onset.IsZero() {
		row("lasted", end.Sub(inc.Onset).Round(time.Second).String())
	}
	row("assignee", inc.Assignee)
	if n := len(f.Verdicts); n > 0 {
		i := f.Verdicts[n-1].Impact
		row("impact", fmt.Sprintf("%d %s, %d %s", i.Requests, w("requests"), i.Users, w("users")))
	}

	fmt.Fprintf(&b, "\n## %s\n\n", w("cause"))
	if verdict == "" {
		b.WriteString(w("no verdict") + "\n")
	} else { // its headings go one level down, below this one
		for l := range strings.Lines(strings.TrimRight(verdict, "\n") + "\n") {
			if strings.HasPrefix(l, "#") {
				l = "#" + l
			}
			b.WriteString(l)
		}
	}

	fmt.Fprintf(&b, "\n## %s\n\n| %s (UTC) | %s | %s | %s |\n|---|---|---|---|\n", w("timeline"), w("time"), w("kind"), w("what"), w("by"))
	for _, m := range moments {
		text := m.Text
		if m.Note != "" {
			text += ": " + m.Note
		}
		if m.State != "" {
			text = string(m.State) + " " + text
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.At.UTC().Format("2006-01-02 15:04:05"), strings.ReplaceAll(m.Kind, "_", " "), line(text), line(m.By))
	}

	fmt.Fprintf(&b, "\n## %s\n\n", w("alarms"))
	for _, a := range inc.Alarms {
		fmt.Fprintf(&b, "- %s (%s)\n", line(title(a, lang)), line(a.ID))
	}
	for _, key := range []string{"went well", "went wrong", "lucky"} {
		fmt.Fprintf(&b, "\n## %s\n\n-\n", w(key))
	}
	fmt.Fprintf(&b, "\n## %s\n\n- [ ]\n", w("to do"))
	return b.String()
}

// titleIn is an incident's title in a language.
func titleIn(inc model.Incident, lang string) string {
	if t := inc.Titles[lang]; t != "" {
		return t
	}
	return inc.Title
}

var postmortemWords = map[string][2]string{
	"status": {"Status", "상태"}, "merged into": {"merged into", "병합된 인시던트:"}, "began": {"Began", "시작"}, "opened": {"Noticed", "감지"},
	"acknowledged": {"Acknowledged", "확인"}, "opened again": {"Opened again", "재발생"}, "resolved": {"Resolved", "해결"},
	"lasted": {"Lasted", "지속 시간"}, "assignee": {"Assignee", "담당자"}, "impact": {"Impact", "영향"}, "requests": {"requests", "요청"},
	"users": {"users", "사용자"}, "cause": {"Root cause", "원인"}, "no verdict": {"No verdict was made.", "진단 결과가 없습니다."},
	"timeline": {"Timeline", "타임라인"}, "time": {"Time", "시각"}, "kind": {"Kind", "종류"}, "what": {"What", "내용"}, "by": {"By", "수행자"},
	"alarms": {"Alarms", "알람"}, "went well": {"What went well", "잘된 점"}, "went wrong": {"What went wrong", "잘못된 점"},
	"lucky": {"Where we were lucky", "운이 좋았던 점"}, "to do": {"Action items", "후속 조치"},
}

func firstOf(entries []model.Entry, kind model.EntryKind) *model.Entry {
	for i := range entries {
		if entries[i].Kind == kind {
			return &entries[i]
		}
	}
	return nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func after(from, to time.Time) string {
	if from.IsZero() || !to.After(from) {
		return ""
	}
	return " (+" + to.Sub(from).Round(time.Second).String() + ")"
}

// escaper keeps text from being taken for Markdown or HTML: a message of a log, or what somebody noted.
var escaper = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`)

// line is text as one line of Markdown.
func line(s string) string { return escaper.Replace(strings.Join(strings.Fields(s), " ")) }
