package otlp

import (
	"encoding/json"
	"errors"
	"fmt"

	"triage/internal/ingest/wire"
)

// maxJSONDepth is wire.MaxDepth in brackets: each nested AnyValue takes three of them.
const maxJSONDepth = 3 * wire.MaxDepth

// objectCost is about what an object takes in memory: rows more, values of attributes less.
const objectCost = 200

// checkJSON finds what is wrong with JSON text, and where, before a decoder that is more lenient (it stops at the end of
// the first value) sees it. Cost is about what the decoded rows take in memory.
func checkJSON(data []byte) (cost int64, err error) {
	if !json.Valid(data) {
		var raw json.RawMessage
		err := json.Unmarshal(data, &raw)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return 0, fmt.Errorf("%w (byte %d)", err, syntax.Offset)
		}
		return 0, err
	}
	cost = int64(len(data))
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if c == '{' {
				cost += objectCost
			}
			if depth++; depth > maxJSONDepth {
				return cost, fmt.Errorf("nested deeper than %d brackets (byte %d)", maxJSONDepth, i)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return cost, nil
}
