package diagnose

import (
	"math"
	"strings"
	"unicode"

	"triage/internal/explain"
	"triage/internal/model"
)

// Text writes a verdict for a terminal, in "en" or "ko": what, where, why, what changed, what was ruled out.
func Text(v model.Verdict, lang string) string {
	var b strings.Builder
	title := "● "
	if v.Incident != "" {
		title += v.Incident + "  "
	}
	b.WriteString(title + subject(v, lang) + "   " + word(lang, "since", explain.Clock(v.What.Since)) + "\n\n")
	b.WriteString(Headline(v, lang) + "\n")
	if v.Why != nil && len(v.Evidence) > 0 {
		b.WriteString(claim(v.Evidence[0], lang) + "\n")
	}
	b.WriteByte('\n')

	section := func(label string, lines []string) {
		for i, l := range lines {
			name := ""
			if i == 0 {
				name = word(lang, label)
			}
			b.WriteString(strings.TrimRight(pad(name, 12)+l, " ") + "\n")
		}
	}
	section("what", []string{measured(v, lang)})
	section("where", whereLines(v, lang))
	section("why", whyLines(v, lang))
	section("changed", changedLines(v, lang))
	section("ruled_out", ruledOutLines(v, lang))
	if v.FirstFailure != nil {
		section("first", []string{explain.Clock(v.FirstFailure.At) + " " + explain.Name(v.FirstFailure.Entity) + " " +
			v.FirstFailure.Operation + ": " + symptom(v.FirstFailure.Symptom, lang)})
	}
	section("also", alsoLines(v, lang))
	section("confidence", []string{confidence(v) + health(v, lang)})
	return b.String()
}

// Markdown writes a verdict for chats and issue trackers.
func Markdown(v model.Verdict, lang string) string {
	var b strings.Builder
	b.WriteString("## " + strings.TrimSpace(v.Incident+" "+subject(v, lang)) + "\n\n**" + Headline(v, lang) + "**")
	if v.Why != nil && len(v.Evidence) > 0 {
		b.WriteString(" " + escape(claim(v.Evidence[0], lang)))
	}
	b.WriteString("\n\n" + word(lang, "confidence") + " " + confidence(v) + " · " + word(lang, "since", explain.Clock(v.What.Since)) + " · " + escape(measured(v, lang)) + "\n")
	if len(v.Where) > 0 {
		b.WriteString("\n| " + word(lang, "where") + " | | " + word(lang, "usual") + " |\n|---|--:|--:|\n")
		for _, w := range v.Where {
			b.WriteString("| " + escape(explain.Name(w.Entity)) + " | " + explain.Seconds(w.ExclusiveS) + " | " + explain.Seconds(w.UsualS) + " |\n")
		}
	}
	list := func(label string, lines []string) {
		if len(lines) > 0 {
			b.WriteString("\n**" + word(lang, label) + "**\n\n")
			for _, l := range lines {
				b.WriteString("- " + l + "\n")
			}
		}
	}
	var why []string
	for _, e := range v.Evidence {
		if e.Kind != "change" {
			why = append(why, escape(claim(e, lang)))
		}
	}
	list("why", why)
	list("changed", escapeAll(changedLines(v, lang)))
	var out []string
	for _, r := range v.RuledOut {
		if r.Key != "no_change" {
			out = append(out, escape(sentence(lang, r.Key, r.Args)))
		}
	}
	list("ruled_out", out)
	return b.String()
}

// Headline is the verdict in one sentence.
func Headline(v model.Verdict, lang string) string {
	if v.Why == nil {
		return word(lang, "no_cause")
	}
	p := headlines[v.Why.Mechanism]
	if v.Why.Class == model.ClassCaller && v.Why.Mechanism == model.PoolExhaustion {
		if q, ok := callerHeadline[v.Why.Entity.Kind()]; ok {
			p = q
		}
	}
	if v.Why.Mechanism == model.NetworkDelay && v.Why.Entity.Kind() == "service" {
		p = networkOfService
	}
	owner := v.Why.Resource.Name()
	if owner == "" {
		owner = v.Why.Entity.Name()
	}
	name := explain.Name(v.Why.Entity)
	if v.Why.Class == model.ClassChange {
		name = v.Why.Entity.Name()
	}
	to := v.Why.Entity.Name() // what a call leads to
	if v.Why.Entity.Kind() == "edge" {
		_, to = v.Why.Entity.Ends()
	}
	return fill(p.in(lang), []string{name, owner, to})
}

func claim(e model.Evidence, lang string) string { return sentence(lang, e.Key, e.Args) }

// subject names the operation and its symptom.
func subject(v model.Verdict, lang string) string {
	s := strings.TrimSpace(v.What.Service + " " + v.What.Operation)
	signal := map[model.Signal]string{model.SignalDuration: "duration", model.SignalErrors: "failures", model.SignalRate: "rate"}[v.What.Signal]
	if signal == "" {
		signal = "metric"
	}
	s += ": " + word(lang, signal) + " " + quantity(v.What.Value, v.What.Unit)
	if v.What.Usual > 0 && v.What.Value > v.What.Usual {
		s += " (" + word(lang, "times_usual", explain.Digits2(v.What.Value/v.What.Usual)+"x") + ")"
	}
	return s
}

func measured(v model.Verdict, lang string) string {
	parts := []string{word(lang, "now", quantity(v.What.Value, v.What.Unit), quantity(v.What.Usual, v.What.Unit))}
	if v.Impact.Requests > 0 {
		felt := word(lang, "felt", explain.Digits(float64(v.Impact.Requests)))
		if v.Impact.Users > 0 {
			key := "users"
			if v.Impact.Users == 1 {
				key = "user"
			}
			felt += ", " + word(lang, key, explain.Digits(float64(v.Impact.Users)))
		}
		parts = append(parts, felt)
	}
	return strings.Join(parts, " · ")
}

func quantity(v float64, unit string) string {
	switch unit {
	case "s":
		return explain.Seconds(v)
	case "ratio":
		return explain.Percent(v)
	case "1/s":
		return explain.Rate(v)
	}
	return strings.TrimSpace(explain.Digits(v) + " " + unit)
}

const barWidth = 24

// bar draws a share of the longest row in eighths of a character.
func bar(share float64) string {
	eighths := int(math.Round(clamp(share) * barWidth * 8))
	if share > 0 && eighths == 0 {
		eighths = 1
	}
	s := strings.Repeat("█", eighths/8)
	if r := eighths % 8; r > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[r])
	}
	return s
}

func whereLines(v model.Verdict, lang string) (out []string) {
	if len(v.Where) == 0 {
		return []string{word(lang, "none")}
	}
	longest, width := 0.0, 0
	for _, w := range v.Where {
		longest = max(longest, w.ExclusiveS)
		width = max(width, cells(explain.Name(w.Entity)))
	}
	for i, w := range v.Where {
		if i >= 6 && w.ExclusiveS < 0.02*longest && w.Errors == 0 || w.ExclusiveS == 0 && w.Errors == 0 {
			continue // not reached any more, or too small to see
		}
		l := pad(explain.Name(w.Entity), width+1) + pad(bar(w.ExclusiveS/max(longest, 1e-9)), barWidth+1) +
			padLeft(explain.Seconds(w.ExclusiveS), 8) + "   " + word(lang, "usual") + " " + explain.Seconds(w.UsualS)
		if w.Errors >= 0.005 {
			l += " · " + word(lang, "errors", explain.Percent(w.Errors))
		}
		out = append(out, l)
	}
	return out
}

func whyLines(v model.Verdict, lang string) (out []string) {
	for i, e := range v.Evidence {
		if i == 0 && v.Why != nil || e.Kind == "change" {
			continue // the first already stands below the headline
		}
		mark := "  "
		if e.Kind == "log" {
			mark = "+ "
		}
		out = append(out, mark+claim(e, lang))
		if len(out) == 7 {
			break
		}
	}
	if len(out) == 0 && v.Why == nil {
		out = []string{"  " + word(lang, "none")}
	}
	return out
}

func changedLines(v model.Verdict, lang string) (out []string) {
	for _, e := range v.Evidence {
		if e.Kind == "change" {
			out = append(out, claim(e, lang))
		}
	}
	if len(out) == 0 {
		for _, r := range v.RuledOut {
			if r.Key == "no_change" {
				return []string{sentence(lang, r.Key, r.Args)}
			}
		}
		out = []string{word(lang, "nothing")}
	}
	return out
}

func ruledOutLines(v model.Verdict, lang string) (out []string) {
	for _, r := range v.RuledOut {
		if r.Key != "no_change" {
			out = append(out, sentence(lang, r.Key, r.Args))
		}
	}
	if len(out) == 0 {
		out = []string{word(lang, "none")}
	}
	return out
}

func alsoLines(v model.Verdict, lang string) (out []string) {
	for i, c := range v.Candidates {
		if i == 0 && v.Why != nil || c.Confidence < 0.1 || len(out) == 3 {
			continue
		}
		out = append(out, string(c.Class)+" "+string(c.Entity)+" "+string(c.Mechanism)+" "+explain.Digits2(c.Confidence))
	}
	return out
}

func confidence(v model.Verdict) string {
	if v.Why == nil {
		return "–"
	}
	return explain.Digits2(v.Why.Confidence)
}

// health says what about the telemetry itself lowers the confidence.
func health(v model.Verdict, lang string) (s string) {
	if v.Telemetry.OrphanSpans > 0.05 {
		s += " · " + word(lang, "orphans", explain.Percent(v.Telemetry.OrphanSpans))
	}
	if v.Telemetry.LagS > 20 {
		s += " · " + word(lang, "lag", explain.Seconds(v.Telemetry.LagS))
	}
	if v.Telemetry.SkewS > skewed {
		s += " · " + word(lang, "skew", explain.Seconds(v.Telemetry.SkewS))
	}
	if v.Telemetry.Sampling > 0 {
		s += " · " + word(lang, "sampling", explain.Percent(v.Telemetry.Sampling))
	}
	if v.Telemetry.Missing != "" {
		s += " · " + word(lang, "missing", v.Telemetry.Missing)
	}
	return s
}

// symptom is the first failure's symptom with its first word in the language.
func symptom(s, lang string) string {
	if rest, ok := strings.CutPrefix(s, "duration "); ok {
		return word(lang, "duration") + " " + rest
	}
	if rest, ok := strings.CutPrefix(s, "errors "); ok {
		return word(lang, "failures") + " " + rest
	}
	return s
}

// cells is how many columns of a terminal a text takes: Hangul and other wide letters take two.
func cells(s string) (n int) {
	for _, r := range s {
		n++
		if unicode.Is(unicode.Hangul, r) || unicode.Is(unicode.Han, r) {
			n++
		}
	}
	return n
}

func pad(s string, width int) string     { return s + strings.Repeat(" ", max(0, width-cells(s))) }
func padLeft(s string, width int) string { return strings.Repeat(" ", max(0, width-cells(s))) + s }

// escape keeps what senders wrote from being read as Markdown.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "<", "&lt;", "[", `\[`).Replace(s)
}

func escapeAll(lines []string) []string {
	for i := range lines {
		lines[i] = escape(lines[i])
	}
	return lines
}
