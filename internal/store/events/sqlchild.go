package events

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// SQLChildMain is the child of Store.SQL: it reads one query, runs it in a locked-down database and writes the answer.
// A query's own fault is part of the answer; an error is returned for what the caller did wrong.
func SQLChildMain(stdin io.Reader, stdout io.Writer) error {
	var req sqlRequest
	if err := json.NewDecoder(stdin).Decode(&req); err != nil {
		return fmt.Errorf("read query: %w", err)
	}
	if err := limitProcess(req.Limits); err != nil {
		return fmt.Errorf("limit the process: %w", err)
	}
	result, err := runSQL(context.Background(), req)
	a := sqlAnswer{SQLResult: result}
	if err != nil {
		a = sqlAnswer{Error: err.Error()}
	}
	return json.NewEncoder(stdout).Encode(a)
}

// runSQL runs the query of a request.
func runSQL(ctx context.Context, req sqlRequest) (SQLResult, error) {
	e := newEngine(Options{Threads: req.Limits.Threads, MemoryLimit: req.Limits.MemoryLimit}, req.Tmp)
	defer e.close()
	db, err := e.open()
	if err != nil {
		return SQLResult{}, err
	}
	db.SetMaxOpenConns(1)
	if err := allowed(ctx, db, req.Query); err != nil {
		return SQLResult{}, err
	}
	for name, text := range req.Views {
		if _, err := db.ExecContext(ctx, "CREATE VIEW "+ident(name)+" AS "+text); err != nil {
			return SQLResult{}, fmt.Errorf("prepare %s: %w", name, err)
		}
	}
	if err := lockDown(ctx, db, req.Paths); err != nil {
		return SQLResult{}, err
	}
	rows, err := db.QueryContext(ctx, req.Query)
	if err != nil {
		return SQLResult{}, err
	}
	defer rows.Close()
	return readResult(rows, req.Limits)
}

// lockDown leaves the database nothing of the system but the files of the views. It is the second wall: allowed, before
// it, lets no query pass that would try.
func lockDown(ctx context.Context, db *sql.DB, paths []string) error {
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = quote(p)
	}
	for _, set := range []string{
		"SET allowed_paths=[" + strings.Join(quoted, ",") + "]",
		"SET max_temp_directory_size='1GiB'",
		"SET allow_community_extensions=false",
		"SET allow_persistent_secrets=false",
		"SET enable_external_access=false",
		"SET lock_configuration=true", // the last: nothing can be set after it
	} {
		if _, err := db.ExecContext(ctx, set); err != nil {
			return fmt.Errorf("lock down: %w", err)
		}
	}
	return nil
}

func readResult(rows *sql.Rows, limits SQLLimits) (SQLResult, error) {
	out := SQLResult{Rows: [][]any{}}
	types, err := rows.ColumnTypes()
	if err != nil {
		return out, err
	}
	for _, t := range types {
		out.Columns, out.Types = append(out.Columns, t.Name()), append(out.Types, t.DatabaseTypeName())
	}
	size := int64(0)
	for rows.Next() {
		if len(out.Rows) == limits.Rows {
			out.Truncated = true
			break
		}
		row, to := make([]any, len(types)), make([]any, len(types))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			return out, err
		}
		for i := range row {
			row[i] = jsonValue(row[i])
		}
		text, err := json.Marshal(row)
		if err != nil {
			return out, err
		}
		if size += int64(len(text)); size > limits.Bytes {
			out.Truncated = true
			break
		}
		out.Rows = append(out.Rows, row)
	}
	return out, rows.Err()
}

// jsonValue turns a value of DuckDB's into one that JSON has.
func jsonValue(v any) any {
	switch v := v.(type) {
	case nil, bool, string, int8, int16, int32, int64, uint8, uint16, uint32, uint64, json.Number:
		return v
	case float32:
		return jsonValue(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case *big.Int:
		if v.IsInt64() {
			return v.Int64()
		}
		return v.String()
	case duckdb.Decimal:
		return v.Float64()
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = jsonValue(x)
		}
		return out
	}
	return fmt.Sprint(v)
}

// What a query may read from: the views, what it defines itself, and functions that make rows of their arguments.
var (
	sqlTables    = []string{"spans", "logs"}
	sqlFunctions = []string{"range", "generate_series", "unnest", "repeat_row"}
)

// allowed refuses everything but one SELECT over what it may read. DuckDB's own parser decides what that is: only SELECT
// statements can be serialized, and the tree names every table and table function.
func allowed(ctx context.Context, db *sql.DB, query string) error {
	var text string
	if err := db.QueryRowContext(ctx, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", query).Scan(&text); err != nil {
		return fmt.Errorf("read the query: %w", err)
	}
	var tree struct {
		Error      bool   `json:"error"`
		Message    string `json:"error_message"`
		Statements []any  `json:"statements"`
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return fmt.Errorf("read the query: %w", err)
	}
	switch {
	case tree.Error:
		return errors.New(tree.Message)
	case len(tree.Statements) != 1:
		return fmt.Errorf("%d statements, want one", len(tree.Statements))
	}
	defined := map[string]bool{}
	walk(tree.Statements, func(node map[string]any) error {
		if m, ok := node["cte_map"].(map[string]any); ok {
			entries, _ := m["map"].([]any)
			for _, e := range entries {
				if entry, ok := e.(map[string]any); ok {
					name, _ := entry["key"].(string)
					defined[strings.ToLower(name)] = true
				}
			}
		}
		if name, ok := node["cte_name"].(string); ok {
			defined[strings.ToLower(name)] = true
		}
		return nil
	})
	return walk(tree.Statements, func(node map[string]any) error {
		switch node["type"] {
		case "BASE_TABLE":
			name, _ := node["table_name"].(string)
			schema, _ := node["schema_name"].(string)
			catalog, _ := node["catalog_name"].(string)
			if name = strings.ToLower(name); schema != "" || catalog != "" || !slices.Contains(sqlTables, name) && !defined[name] {
				return fmt.Errorf("table %q is not there: spans and logs are", name)
			}
		case "TABLE_FUNCTION":
			f, _ := node["function"].(map[string]any)
			name, _ := f["function_name"].(string)
			if !slices.Contains(sqlFunctions, strings.ToLower(name)) {
				return fmt.Errorf("table function %q is not allowed", name)
			}
		case "SHOW_REF":
			name, _ := node["table_name"].(string)
			if name = strings.Trim(strings.ToLower(name), `"`); name != "" && !slices.Contains(sqlTables, name) {
				return fmt.Errorf("table %q is not there: spans and logs are", name)
			}
		}
		return nil
	})
}

// walk calls fn with every object of a JSON tree.
func walk(v any, fn func(map[string]any) error) error {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if err := walk(x, fn); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := fn(v); err != nil {
			return err
		}
		for _, x := range v {
			if err := walk(x, fn); err != nil {
				return err
			}
		}
	}
	return nil
}
