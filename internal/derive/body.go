package derive

import (
	"encoding/json"
	"slices"
	"strings"

	"triage/internal/model"
)

// messageKeys are where structured lines keep what a person wrote, most usual first.
var messageKeys = []string{"message", "msg", "event", "log", "@message", "body", "error"}

// message is the part of a record whose form its template is: the text, the message of a JSON line or of a map, else the
// keys of the map, and the event's name where there is no body.
func message(r *model.LogRecord) string {
	switch r.Body.Kind() {
	case model.KindString:
		s := r.Body.Str()
		if len(s) > 1 && s[0] == '{' {
			if m := jsonMessage(s); m != "" {
				return m
			}
		}
		return s
	case model.KindMap:
		fields := mapFields(r.Body.Str())
		for _, k := range messageKeys {
			if s := fields.Str(k); s != "" {
				return s
			}
		}
		keys := make([]string, len(fields))
		for i := range fields {
			keys[i] = fields[i].Key
		}
		slices.Sort(keys)
		return "{" + strings.Join(keys, ",") + "}"
	case model.KindEmpty:
		if r.EventName != "" {
			return r.EventName
		}
		return r.Attrs.First("message", "msg", "exception.message")
	}
	return r.Body.String()
}

// jsonMessage finds the message among the top-level members of a JSON object, still escaped; "" if there is none. It
// does not check the rest of the JSON: a broken line has a form too.
func jsonMessage(s string) string {
	best, rank := "", len(messageKeys)
	depth, key := 0, ""
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 1 {
				key = ""
			}
		case '"':
			start := i + 1
			for i = start; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if i >= len(s) {
				return best
			}
			if depth != 1 {
				continue
			}
			text := s[start:i]
			if key == "" {
				key = text
				continue
			}
			if r := slices.Index(messageKeys, key); r >= 0 && r < rank && text != "" {
				if best, rank = text, r; r == 0 {
					return best
				}
			}
		}
	}
	return best
}

// mapFields reads the members of a map body whose values are text, numbers or truth values: an OTLP KeyValueList, or a
// plain JSON object.
func mapFields(text string) model.Attrs {
	var list struct {
		Values []struct {
			Key   string
			Value struct {
				StringValue *string
				IntValue    json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err == nil && len(list.Values) > 0 {
		out := make(model.Attrs, 0, len(list.Values))
		for _, v := range list.Values {
			a := model.Attr{Key: v.Key}
			switch {
			case v.Value.StringValue != nil:
				a.Value = model.String(*v.Value.StringValue)
			case v.Value.IntValue != nil:
				a.Value = model.String(strings.Trim(string(v.Value.IntValue), `"`))
			}
			out = append(out, a)
		}
		return out
	}
	var out model.Attrs
	if err := out.UnmarshalJSON([]byte(text)); err != nil {
		return nil
	}
	return out
}
