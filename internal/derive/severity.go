package derive

import (
	"strings"

	"triage/internal/model"
)

// severityWord knows the words for severities in any case.
func severityWord(s string) model.Severity {
	if len(s) < 2 || len(s) > 13 {
		return 0
	}
	var buf [13]byte
	for i := range len(s) {
		buf[i] = s[i] | 0x20
	}
	switch string(buf[:len(s)]) {
	case "trace", "finest", "finer", "verbose":
		return 1
	case "debug", "fine", "dbg":
		return 5
	case "info", "information", "informational", "inf":
		return 9
	case "notice":
		return 10
	case "warn", "warning", "wrn":
		return 13
	case "error", "err", "severe":
		return 17
	case "fatal", "critical", "crit", "panic", "emerg", "emergency", "alert":
		return 21
	}
	return 0
}

// severityOf finds the severity that a record without one says in its attributes, in the fields of its body or in its
// text; 0 if it says none.
func severityOf(r *model.LogRecord, fields model.Attrs, text string) model.Severity {
	if s := severityWord(r.SeverityText); s != 0 {
		return s
	}
	for _, attrs := range [...]model.Attrs{r.Attrs, fields} {
		for i := range attrs {
			switch a := &attrs[i]; a.Key {
			case "level", "severity", "log.level", "lvl", "loglevel", "levelname", "severity_text":
				if s := severityValue(a.Value.String()); s != 0 {
					return s
				}
			}
		}
	}
	return severityInText(text)
}

// severityValue reads a word, or the number that bunyan and pino write (10 trace to 60 fatal).
func severityValue(s string) model.Severity {
	if len(s) == 2 && s[1] == '0' && s[0] >= '1' && s[0] <= '6' {
		return model.Severity(s[0]-'1')*4 + 1
	}
	return severityWord(s)
}

// severityInText looks where loggers write it: level=error or "level":"error" near the beginning, the letter and date of
// klog, a word in capitals, or a word in brackets.
func severityInText(text string) model.Severity {
	if len(text) > 5 && strings.IndexByte("IWEF", text[0]) >= 0 && digits(text[1:5]) {
		switch text[0] {
		case 'I':
			return 9
		case 'W':
			return 13
		case 'E':
			return 17
		}
		return 21
	}
	head := text[:min(len(text), 256)]
	for _, part := range [...]string{"evel", "everity", "lvl"} {
		i := strings.Index(head, part)
		if i < 0 {
			continue
		}
		value, ok := valueAfter(head[i+len(part):])
		if !ok {
			continue
		}
		if s := severityValue(value[:wordLen(value)]); s != 0 {
			return s
		}
	}
	head = head[:min(len(head), 128)]
	for i := 0; i < len(head); i++ {
		c := head[i]
		if !isAlnum(c) {
			continue
		}
		n := wordLen(head[i:])
		w := head[i : i+n]
		bracketed := i > 0 && (head[i-1] == '[' || head[i-1] == ':' || head[i-1] == '<') && i+n < len(head) && (head[i+n] == ']' || head[i+n] == '>')
		if bracketed || n > 2 && upper(w) {
			if s := severityWord(w); s != 0 {
				return s
			}
		}
		i += n
	}
	return 0
}

func isAlnum(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }

func wordLen(s string) int {
	n := 0
	for n < len(s) && isAlnum(s[n]) {
		n++
	}
	return n
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func upper(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}
