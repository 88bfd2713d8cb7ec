package otlp

import (
	"encoding/json"
	"errors"
	"fmt"
)

// maxJSONDepth is maxDepth in brackets: each nested AnyValue takes three of them.
const maxJSONDepth = 3 * maxDepth

// checkJSON finds what is wrong with JSON text, and where, before a decoder that is more lenient (it stops at the end of
// the first value) sees it.
func checkJSON(data []byte) error {
	if !json.Valid(data) {
		var raw json.RawMessage
		err := json.Unmarshal(data, &raw)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fmt.Errorf("%w (byte %d)", err, syntax.Offset)
		}
		return err
	}
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxJSONDepth {
				return fmt.Errorf("nested deeper than %d brackets (byte %d)", maxJSONDepth, i)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
