package exam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Terms are what makes an exam the one it is.
type Terms struct {
	Seed   uint64  `json:"seed"`
	Runs   int     `json:"runs"`
	Rename bool    `json:"rename"`
	Rate   float64 `json:"rate"` // requests a second
}

func (t Terms) String() string {
	return fmt.Sprintf("--seed %d --runs %d --rename=%t --rate %g", t.Seed, t.Runs, t.Rename, t.Rate)
}

// ErrOther is what Open says of a file that belongs to something else.
var ErrOther = errors.New("another exam's")

// header is the first line of the file; each further one is a Run.
type header struct {
	Exam *Terms `json:"exam"`
}

// Ledger is the file of an exam's finished runs. A line that a crash cut off is taken away, and its run is done again.
type Ledger struct {
	file *os.File
	// Runs are the finished ones, in order.
	Runs []Run
}

// Open reads the file of an exam, or begins it. A file of other terms, or of anything else, is refused with ErrOther
// and left as it is.
func Open(name string, terms Terms) (*Ledger, error) {
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the exam so far: %w", err)
	}
	l := &Ledger{}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	if len(whole) > 0 {
		if l.Runs, err = read(whole, terms); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	} else if len(text) > 0 && text[0] != '{' {
		return nil, fmt.Errorf("%s: it is no exam: %w", name, ErrOther)
	}
	if l.file, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("open the exam's file: %w", err)
	}
	err = l.file.Truncate(int64(len(whole)))
	if err == nil {
		_, err = l.file.Seek(int64(len(whole)), 0)
	}
	if err == nil && len(whole) == 0 {
		err = l.write(header{&terms})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin the exam's file %s: %w", name, err), l.file.Close())
	}
	return l, nil
}

// read decodes whole lines.
func read(text []byte, terms Terms) ([]Run, error) {
	var runs []Run
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if i == 0 {
			var h header
			switch err := json.Unmarshal(line, &h); {
			case err != nil || h.Exam == nil:
				return nil, fmt.Errorf("it is no exam: %w", ErrOther)
			case *h.Exam != terms:
				return nil, fmt.Errorf("it was begun with %s: %w", h.Exam, ErrOther)
			}
			continue
		}
		var r Run
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if r.Run != i {
			return nil, fmt.Errorf("line %d is run %d and should be run %d", i+1, r.Run, i)
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// Add appends a finished run. It is on the disk when Add returns.
func (l *Ledger) Add(r Run) error {
	if err := l.write(r); err != nil {
		return fmt.Errorf("keep run %d: %w", r.Run, err)
	}
	l.Runs = append(l.Runs, r)
	return nil
}

func (l *Ledger) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return l.file.Sync()
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }
