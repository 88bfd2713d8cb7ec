package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// predictions is a file of predictions: one JSON object a line.
type predictions struct {
	file io.WriteCloser
	buf  *bufio.Writer
	json *json.Encoder
}

// create opens the file named by --out, replacing what is there; "-" and "" are the standard output.
func create(path string) (*predictions, error) {
	var file io.WriteCloser = os.Stdout
	if path != "" && path != "-" {
		f, err := os.Create(path)
		if err != nil {
			return nil, fmt.Errorf("create predictions: %w", err)
		}
		file = f
	}
	p := &predictions{file: file, buf: bufio.NewWriter(file)}
	p.json = json.NewEncoder(p.buf)
	p.json.SetEscapeHTML(false)
	return p, nil
}

// add writes one prediction.
func (p *predictions) add(v any) error { return p.json.Encode(v) }

// close writes what is buffered; without it the file is not complete.
func (p *predictions) close() error { return errors.Join(p.buf.Flush(), p.file.Close()) }
