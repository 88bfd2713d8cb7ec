package incident

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"triage/internal/model"
)

// Languages are those in which titles and timelines are written, the first where none is named.
var Languages = []string{"en", "ko"}

// titles are an alarm's in the languages other than the first.
func titles(a model.Alarm) map[string]string {
	out := map[string]string{}
	for _, lang := range Languages[1:] {
		out[lang] = title(a, lang)
	}
	return out
}

// in writes a sentence in a language: English, then Korean.
func in(lang string, sentences [2]string, args ...any) string {
	if lang == "ko" {
		return fmt.Sprintf(sentences[1], args...)
	}
	return fmt.Sprintf(sentences[0], args...)
}

// title says in one line what an alarm saw: "checkout in frontend: latency 2.7x its usual".
func title(a model.Alarm, lang string) string {
	where := a.Rule
	switch {
	case a.Operation != "" && a.Service != "":
		where = in(lang, [2]string{"%[1]s in %[2]s", "%[2]s %[1]s"}, a.Operation, a.Service)
	case a.Service != "" && a.Signal != model.SignalMetric:
		where = a.Service
	case a.Service != "":
		where = in(lang, [2]string{"%[1]s in %[2]s", "%[2]s %[1]s"}, a.Rule, a.Service)
	}
	return where + ": " + symptom(a, lang)
}

// maxReason is how much of a reason a title takes.
const maxReason = 120

func symptom(a model.Alarm, lang string) string {
	if a.Source != "" && a.Reason != "" { // there is no threshold that we know
		reason := []rune(strings.Join(strings.Fields(a.Reason), " "))
		if len(reason) > maxReason {
			reason = append(reason[:maxReason-1], '…')
		}
		return string(reason)
	}
	switch a.Signal {
	case model.SignalErrors:
		if a.Unit != "ratio" {
			break
		}
		return in(lang, [2]string{"%s of requests fail (usually %s)", "요청의 %s 실패(평소 %s)"}, percent(a.Value), percent(a.Usual))
	case model.SignalDuration:
		if a.Usual > 0 {
			return in(lang, [2]string{"latency %s its usual", "지연 시간이 평소의 %s"}, times(a.Value/a.Usual))
		}
	case model.SignalRate:
		switch {
		case a.Value == 0 && a.Usual > 0:
			return in(lang, [2]string{"no traffic", "트래픽 없음"})
		case a.Usual > 0 && a.Value >= a.Usual:
			return in(lang, [2]string{"traffic %s its usual", "트래픽이 평소의 %s"}, times(a.Value/a.Usual))
		case a.Usual > 0:
			return in(lang, [2]string{"traffic down to %s of its usual", "트래픽이 평소의 %s로 감소"}, percent(a.Value/a.Usual))
		}
	}
	if a.Usual != 0 {
		return in(lang, [2]string{"%s (usually %s)", "%s(평소 %s)"}, quantity(a.Value, a.Unit), quantity(a.Usual, a.Unit))
	}
	return in(lang, [2]string{"%s (threshold %s)", "%s(임계값 %s)"}, quantity(a.Value, a.Unit), quantity(a.Threshold, a.Unit))
}

func times(x float64) string {
	if x >= 10 {
		return fmt.Sprintf("%.0fx", x)
	}
	return fmt.Sprintf("%.1fx", x)
}

// percent keeps one digit below ten, and none that are not there.
func percent(share float64) string {
	p := 100 * share
	if p < 9.95 {
		p = math.Round(10*p) / 10
	} else {
		p = math.Round(p)
	}
	return strconv.FormatFloat(p, 'f', -1, 64) + " %"
}

func quantity(v float64, unit string) string {
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if math.Abs(v) >= 1000 {
		s = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if unit == "" || unit == "ratio" {
		return s
	}
	return s + " " + unit
}

// distance is by what factor an alarm is away from what it should be; 0 where nothing says.
func distance(a model.Alarm) float64 {
	should := a.Usual
	if should <= 0 {
		should = a.Threshold
	}
	if should <= 0 || a.Value <= 0 {
		return 0
	}
	return max(a.Value/should, should/a.Value)
}
